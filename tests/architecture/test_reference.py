"""What operators look up is there: every blocker's code, every kind of fact."""

from __future__ import annotations

import ast
from pathlib import Path

from rotator import errors
from rotator.domain.facts import REPEATABLE, FactKind
from tests.support.markdown import CHECKOUT, DOCS, first_cells

PACKAGE = CHECKOUT / "rotator"

# End the pass without becoming a blocker: the first is tried again, the second ends the process.
NEVER_BLOCK = {errors.RevisionConflict, errors.FenceLost}
# Raised by a pass although they stand outside of the trees of store errors.
BLOCK_TOO = {errors.InputError, errors.InvariantViolated, errors.ConfigurationError}
# Takes a code from its caller, or passes one on that stands elsewhere.
PASS_ON = {"domain/agreement.py", "services/reconciler.py", "api/mapping.py"}


def leaves(error: type[errors.RotatorError]) -> set[type[errors.RotatorError]]:
    """The errors below `error` that have none below them."""
    below = error.__subclasses__()
    return set().union(*map(leaves, below)) if below else {error}


def written_codes(source: str) -> tuple[set[str], int]:
    """The codes that blockers are made with, and how many are made with one from elsewhere."""
    codes: set[str] = set()
    others = 0
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else None
        name = node.func.id if isinstance(node.func, ast.Name) else name
        given = [word.value for word in node.keywords if word.arg == "code"]
        if name == "frozen":
            given = node.args[:1]
        elif name != "Blocker":
            continue
        for value in given:
            if isinstance(value, ast.Constant):
                codes.add(str(value.value))
            else:
                others += 1
    return codes, others


def blocker_codes(package: Path) -> set[str]:
    """Every code that a cluster can wait for."""
    codes: set[str] = set()
    for path in package.rglob("*.py"):
        if "testing" in path.relative_to(package).parts:
            continue
        found, others = written_codes(path.read_text(encoding="utf-8"))
        codes |= found
        if others and path.relative_to(package).as_posix() not in PASS_ON:
            raise AssertionError(f"{path} makes blockers with codes that nobody can look up")
    return codes


def test_every_code_of_a_blocker_is_documented_and_no_other() -> None:
    """Whatever a cluster waits for can be looked up by its code, with what to do."""
    named = leaves(errors.SecretStoreError) | leaves(errors.StateStoreError)
    from_errors = {error.code for error in (named | BLOCK_TOO) - NEVER_BLOCK}
    text = (DOCS / "reference" / "blockers.md").read_text(encoding="utf-8")
    assert sorted(first_cells(text)) == sorted(blocker_codes(PACKAGE) | from_errors)


def test_each_code_that_freezes_has_its_runbook() -> None:
    """A frozen cluster is never without steps to follow."""
    text = (DOCS / "reference" / "blockers.md").read_text(encoding="utf-8")
    frozen = first_cells(text.split("## Frozen")[1].split("\n## ")[0])
    runbooks = (DOCS / "operations" / "runbooks.md").read_text(encoding="utf-8")
    assert [code for code in frozen if f"### `{code}`" not in runbooks] == []


def test_the_search_for_codes_finds_each_way_to_write_one() -> None:
    """A planted code is found, as an argument of a blocker and of a freeze."""
    source = (
        "Blocker(code='a'); x.Blocker(subject='s', code='b'); frozen('c', 'd'); Blocker(code=e)"
    )
    assert written_codes(source) == ({"a", "b", "c"}, 1)


def test_every_kind_of_fact_is_documented_and_no_other() -> None:
    """Whoever reads the audit log finds each of its words explained."""
    text = (DOCS / "reference" / "facts.md").read_text(encoding="utf-8")
    assert sorted(first_cells(text)) == sorted(FactKind)


def test_facts_that_are_unique_are_marked_so() -> None:
    """A kind that is marked as written once for a rotation is none that may repeat."""
    text = (DOCS / "reference" / "facts.md").read_text(encoding="utf-8")
    once = {
        line.split("|")[1].strip(" `")
        for line in text.splitlines()
        if line.startswith("| `") and line.rstrip(" |").endswith("yes")
    }
    assert once
    assert once & REPEATABLE == set()
