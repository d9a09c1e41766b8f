"""Every flag of the demonstration can be false."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rotator.cli.demo import flags
from rotator.cli.demo.flags import Pursuit
from rotator.cli.demo.intruder import Intrusion
from rotator.cli.demo.telling import as_text

MEMBERS = frozenset({"a@h", "b@h"})
FIRST = Intrusion(
    links=frozenset(),
    cookies=frozenset({"former"}),
    entered={"a@h": 1, "b@h": 1},
    seen={"a@h": 2, "b@h": 2},
    tries={"a@h": 5, "b@h": 5},
)
LAST = replace(FIRST, tries={"a@h": 9, "b@h": 8})
OUT = Pursuit(members=MEMBERS, before=MEMBERS | {"c@h"}, after=(FIRST, LAST), new="new")

GOOD: dict[str, Any] = {
    "store": "local",
    "nodes": 3,
    "rotations": [
        {
            "kind": "manual",
            "phase": "completed",
            "from_version": 1,
            "to_version": 2,
            "seconds": 4.0,
        }
    ],
    "links_before": 6,
    **flags.PROMISED,
}


def test_an_intruder_who_was_in_everywhere_and_is_kept_out_is_evicted() -> None:
    """Links to all before, none in any look after, in spite of tries everywhere, no new cookie."""
    assert flags.is_evicted(OUT)


@pytest.mark.parametrize(
    "pursuit",
    [
        replace(OUT, before=frozenset({"a@h"})),
        replace(OUT, before=frozenset()),
        replace(OUT, after=()),
        replace(OUT, after=(FIRST,)),
        replace(OUT, after=(FIRST, replace(LAST, tries=FIRST.tries))),
        replace(OUT, after=(FIRST, replace(LAST, tries={"a@h": 9, "b@h": 5}))),
        replace(OUT, after=(FIRST, replace(LAST, tries={"a@h": 9}))),
        replace(OUT, after=(replace(FIRST, links=frozenset({"a@h"})), LAST)),
        replace(OUT, after=(FIRST, replace(FIRST, links=frozenset({"b@h"})), LAST)),
        replace(OUT, after=(FIRST, replace(LAST, links=frozenset({"a@h"})))),
        replace(OUT, after=(FIRST, replace(LAST, entered={"a@h": 1, "b@h": 7}))),
        replace(OUT, after=(FIRST, replace(LAST, cookies=frozenset({"former", "new"})))),
        replace(OUT, after=(replace(FIRST, cookies=frozenset({"new"})), LAST)),
    ],
)
def test_an_intruder_is_not_evicted_when_any_part_of_it_was_not_seen(pursuit: Pursuit) -> None:
    """Not in before, no tries, one link, one entry between two looks, or the new cookie: false."""
    assert not flags.is_evicted(pursuit)


@pytest.mark.parametrize(
    ("answers", "accepted", "refused"),
    [
        ([True, True], True, False),
        ([False, False], False, True),
        ([True, False], False, False),
        ([True, None], None, False),
        ([False, None], False, None),
        ([None], None, None),
        ([], None, None),
    ],
)
def test_handshakes_prove_only_what_all_of_them_said(
    answers: list[bool | None], accepted: bool | None, refused: bool | None
) -> None:
    """One that says otherwise makes it false; one without an end, or none at all, proves nothing."""
    assert flags.all_accepted(answers) is accepted
    assert flags.all_refused(answers) is refused


def test_a_report_that_keeps_every_promise_is_good() -> None:
    """And only `yes` is to be read in it."""
    assert flags.is_good(GOOD)
    assert [line.split()[-1] for line in as_text(GOOD).split("shown\n")[1].splitlines()] == [
        "yes"
    ] * len(flags.PROMISED)


@pytest.mark.parametrize("name", flags.PROMISED)
@pytest.mark.parametrize("word", ["no", "not tried"])
def test_one_broken_promise_fails_the_demonstration(name: str, word: str) -> None:
    """Whatever it is, broken or not tried, the report is not good, and its line says so."""
    wanted = flags.PROMISED[name]
    broken = 1 if wanted == 0 and not isinstance(wanted, bool) else not wanted
    report = GOOD | {name: broken if word == "no" else None}
    assert not flags.is_good(report)
    lines = as_text(report).split("shown\n")[1].splitlines()
    assert [line.endswith(f"  {word}") for line in lines].count(True) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"rotations": []},
        {"rotations": [*GOOD["rotations"], GOOD["rotations"][0] | {"phase": "superseded"}]},
        {"links_before": 4},
        {"nodes": 0, "links_before": 0},
    ],
)
def test_no_rotation_and_no_mesh_is_no_success(change: dict[str, Any]) -> None:
    """Promises that were kept because nothing happened count for nothing."""
    assert not flags.is_good(GOOD | change)


def test_on_aws_a_former_cookie_stays_stored_and_that_is_said() -> None:
    """What AWS cannot do is no promise: the line says that it stays, and where nobody reads it."""
    report = GOOD | {"store": "aws", "still_stored": True}
    assert flags.is_good(report)
    assert "former cookies stay stored on AWS" in as_text(report)
    assert "no former cookie is stored any more" not in as_text(report)
    assert not flags.is_good(GOOD | {"still_stored": True})
