from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.domain.cluster import Blocker
from rotator.services.notices import Notices
from rotator.testing.factories import NOW, a_cluster, a_crowd, a_member

LATER = NOW + timedelta(hours=1)


def crowd(*names, now=NOW):
    """A cluster with these members, all of them silent since NOW."""
    members = [a_member(name) for name in names]
    return a_crowd(a_cluster(members=members), now=now, serving_since=NOW)


@pytest.fixture
def said(caplog):
    """What was logged, as event and names."""
    caplog.set_level("INFO")
    return lambda: [
        (record.msg % record.args, getattr(record, "names", None)) for record in caplog.records
    ]


def test_what_is_lost_and_what_blocks_is_said_once(said):
    """Ten looks at the same cluster are one line for each thing that is new."""
    notices = Notices()
    blockers = [Blocker(code="unknown_cookie", subject="rabbit@b", detail="CanaryDetail")]
    for _ in range(10):
        notices.see(crowd("rabbit@a", now=LATER), blockers)
    assert said() == [
        ("members lost", ["rabbit@a"]),
        ("waits for", ["rabbit@b: unknown_cookie"]),
    ]


def test_a_wait_is_a_warning_only_once_it_has_lasted(said, caplog):
    """What an ordinary rotation waits for is told as news; half a minute later it is a warning."""
    notices, waits = Notices(), [Blocker(code="no_attestation")]
    for seconds in (0, 29, 30, 60):
        notices.see(crowd(now=NOW + timedelta(seconds=seconds)), waits)
    notices.see(crowd(now=LATER), [])
    assert said() == [
        ("waits for", ["no_attestation"]),
        ("still waits for", ["no_attestation"]),
        ("waits for nothing more", None),
    ]
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]


def test_only_what_is_new_is_said_and_then_the_end(said):
    """One more that is lost is named alone; when nothing is left of it, that is said, once."""
    notices = Notices()
    notices.see(crowd("rabbit@a", now=LATER), [])
    notices.see(crowd("rabbit@a", "rabbit@b", now=LATER), [])
    for _ in range(3):
        notices.see(crowd("rabbit@a", "rabbit@b"), [])
    assert said() == [
        ("members lost", ["rabbit@a"]),
        ("members lost", ["rabbit@b"]),
        ("no member is lost any more", None),
    ]


def test_time_that_has_to_pass_is_not_said(said):
    """A grace window that runs is no fault."""
    Notices().see(crowd("rabbit@a"), [Blocker(code="grace_window", subject="clock")])
    assert said() == []


def test_a_thousand_lost_members_are_one_line(said, caplog):
    """However many there are, some are named, and how many more."""
    Notices().see(crowd(*(f"rabbit@{n:04}" for n in range(1000)), now=LATER), [])
    ((_, names),) = said()
    assert (len(names), caplog.records[0].more) == (20, 980)
