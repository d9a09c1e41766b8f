"""The log tells each finding once, and once that it is gone."""

from __future__ import annotations

import logging

import pytest

from rotator.agent.findings import Findings


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything from INFO on."""
    caplog.set_level(logging.INFO)
    return caplog


def lines(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What was logged: level and text."""
    return [(record.levelname, record.getMessage()) for record in log.records]


def test_a_finding_is_told_when_it_appears_and_when_it_is_gone(
    log: pytest.LogCaptureFixture,
) -> None:
    """However often it is found meanwhile."""
    findings = Findings("n@h")
    for now in range(1000):
        findings.note(["odd", "odd"], is_whole=True, now=now)
    findings.note([], is_whole=True, now=1000)
    findings.note([], is_whole=True, now=1001)
    assert lines(log) == [("WARNING", "n@h: odd"), ("INFO", "n@h: no more: odd")]


def test_a_finding_that_comes_and_goes_fills_no_log(log: pytest.LogCaptureFixture) -> None:
    """A hundred times in ten seconds is one time; a minute later it is told again."""
    findings = Findings("n@h")
    for turn in range(200):
        findings.note(["odd"] * (turn % 2), is_whole=True, now=turn / 20)
    assert lines(log) == [("WARNING", "n@h: odd"), ("INFO", "n@h: no more: odd")]
    findings.note(["odd"], is_whole=True, now=90)
    assert len(lines(log)) == 3


def test_what_could_not_be_looked_at_is_not_called_gone(log: pytest.LogCaptureFixture) -> None:
    """A node that is down has the findings that it had, and new ones are told."""
    findings = Findings("n@h")
    findings.note(["odd"], is_whole=True, now=0)
    findings.note(["down"], is_whole=False, now=1)
    findings.note(["odd"], is_whole=True, now=2)
    assert lines(log) == [
        ("WARNING", "n@h: odd"),
        ("WARNING", "n@h: down"),
        ("INFO", "n@h: no more: down"),
    ]
