"""Read what the documentation says, so that it can be held against the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT: Final = Path(__file__).parents[2]
DOCS: Final = CHECKOUT / "docs"

_FENCED: Final = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`[^`\n]*`")
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


def first_cells(text: str) -> list[str]:
    """The first cell of each row of each table, without the heads, without backquotes."""
    cells: list[str] = []
    is_body = False
    for line in text.splitlines():
        if not line.startswith("|"):
            is_body = False
        elif set(line) <= set("|-: "):
            is_body = True
        elif is_body:
            cells.append(line.split("|")[1].strip().strip("`*"))
    return cells


def links(text: str) -> Iterator[str]:
    """The targets of links, without those in code."""
    for match in _LINK.finditer(_CODE.sub("``", _FENCED.sub("", text))):
        yield match[1]


def anchors(text: str) -> set[str]:
    """What a fragment can name: headings in lower case, without marks, with hyphens."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(_FENCED.sub("", text))
    }
