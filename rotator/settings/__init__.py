"""rotator.yaml: what it may say, and what is wrong with it, by line and column."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rotator.errors import ConfigurationError
from rotator.settings.sections import LATER, NAME, Section, Settings, fields_at
from rotator.settings.source import Source, read

__all__ = ["Settings", "load"]

_SECRET = ("token", "secret_id", "password", "cookie")


def load(path: Path) -> Settings:
    """Read the file; raises `ConfigurationError` with a line for everything that is wrong."""
    source = read(path)
    try:
        settings = Settings.model_validate(source.values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        lines = [(source.at(_place(source, e["loc"])), _sentence(source, e)) for e in found]
        raise ConfigurationError("\n".join(f"{at}: {what}" for at, what in lines)) from None
    problems = [*_names(source, settings), *_masters(source, settings)]
    if problems:
        raise ConfigurationError("\n".join(problems))
    return _resolved(settings, path.resolve().parent)


def _place(source: Source, location: tuple[int | str, ...]) -> tuple[str, ...]:
    """Where pydantic means, without the names of union branches that it puts in between."""
    place: tuple[str, ...] = ()
    for step in map(str, location):
        if (*place, step) in source.marks:
            place = (*place, step)
    return place


def _sentence(source: Source, error: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    place = _place(source, error["loc"])
    name = ".".join(place) or "the file"
    last = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        return _unknown(last, ".".join(place[:-1]), tuple(error["loc"][:-1]))
    if error["type"] == "missing":
        return f"{name}: the setting '{last}' is missing{_example(last)}"
    if last == "adoption":
        return f"{name}: only `hot` is in this version"
    return f"{name}: {error['msg'].removeprefix('Value error, ')}"


def _example(name: str) -> str:
    return {
        "members": "; write members: {expect: none}, or a count, or the nodes' names",
        "secret_store": "; write secret_store: {kind: local, directory: …} or {kind: vault, …}",
        "clusters": "; declare at least one cluster",
    }.get(name, "")


def _unknown(name: str, inside: str, place: tuple[str | int, ...]) -> str:
    where = f"{inside}: " if inside else ""
    if name in LATER:
        return f"{where}{LATER[name]}"
    known = fields_at(place)
    if name in _SECRET and f"{name}_file" in known:
        return (
            f"{where}a secret does not stand in this file; write it to a file, and {name}_file: …"
        )
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    meant = f"did you mean '{near[0]}'?" if near else f"known are: {', '.join(sorted(known))}"
    return f"{where}unknown setting '{name}'; {meant}"


def _names(source: Source, settings: Settings) -> list[str]:
    rule = "a name is 1 to 63 of a-z 0-9 . _ - and begins with a letter or digit"
    return [
        f"{source.at((section, name))}: {section}.{name}: {rule}"
        for section in ("clusters", "masters")
        for name in getattr(settings, section)
        if not NAME.fullmatch(name)
    ]


def _masters(source: Source, settings: Settings) -> list[str]:
    problems = []
    for name, cluster in settings.clusters.items():
        if cluster.master not in settings.masters:
            near = difflib.get_close_matches(cluster.master, settings.masters, n=1)
            meant = f"; did you mean '{near[0]}'?" if near else "; declare it under masters"
            at = source.at(("clusters", name, "master"))
            problems.append(f"{at}: clusters.{name}.master: there is no such master{meant}")
    return problems


def _resolved(settings: Settings, directory: Path) -> Settings:
    """Relative paths are relative to the file."""

    def resolve(value: Any) -> Any:  # noqa: ANN401 - a section or a value
        if isinstance(value, Path):
            return directory / value
        if isinstance(value, Section):
            fields = {name: resolve(getattr(value, name)) for name in type(value).model_fields}
            return value.model_copy(update=fields)
        return value

    resolved: Settings = resolve(settings)
    return resolved
