from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.domain import adoption, membership
from rotator.domain.cluster import Cluster, Proof, ReadFrom
from rotator.domain.facts import FactKind
from rotator.domain.liveness import Liveness
from rotator.domain.rotation import Phase
from rotator.domain.version import Stage
from rotator.errors import StaleGeneration, TooManyMembers, WrongFingerprint
from rotator.testing.factories import (
    NAME,
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

BOOT = an_attestation(None, read_from=ReadFrom.BOOT)


def _attest(cluster, said, node="a"):
    return membership.attest(a_crowd(cluster), node, said)


def _kinds(taken):
    return [fact.kind for fact in taken.change.facts]


def test_a_stranger_joins_by_attesting() -> None:
    """It is a member from then on, the generation grows, and its evidence is a fact."""
    taken = _attest(a_cluster(), an_attestation())
    assert taken.change.cluster.members["a"].attestation == an_attestation()
    assert taken.change.cluster.generation == 43
    assert _kinds(taken) == [FactKind.MEMBER_JOINED, FactKind.MEMBER_ATTESTED]


def test_a_new_name_beyond_the_cap_of_members_is_refused() -> None:
    """Those that are members are heard, gone or not; a place is free when one is removed."""
    gone = [a_member(f"n{n}", has_left=True) for n in range(membership.MAX_MEMBERS - 1)]
    almost = a_cluster(members=gone)
    full = _attest(almost, an_attestation()).change.cluster
    assert len(full.members) == membership.MAX_MEMBERS
    for said in (an_attestation(), BOOT):
        with pytest.raises(TooManyMembers):
            _attest(full, said, "b")
    assert _attest(full, an_attestation(file="f1:x")).change is not None
    assert not _attest(full, an_attestation(), "n0").change.cluster.members["n0"].has_left


def test_before_init_a_heartbeat_makes_a_member_and_no_generation() -> None:
    """There is no desired state yet that could change."""
    said = an_attestation(None, generation=0)
    taken = _attest(Cluster(name=NAME), said)
    assert taken.change.cluster.generation == 0
    assert not taken.may_boot


def test_a_heartbeat_without_news_changes_nothing() -> None:
    """Only its time counts, and that is no fact."""
    cluster = a_cluster(members=[a_member("a", an_attestation())])
    assert _attest(cluster, an_attestation(at=NOW + timedelta(seconds=15))).change is None


def test_a_newer_generation_alone_is_kept_without_a_fact() -> None:
    """A gate may depend on it, an auditor does not."""
    cluster = a_cluster(members=[a_member("a", an_attestation(generation=41))])
    taken = _attest(cluster, an_attestation())
    assert taken.change.facts == ()
    assert taken.change.cluster.members["a"].attestation.generation == 42
    assert taken.change.cluster.generation == 42


def test_changed_evidence_is_a_fact_with_its_proof() -> None:
    """What is refused, and how that is known."""
    cluster = a_cluster(members=[a_member("a", an_attestation())])
    taken = _attest(cluster, an_attestation(refuses={10: Proof.HANDSHAKE}))
    (fact,) = taken.change.facts
    assert fact.details["refuses"] == {"10": "handshake"}
    assert fact.details["uses"] == 11


def test_an_unknown_cookie_is_a_fact_and_a_throwaway_is_not() -> None:
    """A node that is locked answers to a cookie that nobody shall know."""
    taken = _attest(a_cluster(), an_attestation(None, own="f1:x"))
    assert FactKind.UNKNOWN_COOKIE_SEEN in _kinds(taken)
    locked = an_attestation(None, own="f1:x", locked_round=1)
    assert FactKind.UNKNOWN_COOKIE_SEEN in _kinds(_attest(a_cluster(), locked))
    locking = a_cluster(an_emergency(Phase.LOCKING))
    assert FactKind.UNKNOWN_COOKIE_SEEN not in _kinds(_attest(locking, locked))


STAGES = {9: Stage.RETIRED, 11: Stage.CURRENT}
UNKNOWN = an_attestation(None, own="f1:x", file=None)


def _drift_facts(cluster, *reports):
    """What each report in turn tells about drift."""
    told = []
    for said in reports:
        taken = _attest(cluster, said)
        facts = taken.change.facts if taken.change else ()
        cluster = taken.change.cluster if taken.change else cluster
        told.append([f.kind for f in facts if not f.kind.startswith("Member")])
    return told


def test_drift_is_a_fact_once_for_each_appearance_and_so_is_its_healing() -> None:
    """Other news, a VM out of reach or a restart in between make no second appearance."""
    moved = replace(UNKNOWN, pins={"b": a_fingerprint(11)})
    silent = an_attestation(None, read_from=ReadFrom.NONE)
    other = replace(UNKNOWN, own="f1:y")
    seen, healed = [FactKind.UNKNOWN_COOKIE_SEEN], [FactKind.DRIFT_HEALED]
    told = _drift_facts(
        a_cluster(), UNKNOWN, UNKNOWN, moved, silent, UNKNOWN, other, BOOT, an_attestation(), other
    )
    assert told == [seen, [], [], [], [], seen, [], healed, seen]


def test_a_retired_cookie_is_a_fact_with_its_number_and_is_healed() -> None:
    """A node that comes back after weeks is known for what it is."""
    cluster = a_cluster(stages=STAGES)
    told = _drift_facts(cluster, an_attestation(9), an_attestation(9), an_attestation(11))
    assert told == [[FactKind.RETIRED_COOKIE_SEEN], [], [FactKind.DRIFT_HEALED]]
    (*_, fact) = _attest(cluster, an_attestation(9)).change.facts
    assert (fact.version, fact.details) == (9, {"node": "a", "own": a_fingerprint(9)})


def test_drift_that_became_so_without_a_word_of_the_node_is_noticed() -> None:
    """What was accepted when it was reported may be retired since."""
    cluster = a_cluster(stages=STAGES, members=[a_member("a", an_attestation(9))])
    assert _drift_facts(cluster, an_attestation(9)) == [[FactKind.RETIRED_COOKIE_SEEN]]


def test_a_throwaway_heals_nothing() -> None:
    """Between drift and health there may be an emergency."""
    cluster = a_cluster(an_emergency(Phase.LOCKING), members=[a_member("a", UNKNOWN, drift="f1:x")])
    locked = an_attestation(None, own="f1:throwaway", locked_round=1)
    told = _drift_facts(cluster, locked, an_attestation(11))
    assert told == [[], [FactKind.DRIFT_HEALED]]


def _links(*names, hidden=()):
    return an_attestation(foreign_links=names, links=dict.fromkeys(hidden, True))


def _link_facts(said, before=None, *, rotation=None, **options):
    members = [a_member("a", before or an_attestation()), a_member("b", is_excused=True)]
    taken = membership.attest(a_crowd(a_cluster(rotation, members=members)), "a", said, **options)
    return [fact.details for fact in taken.change.facts if fact.kind is FactKind.FOREIGN_LINK_SEEN]


def test_new_foreign_links_are_a_fact_of_bounded_size() -> None:
    """Those that were there before are not told again, and a flood of names is counted."""
    assert _link_facts(_links("x", "y"), _links("x")) == [{"node": "a", "names": ["y"], "count": 1}]
    assert _link_facts(_links("x"), _links("x", "y")) == []
    (flood,) = _link_facts(_links(*(f"n{n:03}" for n in range(150))))
    assert (len(flood["names"]), flood["count"]) == (20, 150)
    joined = _attest(a_cluster(), _links("x"))
    assert _kinds(joined)[-1] is FactKind.FOREIGN_LINK_SEEN


def test_a_link_to_a_member_that_is_not_awaited_is_news_only_if_it_is_hidden() -> None:
    """A hidden node under a member's name is not that member."""
    assert _link_facts(_links("b")) == []
    assert _link_facts(_links("b", hidden=["b"])) == [{"node": "a", "names": ["b"], "count": 1}]


def test_expected_nodes_without_an_agent_are_no_strangers_but_in_an_emergency() -> None:
    """While the first nodes are adopted their peers are not told of; hidden names always are."""

    def told(said, *, rotation=None, expect=frozenset({"a", "c"})):
        cluster = a_cluster(rotation, members=[a_member("a", an_attestation())])
        taken = membership.attest(a_crowd(cluster, a_policy(expect=expect)), "a", said)
        facts = taken.change.facts
        return [f.details["names"] for f in facts if f.kind is FactKind.FOREIGN_LINK_SEEN]

    assert told(_links("c", "x")) == [["x"]]
    assert told(_links("c"), rotation=a_rotation(Phase.GRACE)) == []
    assert told(_links("c", hidden=["c"])) == [["c"]]
    assert told(_links("c"), expect=2) == [["c"]]
    assert told(_links("c"), rotation=an_emergency(Phase.LOCKING)) == [["c"]]
    nobody = a_crowd(a_cluster(), a_policy(expect=frozenset({"a"})))
    assert membership.strangers(nobody, a_member("a")) == ()


def test_foreign_links_can_be_kept_quiet_but_not_while_nodes_are_locked() -> None:
    """What tools do all day must not hide what an intruder does in an emergency."""
    quiet = {"may_name_links": False}
    assert _link_facts(_links("x"), **quiet) == []
    assert _link_facts(_links("x"), rotation=a_rotation(Phase.GRACE), **quiet) == []
    assert _link_facts(_links("x"), rotation=an_emergency(Phase.ROLLING_OUT), **quiet) == []
    assert len(_link_facts(_links("x"), rotation=an_emergency(Phase.LOCKING), **quiet)) == 1


def test_a_member_that_may_not_boot_yet_is_remembered_since_when_it_asks() -> None:
    """Looks of its peers count from that generation on; told to boot, it begins anew."""
    cluster = a_cluster(a_rotation(Phase.PROMOTING), members=[a_member("a", an_attestation())])
    first = _attest(cluster, BOOT).change.cluster
    assert first.members["a"].asked_generation == first.generation == 43
    later = membership.attest(a_crowd(first, now=NOW + timedelta(seconds=9)), "a", BOOT)
    assert later.change is None
    beside = membership.attest(
        a_crowd(first, now=NOW + timedelta(seconds=9)),
        "a",
        an_attestation(None, read_from=ReadFrom.NONE),
    )
    assert beside.change is None, "its agent finds no VM meanwhile"
    over = replace(first, rotation=None)
    assert _attest(over, BOOT).change.cluster.members["a"].asked_generation is None
    assert _attest(first, an_attestation()).change.cluster.members["a"].asked_generation is None


NO_VM = an_attestation(None, read_from=ReadFrom.NONE, generation=43)


@pytest.mark.parametrize("known", [True, False])
def test_an_agent_that_finds_no_vm_does_not_end_the_boot_of_its_node(known: bool) -> None:
    """Requests and its reports take turns: one generation, and what the node said of its files stays."""
    members = [a_member("a", an_attestation())] if known else []
    cluster = a_cluster(a_rotation(Phase.PROMOTING), members=members)
    asks = replace(BOOT, boot_pins={"b": a_fingerprint(11)})
    for _ in range(3):
        taken = _attest(cluster, asks)
        cluster = taken.change.cluster if taken.change else cluster
        assert _attest(cluster, NO_VM).change is None
    member = cluster.members["a"]
    assert (cluster.generation, member.asked_generation, member.attestation) == (43, 43, asks)


def test_a_node_that_was_told_to_boot_is_awaited_although_its_agent_finds_no_vm() -> None:
    """Gates wait for it until its VM reports; that report ends the boot."""
    cluster = _attest(a_cluster(), BOOT).change.cluster
    assert _attest(cluster, NO_VM).change is None
    up = _attest(cluster, an_attestation(generation=43)).change.cluster.members["a"]
    assert cluster.members["a"].is_admitted
    assert not up.is_admitted
    assert up.attestation.read_from is ReadFrom.VM


def test_a_node_that_asks_in_vain_is_joining_and_lost_when_it_falls_silent() -> None:
    """Its agent's reports of no VM are no sign of life; a request after that begins anew."""
    cluster = a_cluster(a_rotation(Phase.PROMOTING), members=[a_member("a", an_attestation())])
    asked = _attest(cluster, BOOT).change.cluster
    assert a_crowd(asked).of("a") is Liveness.JOINING
    assert a_crowd(asked).awaited() == ()
    silent = a_crowd(asked, now=NOW + a_policy().node_ttl)
    assert membership.attest(silent, "a", NO_VM).change is None
    assert silent.of("a") is Liveness.LOST
    again = membership.attest(silent, "a", replace(BOOT, generation=43)).change.cluster
    assert again.generation == again.members["a"].asked_generation == 44


@pytest.mark.parametrize(
    "lie",
    [
        {"holds": {11: "f1:wrong"}},
        {"holds": {99: a_fingerprint(99)}},
        {"uses": 11, "own": "f1:wrong"},
        {"uses": 10, "own": a_fingerprint(11)},
    ],
)
def test_a_wrong_fingerprint_is_refused(lie: dict) -> None:
    """What is not that version is not taken for it."""
    with pytest.raises(WrongFingerprint, match="not that of version"):
        _attest(a_cluster(), an_attestation(**lie))


def test_an_older_or_future_generation_is_refused() -> None:
    """Reports do not overtake each other, and nobody has seen what does not exist."""
    cluster = a_cluster(members=[a_member("a", an_attestation())])
    with pytest.raises(StaleGeneration, match="41 is older than 42"):
        _attest(cluster, an_attestation(generation=41))
    with pytest.raises(StaleGeneration, match="43 does not exist yet"):
        _attest(cluster, an_attestation(generation=43))


def test_the_refusal_is_a_fact_of_its_node() -> None:
    """It names the node, and repeats nothing that the node sent."""
    fact = membership.refused("a", FactKind.WRONG_FINGERPRINT_REFUSED, now=NOW)
    assert (fact.by, fact.details) == ("a", {"node": "a"})


def test_a_node_is_admitted_when_it_asks_and_may_boot() -> None:
    """From the answer on gates wait for it; its VM's first report ends that."""
    taken = _attest(a_cluster(), BOOT)
    assert taken.may_boot
    cluster = taken.change.cluster
    assert cluster.members["a"].is_admitted
    again = _attest(cluster, BOOT)
    assert again.may_boot
    assert again.change is None
    running = _attest(cluster, an_attestation())
    assert not running.change.cluster.members["a"].is_admitted


@pytest.mark.parametrize("rotation", [a_rotation(Phase.PROMOTING), an_emergency(Phase.LOCKING)])
def test_nobody_boots_in_promoting_or_locking(rotation) -> None:
    """Not even when no node runs at all."""
    taken = _attest(a_cluster(rotation), BOOT)
    assert not taken.may_boot
    assert not taken.change.cluster.members["a"].is_admitted


def test_a_whole_cluster_that_reboots_in_rolling_out_comes_up_node_by_node() -> None:
    """The first boots at once, the next when that one is proven, and none waits for ever."""
    cluster = a_cluster(a_rotation(Phase.ROLLING_OUT))
    first = _attest(cluster, BOOT, "a")
    second = _attest(first.change.cluster, BOOT, "b")
    assert (first.may_boot, second.may_boot) == (True, False)
    up = _attest(second.change.cluster, an_attestation(12, generation=43), "a")
    boot = an_attestation(None, read_from=ReadFrom.BOOT, generation=43)
    assert _attest(up.change.cluster, boot, "b").may_boot


def test_a_row_for_the_node_that_wants_to_boot_does_not_keep_it_out() -> None:
    """Its pairs are moved once it runs; waiting for each other both would wait for ever."""
    peer = a_member("b", an_attestation(12, pins={"a": a_fingerprint(11)}))
    asks = a_member("a", BOOT, asked_generation=42)
    cluster = a_cluster(a_rotation(Phase.ROLLING_BACK, is_rollback=True), members=[asks, peer])
    assert not _attest(cluster, BOOT).may_boot
    back = a_member("b", an_attestation(11, pins={"a": a_fingerprint(12)}))
    assert _attest(cluster.with_member(back), BOOT).may_boot


def test_who_has_left_joins_again() -> None:
    """The generation grows as for a stranger."""
    cluster = a_cluster(members=[a_member("a", an_attestation(), has_left=True)])
    taken = _attest(cluster, an_attestation())
    assert not taken.change.cluster.members["a"].has_left
    assert taken.change.cluster.generation == 43


@pytest.mark.parametrize(("read_from", "is_back"), [(ReadFrom.VM, True), (ReadFrom.NONE, False)])
def test_who_has_left_and_runs_on_is_waited_for_while_an_emergency_locks(
    read_from: ReadFrom, is_back: bool
) -> None:
    """It would be linked to whom it likes, and be given the new cookie: its links are looked at."""
    rotation = an_emergency(Phase.LOCKING)
    said = an_attestation(
        None, run="x", read_from=read_from, locked_round=rotation.lock_round, foreign_links=("i@x",)
    )
    gone = a_member("a", an_attestation(run="x"), has_left=True)
    crowd = a_crowd(a_cluster(rotation, members=[gone, a_member("b")]))
    taken = membership.attest(crowd, "a", said)
    after = crowd.with_cluster(taken.change.cluster)
    assert after.cluster.members["a"].has_left is not is_back
    blocking = {(one.code, one.subject) for one in adoption.unlocked(after, rotation)}
    assert (("foreign_link", "a") in blocking) is is_back
    again = membership.attest(after, "a", replace(said, preflight=("x",)))
    assert again.change.cluster.generation == after.cluster.generation


@pytest.mark.parametrize(
    ("before", "said", "is_back"),
    [
        (an_attestation(run="x"), an_attestation(file="f1:x", run="x"), False),
        (an_attestation(run="x"), an_attestation(run="y"), True),
        (an_attestation(run="x"), an_attestation(), True),
        (an_attestation(run="x"), an_attestation(None, read_from=ReadFrom.NONE, run="y"), False),
        (an_attestation(None, read_from=ReadFrom.NONE, run="x"), an_attestation(run="x"), True),
        (an_attestation(run="x"), BOOT, True),
        (None, an_attestation(run="x"), True),
    ],
)
def test_who_has_left_is_not_brought_back_by_an_agent_that_runs_on(before, said, is_back) -> None:
    """It joins again when it boots, when it was down since, or when its agent was."""
    cluster = a_cluster(members=[a_member("a", before, has_left=True)])
    taken = _attest(cluster, said)
    assert taken.change.cluster.members["a"].has_left is not is_back
    assert (FactKind.MEMBER_JOINED in _kinds(taken)) is is_back
    assert taken.change.cluster.generation == 42 + is_back
    assert taken.change.cluster.members["a"].attestation == said


CURRENT_12 = an_attestation(12)


@pytest.mark.parametrize(
    ("rotation", "said", "returns"),
    [
        (None, an_attestation(11), True),
        (None, an_attestation(11, pins={"b": a_fingerprint(10)}), False),
        (None, an_attestation(11, file=None), False),
        (None, an_attestation(None, read_from=ReadFrom.NONE, file=a_fingerprint(11)), False),
        (a_rotation(Phase.STAGED), an_attestation(11), False),
        (a_rotation(Phase.INSTALLING), an_attestation(11), False),
        (a_rotation(Phase.ROLLING_OUT), an_attestation(11), False),
        (a_rotation(Phase.ROLLING_OUT), CURRENT_12, True),
        (a_rotation(Phase.ROLLING_OUT, entered_generation=43), CURRENT_12, False),
        (a_rotation(Phase.GRACE), CURRENT_12, True),
        (a_rotation(Phase.RETIRING), CURRENT_12, False),
        (a_rotation(Phase.ROLLING_BACK, is_rollback=True), CURRENT_12, False),
        (an_emergency(Phase.LOCKING), an_attestation(11), False),
        (an_emergency(Phase.ROLLING_OUT), CURRENT_12, False),
    ],
)
def test_an_excused_member_that_shows_that_it_is_on_current_returns(
    rotation, said, returns
) -> None:
    """With a fact and a generation, and never as one that a gate would wait for."""
    cluster = a_cluster(rotation, members=[a_member("a", an_attestation(10), is_excused=True)])
    taken = _attest(cluster, said)
    assert taken.change.cluster.members["a"].is_excused is not returns
    assert (FactKind.MEMBER_RETURNED in _kinds(taken)) is returns
    assert taken.change.cluster.generation == 42 + returns


def test_an_excused_member_that_leaves_does_not_return() -> None:
    """That it is on current does not undo that it went."""
    gone = a_member("a", an_attestation(10, run="x"), is_excused=True, has_left=True)
    taken = _attest(a_cluster(members=[gone]), an_attestation(11, run="x"))
    assert taken.change.cluster.members["a"].has_left
    assert FactKind.MEMBER_RETURNED not in _kinds(taken)


def test_a_link_to_a_member_is_none_to_a_stranger_but_a_hidden_one_is() -> None:
    """Nor is one to whom nobody waits for: nothing tells who it is. In an emergency nobody is known."""
    links = {"b": False, "c": True, "x": False}
    a = a_member("a", an_attestation(foreign_links=("b", "c", "d", "x"), links=links))
    others = [
        a_member("b"),
        a_member("c"),
        a_member("d", is_excused=True),
        a_member("x", has_left=True),
    ]
    calm = a_crowd(a_cluster(members=[a, *others]))
    assert membership.strangers(calm, a) == ("c", "d", "x")
    strict = a_crowd(a_cluster(an_emergency(Phase.LOCKING), members=[a, *others]))
    assert membership.strangers(strict, a) == ("b", "c", "d", "x")


def test_a_new_link_to_one_that_is_shut_out_is_a_fact() -> None:
    """Whoever has its name by now, it is nobody's peer any more."""
    others = [a_member("b", has_left=True, is_shut_out=True), a_member("c", is_excused=True)]
    cluster = a_cluster(members=[a_member("a", an_attestation()), *others])
    taken = _attest(cluster, an_attestation(foreign_links=("b", "c")))
    told = [f.details for f in taken.change.facts if f.kind is FactKind.FOREIGN_LINK_SEEN]
    assert [one["names"] for one in told] == [["b"]]


@pytest.mark.parametrize("ephemeral", [True, False])
def test_a_link_to_a_member_whose_agent_is_silent_is_told_apart(ephemeral: bool) -> None:
    """It is no stranger, and it runs although nobody waits for it: neither excused nor gone."""
    a = a_member("a", an_attestation(foreign_links=("b", "c", "d", "x")))
    others = [a_member("b"), a_member("c", is_excused=True), a_member("d", has_left=True)]
    policy = a_policy(ephemeral=ephemeral)
    crowd = a_crowd(a_cluster(members=[a, *others]), policy, now=NOW + timedelta(seconds=91))
    assert membership.silent_peers(crowd, a) == ("b",)
    assert "b" not in membership.strangers(crowd, a)
    assert membership.silent_peers(a_crowd(crowd.cluster, policy), a) == ()
    assert membership.silent_peers(crowd, a_member("z")) == ()


def test_before_init_nobody_returns() -> None:
    """There is no version that it could be on."""
    excused = a_member("a", an_attestation(None, generation=0), is_excused=True)
    cluster = Cluster(name=NAME, members={"a": excused})
    said = an_attestation(None, generation=0, otp_release="26")
    assert _attest(cluster, said).change.cluster.members["a"].is_excused


def test_an_excused_member_is_awaited_again_once_it_boots() -> None:
    """While it lags behind it stays excused; a boot, or a first report, ends that."""
    excused = a_member("a", an_attestation(), is_excused=True)
    cluster = a_cluster(members=[excused])
    on = _attest(cluster, an_attestation(file="f1:x"))
    assert on.change.cluster.members["a"].is_excused
    booted = _attest(cluster, BOOT)
    assert not booted.change.cluster.members["a"].is_excused
    assert booted.change.cluster.generation == 43
    never_seen = a_cluster(members=[a_member("a", is_excused=True)])
    assert not _attest(never_seen, an_attestation()).change.cluster.members["a"].is_excused


def test_an_agent_without_its_node_is_no_sign_of_life() -> None:
    """The node falls silent from when its VM was last heard: a rotation need not wait for ever."""
    cluster = a_cluster(members=[a_member("a", an_attestation())])
    said = an_attestation(None, read_from=ReadFrom.NONE)
    later = a_crowd(cluster, now=NOW + timedelta(seconds=60))
    found = membership.attest(later, "a", said).change.cluster.members["a"]
    assert (found.attestation, found.last_seen) == (said, NOW)


def test_a_member_that_asks_to_boot_among_mixed_cookies_wakes_its_peers() -> None:
    """Their next reports decide whether it may: the generation grows once, not at each request."""
    peer = a_member("b", an_attestation(11))
    members = [a_member("a", an_attestation(11)), peer]
    first = _attest(a_cluster(a_rotation(Phase.ROLLING_OUT), members=members), BOOT)
    assert not first.may_boot
    assert first.change.cluster.generation == 43
    again = _attest(first.change.cluster, replace(BOOT, file=a_fingerprint(11)))
    assert again.change.cluster.generation == 43
