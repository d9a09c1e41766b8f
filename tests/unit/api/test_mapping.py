from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from rotator.api import mapping
from rotator.domain.desired import desired_state
from rotator.domain.ids import NodeName, VersionNumber
from rotator.domain.joining import pairs_of
from rotator.domain.rotation import Phase
from rotator.domain.version import Stage
from rotator.services.commands import Plan
from rotator.services.queries import ClusterReport, NodeView
from rotator.testing.factories import (
    KEY,
    NAME,
    NOW,
    UID,
    a_cluster,
    a_cookie,
    a_crowd,
    a_document,
    a_fingerprint,
    a_member,
    a_policy,
    a_rotation,
    an_attestation,
    an_emergency,
)


def _desired(rotation, document, **changes):
    cluster = a_cluster(rotation, **changes)
    state = desired_state(a_crowd(cluster))
    view = NodeView(
        desired=state,
        uid=UID,
        fingerprint_key=KEY,
        versions={version.number: version for version in document.versions()},
        pairs=pairs_of(cluster, NodeName("rabbit@a")),
    )
    return asdict(mapping.desired(NAME, view))


def _slot(number):
    return {"number": number, "cookie": a_cookie(number).reveal()}


# phase: adopt, current, previous, pending, refuse, lock round; the table of the contract
TABLE = {
    None: (11, 11, None, None, [], None),
    a_rotation(Phase.STAGED): (11, 11, None, None, [], None),
    a_rotation(Phase.INSTALLING): (11, 11, None, 12, [], None),
    a_rotation(Phase.PROMOTING): (11, 11, None, 12, [], None),
    a_rotation(Phase.ROLLING_OUT): (12, 12, 11, None, [], None),
    a_rotation(Phase.GRACE): (12, 12, 11, None, [], None),
    a_rotation(Phase.RETIRING): (12, 12, None, None, [_slot(11)], None),
    a_rotation(Phase.ROLLING_BACK, is_rollback=True): (11, 11, 12, None, [], None),
    a_rotation(Phase.RETIRING, is_rollback=True): (11, 11, None, None, [_slot(12)], None),
    an_emergency(Phase.LOCKING): (None, 11, None, None, [], 1),
    an_emergency(Phase.PROMOTING): (None, 11, None, None, [], 1),
    an_emergency(Phase.ROLLING_OUT): (12, 12, None, None, [11], None),
    an_emergency(Phase.RETIRING): (12, 12, None, None, [11], None),
}


@pytest.mark.parametrize(("rotation", "row"), TABLE.items())
def test_desired_state_is_that_of_the_table(rotation, row):
    """In each phase a node gets exactly the cookies of the contract's table."""
    adopt, current, previous, pending, refuse, lock = row
    is_emergency = rotation is not None and rotation.kind == "emergency"
    is_over = is_emergency and rotation.phase in {Phase.ROLLING_OUT, Phase.RETIRING}
    others = [number for number in (11, 12) if number != current and not is_over]
    document = a_document(current, previous=others[0] if others else None)
    found = _desired(rotation, document)
    assert found["adopt"] == adopt
    assert found["current"] == _slot(current)
    assert found["previous"] == (None if previous is None else _slot(previous))
    assert found["pending"] == (None if pending is None else _slot(pending))
    assert found["refuse"] == refuse
    assert found["lock"] == (None if lock is None else {"round": lock, "emergency": rotation.id})


def test_desired_state_says_who_is_there_and_what_they_use():
    """Members have their liveness, and pairs what each peer uses for the node."""
    members = [a_member("rabbit@a", an_attestation(11)), a_member("rabbit@b", an_attestation(11))]
    found = _desired(None, a_document(11), members=members)
    assert found["members"] == {"rabbit@a": "live", "rabbit@b": "live"}
    assert found["pairs"] == {"rabbit@b": 11}
    assert found["cluster_uid"] == UID
    assert json.loads(json.dumps(found)) == found


def test_a_cluster_is_shown_without_any_cookie():
    """What operators see names versions by number and fingerprint, newest first."""
    crowd = a_crowd(
        a_cluster(a_rotation(Phase.GRACE), members=[a_member("rabbit@a", an_attestation(12))])
    )
    found = asdict(mapping.cluster(ClusterReport(crowd=crowd, state="rotating", on_current=1)))
    assert [(one["number"], one["stage"]) for one in found["versions"]] == [
        (12, "current"),
        (11, "previous"),
    ]
    assert found["versions"][0]["fingerprint"] == a_fingerprint(12)
    assert found["adoption"] == {
        "members": 1,
        "live": 1,
        "lost": 0,
        "excused": 0,
        "on_current": 1,
        "expects": "none",
        "foreign_links": 0,
        "findings": 0,
        "left": [],
        "left_but_heard": [],
        "without_agent": [],
    }
    text = json.dumps(found)
    assert a_cookie(11).reveal() not in text
    assert a_cookie(12).reveal() not in text


@pytest.mark.parametrize(
    ("expect", "said"),
    [(None, "none"), (3, "3"), (frozenset({"b@x", "a@x"}), "a@x, b@x")],
)
def test_whom_a_cluster_expects_is_a_word(expect, said):
    """Nobody, a number, or the names in order."""
    crowd = a_crowd(a_cluster(), a_policy(expect=expect))
    report = ClusterReport(crowd=crowd, state="stable", on_current=0)
    assert mapping.cluster(report).adoption.expects == said


def test_a_member_is_shown_by_the_versions_that_it_uses():
    """Fingerprints are turned into numbers, and one that is not known into none."""
    said = an_attestation(11, pins={"rabbit@b": a_fingerprint(12), "rabbit@c": "f1:" + "9" * 32})
    crowd = a_crowd(a_cluster(a_rotation(Phase.GRACE), members=[a_member("rabbit@a", said)]))
    found = mapping.member(crowd, crowd.cluster.members[NodeName("rabbit@a")])
    assert found.uses == 11
    assert found.pins == {"rabbit@b": 12, "rabbit@c": None}
    assert not found.unknown_cookie


def test_a_plan_is_shown_with_its_conflict():
    """A dry run names why it would be refused."""
    found = mapping.plan(
        NAME,
        Plan(
            kind=a_rotation(Phase.GRACE).kind,
            from_version=VersionNumber(11),
            to_version=VersionNumber(12),
            phases=(Phase.STAGED,),
            awaits=(),
            blockers=(),
            conflict=None,
            grace_window=a_policy().grace_window,
            warnings=("w",),
        ),
        now=NOW,
    )
    assert (found.grace_seconds, found.conflict, found.warnings) == (900.0, None, ["w"])


def test_every_stage_has_a_name_on_the_wire():
    """Stages are spelled on the wire as they are stored."""
    cluster = a_cluster(stages=dict(enumerate(Stage, start=1)))
    assert [mapping.version(one).stage for one in cluster.versions.values()] == list(Stage)


def test_members_with_findings_are_counted():
    """How many agents have found something, and not how much."""
    found = an_attestation(12, preflight=("one", "another"))
    members = [a_member("a", found), a_member("b", found), a_member("c", an_attestation(12))]
    crowd = a_crowd(a_cluster(members=members))
    report = ClusterReport(crowd=crowd, state="stable", on_current=0)
    assert mapping.cluster(report).adoption.findings == 2


def test_an_expected_node_without_an_agent_is_shown_as_no_foreign_link():
    """While the first nodes are adopted, their peers are no strangers."""
    linked = a_member("a", an_attestation(foreign_links=("b", "x")))
    crowd = a_crowd(a_cluster(members=[linked]), a_policy(expect=frozenset({"a", "b"})))
    report = ClusterReport(crowd=crowd, state="stable", on_current=0)
    assert mapping.member(crowd, linked).foreign_links == ["x"]
    assert mapping.cluster(report).adoption.foreign_links == 1
