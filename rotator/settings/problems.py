"""What is wrong with a setting, in a sentence that says what was meant and never what was given."""

from __future__ import annotations

import re
from typing import Any, Final

from rotator.settings.secret_stores import METHODS, STORES
from rotator.settings.sections import section_at
from rotator.settings.source import Place, Problem, Source, name_of
from rotator.settings.state_stores import STATES
from rotator.settings.values import suggestion

_KINDS: Final = {"auth": METHODS, "state_store": STATES}
_SECRETS: Final = frozenset({"token", "secret_id", "jwt", "password", "secret", "cookie"})
_EXAMPLES: Final = {
    "members": "write members: {expect: none}, or a count, or a list of node names",
    "cron": "write five fields, such as cron: 0 3 * * sun",
    "expect": "write `none`, a count, or a list of node names",
    "secret_store": "write {kind: local, directory: …} or {kind: vault, …}",
    "clusters": "declare at least one cluster",
}
_EXPECTED: Final = {
    "bool_type": "true or false is expected",
    "dict_type": "settings are expected, as `name: value`",
    "int_type": "a whole number is expected",
    "model_attributes_type": "settings are expected, as `name: value`",
    "model_type": "settings are expected, as `name: value`",
    "path_type": "a path is expected",
    "string_type": "text is expected; put a number in quotes",
    "string_too_short": "this is empty",
    "string_too_long": "this is too long",
}
#: A key that may be a secret, for want of a colon, is not repeated.
_SAFE_KEY: Final = re.compile(r"[A-Za-z_-]{1,30}")


def place_of(error: Any) -> Place:  # noqa: ANN401 - pydantic's ErrorDetails
    """Pydantic's location without what is not in the file: the tags of unions, the mark of keys."""
    steps = [str(step) for step in error["loc"]]
    if steps[-1:] == ["[key]"] and error["type"] != "extra_forbidden":
        del steps[-1]
    if steps[:1] == ["state_store"]:
        del steps[1:2]
    if steps[:1] == ["secret_store"]:
        del steps[1:2]
        if steps[1:2] == ["auth"]:
            del steps[2:3]
    return tuple(steps)


def problem(source: Source, error: Any) -> Problem:  # noqa: ANN401 - pydantic's ErrorDetails
    """Pydantic's error in our words, at the line and column where it stands."""
    place = place_of(error)
    match error["type"]:
        case "extra_forbidden":
            text = _unknown(place[-1], tuple(map(str, error["loc"][:-1])))
            place, at = place[:-1], source.mark(place)
        case "missing":
            text = _missing(place[-1])
            place, at = place[:-1], source.mark(place[:-1])
        case "union_tag_invalid" | "union_tag_not_found":
            text, at = _which(source, place)
        case "literal_error" | "enum":
            text, at = _choice(source, place, error["msg"]), source.mark(place)
        case kind:
            said = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
            text, at = _EXPECTED.get(kind, said), source.mark(place)
    return Problem(at, f"{name_of(place)}: {text}" if place else text)


def _missing(name: str) -> str:
    example = f"; {_EXAMPLES[name]}" if name in _EXAMPLES else ""
    return f"the setting '{name}' is missing{example}"


def _unknown(name: str, inside: tuple[str, ...]) -> str:
    section = section_at(inside)
    known = sorted(section.model_fields) if section else []
    if name in _SECRETS:
        file = f"{name}_file: …" if f"{name}_file" in known else "the name of the file"
        return f"{name}: a secret does not stand here; put it into a file, and write {file}"
    shown = f" '{name}'" if _SAFE_KEY.fullmatch(name) else ""
    meant = suggestion(name, known, otherwise=f"; known are: {', '.join(known)}")
    return f"unknown setting{shown}{meant}"


def _which(source: Source, place: Place) -> tuple[str, Any]:
    name = "method" if place[-1] == "auth" else "kind"
    kinds = _KINDS.get(place[-1], STORES)
    which = f"'{name}' is one of: {', '.join(kinds)}"
    inner = (*place, name)
    meant = suggestion(source.value(inner), kinds) if inner in source.marks else ""
    return f"{which}{meant}", source.mark(inner)


def _known(message: str) -> list[str]:
    return re.findall(r"'([^']+)'", message)


def _choice(source: Source, place: Place, message: str) -> str:
    given = source.value(place)
    known = _known(message)
    return f"this is one of: {', '.join(known)}{suggestion(given, known)}"
