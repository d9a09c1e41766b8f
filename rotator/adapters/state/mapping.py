"""Domain values to JSON columns and back, by the types of their fields."""

from __future__ import annotations

import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from rotator.domain import claim as claim_module
from rotator.domain import cluster as cluster_module
from rotator.domain import facts as facts_module
from rotator.domain import ids
from rotator.domain import rotation as rotation_module
from rotator.domain import schedule as schedule_module
from rotator.domain import version as version_module

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

T = TypeVar("T")

#: The domain imports its types for type checkers alone; here they are needed at run time.
_NAMES = {
    name: value
    for module in (
        ids,
        facts_module,
        version_module,
        rotation_module,
        schedule_module,
        claim_module,
        cluster_module,
    )
    for name, value in vars(module).items()
    if not name.startswith("_")
} | {"datetime": datetime, "Mapping": Mapping, "Any": Any}


def instant_to_text(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds, so that text sorts as time."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def to_json(value: object) -> Any:  # noqa: ANN401 - JSON
    """A dataclass, mapping or plain value as JSON."""
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return instant_to_text(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind, globalns={**_NAMES, **vars(typing)})


def from_json(kind: type[T], raw: Mapping[str, Any] | RowMapping) -> T:
    """The dataclass of this kind; fields that are not stored get their defaults."""
    hints = _hints(typing.cast("Hashable", kind))
    return kind(**{name: _value(hints[name], raw[name]) for name in hints if name in raw})


def _value(hint: Any, raw: Any) -> Any:  # noqa: ANN401 - any annotation, any JSON
    hint = getattr(hint, "__supertype__", hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        return None if raw is None else _value(arguments[0], raw)
    if origin is tuple:
        return tuple(_value(arguments[0], item) for item in raw)
    if origin is Mapping:
        return {_value(arguments[0], key): _value(arguments[1], raw[key]) for key in raw}
    if hint is datetime:
        return datetime.fromisoformat(raw)
    if isinstance(hint, type) and is_dataclass(hint):
        return from_json(hint, raw)
    if isinstance(hint, type) and issubclass(hint, Enum | int) and hint is not bool:
        return hint(raw)
    return raw
