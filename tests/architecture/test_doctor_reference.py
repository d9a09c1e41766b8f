"""What doctor finds can be looked up, as it is."""

from __future__ import annotations

import re

from rotator.domain.findings import CATALOGUE
from tests.support.markdown import CHECKOUT, DOCS

PACKAGE = CHECKOUT / "rotator"


def test_every_finding_is_documented_as_it_is_and_no_other() -> None:
    """Code, severity, meaning and remedy in the reference are those of the code."""
    text = (DOCS / "reference" / "doctor.md").read_text(encoding="utf-8")
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    wanted = [
        (f"`{code}`", str(one.severity), one.means, one.remedy) for code, one in CATALOGUE.items()
    ]
    assert sorted(rows) == sorted(wanted)


def test_every_finding_of_the_catalogue_is_made_somewhere_and_no_other() -> None:
    """Nothing is promised that no check looks for, and nothing found that has no meaning."""
    paths = set(PACKAGE.rglob("*.py")) - {PACKAGE / "domain" / "findings.py"}
    source = "".join(path.read_text(encoding="utf-8") for path in paths)
    assert [code for code in CATALOGUE if f'"{code}"' not in source] == []
    assert set(re.findall(r'Finding\(\s*code="(\w+)"', source)) <= set(CATALOGUE)


def test_every_finding_is_tested_where_it_is() -> None:
    """Each code stands in a test that makes it be found."""
    tests = "".join(
        path.read_text(encoding="utf-8")
        for path in (CHECKOUT / "tests").rglob("test_doctor*.py")
        if path.parent.name != "architecture"
    )
    assert [code for code in CATALOGUE if f'"{code}"' not in tests] == []
