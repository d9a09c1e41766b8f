from __future__ import annotations

import pytest

from rotator.domain.findings import CATALOGUE, Finding, Severity, by_weight, is_degraded


def test_errors_come_first_and_each_finding_once():
    """A report begins with what is worst, and does not repeat itself."""
    note, warning = Finding(code="local_store"), Finding(code="never_exported")
    error = Finding(code="store_token_root")
    assert by_weight([note, warning, error, note]) == (error, warning, note)


@pytest.mark.parametrize("severity", list(Severity))
def test_a_note_alone_degrades_nothing(severity):
    """Errors and warnings want something done; a note may be meant."""
    code = next(code for code, one in CATALOGUE.items() if one.severity is severity)
    assert is_degraded([Finding(code=code)]) == (severity is not Severity.NOTE)
    assert not is_degraded([])


def test_every_finding_says_what_it_means_and_what_to_do():
    """No line of the catalogue leaves its reader alone; each fits into a sentence."""
    for meaning in CATALOGUE.values():
        for text in (meaning.means, meaning.remedy):
            assert text
            assert not text.endswith(".")
