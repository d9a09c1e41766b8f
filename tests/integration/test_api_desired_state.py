from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from rotator.api import longpoll
from rotator.domain.ids import ClusterName
from tests.support.api import NODE, PATIENT, POLICY, a_world, attestation


@pytest.fixture
async def world(tmp_path):
    """The service over a state store of its own."""
    async with a_world(tmp_path, {"orders": PATIENT, "billing": POLICY}) as made:
        yield made


async def test_an_uninitialised_cluster_answers_generation_0_and_nothing_else(world):
    """Before `init` a node learns that there is no cookie yet, with status 200."""
    answer = await world.desired()
    assert answer.status_code == 200
    assert answer.json() == {
        "cluster": "orders",
        "cluster_uid": None,
        "fingerprint_key": None,
        "generation": 0,
        "phase": None,
        "adoption": "hot",
        "adopt": None,
        "join": False,
        "current": None,
        "previous": None,
        "pending": None,
        "refuse": [],
        "lock": None,
        "members": {},
        "pairs": {},
        "on_drift": "heal",
    }


async def test_a_node_gets_the_cookies_of_the_phase(world):
    """In grace both versions are there with their cookies, and the target is adopted."""
    await world.initialise()
    first = (await world.desired()).json()["current"]
    assert first["number"] == 1
    assert len(first["cookie"]) == 43
    await world.rotate()
    await world.until("orders", lambda found: (found["rotation"] or {}).get("phase") == "grace")
    answer = await world.desired()
    found = answer.json()
    assert (found["phase"], found["adopt"], found["current"]["number"]) == ("grace", 2, 2)
    assert found["previous"] == first
    assert found["pending"] is None
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["etag"] == f'"orders.{found["generation"]}"'


async def test_versions_that_an_emergency_revokes_are_told_by_number_alone(world):
    """A revoked cookie is in no answer, only its number is."""
    await world.initialise()
    old = (await world.desired()).json()["current"]["cookie"]
    said = attestation(generation=1)
    put = await world.call("PUT", f"/v1/clusters/orders/nodes/{NODE}", role="node", json=said)
    assert put.status_code == 200, put.text
    await world.rotate(kind="emergency", reason="leak")
    locked = (await world.desired()).json()
    assert locked["lock"]["round"] == 1
    assert locked["adopt"] is None
    await world.call(
        "POST",
        f"/v1/clusters/orders/nodes/{NODE}/excuse",
        json={"reason": "test", "force": True},
    )
    await world.until("orders", lambda found: found["current"] == 2)
    found = await world.desired()
    assert old not in found.text


async def test_a_poll_with_another_generation_is_answered_at_once(world):
    """A caller who knows an older state does not wait for a newer one."""
    await world.initialise()
    began = time.monotonic()
    answer = await world.desired(generation=0, wait="30s")
    assert answer.status_code == 200
    assert time.monotonic() - began < 20  # and not the whole wait


async def test_a_poll_is_answered_when_the_generation_changes(world):
    """Who waits hears of a change within a moment, not at the end of the wait."""
    await world.initialise()
    generation = (await world.desired()).json()["generation"]
    waiting = asyncio.ensure_future(world.desired(generation=generation, wait="30s"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    began = time.monotonic()
    await world.rotate()
    answer = await waiting
    assert answer.status_code == 200
    assert answer.json()["generation"] > generation
    assert time.monotonic() - began < 20  # and not the whole wait


async def test_a_poll_whose_time_is_over_is_304(world):
    """Nothing new within the wait is 304 with the ETag, a little before the wait is over."""
    await world.initialise()
    generation = (await world.desired()).json()["generation"]
    began = time.monotonic()
    answer = await world.desired(generation=generation, wait="400ms")
    assert answer.status_code == 304
    assert answer.headers["etag"] == f'"orders.{generation}"'
    assert answer.content == b""
    assert time.monotonic() - began > 0.3


async def test_if_none_match_alone_never_waits(world):
    """A plain conditional request is answered at once, whatever `wait` says."""
    await world.initialise()
    tag = (await world.desired()).headers["etag"]
    path = "/v1/clusters/orders/cookie"
    began = time.monotonic()
    for given, status in ((tag, 304), (f'W/{tag}, "x"', 304), ('"orders.0"', 200)):
        answer = await world.call(
            "GET",
            path,
            role="node",
            params={"node": NODE, "wait": "30s"},
            headers={"If-None-Match": given},
        )
        assert answer.status_code == status
    assert time.monotonic() - began < 20  # and not the whole wait


class HeldSleep:
    """asyncio, whose sleeps of some length end when the test says so."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.over = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        """As asyncio's where nothing is waited for."""
        if not seconds:
            await asyncio.sleep(0)
            return
        self.asked.append(seconds)
        await self.over.wait()


async def test_changes_in_quick_succession_are_answered_once(world, monkeypatch):
    """Whatever changes within the few milliseconds after a change is in the same answer."""
    held = HeldSleep()
    await world.initialise()
    generation = (await world.desired()).json()["generation"]
    token = await world.token("node", nodes="rabbit@*")
    monkeypatch.setattr(longpoll, "asyncio", held)
    waiting = asyncio.ensure_future(world.desired(generation=generation, wait="300s"))
    await world.until_waiting()
    for name in ("rabbit@x", "rabbit@y"):
        answer = await world.call(
            "PUT",
            f"/v1/clusters/orders/nodes/{name}",
            token=token,
            json=attestation(generation=generation),
        )
        assert answer.status_code == 200, answer.text
        async with asyncio.timeout(60):
            while not held.asked:
                await asyncio.sleep(0.01)
        assert not waiting.done()
    held.over.set()
    assert (await waiting).json()["generation"] == generation + 2
    low, high = longpoll.COALESCE
    assert len(held.asked) == 1
    assert low <= held.asked[0] <= high


async def test_a_wake_up_for_nothing_does_not_end_a_poll(world):
    """Who is woken while nothing has changed goes on waiting."""
    await world.initialise()
    generation = (await world.desired()).json()["generation"]
    waiting = asyncio.ensure_future(world.desired(generation=generation, wait="300s"))
    await world.until_waiting()
    for _ in range(3):
        await world.wakeups.notify(ClusterName("orders"))
        # A look of our own takes as long as the one that the wake-up has led to.
        await world.desired()
    assert not waiting.done()
    world.closing.set()
    assert (await waiting).status_code == 304


async def test_a_token_that_is_revoked_ends_its_long_poll(world):
    """Rights are looked at again: a revoked token's waiting request is refused at once."""
    await world.initialise()
    row, text = await world.tokens.create(role="node", clusters=("orders",), nodes=NODE, by="test")
    generation = (await world.desired()).json()["generation"]
    waiting = asyncio.ensure_future(
        world.call(
            "GET",
            "/v1/clusters/orders/cookie",
            token=text,
            params={"node": NODE, "generation": generation, "wait": "30s"},
        )
    )
    await world.until_waiting()
    began = time.monotonic()
    answer = await world.call("DELETE", f"/v1/tokens/{row.id}", role="admin")
    assert answer.status_code == 200
    assert (await waiting).status_code == 401
    assert time.monotonic() - began < 20  # and not the whole wait


async def test_a_token_that_is_revoked_before_its_long_poll_begins_to_wait_ends_it(
    world, monkeypatch
):
    """Revoked between the look at the token and the wait, it is refused at once as well."""
    await world.initialise()
    row, text = await world.tokens.create(role="node", clusters=("orders",), nodes=NODE, by="test")
    generation = (await world.desired()).json()["generation"]
    looks = world.app.state.looks
    look = looks.look

    async def revoked_first(name):
        monkeypatch.setattr(looks, "look", look)
        answer = await world.call("DELETE", f"/v1/tokens/{row.id}", role="admin")
        assert answer.status_code == 200
        return await look(name)

    monkeypatch.setattr(looks, "look", revoked_first)
    began = time.monotonic()
    answer = await world.call(
        "GET",
        "/v1/clusters/orders/cookie",
        token=text,
        params={"node": NODE, "generation": generation, "wait": "60s"},
    )
    assert answer.status_code == 401
    assert time.monotonic() - began < 40  # and not the whole wait


async def test_a_process_that_ends_lets_nobody_wait(world):
    """At shutdown long polls are answered instead of cut off."""
    await world.initialise()
    generation = (await world.desired()).json()["generation"]
    waiting = asyncio.ensure_future(world.desired(generation=generation, wait="30s"))
    await world.until_waiting()
    world.closing.set()
    assert (await asyncio.wait_for(waiting, 20)).status_code == 304


@pytest.mark.parametrize("query", [{"generation": "x"}, {"generation": "-1"}, {"wait": "soon"}])
async def test_a_poll_that_cannot_be_read_is_refused(world, query):
    """A generation or a wait that is none is 422."""
    assert (await world.desired(**query)).status_code == 422


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("60", 60), ("1.5s", 1.5), ("250ms", 0.25), ("2m", 120), ("1000s", 300)],
)
def test_a_wait_is_bounded_by_300_seconds(text, seconds):
    """Durations are read with their unit, and nobody waits longer than 300 s."""
    assert longpoll.seconds_of(text) == seconds


def test_jitter_only_shortens_a_wait():
    """A wait with jitter stays within a sixteenth below what was asked."""
    found = {longpoll.with_jitter(16.0) for _ in range(200)}
    assert all(15.0 <= one <= 16.0 for one in found)
    assert len(found) > 10


async def test_a_node_may_be_heard_again_after_its_time(world):
    """The answer to a report says how often to report, and the cluster's generation."""
    await world.initialise()
    answer = await world.call(
        "PUT",
        f"/v1/clusters/orders/nodes/{NODE}",
        role="node",
        json=attestation(generation=1, something_newer={"x": 1}),
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["heartbeat_seconds"] == PATIENT.heartbeat / timedelta(seconds=1)
    assert set(found) == {"generation", "heartbeat_seconds", "join", "on_drift", "adoption"}
