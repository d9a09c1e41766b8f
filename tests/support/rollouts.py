"""A cluster that takes its new cookie by restarts, as values: version 12 is rolled out over 11."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from rotator.domain import claims, invariants, rollout
from rotator.domain.claim import Claim, ClaimState
from rotator.domain.claims import Word
from rotator.domain.cluster import Change, Cluster, Member, ReadFrom
from rotator.domain.ids import ClaimId, NodeName
from rotator.domain.liveness import Crowd
from rotator.domain.policy import Adoption, RolloutPolicy
from rotator.domain.rotation import Phase
from rotator.testing.factories import (
    NOW,
    a_cluster,
    a_crowd,
    a_member,
    a_policy,
    a_rotation,
    an_attestation,
)

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
A, B, C = (NodeName(f"{letter}@h") for letter in "abc")
ROLLING_OUT = a_rotation(Phase.ROLLING_OUT)
SOAK = 30 * SECOND


def by_restart(*, expect: Any = None, schedule: Any = None, **changes: Any) -> Any:
    """A policy that restarts nodes; *changes* are those of its rollout."""
    return a_policy(
        adoption=Adoption.RESTART,
        rollout=RolloutPolicy(**{"soak": SOAK, **changes}),
        expect=expect,
        schedule=schedule,
    )


def node(name: str, uses: int | None = 11, **changes: Any) -> Member:
    """A member that was heard now, linked to all of a, b and c; *changes* are of its report."""
    links = {peer: False for peer in (A, B, C) if peer != name}
    said = an_attestation(uses, links=links)
    return a_member(name, replace(said, **changes))


def silent(name: str, reads: ReadFrom, **changes: Any) -> Member:
    """A member whose last report does not come from its VM."""
    return node(name, None, read_from=reads, **changes)


def three(*members: Member, rotation: Any = ROLLING_OUT, **changes: Any) -> Cluster:
    """The cluster of a, b and c, all on version 11 but for *members*."""
    given = {member.name: member for member in members}
    everybody = [given.pop(name, None) or node(name) for name in (A, B, C)]
    return a_cluster(rotation, members=[*everybody, *given.values()], **changes)


class Course:
    """A cluster that goes on; each change is checked, and the clock moves by hand."""

    def __init__(self, cluster: Cluster, policy: Any = None) -> None:
        self.cluster = cluster
        self.policy = policy or by_restart()
        self.now = NOW
        self.facts: list[str] = []
        self.made = 0

    @property
    def crowd(self) -> Crowd:
        """Everybody who runs is heard all the time."""
        return a_crowd(self.cluster, self.policy, now=self.now, serving_since=NOW)

    def passes(self, time: timedelta, *, heard: bool = True) -> None:
        """The clock goes on; with *heard*, members that were not silent are heard again."""
        self.now += time
        if heard:
            for member in self.cluster.members.values():
                self.put(replace(member, last_seen=self.now))

    def put(self, member: Member) -> None:
        """A member as it is now."""
        self.cluster = self.cluster.with_member(member)

    def report(self, name: str, uses: int | None = 12, **changes: Any) -> None:
        """What a member's agent says now."""
        self.put(replace(node(name, uses, **changes), last_seen=self.now))

    def keep(self, change: Change | None) -> None:
        """Write a change."""
        if change is not None:
            invariants.check(self.crowd, change)
            self.cluster = change.cluster
            self.facts += [str(fact.kind) for fact in change.facts]

    def take(self, most: int = 1, *, holder: str = "one", among: Any = None) -> list[Claim]:
        """Claims that are handed out now."""
        ids = [ClaimId(f"c{self.made + number}") for number in range(1, most + 1)]
        self.made += most
        self.keep(claims.take(self.crowd, by="token:1", holder=holder, ids=ids, among=among))
        return [self.cluster.claims[key] for key in ids if key in self.cluster.claims]

    def say(self, claim: Claim, state: ClaimState, *, token: int | None = None) -> Claim:
        """What its holder says."""
        word = Word(state=state, token=claim.token if token is None else token, detail="because")
        self.keep(claims.change(self.crowd, claim.id, word, by="token:1"))
        return self.cluster.claims[claim.id]

    def settle(self) -> None:
        """What the service sees."""
        self.keep(claims.settle(self.crowd))

    def state(self, claim: Claim) -> ClaimState:
        """How far a claim is now."""
        return self.cluster.claims[claim.id].state

    def waits(self) -> dict[str, str]:
        """What is waited for: subject → code."""
        return {b.subject: b.code for b in rollout.outlook(self.crowd).waiting}

    def next(self) -> tuple[NodeName, ...]:
        """Who may be claimed now."""
        return tuple(rollout.outlook(self.crowd).next)
