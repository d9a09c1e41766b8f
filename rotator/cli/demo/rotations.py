"""A rotation, watched to its end: each phase, what the nodes do, and how the intruder fares."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rotator.cli.demo import interrupts
from rotator.cli.demo.course import GRACE, Course, Line, links_news, pairs_at
from rotator.cli.demo.processes import DemoFailed, end_of
from rotator.cli.demo.service import CLUSTER
from rotator.cli.demo.telling import say, show, yes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rotator.cli.demo.agents import Agent
    from rotator.cli.demo.api import Api
    from rotator.cli.demo.intruder import Intruder
    from rotator.cli.demo.mesh import Mesh
    from rotator.cli.demo.stored import Stored

_ROTATION_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.05


@dataclass(slots=True, kw_only=True)
class Stage:
    """Everything that runs."""

    api: Api
    mesh: Mesh
    agents: tuple[Agent, ...]
    stored: Stored

    def check(self) -> None:
        """Raise `DemoFailed` when an agent or a node has ended."""
        for agent in self.agents:
            agent.check()
        for node in self.mesh.nodes.values():
            if not node.is_alive:
                raise DemoFailed(f"{node.name} ended:\n{end_of(node.log)}")


@dataclass(slots=True)
class _Watch:
    """What was told of one rotation so far."""

    stage: Stage
    course: Course
    intruder: Intruder | None
    position: int  #: of the newest fact that was told
    pairs: int = 0
    in_grace: bool | None = None
    links: frozenset[str] = field(default_factory=frozenset)

    def look(self, rotation: dict[str, Any]) -> None:
        """Tell what is new."""
        lines = list(self._intruder())
        is_grace = rotation["phase"] == "grace" and self.in_grace is None
        if is_grace:
            self.in_grace = all(
                rotation["from_version"] in cookies for cookies in self.stage.stored.by_node()
            )
        path = f"facts?cluster={CLUSTER}&after={self.position}&limit=200"
        facts = self.stage.api.call("operator", "GET", path)["facts"]
        self.position = max((fact["position"] for fact in facts), default=self.position)
        told = list(self.course.lines(facts))
        # Asked after the facts: where they tell of grace, all pairs were moved before it.
        grace = min((line.at for line in told if line.text == GRACE), default=float("inf"))
        lines += [*self._pairs(rotation, not_after=grace), *told]
        if is_grace:
            text = f"version {rotation['from_version']} readable by a node: {yes(self.in_grace)}"
            lines.append(Line(self._now(), text))
        show(sorted(lines))

    def _now(self) -> float:
        return self.course.elapsed(datetime.now(UTC))  # noqa: TID251 - a program of its own

    def _intruder(self) -> Iterator[Line]:
        if self.intruder is not None:
            links = self.intruder.intrusion().links
            yield from (Line(self._now(), text) for text in links_news(self.links, links))
            self.links = links

    def _pairs(self, rotation: dict[str, Any], *, not_after: float) -> Iterator[Line]:
        """A manual rotation moves them; its rollout is over when all are."""
        if rotation["kind"] == "manual" and rotation["phase"] in {"rolling_out", "grace"}:
            members = self.stage.api.of_cluster("/nodes")["nodes"]
            pairs = pairs_at(members, rotation["to_version"])
            if pairs > self.pairs:
                self.pairs, full = pairs, len(members) * (len(members) - 1) // 2
                yield Line(min(self._now(), not_after), f"{pairs} of {full} pairs moved")


def rotate(stage: Stage, kind: str, *, intruder: Intruder | None = None) -> dict[str, Any]:
    """One rotation; the rotation as the service tells of it, `seconds`, `in_grace` and `after`.

    `in_grace` and `after`: whether a node's rights show the former version. Raises `DemoFailed`.
    """
    path = f"clusters/{CLUSTER}/rotations"
    newest = stage.api.call("operator", "GET", f"facts?cluster={CLUSTER}&limit=1&newest_first=true")
    begun = time.monotonic()
    rotation = stage.api.call("operator", "POST", path, kind=kind, reason="demonstration")
    former = rotation["from_version"]
    say(f"\n{kind} rotation: version {former} -> {rotation['to_version']}")
    watch = _Watch(stage, Course(rotation), intruder, newest["facts"][0]["position"])
    if intruder is not None:
        watch.links = frozenset(stage.mesh.names)
    while True:
        interrupts.check()
        stage.check()
        rotation = stage.api.call("operator", "GET", f"{path}/{rotation['id']}")
        watch.look(rotation)
        if rotation["finished_at"] is not None:
            break
        if time.monotonic() - begun > _ROTATION_SECONDS:
            raise DemoFailed(_stuck(stage, rotation["phase"]))
        time.sleep(_LOOK_SECONDS)  # noqa: TID251 - a program that watches another
    seconds = round(time.monotonic() - begun, 3)
    after = stage.stored.is_readable(former)
    return rotation | {"seconds": seconds, "in_grace": watch.in_grace, "after": after}


def _stuck(stage: Stage, phase: str) -> str:
    blockers = stage.api.of_cluster()["blockers"]
    waits = "; ".join(f"{one['code']} {one['subject']}" for one in blockers) or "nothing"
    return f"still {phase} after {_ROTATION_SECONDS:.0f} s, waiting for {waits}"
