"""Three replicas on one PostgreSQL: each serves, one reconciles, and a former leader changes nothing."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.replicas import Replicas, is_stopped, replicas, wake
from tests.support.service import Service, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLICY = {"grace_window": "0", "members": {"expect": "none"}, "max_rotations_per_hour": 1000}
ORDERS = {"orders": POLICY}
#: Lines at which a leader is stopped: before it writes, to either store, and just after.
LINES = ("S1", "K1", "S2", "S3", "K2", "S4", "S5", "S6", "K3", "S7")
STOPS = [f"{line}:{when}:stop" for when in ("before", "after") for line in LINES[1:]]
TIMES = 50
if os.environ.get("ROTATOR_TESTS") != "full":
    STOPS, TIMES = ["S2:before:stop", "K2:before:stop", "S6:after:stop"], 5

# Who writes which step of a rotation, and who has the lease in that very transaction.
WATCH = """
CREATE TABLE steps (position serial, phase text, writer text, holder text);
CREATE FUNCTION note_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO steps (phase, writer, holder)
    SELECT NEW.phase, current_setting('application_name'), holder FROM lease;
    RETURN NULL;
END $$;
CREATE TRIGGER note_steps AFTER UPDATE ON rotations
FOR EACH ROW WHEN (OLD.phase IS DISTINCT FROM NEW.phase) EXECUTE FUNCTION note_step();
"""


def secret_store(directory: Path) -> dict[str, Any]:
    """One for all of them."""
    return {"kind": "local", "directory": str(directory / "secrets")}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Three replicas with a lease that nobody waits for: only its return lets another lead.

    They take seconds to start, so that tests share them, with a cluster each.
    """
    place = tmp_path_factory.mktemp("replicas")
    clusters = dict.fromkeys(("serving", "revoking", "moving"), POLICY)
    with replicas(place, secret_store(place), clusters, lease="10m") as made:
        yield made


@pytest.mark.timeout(300)
def test_each_replica_serves_and_one_of_them_reconciles(three: Replicas) -> None:
    """A command to one follower is carried out by the leader, and wakes who waits at the other."""
    leader = three.leader()
    one, other = three.followers()
    for service in three.services:
        said = three.says(service)
        assert said is not None
        assert (said["status"], said["leads"]) == ("ok", service is leader)
        assert str(said["leader"]).endswith(f":{leader.port}")
    one.initialise("serving")
    generation = other.get("clusters/serving")["generation"]
    answers: list[httpx.Response] = []
    token = other.token("node", nodes="rabbit@a", clusters=("serving",))
    path = f"clusters/serving/cookie?node=rabbit@a&generation={generation}&wait=300s"

    def wait() -> None:
        answers.append(other.request("GET", path, token=token, timeout=400))

    waiting = threading.Thread(target=wait)
    waiting.start()
    started = one.command("clusters/serving/rotations", {"kind": "manual", "reason": "test"})
    assert started is not None
    waiting.join(120)
    assert not waiting.is_alive(), "nobody wakes it before its time is over"
    assert answers[0].status_code == httpx.codes.OK, answers[0].text
    assert answers[0].json()["generation"] > generation
    done = other.until_phase("serving", started["id"], "completed")
    assert [row["kind"] for row in done["facts"]].count("RotationCompleted") == 1
    for service in three.services:
        assert service.get("clusters/serving")["current"] == 2
    assert "RotationCompleted" in leader.output()
    for follower in (one, other):
        steps = [row for row in follower.output().splitlines() if "services.reconciler" in row]
        assert not [row for row in steps if "serving" in row], "a follower has reconciled"


@pytest.mark.timeout(300)
def test_a_token_that_one_replica_revokes_ends_waiting_at_another(three: Replicas) -> None:
    """Whoever waits with it at another replica is refused there, long before the wait is over."""
    one, other = three.followers()
    one.initialise("revoking")
    found = one.request(
        "POST",
        "tokens",
        role="admin",
        json={"role": "node", "clusters": ["revoking"], "nodes": "rabbit@a", "note": "test"},
    ).json()
    generation = other.get("clusters/revoking")["generation"]
    path = f"clusters/revoking/cookie?node=rabbit@a&generation={generation}&wait=300s"
    answers: list[httpx.Response] = []

    def wait() -> None:
        answers.append(other.request("GET", path, token=found["token"], timeout=400))

    waiting = threading.Thread(target=wait)
    waiting.start()
    # Revoked before it waits or after: it must be refused in either case.
    gone = one.request("DELETE", f"tokens/{found['id']}", role="admin", json={"reason": "test"})
    assert gone.is_success, gone.text
    waiting.join(60)
    assert not waiting.is_alive(), "it still waits with a token that is revoked"
    assert answers[0].status_code == httpx.codes.UNAUTHORIZED


@pytest.mark.timeout(300)
def test_a_leader_that_is_told_to_end_hands_over(three: Replicas) -> None:
    """Another leads although the lease would have lasted ten minutes more, and nothing is undone."""
    leader = three.leader()
    leader.initialise("moving")
    fence, _ = three.holder()
    assert leader.process is not None
    leader.process.terminate()
    heir = three.leader()
    assert heir is not leader
    assert three.holder()[0] == fence + 1
    assert leader.wait_ended() == 0
    started = heir.command("clusters/moving/rotations", {"kind": "manual", "reason": "test"})
    assert started is not None
    heir.until_phase("moving", started["id"], "completed")
    assert heir.get("clusters/moving")["current"] == 2
    leader.start()
    assert three.leader() is heir, "it waits for its turn"


@pytest.mark.timeout(1800)
def test_a_leader_that_was_stopped_changes_nothing(tmp_path: Path) -> None:
    """Stopped at any write, and woken when another leads: no step of any rotation is its own."""
    with replicas(tmp_path, secret_store(tmp_path), ORDERS, *STOPS) as three:
        three.leader().initialise("orders")
        three.database.ask(WATCH)
        stops, rotations, hits = 0, 0, 1
        while stops < TIMES:
            rotations += 1
            # When every line had its turn, the leader is stopped at whatever it does.
            hits = rotate_through_stops(three, at_random=hits == 0)
            stops += hits
        steps = three.database.ask("SELECT phase, writer, holder FROM steps ORDER BY position")
        strangers = [step for step in steps if step[1] != f"rotator {step[2]}"]
        assert strangers == [], "a replica without the lease has written"
        phases = [step[0] for step in steps]
        assert phases.count("completed") == rotations
        assert len(phases) == len(set(phases)) * rotations, "a step was done twice"
        for service in three.services:
            assert went_on(service) == [], "a write was done by whoever was stopped before it"
        shown = three.leader().get("clusters/orders")
        assert shown["current"] == rotations + 1
        assert shown["state"] == "stable"
        if TIMES > 5:
            print(f"\n{stops} stops in {rotations} rotations, {len(steps)} steps by the holder")


def went_on(service: Service) -> list[str]:
    """The lines that were written by a process that had been stopped just before it wrote.

    Who leads again in between may write it.
    """
    told = ("failpoint ", '{"event": "this replica leads"')
    rows = [row for row in service.output().splitlines() if row.startswith(told)]
    return [
        one
        for one, next_ in itertools.pairwise(rows)
        if next_ == one.replace(":before", ":after") and one != next_
    ]


def rotate_through_stops(three: Replicas, *, at_random: bool) -> int:
    """One rotation to its end; whoever is stopped meanwhile is woken once another one leads."""
    answering = three.leader()
    body = {"kind": "manual", "reason": "test"}
    started = answering.command("clusters/orders/rotations", body)
    assert started is not None
    if at_random:
        time.sleep(random.random() / 2)
        victim = three.leader()
        assert victim.process is not None
        victim.process.send_signal(signal.SIGSTOP)
        wait_for("it is stopped", lambda: is_stopped(victim))
    stopped: dict[int, tuple[Service, int]] = {}
    stops = 0

    def is_over() -> bool:
        nonlocal stops
        for service in three.services:
            if is_stopped(service) and service.port not in stopped:
                stopped[service.port] = service, three.holder()[0]
                stops += 1
        for port, (service, fence) in list(stopped.items()):
            newest, holder = three.holder()
            if newest > fence or not str(holder).endswith(f":{port}"):
                wake(service)
                del stopped[port]
        row = three.database.ask("SELECT phase FROM rotations WHERE id = %s", started["id"])
        return row == [("completed",)] and not stopped

    wait_for("the rotation is completed, and nobody stopped", is_over, seconds=300)
    return stops
