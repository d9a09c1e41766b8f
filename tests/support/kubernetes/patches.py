"""The three kinds of patch. Strategic merge knows lists of objects by the usual keys, and no schema."""

from __future__ import annotations

import copy
from typing import Any

#: In this order: what the list's items all have is their key.
_KEYS = ("name", "containerPort", "port", "mountPath", "topologyKey", "uid")


def merged(found: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    made = dict(found) if isinstance(found, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), value)
    return made


def strategic(found: Any, patch: Any) -> Any:
    """Kubernetes' own: lists of objects are merged by key, other lists are replaced."""
    if isinstance(patch, list):
        return _list(found if isinstance(found, list) else [], patch)
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    made = dict(found) if isinstance(found, dict) else {}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            made[name] = [one for one in made.get(name, []) if one not in value]
        elif key.startswith("$"):  # the order of lists, and what to keep of them
            continue
        elif value is None:
            made.pop(key, None)
        else:
            made[key] = strategic(made.get(key), value)
    return made


def _list(found: list[Any], patch: list[Any]) -> list[Any]:
    objects = [one for one in patch if isinstance(one, dict)]
    key = next((k for k in _KEYS if objects and all(k in one for one in objects)), None)
    if key is None or len(objects) < len(patch):
        return copy.deepcopy(patch)
    made = list(found)
    for one in objects:
        place = next((n for n, old in enumerate(made) if old.get(key) == one[key]), None)
        if one.get("$patch") == "delete":
            made = [old for old in made if old.get(key) != one[key]]
        elif place is None:
            made.append(strategic(None, one))
        else:
            made[place] = strategic(made[place], one)
    return made


def by_steps(found: Any, steps: list[dict[str, Any]]) -> Any:
    """JSON patch (RFC 6902): add, remove, replace, test; `ValueError` where it does not fit."""
    made = copy.deepcopy(found)
    for step in steps:
        *way, last = [
            part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]
        ]
        place = made
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        index: Any = last
        if isinstance(place, list):
            index = len(place) if last == "-" else int(last)
        _take(place, index, step)
    return made


def _take(place: Any, index: Any, step: dict[str, Any]) -> None:
    match step["op"]:
        case "add" if isinstance(place, list):
            place.insert(index, step["value"])
        case "add" | "replace":
            place[index] = step["value"]
        case "remove":
            del place[index]
        case "test":
            if place[index] != step["value"]:
                raise ValueError(f"{step['path']} is another value")
        case other:
            raise ValueError(f"{other} is not known here")
