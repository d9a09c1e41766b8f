from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.domain import joining, membership
from rotator.domain.cluster import ReadFrom
from rotator.domain.policy import Adoption
from rotator.domain.rotation import Phase
from rotator.domain.version import Stage
from rotator.testing.factories import (
    NOW,
    a_cluster,
    a_crowd,
    a_fingerprint,
    a_member,
    a_policy,
    a_rotation,
    an_attestation,
    an_emergency,
)

INSTALLING, ROLLING_OUT = a_rotation(Phase.INSTALLING), a_rotation(Phase.ROLLING_OUT)
BACK = a_rotation(Phase.ROLLING_BACK, is_rollback=True)
LOCKING = an_emergency(Phase.LOCKING)
OLD, NEW = a_fingerprint(11), a_fingerprint(12)
SECOND = timedelta(seconds=1)
SILENT = NOW - timedelta(hours=1)
BOOT = an_attestation(None, read_from=ReadFrom.BOOT)


def _crowd(rotation, *said, others=()):
    members = [a_member(name, report) for name, report in zip("ab", said, strict=False)]
    cluster = a_cluster(rotation, members=[*members, *others])
    return a_crowd(cluster, serving_since=SILENT)


@pytest.mark.parametrize(
    ("rotation", "said", "may"),
    [
        (None, an_attestation(11), True),
        (INSTALLING, an_attestation(11), True),
        (ROLLING_OUT, an_attestation(11), False),
        (ROLLING_OUT, an_attestation(12), True),
        (ROLLING_OUT, an_attestation(12, pins={"c": OLD}), True),
        (ROLLING_OUT, an_attestation(12, pins={"x": OLD}), False),
        (a_rotation(Phase.PROMOTING), an_attestation(11), False),
        (LOCKING, an_attestation(None, locked_round=1), False),
    ],
)
def test_a_node_boots_where_cookies_are_not_mixed(rotation, said, may: bool) -> None:
    """Every node that runs is at the target, but for its rows for those that do not run."""
    asks = a_member("c", BOOT, asked_generation=42)
    assert joining.may_join(_crowd(rotation, said, others=[asks]), "c") is may


@pytest.mark.parametrize(
    ("files", "may"),
    [
        ({"own": None}, True),
        ({"own": NEW, "boot_pins": {"b": NEW}}, True),
        ({"own": OLD}, False),
        ({"own": "f1:x"}, False),
        ({"own": NEW, "boot_pins": {"b": OLD}}, False),
        ({"own": NEW, "boot_pins": {"b": "f1:x"}}, False),
    ],
)
@pytest.mark.parametrize("over", [Stage.RETIRED, Stage.REVOKED])
def test_nobody_boots_with_a_cookie_that_is_over(files, may: bool, over: Stage) -> None:
    """Its files are from before a rotation or an emergency ended: it writes them anew and asks again."""
    cluster = a_cluster(stages={11: over, 12: Stage.CURRENT})
    assert joining.may_join(a_crowd(cluster), "a", replace(BOOT, **files)) is may


@pytest.mark.parametrize(("own", "may"), [(OLD, False), (NEW, True)])
def test_nobody_boots_with_what_is_being_retired(own, may: bool) -> None:
    """Every node that runs has left it, and refuses it."""
    crowd = _crowd(a_rotation(Phase.RETIRING), an_attestation(12))
    assert joining.may_join(crowd, "c", replace(BOOT, own=own)) is may


@pytest.mark.parametrize(("pin", "may"), [(NEW, True), (OLD, False)])
@pytest.mark.parametrize("rotation", [None, ROLLING_OUT])
def test_nobody_boots_with_what_a_peer_has_left_since(rotation, pin, may: bool) -> None:
    """The last peer adopted between the answer that its files were written by and its question."""
    asks = a_member("c", BOOT, asked_generation=42)
    crowd = _crowd(rotation, an_attestation(12 if rotation else 11), others=[asks])
    current = NEW if rotation else OLD
    pin = pin if rotation else {NEW: OLD, OLD: NEW}[pin]
    said = replace(BOOT, own=current, boot_pins={"a": pin})
    assert joining.may_join(crowd, "c", said) is may


def test_nobody_boots_before_the_former_version_is_current_again() -> None:
    """In a rollback the version that a node would get is the rejected one until then."""
    back = a_rotation(Phase.ROLLING_BACK, is_rollback=True)
    before = a_cluster(back, stages={11: Stage.PREVIOUS, 12: Stage.CURRENT})
    assert not joining.may_join(a_crowd(before))
    assert joining.may_join(a_crowd(a_cluster(back)))


#: A node "r" that was a member before, wants to boot since generation 42, and has a row for "p".
#: Its peer has adopted, and is not proven yet.
ON_THE_WAY = an_attestation(12, file=OLD, pins={"r": OLD})
RETURNS = an_attestation(11, read_from=ReadFrom.BOOT, boot_pins={"p": OLD})


def _returns(rotation=ROLLING_OUT, *, said=RETURNS, peer=None, policy=None, stages=None, **member):
    """Whether "r" may boot beside "p", which has looked since "r" has asked."""
    fields = {"asked_generation": 42, "joined_at": NOW, "last_seen": NOW} | member
    here = a_member("r", BOOT, **fields)
    heard = peer or a_member("p", ON_THE_WAY, last_seen=NOW + SECOND)
    cluster = a_cluster(rotation, members=[here, heard], stages=stages)
    crowd = a_crowd(cluster, policy, now=NOW + SECOND, serving_since=SILENT)
    return joining.may_join(crowd, "r", said)


@pytest.mark.parametrize("rotation", [ROLLING_OUT, BACK])
def test_a_member_that_is_in_step_with_every_peer_returns_among_mixed_cookies(rotation) -> None:
    """What its boot file has for a peer is what that peer uses for it, so the pair is in step."""
    assert _returns(rotation)


def test_a_member_returns_even_before_the_former_version_is_current_again() -> None:
    """Cookies are as mixed as before the rollback was asked for, and its pairs are in step."""
    stages = {11: Stage.PREVIOUS, 12: Stage.CURRENT}
    assert _returns(BACK, stages=stages)


def test_a_peer_without_a_row_uses_its_own_cookie_for_it() -> None:
    """OTP takes the own cookie where there is no pin."""
    plain = a_member("p", an_attestation(11), last_seen=NOW + SECOND)
    assert _returns(peer=plain)
    assert not _returns(peer=replace(plain, attestation=an_attestation(12, file=OLD)))


@pytest.mark.parametrize(
    "rotation",
    [
        a_rotation(Phase.PROMOTING),
        an_emergency(Phase.LOCKING),
        an_emergency(Phase.PROMOTING),
        an_emergency(Phase.ROLLING_OUT),
    ],
)
def test_nobody_returns_in_promoting_or_into_an_emergency(rotation) -> None:
    """In an emergency pairs are out of step by design, until both are reset."""
    peer = a_member("p", an_attestation(11, pins={"r": OLD}), last_seen=NOW + SECOND)
    assert not _returns(rotation, peer=peer)


@pytest.mark.parametrize(
    "said",
    [
        None,
        replace(RETURNS, read_from=ReadFrom.VM),
        replace(RETURNS, own=None),
        replace(RETURNS, own="f1:x"),
        replace(RETURNS, boot_pins={}),
        replace(RETURNS, boot_pins={"p": NEW}),
    ],
)
def test_who_does_not_prove_it_waits(said) -> None:
    """No boot file, another cookie in it, or a report that is not of a boot is no proof."""
    assert not _returns(said=said)


@pytest.mark.parametrize(
    "member",
    [
        {"joined_at": NOW + SECOND},
        {"asked_generation": None},
        {"last_seen": SILENT},
        {"has_left": True},
        {"is_excused": True},
    ],
)
def test_whom_peers_need_not_have_pinned_waits(member) -> None:
    """Who is new, has left or is excused; a first request, one after a long silence too, only starts the proof."""
    assert not _returns(**member)


def test_a_lost_member_returns_once_its_peers_have_looked_since_it_asks() -> None:
    """Peers keep their rows for the lost; from its first request on it is joining, and they know."""
    lost = a_member("r", an_attestation(11), joined_at=SILENT, last_seen=SILENT)
    crowd = _crowd(ROLLING_OUT, others=[lost, a_member("p", ON_THE_WAY)])
    first = membership.attest(crowd, "r", RETURNS)
    assert not first.may_boot
    asked = first.change.cluster
    assert not joining.may_join(crowd.with_cluster(asked), "r", RETURNS)
    looked = asked.with_member(a_member("p", replace(ON_THE_WAY, generation=asked.generation)))
    assert joining.may_join(crowd.with_cluster(looked), "r", RETURNS)


@pytest.mark.parametrize(
    "peer",
    [
        a_member("p", replace(ON_THE_WAY, generation=41), last_seen=NOW + SECOND),
        a_member("p", None, last_seen=NOW + SECOND),
        a_member("p", BOOT, last_seen=NOW + SECOND, is_admitted=True),
        a_member("p", an_attestation(11, read_from=ReadFrom.NONE), last_seen=NOW + SECOND),
        a_member("p", replace(ON_THE_WAY, pins={"r": "f1:x"}), last_seen=NOW + SECOND),
    ],
    ids=[
        "arrived since, and seen before",
        "never attested",
        "boots itself",
        "vm not reached",
        "unknown row",
    ],
)
def test_a_peer_that_has_not_shown_its_rows_since_keeps_it_waiting(peer) -> None:
    """An older look may be from before the last move of the pair, whenever its report arrives."""
    assert not _returns(peer=peer)


def test_a_row_that_is_accepted_nowhere_lets_nobody_in() -> None:
    """Equal on both sides is not enough: the cookie must be one that is accepted."""
    peer = a_member("p", replace(ON_THE_WAY, pins={"r": "f1:x"}), last_seen=NOW + SECOND)
    assert not _returns(peer=peer, said=replace(RETURNS, boot_pins={"p": "f1:x"}))


@pytest.mark.parametrize(("asked", "may"), [(43, False), (42, True)])
def test_a_row_that_may_have_been_moved_since_is_not_set_aside(asked, may):
    """Everybody is at the target but for a row for who asks: only a newer report says what it is."""
    peer = a_member("b", an_attestation(12, pins={"a": a_fingerprint(11)}))
    boot = an_attestation(None, read_from=ReadFrom.BOOT)
    asks = a_member("a", boot, asked_generation=asked)
    crowd = a_crowd(a_cluster(a_rotation(Phase.ROLLING_OUT), members=[peer, asks]))
    assert joining.may_join(crowd, "a", boot) is may


def test_where_nodes_are_restarted_new_ones_may_come_among_mixed_cookies() -> None:
    """Nobody adopts while it runs, so nobody can lack a row for the newcomer; a rollout takes hours."""
    later = NOW + SECOND
    assert not _returns(joined_at=later)
    policy = a_policy(adoption=Adoption.RESTART)
    assert _returns(joined_at=later, policy=policy)
    assert not _returns(joined_at=later, policy=policy, is_excused=True)
