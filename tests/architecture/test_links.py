"""Links of the documentation lead somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.markdown import CHECKOUT, anchors, links

if TYPE_CHECKING:
    from pathlib import Path


def pages() -> list[Path]:
    """Every page in the tree, what tools have put there aside."""
    found = [*CHECKOUT.glob("*.md")]
    for folder in ("deploy", "docs", "helm", "rotator", "tests"):
        found += (CHECKOUT / folder).rglob("*.md")
    return sorted(found)


def broken(page: Path) -> list[str]:
    """The relative links of a page whose file or heading is not there."""
    found = []
    for target in links(page.read_text(encoding="utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, fragment = target.partition("#")
        there = page if not name else (page.parent / name)
        is_there = there.exists()
        if is_there and fragment:
            is_there = fragment in anchors(there.read_text(encoding="utf-8"))
        if not is_there:
            found.append(target)
    return found


def test_every_relative_link_resolves() -> None:
    """Nobody who follows a link of the documentation ends up nowhere."""
    dead = [
        f"{page.relative_to(CHECKOUT)}: {target}" for page in pages() for target in broken(page)
    ]
    assert dead == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    """A link to no file, or to no heading, is reported, but one in code is not."""
    page = tmp_path / "page.md"
    page.write_text(
        "# The `top`, twice\n[a](gone.md) [b](#not) [c](#the-top-twice) `[d](e)` [f](page.md#no)\n",
        encoding="utf-8",
    )
    assert broken(page) == ["gone.md", "#not", "page.md#no"]
