"""JSON as dataclasses of the wire contract, for whoever reads answers.

Unknown fields are ignored, and fields with a default may be missing: client and server may
differ by a release.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

_T = TypeVar("_T")


class NotOfTheContract(Exception):
    """The answer does not have the shape that the contract gives it."""


def decode(kind: type[_T], found: object) -> _T:
    """*found* (as `json` gives it) as a *kind*; raises `NotOfTheContract`."""
    value: _T = _value(kind, found)
    return value


@lru_cache(maxsize=64)
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(kind: Any, found: Any) -> Any:  # noqa: ANN401 - any shape of the contract
    if kind is Any:
        return found
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _either(get_args(kind), found)
    if origin is list and isinstance(found, list):
        (item,) = get_args(kind)
        return [_value(item, one) for one in found]
    if origin is dict and isinstance(found, dict):
        _, item = get_args(kind)
        return {str(name): _value(item, one) for name, one in found.items()}
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(found, dict):
        return _record(kind, found)
    return _plain(kind, found)


def _either(kinds: tuple[Any, ...], found: Any) -> Any:  # noqa: ANN401 - any shape
    if found is None and NoneType in kinds:
        return None
    for kind in kinds:
        try:
            return _value(kind, found)
        except NotOfTheContract:
            continue
    raise NotOfTheContract


def _record(kind: type, found: dict[str, Any]) -> object:
    hints, values = _hints(kind), {}
    for one in fields(kind):
        if one.name in found:
            values[one.name] = _value(hints[one.name], found[one.name])
        elif one.default is MISSING and one.default_factory is MISSING:
            raise NotOfTheContract
    return kind(**values)


def _plain(kind: Any, found: Any) -> Any:  # noqa: ANN401 - a JSON value
    if kind is float and isinstance(found, int) and not isinstance(found, bool):
        return float(found)
    if not isinstance(kind, type) or not isinstance(found, kind):
        raise NotOfTheContract
    if kind is int and isinstance(found, bool):
        raise NotOfTheContract
    return found
