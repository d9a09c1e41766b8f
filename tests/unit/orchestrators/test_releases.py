"""What an orchestrator that ends does with a claim whose node it has not touched."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from rotator.errors import ClaimOver, RolloutAway, RotatorError
from rotator.orchestrators.carrier import Carrier
from rotator.orchestrators.loop import Orchestrator, is_over
from rotator.orchestrators.restarter import Go, NotNow
from rotator.protocol import v1
from tests.support.virtual_time import run

CLAIM = v1.Claim(
    id="c1", node="a@h", version=2, rotation="r", state="claimed", token=1, holder="one",
    claimed_at="", expires_at="", seconds_left=30.0,
)  # fmt: skip
ROLLOUT = v1.Rollout(
    cluster="orders", revision=1, strategy="rolling", rotation="r", phase="rolling_out", version=2,
    is_paused=False, max_unavailable=1, next=[], under_way=[], waiting=[], unavailable=[],
    restarted=0, members=3,
)  # fmt: skip


class Ear:
    """A service that takes each word as it is said; *wrong* is what it answers to `released`."""

    def __init__(self, wrong: RotatorError | None = None) -> None:
        self.said: list[str] = []
        self.wrong = wrong
        self.taken: list[str] = []

    async def change(self, claim: v1.Claim, state: str, *, detail: str = "") -> v1.Claim:
        """A word."""
        self.said.append(state)
        if state == "released" and self.wrong is not None:
            raise self.wrong
        return replace(claim, state="restarting" if state == "done" else state, detail=detail)

    async def rollout(self, *, revision: int | None = None, wait: int = 0) -> v1.Rollout | None:
        """A stop and a restart may be claimed."""
        if revision is not None:
            await asyncio.sleep(wait)
            return None
        steps = [
            v1.RolloutStep(node="a@h", version=2, reason="", step="stop"),
            v1.RolloutStep(node="b@h", version=2, reason=""),
        ]
        return replace(ROLLOUT, next=steps)

    async def take(self, nodes: list[str], *, holder: str, key: str = "") -> list[v1.Claim]:
        """None, but who was wanted is kept."""
        self.taken += nodes
        return []


class Slow:
    """A restarter whose nodes may not go yet, or take their time."""

    steps = frozenset({"restart"})

    def __init__(self, *, may_go: bool = False) -> None:
        self.may_go = may_go

    def handles(self, node: str) -> bool:
        """Any."""
        return bool(node)

    async def prepare(self, claim: v1.Claim) -> Go | NotNow:
        """As it was made."""
        return Go(claim.id) if self.may_go else NotNow("its budget")

    async def restart(self, claim: v1.Claim, go: Go) -> NotNow | None:
        """A while."""
        await asyncio.sleep(5)
        return None

    async def look(self, node: str) -> str:
        """Nothing."""
        return ""


async def ended(service: Ear, restarter: Slow) -> bool:
    """Whether a carrier that is ended in the middle ends in good order: with its claim given back."""
    carrier = Carrier(CLAIM, service=service, restarter=restarter)
    running = asyncio.ensure_future(carrier.run())
    await asyncio.sleep(3)
    running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        return False
    return True


def test_what_was_not_touched_is_given_back() -> None:
    """The last word is `released`, and the carrier ends in good order."""
    service = Ear()
    assert run(ended(service, Slow()))
    assert service.said == ["released"]


@pytest.mark.parametrize("wrong", [RolloutAway("away"), ClaimOver("over")])
def test_a_release_that_does_not_come_off_is_left_to_the_clock(wrong: RotatorError) -> None:
    """It is said once; the claim runs out by itself."""
    service = Ear(wrong)
    assert not run(ended(service, Slow()))
    assert service.said == ["released"]


def test_what_was_begun_is_finished_and_not_given_back() -> None:
    """Cancelled in the middle of a restart it waits for its end, and says nothing else."""
    service = Ear()
    assert not run(ended(service, Slow(may_go=True)))
    assert service.said == ["restarting"]


def test_a_step_that_it_cannot_take_is_left_to_others() -> None:
    """Who can only restart claims no stop."""
    service = Ear()

    async def look() -> None:
        orchestrator = Orchestrator(service=service, restarter=Slow(), holder="one")
        running = asyncio.ensure_future(orchestrator.run())
        await asyncio.sleep(2)
        running.cancel()
        await asyncio.wait({running})

    run(look())
    assert service.taken == ["b@h"]


@pytest.mark.parametrize(
    ("phase", "version", "restarted", "over"),
    [
        ("installing", None, 0, False),
        ("rolling_back", None, 0, False),
        ("rolling_out", 2, 2, False),
        ("rolling_out", 2, 3, True),
        ("retiring", None, 0, True),
        (None, None, 0, True),
    ],
)
def test_nothing_is_over_while_a_rotation_is_on_its_way(
    phase: str | None, version: int | None, restarted: int, over: bool
) -> None:
    """`--once` waits for a rollout that is about to begin, and ends after the last restart."""
    found = replace(ROLLOUT, phase=phase, version=version, restarted=restarted)
    assert is_over(found) is over
