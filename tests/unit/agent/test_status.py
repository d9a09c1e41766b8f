"""What `rotator agent status` reads: what the agent last saw, or that it is silent."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rotator.agent import status
from rotator.agent.boot_files import BootFormat
from rotator.agent.files import NodeFiles
from rotator.agent.loop import Outcome
from rotator.agent.settings import AgentSettings, NodeSettings
from rotator.protocol import v1
from tests.support.agents import ME

SEEN = v1.Attestation(
    generation=3, at="", read_from="vm", own="f1:x", uses=2, pins={"b@h": "f1:x"},
    links={"b@h": v1.Link()},
)  # fmt: skip


def settings(place: Path) -> AgentSettings:
    """One node."""
    files = NodeFiles(cookie_file=place / "c", boot_file=place / "b", boot_format=BootFormat.ERL)
    return AgentSettings(
        service="http://h", cluster="c", token_file=place, state_dir=place,
        nodes=(NodeSettings(name=ME, files=files),),
    )  # fmt: skip


def row(place: Path, outcome: Outcome, *, next_look: float = 15.0) -> dict[str, object]:
    """Write, and read as the command does."""
    path = place / f"{ME}.status.json"
    status.write(path, outcome, trouble=outcome.trouble, next_look=next_look)
    [found] = status.read(settings(place))
    return found


def outcome(report: v1.Attestation | None = SEEN, *, is_settled: bool = True) -> Outcome:
    """Of a look."""
    return Outcome(report=report, next_look=1, is_settled=is_settled, trouble=("odd",))


@pytest.mark.parametrize(
    ("changes", "is_settled", "state"),
    [
        ({}, True, "in step"),
        ({}, False, "changing"),
        ({"read_from": "none"}, True, "node unreachable"),
        ({"uses": None}, True, "unknown cookie"),
        ({"uses": None, "locked_round": 1}, True, "locked"),
    ],
)
def test_the_state_is_one_of_few_words(
    tmp_path: Path, changes: dict[str, object], is_settled: bool, state: str
) -> None:
    """What the last report showed, as a person asks for it, with its counts and troubles."""
    report = v1.Attestation(**{**{f: getattr(SEEN, f) for f in SEEN.__slots__}, **changes})  # type: ignore[arg-type]
    found = row(tmp_path, outcome(report, is_settled=is_settled))
    assert (found["node"], found["state"], found["pins"]) == (ME, state, 1)
    assert (found["links"], found["trouble"]) == (["b@h"], ["odd"])


def test_a_look_that_failed_has_no_report(tmp_path: Path) -> None:
    """Nothing is claimed of a node of which nothing was seen."""
    assert row(tmp_path, outcome(None, is_settled=False))["state"] == "node unreachable"


def test_an_agent_that_ended_is_silent_and_not_in_step(tmp_path: Path) -> None:
    """What was seen counts for as long as the next look is not overdue."""
    assert row(tmp_path, outcome())["state"] == "in step"
    path = tmp_path / f"{ME}.status.json"
    os.utime(path, (time.time() - 3600,) * 2)
    [found] = status.read(settings(tmp_path))
    assert found["state"] == "agent silent"
    os.utime(path, (time.time() + 3600,) * 2)
    [found] = status.read(settings(tmp_path))
    assert (found["state"], found["seen_seconds_ago"]) == ("in step", 0.0)


def test_an_agent_that_was_stopped_says_so(tmp_path: Path) -> None:
    """What it saw last stays to be read, under another word; the next look takes that back."""
    assert row(tmp_path, outcome())["state"] == "in step"
    status.write_stopped(status.path_of(tmp_path, ME))
    [found] = status.read(settings(tmp_path))
    assert (found["state"], found["links"]) == ("agent stopped", ["b@h"])
    assert row(tmp_path, outcome())["state"] == "in step"


def test_an_agent_that_never_looked_leaves_no_status(tmp_path: Path) -> None:
    """There is nothing to say of a node that was not seen."""
    status.write_stopped(status.path_of(tmp_path, ME))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b'{"report": 3}', b"\xff", b"{"])
def test_a_status_that_is_none_was_never_seen(tmp_path: Path, content: bytes | None) -> None:
    """Missing or damaged, it is no traceback."""
    if content is not None:
        (tmp_path / f"{ME}.status.json").write_bytes(content)
    [found] = status.read(settings(tmp_path))
    assert (found["state"], found["seen_seconds_ago"]) == ("never seen", None)


def test_a_status_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """The work beside the node goes on without it."""
    status.write(tmp_path / "none" / "s", outcome(), trouble=(), next_look=1)
    assert not (tmp_path / "none").exists()


def test_a_member_whose_agent_is_silent_is_no_foreign_link() -> None:
    """The boot file names every member; a hidden node under a member's name is a stranger."""
    report = {
        "foreign_links": ["b@h", "c@h", "x@h"],
        "boot_pins": {"b@h": "f1:", "c@h": "f1:"},
        "links": {"b@h": {"hidden": False}, "c@h": {"hidden": True}, "x@h": {"hidden": False}},
    }
    assert status._strangers(report) == ["c@h", "x@h"]
