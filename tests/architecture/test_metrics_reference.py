"""What stands on /metrics can be looked up, as it is."""

from __future__ import annotations

from rotator.adapters.telemetry.catalogue import CATALOGUE
from tests.support.markdown import DOCS


def written_rows(text: str) -> list[tuple[str, ...]]:
    """Each row of a table whose first cell is a metric."""
    return [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in text.splitlines()
        if line.startswith("| `rotator_")
    ]


def test_every_metric_is_documented_as_it_is_and_no_other() -> None:
    """Name, type, labels and meaning in the reference are those of the code."""
    text = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    wanted = [
        (
            f"`{one.name}`",
            one.kind,
            ", ".join(f"`{label}`" for label in one.labels) or "\u2013",
            one.help,
        )
        for one in CATALOGUE
    ]
    assert sorted(written_rows(text)) == sorted(wanted)
