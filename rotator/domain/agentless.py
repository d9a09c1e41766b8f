"""Nodes without an agent: nobody attests, so the word of who restarts them is all there is.

What such a node may be just now follows from the claims of the rotation, in the order of their
tokens. It is believed to run on the former version when a rotation begins; after a claim that has
begun it may be what it was before or what the claim is for; after one whose holder said `done` it
is the latter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.domain.attempts import attempts, is_late
from rotator.domain.claim import ClaimState, Step
from rotator.domain.cluster import Blocker
from rotator.domain.policy import Strategy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rotator.domain.claim import Claim
    from rotator.domain.ids import NodeName, VersionNumber
    from rotator.domain.liveness import Crowd

#: What a node may run on: a version, or None: it may be down.
Guess = frozenset["VersionNumber | None"]


def names(crowd: Crowd) -> tuple[NodeName, ...]:
    """Who has no agent, in the order of restarts. One that attests nevertheless has one."""
    found = crowd.policy.without_agent - crowd.cluster.members.keys()
    order = {name: place for place, name in enumerate(crowd.policy.rollout.order)}
    return tuple(sorted(found, key=lambda name: (order.get(name, len(order)), name)))


def guess(crowd: Crowd, node: NodeName) -> Guess:
    """What it may run on, by the words of this rotation; empty without one."""
    rotation = crowd.cluster.rotation
    if rotation is None:
        return frozenset()
    found: Guess = frozenset({rotation.from_version})
    for claim in sorted(crowd.cluster.claims.values(), key=lambda claim: claim.token):
        if claim.node == node and claim.rotation == rotation.id and claim.restarting_at is not None:
            found = _after(claim, found)
    return found


def _after(claim: Claim, before: Guess) -> Guess:
    comes = None if claim.step is Step.STOP else claim.version
    if claim.state is ClaimState.DONE:
        return frozenset({comes})
    return before | {None, comes}  # A restart is down in between, and may have ended there.


def is_on(crowd: Crowd, node: NodeName, version: VersionNumber) -> bool:
    """Whether it was said to have been started with *version*, and nothing since."""
    return guess(crowd, node) == {version}


def may_be_down(crowd: Crowd, node: NodeName) -> bool:
    """Whether it is stopped, or something was begun that is not known to have come off."""
    return None in guess(crowd, node)


def stops_the_world(crowd: Crowd) -> bool:
    """Whether they all stop before the first one starts."""
    return crowd.policy.rollout.strategy is Strategy.STOP_THE_WORLD


def is_standing_still(crowd: Crowd) -> bool:
    """Whether they have begun to stop: no window and no budget keeps them from coming up again."""
    return stops_the_world(crowd) and any(may_be_down(crowd, name) for name in names(crowd))


def turn(crowd: Crowd, version: VersionNumber) -> Mapping[NodeName, Step]:
    """What is to be done now with which of them, in order, so that they end up on *version*.

    While one has still to be stopped, none is to be started: that a claim on it is under way
    changes nothing, only that it is done.
    """
    found = {
        name: _step(crowd, name, version)
        for name in names(crowd)
        if not is_on(crowd, name, version)
    }
    if Step.STOP not in found.values():
        return found
    return {name: step for name, step in found.items() if step is Step.STOP}


def _step(crowd: Crowd, node: NodeName, version: VersionNumber) -> Step:
    if not stops_the_world(crowd):
        return Step.RESTART
    # What is down or on its way to *version* may be started; what may use another one has to stop.
    return Step.START if guess(crowd, node) <= {None, version} else Step.STOP


# --- who is next, and why not -------------------------------------------------------------


def first(crowd: Crowd, version: VersionNumber) -> tuple[NodeName, ...]:
    """Who may be claimed whoever else is down: it is down itself, or all of them are to be.

    So a restart that is not known to have come off is tried again before another node goes.
    """
    return tuple(
        name
        for name in _unclaimed(crowd, version)
        if goes_first(crowd, name)
        and len(attempts(crowd.cluster, name, version)) < crowd.policy.rollout.max_attempts
    )


def goes_first(crowd: Crowd, node: NodeName) -> bool:
    """Whether it may go whoever else is down."""
    return stops_the_world(crowd) or may_be_down(crowd, node)


def ready(crowd: Crowd, version: VersionNumber) -> tuple[NodeName, ...]:
    """Who is up, as far as is known, and may be claimed as far as others may be down."""
    return tuple(n for n in _unclaimed(crowd, version) if not may_be_down(crowd, n))


def _unclaimed(crowd: Crowd, version: VersionNumber) -> tuple[NodeName, ...]:
    claimed = {claim.node for claim in crowd.cluster.open_claims()}
    return tuple(name for name in turn(crowd, version) if name not in claimed)


def troubled(crowd: Crowd, version: VersionNumber) -> Iterator[Blocker]:
    """Whose step has failed, was given up, or takes too long."""
    for name in names(crowd):
        if is_on(crowd, name, version):
            continue
        failed = attempts(crowd.cluster, name, version)
        late = [claim for claim in crowd.cluster.open_claims() if is_late(crowd, claim, name)]
        if len(failed) >= crowd.policy.rollout.max_attempts:
            last = failed[-1]
            detail = f"{last.step}: {last.detail}; tried {len(failed)} times, release to try again"
            yield Blocker(code="restart_failed", subject=name, detail=detail)
        elif late or failed:
            last = (late or failed)[-1]
            since = last.restarting_at or last.claimed_at
            detail = (
                f"its {last.step} began at {since:%H:%M:%S} UTC, and nobody said that it is done"
            )
            yield Blocker(code="not_back", subject=name, detail=detail)


def awaiting(crowd: Crowd, version: VersionNumber) -> Iterator[Blocker]:
    """Who is not said to be on *version*, and is under no claim."""
    claimed = {claim.node for claim in crowd.cluster.open_claims()}
    steps = turn(crowd, version)
    for name in names(crowd):
        if name not in claimed and not is_on(crowd, name, version):
            wanted = steps.get(name)
            to = "until all are stopped" if wanted is None else f"to be {_DONE[wanted]}"
            detail = f"waits {to}; it has no agent, so the word of an orchestrator counts"
            yield Blocker(code="awaiting_restart", subject=name, detail=detail)


_DONE: Final = {Step.RESTART: "restarted", Step.STOP: "stopped", Step.START: "started"}
