"""The order of writes in the documentation is that of the code."""

from __future__ import annotations

from rotator.domain.actions import Line
from tests.support.markdown import DOCS, first_cells


def test_the_table_of_writes_has_each_line_of_the_code_once() -> None:
    """Whoever reads the order of writes reads every write there is, and none that is not."""
    text = (DOCS / "reference" / "order-of-writes.md").read_text(encoding="utf-8")
    assert sorted(first_cells(text)) == sorted(Line)
