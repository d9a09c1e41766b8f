from __future__ import annotations

import asyncio
import base64
import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from rotator.errors import IdentityAway, NotAuthenticated
from rotator.ports.workloads import Workload
from rotator.services.workloads import (
    KEPT,
    NEW_BURST,
    NEW_PER_SECOND,
    OUT_OF_TOUCH,
    Identity,
    TooManyNew,
    Workloads,
    granted,
)

if TYPE_CHECKING:
    from rotator.ports.workloads import WorkloadReviewer

NOW = datetime(2026, 11, 25, tzinfo=UTC)
SUBJECT = "system:serviceaccount:shop:beam"
GOOD = Workload(namespace="shop", account="beam", pod="app-0")
BEAM = Identity(
    namespace="shop", account="beam", role="node", clusters=("orders",), nodes="rabbit@{pod}"
)


def a_token(number: int = 0, **claims: Any) -> str:
    """What a pod shows; each number is another."""
    said = {"aud": "rotator", "exp": NOW.timestamp() + 60, "sub": SUBJECT, "n": number, **claims}
    text = base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()
    return f"e30.{text}.x"


class Reviewer:
    """A platform that knows some tokens, and may be away."""

    def __init__(self, *known: str) -> None:
        self.known, self.asked = set(known), 0
        self.error: IdentityAway | None = None
        self.slow: asyncio.Event | None = None  #: until then the made-up are looked at

    async def review(self, token: str) -> Workload | None:
        """One of the known, or none."""
        self.asked += 1
        if self.error is not None:
            raise self.error
        if self.slow is not None and token not in self.known:
            await self.slow.wait()
        return GOOD if token in self.known else None

    async def close(self) -> None:
        """Nothing is held."""


def workloads(reviewer: WorkloadReviewer, **options: Any) -> Workloads:
    """Over this platform."""
    return Workloads(reviewer, audience="rotator", identities=(BEAM,), **options)


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": []},
        {"sub": {}},
        {"sub": None},
        {"aud": {}},
        {"aud": [[]]},
        {"exp": "soon"},
        {"exp": float("nan")},
        {"exp": -(10**400)},
    ],
)
async def test_what_a_token_says_of_itself_may_be_anything(claims: dict[str, Any]) -> None:
    """It is refused like any other that is no good, and nobody is asked."""
    reviewer = Reviewer()
    with pytest.raises(NotAuthenticated):
        await workloads(reviewer).authenticate(a_token(**claims), now=NOW)
    assert reviewer.asked == 0


class Clock:
    now = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


async def test_made_up_tokens_do_not_keep_one_waiting_that_was_good_before() -> None:
    """However many queue for a review, and however slow the reviews are: its own goes by them."""
    reviewer, clock = Reviewer(a_token()), Clock()
    service = workloads(reviewer, clock=clock)
    await service.authenticate(a_token(), now=NOW)
    reviewer.slow = asyncio.Event()
    flood = [
        asyncio.create_task(service.authenticate(a_token(number), now=NOW))
        for number in range(1, 400)
    ]
    await asyncio.sleep(0)
    clock.now += KEPT.total_seconds()
    before = reviewer.asked
    assert (await service.authenticate(a_token(), now=NOW)).nodes == "rabbit@app-0"
    assert reviewer.asked <= before + 5
    reviewer.slow.set()
    answers = await asyncio.gather(*flood, return_exceptions=True)
    assert {type(one) for one in answers} == {NotAuthenticated}


async def test_so_many_tokens_a_second_are_reviewed_for_the_first_time() -> None:
    """The rest is told to try again, and is no sign that the cluster is away."""
    reviewer, clock, told = Reviewer(), Clock(), list[datetime]()
    service = workloads(reviewer, clock=clock, on_away=told.append)

    async def ask(first: int, count: int) -> int:
        refused = 0
        for number in range(first, first + count):
            try:
                await service.authenticate(a_token(number), now=NOW)
            except TooManyNew:
                refused += 1
            except NotAuthenticated:
                pass
        return refused

    burst = int(NEW_BURST)
    assert await ask(0, burst + 7) == 7
    clock.now += 1
    assert await ask(10_000, int(NEW_PER_SECOND) + 3) == 3
    assert reviewer.asked == burst + int(NEW_PER_SECOND)
    assert told == []


async def test_while_nobody_can_be_told_nobody_counts_as_silent() -> None:
    """From seconds after the first failure, at each one, until there is an answer again."""
    reviewer, clock, told = Reviewer(a_token()), Clock(), list[datetime]()
    service = workloads(reviewer, clock=clock, on_away=told.append)
    await service.authenticate(a_token(), now=NOW)

    async def ask() -> None:
        with suppress(IdentityAway):
            await service.authenticate(a_token(), now=NOW)

    reviewer.error = IdentityAway()
    for _ in range(3):
        clock.now += KEPT.total_seconds()
        await ask()
    assert told == [NOW, NOW]
    reviewer.error = None
    await ask()
    reviewer.error = IdentityAway()
    clock.now += KEPT.total_seconds()
    await ask()
    clock.now += OUT_OF_TOUCH
    await ask()
    assert told == [NOW, NOW]


async def test_a_token_that_is_good_no_more_is_one_of_many() -> None:
    """Its refusal counts for seconds, and from then on it queues with those that never were."""
    reviewer, clock = Reviewer(a_token()), Clock()
    service = workloads(reviewer, clock=clock)
    await service.authenticate(a_token(), now=NOW)
    reviewer.known.clear()
    await service.authenticate(a_token(), now=NOW)
    clock.now += KEPT.total_seconds()
    for _ in range(2):
        with pytest.raises(NotAuthenticated):
            await service.authenticate(a_token(), now=NOW)
    assert reviewer.asked == 2


@pytest.mark.parametrize("pod", ["app-0.prod", "app-0.", None])
def test_a_pod_with_a_dot_in_its_name_speaks_for_no_node(pod: str | None) -> None:
    """By its name it could be another namespace's: app-0.prod made in dev."""
    assert granted(BEAM, replace(GOOD, pod=pod), now=NOW) is None
    assert granted(BEAM, GOOD, now=NOW) is not None
