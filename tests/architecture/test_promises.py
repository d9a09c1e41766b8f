"""Every test says in one sentence what it promises."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]


def is_one_sentence(docstring: str | None) -> bool:
    """One paragraph that ends in one full stop."""
    if docstring is None:
        return False
    text = " ".join(docstring.split())
    return "\n\n" not in docstring and text.endswith(".") and ". " not in text


def broken_promises(source: str) -> list[str]:
    """The names of those tests in `source` whose docstring is missing or not one sentence."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not is_one_sentence(ast.get_docstring(node))
    ]


def test_every_test_states_its_promise() -> None:
    """Each test function in the tree has a docstring of one sentence."""
    found = {
        f"{path.relative_to(TESTS.parent)}::{name}"
        for path in TESTS.rglob("test_*.py")
        for name in broken_promises(path.read_text(encoding="utf-8"))
    }
    assert found == set()


def test_a_test_without_a_promise_is_found() -> None:
    """A test with no docstring, or with two sentences, does not pass this check."""
    source = (
        "def test_silent(): pass\n"
        "async def test_waiting(): pass\n"
        "def test_wordy():\n    '''One. Two.'''\n"
        "def test_good():\n    '''It holds.'''\n"
    )
    assert broken_promises(source) == ["test_silent", "test_waiting", "test_wordy"]
