"""Every sequence, interrupted at every write in every way, comes to the same end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import pytest

from rotator.domain.actions import Line, Wait
from rotator.domain.calendar import Calendar
from rotator.domain.ids import NodeName
from rotator.domain.rotation import Kind, Phase
from rotator.domain.schedule import Schedule
from rotator.domain.version import Origin
from rotator.errors import PhaseForbids
from rotator.testing.factories import a_policy
from tests.property.world import SECOND, Crash, World

NAMES = ("rabbit@a", "rabbit@b")
Script = Callable[["Run"], None]


class Run:
    """A world whose reconciler is interrupted once, at the n-th of its writes."""

    def __init__(
        self, names: tuple[str, ...], *, at: int | None = None, crash: Crash | None = None
    ) -> None:
        expect = frozenset(map(NodeName, names)) or None
        self.world = World(replace(a_policy(expect=expect), grace_window=60 * SECOND), names)
        self.at, self.crash = at, crash
        self.writes = 0

    def step(self) -> bool:
        """One write; whether there was one to do."""
        crash = self.crash if self.writes == self.at else None
        action = self.world.step(crash)
        if action is None or isinstance(action, Wait):
            return False
        self.writes += 1
        if crash is Crash.BEFORE:
            self.world.step()
        return True

    def until(self, phase: Phase | None) -> None:
        """Until the rotation is in *phase* (None: finished), with everybody honest."""
        for _ in range(60):
            rotation = self.world.cluster.rotation
            if (rotation.phase if rotation else None) is phase and self.world.cluster.versions:
                return
            for node in self.world.nodes.values():
                self.world.heartbeat(node)
            while self.step():
                rotation = self.world.cluster.rotation
                if (rotation.phase if rotation else None) is phase:
                    return
            self.world.now += 15 * SECOND
        raise AssertionError(f"{phase} is not reached")

    def rest(self) -> None:
        """To the end."""
        self.until(None)
        self.world.examine_rest()


def _init(run: Run) -> None:
    run.world.initialise()
    while run.step():
        pass
    assert run.world.cluster.is_initialised


def _import(run: Run) -> None:
    run.world.initialise(Origin.IMPORTED)
    assert not run.step()
    run.world.import_document()
    while run.step():
        pass
    assert run.world.cluster.is_initialised


def _manual(run: Run) -> None:
    _init(run)
    run.world.start()
    run.rest()


def _begun(run: Run, phase: Phase) -> None:
    _init(run)
    run.world.start()
    run.until(phase)


def _abort_from(phase: Phase) -> Script:
    def script(run: Run) -> None:
        _begun(run, phase)
        run.world.abort()
        run.rest()

    return script


def _roll_back_from(phase: Phase) -> Script:
    def script(run: Run) -> None:
        _begun(run, phase)
        run.world.roll_back()
        run.rest()

    return script


def _emergency_from(phase: Phase) -> Script:
    def script(run: Run) -> None:
        _begun(run, phase)
        run.world.start(Kind.EMERGENCY)
        run.rest()

    return script


def _emergency_while_rolling_back(phase: Phase) -> Script:
    def script(run: Run) -> None:
        _begun(run, Phase.ROLLING_OUT)
        run.world.roll_back()
        run.until(phase)
        run.world.start(Kind.EMERGENCY)
        run.rest()

    return script


def _emergency_over_emergency(phase: Phase) -> Script:
    def script(run: Run) -> None:
        _init(run)
        run.world.start(Kind.EMERGENCY)
        run.until(phase)
        run.world.start(Kind.EMERGENCY, force=True)
        run.rest()

    return script


def _emergency_in_two_rounds(run: Run) -> None:
    _init(run)
    run.until(None)
    for node in run.world.nodes.values():
        run.world.heartbeat(node)
        node.foreign_links = ("intruder@x",)
    run.world.start(Kind.EMERGENCY)
    for node in run.world.nodes.values():
        run.world.heartbeat(node)
        node.foreign_links = ()
    run.rest()


def _scheduled(run: Run) -> None:
    """One slot that a rotation begins for, and one for which the version is young enough."""
    _init(run)
    world = run.world
    calendar = Calendar("0 7 * * *", UTC)
    schedule = Schedule(calendar=calendar, jitter=0 * SECOND, spacing=600 * SECOND)
    world.policy = replace(world.policy, schedule=schedule)
    run.until(None)
    assert run.step()
    for rotates_before in (False, True):
        slot = calendar.after(world.now)
        assert slot is not None
        if rotates_before:
            _leap(run, slot - 300 * SECOND)
            world.start()
            run.rest()
        _leap(run, slot)
        while run.step():
            pass
        run.rest()


def _leap(run: Run, to: datetime) -> None:
    run.world.now = to
    for node in run.world.nodes.values():
        run.world.heartbeat(node)


_ORDINARY = (
    Phase.STAGED,
    Phase.INSTALLING,
    Phase.PROMOTING,
    Phase.ROLLING_OUT,
    Phase.GRACE,
    Phase.RETIRING,
)
SCRIPTS: dict[str, Script] = {
    "init": _init,
    "import": _import,
    "manual": _manual,
    "scheduled": _scheduled,
    "rounds": _emergency_in_two_rounds,
    **{f"abort-{p}": _abort_from(p) for p in _ORDINARY[:2]},
    **{f"rollback-{p}": _roll_back_from(p) for p in (Phase.ROLLING_OUT, Phase.GRACE)},
    **{f"emergency-{p}": _emergency_from(p) for p in _ORDINARY},
    **{
        f"emergency-back-{p}": _emergency_while_rolling_back(p)
        for p in (Phase.ROLLING_BACK, Phase.RETIRING)
    },
    **{
        f"emergency-emergency-{p}": _emergency_over_emergency(p)
        for p in (Phase.LOCKING, Phase.PROMOTING, Phase.ROLLING_OUT, Phase.RETIRING)
    },
}
CROWDS = {"nobody": (), "members": NAMES}


@cache
def _undisturbed(script: str, crowd: str) -> World:
    run = Run(CROWDS[crowd])
    SCRIPTS[script](run)
    return run.world


def _end(world: World) -> object:
    """What must not depend on interruptions: versions, cookies, rotations, one fact each."""
    assert world.document is not None
    versions = {n: (v.stage, v.fingerprint) for n, v in world.cluster.versions.items()}
    rotations = {name: (row.phase, row.to_version) for name, row in world.rotations.items()}
    facts = {k: n for k, n in world.facts.items() if not k.startswith("Member")}
    return versions, world.document.fingerprints(), world.numbers, rotations, facts


@pytest.mark.parametrize("crowd", CROWDS)
@pytest.mark.parametrize("crash", Crash)
@pytest.mark.parametrize("script", SCRIPTS)
def test_an_interruption_at_any_write_changes_nothing_in_the_end(
    script: str, crash: Crash, crowd: str
) -> None:
    """Died before or after a write, or its answer lost: same numbers, one fact each, same end."""
    expected = _undisturbed(script, crowd)
    at = 0
    while True:
        run = Run(CROWDS[crowd], at=at, crash=crash)
        SCRIPTS[script](run)
        if run.writes <= at:
            break
        assert _end(run.world) == _end(expected), f"interrupted at write {at}"
        assert run.world.lines == expected.lines
        at += 1
    assert at > 0


def test_every_line_of_the_order_of_writes_is_replayed() -> None:
    """The sequences together write every line, so that none is left out of these tests."""
    written = {line for script in SCRIPTS for line in _undisturbed(script, "members").lines}
    # A lost store is brought back by commands on the server; tests/acceptance kills these.
    assert written == set(Line) - {Line.L1, Line.KL, Line.KD}


def test_a_rotation_without_members_writes_its_lines_in_the_order_that_is_documented() -> None:
    """The order of writes is that of the table, with none twice."""
    lines = _undisturbed("manual", "nobody").lines
    assert lines == [
        "I1",
        "KI1",
        "KI2",
        "I2",
        "S1",
        "K1",
        "S2",
        "S3",
        "K2",
        "S4",
        "S5",
        "S6",
        "K3",
        "S7",
    ]
    lines = _undisturbed("abort-installing", "nobody").lines[4:]
    assert lines == ["S1", "K1", "S2", "A1", "KA", "A2"]
    lines = _undisturbed("rollback-grace", "nobody").lines[4:]
    assert lines == ["S1", "K1", "S2", "S3", "K2", "S4", "S5", "R1", "KR1", "R2", "R3", "KR2", "R4"]
    lines = _undisturbed("emergency-rolling_out", "nobody").lines[10:]
    assert lines == ["E1", "E2", "KE1", "KE2", "E3", "E4", "E5"]


@pytest.mark.parametrize("phase", [Phase.PROMOTING, Phase.ROLLING_OUT, Phase.GRACE, Phase.RETIRING])
def test_there_is_no_abort_after_the_point_of_no_return(phase: Phase) -> None:
    """From `promoting` on an abort is refused, and says in which phase."""
    run = Run(())
    _begun(run, phase)
    with pytest.raises(PhaseForbids, match=f"a rotation in {phase} cannot be aborted"):
        run.world.abort()
