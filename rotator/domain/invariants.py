"""What must hold in every state, as named checks; run before every write to the state store.

A check compares the cluster before and after a change and says in one sentence what is wrong.
The numbers are those of the list of invariants in docs/concepts.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.domain import adoption, agentless, rollout
from rotator.domain.cluster import LEAP, ReadFrom
from rotator.domain.rotation import NEXT, Kind, Phase
from rotator.domain.version import NEXT as NEXT_STAGES
from rotator.domain.version import Stage
from rotator.errors import InvariantViolated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rotator.domain.claim import Claim
    from rotator.domain.cluster import Change
    from rotator.domain.liveness import Crowd


def numbers_only_grow(crowd: Crowd, change: Change) -> str | None:
    """1: a version number is used once."""
    before, after = crowd.cluster, change.cluster
    if not before.versions.keys() <= after.versions.keys():
        return "a version has disappeared"
    added = sorted(after.versions.keys() - before.versions.keys())
    if added and (len(added) > 1 or added[0] <= before.last_version):
        return "a new version has not a number of its own above all others"
    return None


def what_is_over_stays_over(crowd: Crowd, change: Change) -> str | None:
    """1: a retired, discarded or revoked version never becomes current."""
    for number, version in crowd.cluster.versions.items():
        stage = change.cluster.versions[number].stage
        if stage is not version.stage and stage not in NEXT_STAGES[version.stage]:
            return f"version {number} went from {version.stage} to {stage}"
    return None


def few_are_accepted(_: Crowd, change: Change) -> str | None:
    """2: at most two versions are accepted, at most one is pending, exactly one is current."""
    stages = [version.stage for version in change.cluster.versions.values()]
    if stages.count(Stage.PENDING) > 1:
        return "two versions are pending"
    if stages.count(Stage.PREVIOUS) > 1:
        return "two versions are previous"
    if stages.count(Stage.CURRENT) != (1 if change.cluster.is_initialised else 0):
        return "there is not exactly one current version"
    return None


def nothing_used_is_refused(crowd: Crowd, change: Change) -> str | None:
    """3: previous is given up only when no live, unexcused member uses it, for itself or a pair.

    Checked where it stops being accepted, on entering `retiring`; an emergency gives up at once.
    Of a node without an agent there has to be the word that it was started with the other one.
    """
    before, after = crowd.cluster.rotation, change.cluster.rotation
    if before is None or after is None or after.kind is Kind.EMERGENCY:
        return None
    if after.phase is not Phase.RETIRING or before.phase is Phase.RETIRING:
        return None
    for number in after.refused:
        for member in adoption.users(crowd, number):
            return f"version {number} is still used by {member.name}"
    version = rollout.target(crowd)
    for name in () if version is None else agentless.turn(crowd, version):
        return f"nobody said that {name}, which has no agent, was restarted"
    return None


def phases_follow_the_table(crowd: Crowd, change: Change) -> str | None:
    """A rotation moves along the table of phases, and its row tells the same as its cluster."""
    before, kept = crowd.cluster.rotation, change.cluster.rotation
    rows = {row.id: row for row in change.rotations}
    if kept is not None and kept not in {before, rows.get(kept.id)}:
        return "a rotation was changed without its row"
    if before is None:
        return None
    after = rows.get(before.id, before)
    if after.phase is not before.phase and after.phase not in NEXT[before.phase]:
        return f"the rotation went from {before.phase} to {after.phase}"
    if after.is_finished == (kept is not None and kept.id == before.id):
        return "a rotation has disappeared, or goes on after its end"
    return None


def generations_never_fall(crowd: Crowd, change: Change) -> str | None:
    """The generation never falls, and grows by at most one in a change.

    An emergency leaps over what nodes may have seen before a loss of the state store.
    """
    step = change.cluster.generation - crowd.cluster.generation
    rotation = change.cluster.rotation
    may_leap = rotation is not None and rotation.is_locking_out
    if step in {0, 1} or (may_leap and step >= LEAP):
        return None
    return f"the generation changed by {step}"


def no_gate_without_attestation(crowd: Crowd, change: Change) -> str | None:
    """9: a phase gate is never met with zero attestations while members are expected."""
    before, after = crowd.cluster.rotation, change.cluster.rotation
    if before is None or after is None or before.id != after.id:
        return None
    gates = {
        (Phase.INSTALLING, Phase.PROMOTING),
        (Phase.ROLLING_OUT, Phase.GRACE),
        (Phase.ROLLING_OUT, Phase.RETIRING),
        (Phase.GRACE, Phase.RETIRING),
        (Phase.ROLLING_BACK, Phase.RETIRING),
    }
    if (before.phase, after.phase) not in gates or not crowd.policy.expects_members:
        return None
    for member in crowd.cluster.members.values():
        said = member.attestation
        if said is None or said.read_from is not ReadFrom.VM or member.has_left:
            continue
        if said.generation >= before.entered_generation:
            return None
    return f"{before.phase} would end although no expected member has attested"


def an_emergency_leaves_one_version(_: Crowd, change: Change) -> str | None:
    """After the one write of an emergency nothing but its own version is accepted."""
    rotation = change.cluster.rotation
    if rotation is None or rotation.kind is not Kind.EMERGENCY or rotation.is_locking_out:
        return None
    accepted = change.cluster.accepted()
    return None if accepted == {rotation.to_version} else "an emergency left another version"


def claims_are_single(crowd: Crowd, change: Change) -> str | None:
    """A node is under one claim at a time; tokens grow; who may not restart is not claimed."""
    before, after = crowd.cluster, change.cluster
    opened = [claim.node for claim in after.open_claims()]
    if len(opened) != len(set(opened)):
        return "a node is under two claims at once"
    new = sorted(
        (after.claims[key] for key in after.claims.keys() - before.claims.keys()), key=_token
    )
    if [claim.token for claim in new] != list(
        range(before.last_claim_token + 1, after.last_claim_token + 1)
    ):
        return "the fencing tokens of claims do not go on from those before"
    if not {claim.node for claim in new} <= set(rollout.claimable(crowd)):
        return "a node was claimed that may not restart now"
    return None


def _token(claim: Claim) -> int:
    return claim.token


CHECKS: Final[Mapping[str, Callable[[Crowd, Change], str | None]]] = {
    check.__name__: check
    for check in (
        numbers_only_grow,
        what_is_over_stays_over,
        few_are_accepted,
        nothing_used_is_refused,
        phases_follow_the_table,
        generations_never_fall,
        no_gate_without_attestation,
        an_emergency_leaves_one_version,
        claims_are_single,
    )
}


def check(crowd: Crowd, change: Change) -> None:
    """Raise `InvariantViolated`, with the name of the first check that fails."""
    for name, violated in CHECKS.items():
        wrong = violated(crowd, change)
        if wrong is not None:
            raise InvariantViolated(f"{change.cluster.name}: {name}: {wrong}")
