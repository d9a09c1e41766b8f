"""rotator.yaml: what it may say, and what is wrong with it, by line and column."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from rotator.settings.problems import place_of, problem
from rotator.settings.sections import Settings
from rotator.settings.source import Place, Problem, Source, read

__all__ = ["Settings", "load"]

_ROUNDS: Final = 10


def load(path: Path) -> Settings:
    """Read the file; relative paths in it are relative to it.

    Raises `ConfigurationError` with one line for everything that is wrong, first line first, as
    ``rotator.yaml:12:5: clusters.orders: …``. No value of the file is repeated.
    """
    source = read(path)
    # Not resolved: a file that is mounted through links still stands where its name says.
    context = {"directory": path.absolute().parent, "masters": _masters(source)}
    settings, problems = _validated(source, context)
    if settings is None or problems:
        raise source.refuse(problems)
    return settings


def _masters(source: Source) -> list[str] | None:
    """The declared ones; None if it cannot be told."""
    masters = source.values.get("masters", {"default": None})
    return list(masters) if isinstance(masters, dict) else None


def _validated(source: Source, context: dict[str, Any]) -> tuple[Settings | None, list[Problem]]:
    """What is wrong hides what else is: so it is taken out, and the rest is looked at again."""
    values = copy.deepcopy(source.values)
    problems = list(source.problems)
    unreadable = {problem.mark for problem in problems}
    seen: set[Place] = set()
    for _ in range(_ROUNDS):
        try:
            return Settings.model_validate(values, context=context), problems
        except ValidationError as error:
            found = {
                place: each
                for each in error.errors(
                    include_url=False, include_input=False, include_context=False
                )
                if (place := place_of(each)) not in seen
            }
        if not found:
            break
        said = [problem(source, each) for each in found.values()]
        problems += [each for each in said if each.mark not in unreadable]
        seen |= set(found)
        for place in found:
            _take_out(values, place)
    return None, problems


def _take_out(values: dict[str, Any], place: Place) -> None:
    for step in place[:-1]:
        inner = values.get(step)
        if not isinstance(inner, dict):
            return
        values = inner
    if place:
        values.pop(place[-1], None)
