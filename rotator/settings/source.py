"""rotator.yaml as a tree of plain values, each with the line and column where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from rotator.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 20
Place = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """What the file says, and where it says it."""

    name: str
    values: dict[str, Any]
    marks: dict[Place, tuple[int, int]] = field(repr=False)  #: place → line and column, from 1

    def at(self, place: Place) -> str:
        """``file:line:column`` of the nearest thing that stands in the file."""
        while place and place not in self.marks:
            place = place[:-1]
        line, column = self.marks.get(place, (1, 1))
        return f"{self.name}:{line}:{column}"


def read(path: Path) -> Source:
    """Read and parse; raises `ConfigurationError` with line and column. Values are not shown."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigurationError(f"{path} is larger than {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path.name}:{line}: this is not UTF-8") from None
    return _parse(path.name, text)


def _parse(name: str, text: str) -> Source:
    try:
        # No alias is ever expanded: one that refers to itself, or ten that multiply, are refused.
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise ConfigurationError(f"{name}:{line}: aliases are not used here")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise ConfigurationError(f"{where}: this is not YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError):
        raise ConfigurationError(f"{name}: this is not YAML") from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigurationError(f"{name}:1:1: settings are expected, as `name: value`")
    walk = _Walk(name)
    values = walk.mapping(root, ())
    if walk.problems:
        raise ConfigurationError("\n".join(walk.problems))
    return Source(name, values, walk.marks)


class _Walk:
    """Turns nodes into values and notes where each stands."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loader = yaml.SafeLoader("")
        self.marks: dict[Place, tuple[int, int]] = {}
        self.problems: list[str] = []

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            inner = (*place, key)
            mark = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if key in found:
                line, column = self.marks[inner]
                self.problems.append(
                    f"{self._name}:{mark[0]}:{mark[1]}: {'.'.join(inner)} is there twice;"
                    f" first at {line}:{column}"
                )
                continue
            self.marks[inner] = mark
            found[key] = self._value(value_node, inner)
        return found

    def _value(self, node: yaml.Node, place: Place) -> Any:  # noqa: ANN401 - any YAML value
        if len(place) > MAX_DEPTH:
            line = node.start_mark.line + 1
            raise ConfigurationError(f"{self._name}:{line}: this is nested too deeply")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*place, str(i))) for i, item in enumerate(node.value)]
        return self._loader.construct_object(node)

    def _item(self, node: yaml.Node, place: Place) -> Any:  # noqa: ANN401 - any YAML value
        self.marks[place] = (node.start_mark.line + 1, node.start_mark.column + 1)
        return self._value(node, place)
