"""What doctor finds can be looked up, as it is."""

from __future__ import annotations

import re

from rotator.domain.findings import CATALOGUE
from tests.support.markdown import CHECKOUT, DOCS, anchors

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


def test_every_place_that_a_remedy_names_is_there() -> None:
    """A page is named by its path, with a heading that it has; a runbook and a table never without."""
    for code, one in CATALOGUE.items():
        named = re.findall(r"(?:docs|deploy)/[\w./-]+\w(?:#[\w-]+)?", one.remedy)
        for place in named:
            path, _, heading = place.partition("#")
            assert (CHECKOUT / path).exists(), f"{code}: {place}"
            if heading:
                text = (CHECKOUT / path).read_text(encoding="utf-8")
                assert heading in anchors(text), f"{code}: {place}"
        is_vague = re.search(r"runbook|reference|look (the code|it) up|go by its code", one.remedy)
        assert named or not is_vague, f"{code}: where?"


def test_every_finding_is_tested_where_it_is() -> None:
    """Each code stands in a test that makes it be found."""
    tests = "".join(
        path.read_text(encoding="utf-8")
        for path in (CHECKOUT / "tests").rglob("test_doctor*.py")
        if path.parent.name != "architecture"
    )
    assert [code for code in CATALOGUE if f'"{code}"' not in tests] == []
