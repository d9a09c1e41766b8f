"""rotator.yaml as a tree of plain values, each with the line and column where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import yaml

from rotator.errors import ConfigurationError

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 20
_STANDARD: Final = "tag:yaml.org,2002:"
_TYPED: Final = frozenset(_STANDARD + kind for kind in ("int", "float", "bool", "null"))
#: Kept as the text that it is: nothing here is an instant or a merged mapping.
_TEXT: Final = frozenset(_STANDARD + kind for kind in ("str", "timestamp", "merge", "value"))
_BEGINS_WITH_A_STAR: Final = "while scanning an alias"
_QUOTE: Final = "; put text that begins with * in quotes"
_NOT_SHOWN: Final = "…"
_LONGEST_SHOWN: Final = 63

Place = tuple[str, ...]  #: the names that lead to a setting


class Mark(NamedTuple):
    """Where something stands; both count from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """Something that is wrong; sorts by where it stands."""

    mark: Mark
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """What the file says, where it says it, and what is wrong with it as YAML."""

    name: str
    values: dict[str, Any] = field(repr=False)
    marks: dict[Place, Mark] = field(repr=False)
    problems: tuple[Problem, ...] = ()

    def mark(self, place: Place) -> Mark:
        """Where *place* stands, or the nearest thing around it that is in the file."""
        while place and place not in self.marks:
            place = place[:-1]
        return self.marks.get(place, Mark(1, 1))

    def value(self, place: Place) -> object:
        """What stands at *place*; None if nothing does."""
        found: Any = self.values
        for step in place:
            found = found.get(step) if isinstance(found, dict) else None
        return found

    def refuse(self, problems: list[Problem]) -> ConfigurationError:
        """One error with a line for each problem, first line first."""
        lines = [f"{self.name}:{p.mark.line}:{p.mark.column}: {p.text}" for p in sorted(problems)]
        return ConfigurationError("\n".join(lines))


def read(path: Path) -> Source:
    """Read and parse; raises `ConfigurationError` with line and column, and never with a value."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigurationError(f"{path} is larger than {MAX_BYTES // 1024} KiB")
    return _parse(path.name, _decoded(path.name, raw))


def name_of(place: Place) -> str:
    """``clusters.orders.members``; a step that cannot be a name is not shown."""
    return ".".join(
        step if step.isprintable() and len(step) <= _LONGEST_SHOWN else _NOT_SHOWN for step in place
    )


def _decoded(name: str, raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8")) + 1
        raise ConfigurationError(f"{name}:{line}:{column}: this is not UTF-8") from None


class _Refused(yaml.MarkedYAMLError):
    """It is YAML, and not used here."""


class _Composer(yaml.SafeLoader):
    """Stops at the first alias and at the first level too deep, before either can cost anything."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if event.anchor is not None:
            self._refuse("anchors and aliases are not used here; write it twice", event)
        if self.depth > MAX_DEPTH:
            self._refuse("this is nested too deeply", event)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def _refuse(self, why: str, event: Any) -> NoReturn:  # noqa: ANN401 - any event of YAML
        raise _Refused(problem=why, problem_mark=event.start_mark)


def _parse(name: str, text: str) -> Source:
    try:
        root = _Composer(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        where = f"{name}:{at.line + 1}:{at.column + 1}" if at else name
        why = "" if isinstance(error, _Refused) else "this is not YAML: "
        hint = _QUOTE if (error.context or "").startswith(_BEGINS_WITH_A_STAR) else ""
        raise ConfigurationError(f"{where}: {why}{error.problem}{hint}") from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        where = f"{name}:{before.count(chr(10)) + 1}:{len(before.rpartition(chr(10))[2]) + 1}"
        raise ConfigurationError(f"{where}: this character cannot stand in YAML") from None
    if not isinstance(root, yaml.MappingNode):
        what = "the file is empty; " if root is None else ""
        raise ConfigurationError(f"{name}:1:1: {what}settings are expected, as `name: value`")
    walk = _Walk()
    values = walk.mapping(root, ())
    return Source(name, values, walk.marks, tuple(walk.problems))


class _Walk:
    """Turns nodes into values and notes where each stands."""

    def __init__(self) -> None:
        self._constructor = yaml.SafeLoader("")
        self.marks: dict[Place, Mark] = {}
        self.problems: list[Problem] = []

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            mark = _mark(key)
            if not isinstance(key, yaml.ScalarNode):
                self.problems.append(Problem(mark, "a name is expected before the colon"))
                continue
            inner = (*place, key.value)
            if key.value in found:
                first = self.marks[inner]
                what = f"{name_of(inner)} is there twice; first at {first.line}:{first.column}"
                self.problems.append(Problem(mark, what))
                continue
            self.marks[inner] = mark
            found[key.value] = self._value(value, inner)
        return found

    def _value(self, node: yaml.Node, place: Place) -> Any:  # noqa: ANN401 - any YAML value
        if isinstance(node, yaml.MappingNode) and node.tag == _STANDARD + "map":
            return self.mapping(node, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == _STANDARD + "seq":
            return [self._value(item, place) for item in node.value]
        if isinstance(node, yaml.ScalarNode) and node.tag in _TEXT:
            return node.value
        if isinstance(node, yaml.ScalarNode) and node.tag in _TYPED:
            return self._scalar(node, place)
        return self._refuse(place, "tags are not used here")

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:  # noqa: ANN401 - any YAML value
        try:
            return self._constructor.construct_object(node)
        except (ValueError, KeyError):  # a number of 5,000 digits, a `!!bool maybe`
            return self._refuse(place, "this cannot be read")

    def _refuse(self, place: Place, why: str) -> None:
        self.problems.append(Problem(self.marks[place], f"{name_of(place)}: {why}"))


def _mark(node: yaml.Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)
