"""What an orchestrator does when it is told "not now", and whom it leaves alone."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.errors import RolloutRefused
from rotator.orchestrators.carrier import Carrier
from rotator.orchestrators.kubernetes import KubernetesRestarter
from rotator.orchestrators.loop import Orchestrator
from rotator.orchestrators.pods import NodeNames
from rotator.orchestrators.restarter import Go, NotNow
from rotator.protocol import v1
from tests.support.virtual_time import run
from tests.unit.orchestrators.sim import Claims, Pods, Weather

NAMES = ("a", "b")


class Calm(Weather):
    """Nothing is lost, and nothing takes time."""

    async def before(self) -> None:
        """At once."""

    def loses(self) -> bool:
        """Never."""
        return False


class Pausing(Claims):
    """A service that lets nothing begin for the first hundred times that it is asked."""

    refused = 0
    renewed = 0

    async def change(self, claim: v1.Claim, state: str, *, detail: str = "") -> v1.Claim:
        """Not now."""
        if state == "restarting" and self.refused < 100:
            assert not self._pods.evicted, "a pod went before the service had agreed"
            self.refused += 1
            raise RolloutRefused("the service refuses: not now: rollout: max_unavailable")
        self.renewed += state == "claimed"
        return await super().change(claim, state, detail=detail)


def _restarter(pods: Pods, names: str = "{pod}@x") -> KubernetesRestarter:
    return KubernetesRestarter(
        pods,  # type: ignore[arg-type]
        namespace="n",
        names=NodeNames(names),
        labels={"app": "x"},
        settle=timedelta(seconds=30),
    )


def test_a_restart_that_may_not_begin_now_is_asked_for_again_under_the_same_claim() -> None:
    """The claim is renewed meanwhile, the pod is left alone, and each goes once in the end."""
    pods = Pods(NAMES, Calm(random.Random(1)))
    pods.version = 2
    claims = Pausing(pods, pods.weather)

    async def rolled_out() -> None:
        orchestrator = Orchestrator(service=claims, restarter=_restarter(pods), holder="one")  # type: ignore[arg-type]
        await orchestrator.run(once=True)

    run(rolled_out())
    assert sorted(pods.evicted) == ["a", "b"]
    assert claims.refused == 100
    assert claims.renewed > 0
    assert len(claims._claims) == 2


def test_a_node_that_is_back_before_it_was_touched_is_not_restarted() -> None:
    """The restart was put off after it was told to begin; the service saw it back meanwhile."""
    claim = v1.Claim(
        id="c1", node="a@x", version=2, rotation="r", state="claimed", token=1, holder="one",
        claimed_at="", expires_at="", seconds_left=30.0,
    )  # fmt: skip
    tries = []

    class Service:
        async def change(self, claim: v1.Claim, state: str, *, detail: str = "") -> v1.Claim:
            """It is back after the first try."""
            back_at = "2026-11-25T12:00:00Z" if tries else None
            state = "done" if state == "done" else "restarting"
            return replace(claim, state=state, back_at=back_at, detail=detail)

    class Busy:
        steps = frozenset({"restart"})

        async def prepare(self, claim: v1.Claim) -> Go:
            """It may go."""
            return Go(claim.id)

        async def restart(self, claim: v1.Claim, go: Go) -> NotNow:
            """Not now."""
            tries.append(claim.node)
            return NotNow(f"not now: {go.handle}")

        async def look(self, node: str) -> str:
            """Nothing is known."""
            return f"{node}?"

    async def carried() -> None:
        await Carrier(claim, service=Service(), restarter=Busy()).run()  # type: ignore[arg-type]

    run(carried())
    assert tries == ["a@x"]


@pytest.mark.parametrize("node", ["-oProxyCommand@x", "a@-oProxyCommand"])
def test_a_node_that_a_program_would_take_for_an_option_is_left_alone(
    node: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is never claimed, and it is said why."""
    caplog.set_level("INFO")

    class Service:
        async def rollout(self, *, revision: int | None = None, wait: int = 0) -> v1.Rollout:
            """One node that may restart."""
            return v1.Rollout(
                cluster="c", revision=1, strategy="rolling", rotation="r", phase="rolling_out",
                version=2, is_paused=False, max_unavailable=1,
                next=[v1.RolloutStep(node=node, version=2, reason="")],
                under_way=[], waiting=[], unavailable=[], restarted=0, members=1,
            )  # fmt: skip

    class Anything:
        steps = frozenset({"restart"})

        def handles(self, node: str) -> bool:
            """Whatever it is called."""
            return True

    async def for_a_while() -> None:
        orchestrator = Orchestrator(service=Service(), restarter=Anything(), holder="one")  # type: ignore[arg-type]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await orchestrator.run()

    run(for_a_while())
    assert "begins with -" in caplog.text


def test_a_node_on_which_a_restart_of_ours_still_runs_is_not_taken_again() -> None:
    """Its claim has expired and the service offers it with another: the other is taken alone."""
    pods = Pods(NAMES, Calm(random.Random(1)))
    pods.version = 2
    taken: list[list[str]] = []

    class Offering(Claims):
        async def take(self, nodes: list[str], *, holder: str, key: str = "") -> list[v1.Claim]:
            taken.append(nodes)
            return []

    claims = Offering(pods, pods.weather)

    async def acted() -> None:
        offered = await claims.rollout(revision=None, wait=0)
        assert offered is not None
        steps = [v1.RolloutStep(node=f"{name}@x", version=2, reason="") for name in NAMES]
        offered = replace(offered, max_unavailable=2, next=steps)
        claim = claims._made("a@x", "one")
        restarter = _restarter(pods)
        orchestrator = Orchestrator(service=claims, restarter=restarter, holder="one")  # type: ignore[arg-type]
        running = Carrier(claim, service=claims, restarter=restarter)  # type: ignore[arg-type]
        running.is_restarting = True
        task = asyncio.ensure_future(asyncio.Event().wait())  # for ever
        orchestrator._carriers[running] = task  # type: ignore[assignment]
        await orchestrator._act(replace(offered, under_way=[]))
        task.cancel()

    run(acted())
    assert taken == [["b@x"]]
