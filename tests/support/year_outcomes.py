"""What must have happened in a year of schedules, and what must not: from the facts alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rotator.domain import schedule as schedules
from rotator.domain.facts import FactKind
from rotator.domain.rotation import Phase
from rotator.domain.schedule import CATCH_UP
from tests.support.year import HOUR, MINUTE

if TYPE_CHECKING:
    from rotator.domain.ids import ClusterName
    from tests.support.year import Year


class Outcomes:
    """Holds what is recorded against what should have been."""

    def __init__(self, year: Year) -> None:
        self.plans, self.policies = year.plans, year.policies
        self.facts, self.crowds_at_end = year.facts, year.crowds_at_end
        self.paused, self.up, self.end = year.paused, year.up, year.end
        self.kills_missing = year.chaos.kills
        self.busy: dict[ClusterName, list[tuple[datetime, datetime]]] = defaultdict(list)
        for name in self.plans:
            self._note_busy(name)

    def _note_busy(self, name: ClusterName) -> None:
        begun: datetime | None = None
        ends = {FactKind.ROTATION_COMPLETED, FactKind.ROTATION_SUPERSEDED}
        for one in self.facts[name]:
            if one.fact.kind in ends and begun is not None:
                self.busy[name].append((begun, one.fact.at))
                begun = None
            if one.fact.kind in {FactKind.ROTATION_STARTED, FactKind.EMERGENCY_STARTED}:
                begun = one.fact.at
        if begun is not None:
            self.busy[name].append((begun, self.end))

    def examine(self) -> Counter[str]:
        """Each slot has its one outcome, with a reason that holds; nothing else has begun."""
        outcomes: Counter[str] = Counter()
        for name in self.plans:
            outcomes += self._examine(name)
        assert self.kills_missing == 0, f"{self.kills_missing} kills are missing"
        return outcomes

    def _examine(self, name: ClusterName) -> Counter[str]:
        facts = [one.fact for one in self.facts[name]]
        taken_up = [fact.at for fact in facts if fact.kind is FactKind.SCHEDULE_CHANGED]
        assert len(taken_up) == 1
        runs, skips = defaultdict(list), defaultdict(list)
        for fact in facts:
            if fact.kind is FactKind.ROTATION_STARTED and "slot" in fact.details:
                runs[datetime.fromisoformat(fact.details["slot"])].append(fact)
            if fact.kind is FactKind.SLOT_PASSED_OVER:
                skips[datetime.fromisoformat(fact.details["slot"])].append(fact)
        slots = self.plans[name].slots(taken_up[0], self.end)
        strange = {str(one) for one in (runs.keys() | skips.keys()) - set(slots)}
        assert not strange, f"{name}: what was not due has begun: {strange}"
        outcomes: Counter[str] = Counter()
        for slot in slots:
            said = [*runs[slot], *skips[slot]]
            assert len(said) <= 1, f"{name} {slot}: twice"
            if runs[slot]:
                outcomes[self._examine_run(name, slot, runs[slot][0].at)] += 1
            elif skips[slot]:
                why = skips[slot][0].details["why"]
                self._examine_skip(name, slot, why, skips[slot][0].at)
                outcomes[why] += 1
            else:
                outcomes[self._examine_silence(name, slot)] += 1
        self._examine_rotations(name, facts, len([slot for slot in runs if runs[slot]]))
        return outcomes

    def _planned(self, name: ClusterName, slot: datetime) -> datetime:
        schedule = self.policies[name].schedule
        assert schedule is not None
        planned = schedules.planned_start(self.crowds_at_end[name].cluster, schedule, slot)
        assert slot <= planned <= slot + schedule.jitter
        return planned

    def _closes(self, name: ClusterName, slot: datetime) -> datetime:
        schedule = self.policies[name].schedule
        assert schedule is not None
        return slot + schedule.window if schedule.window else datetime.max.replace(tzinfo=UTC)

    def _examine_run(self, name: ClusterName, slot: datetime, at: datetime) -> str:
        planned = self._planned(name, slot)
        assert planned <= at < self._closes(name, slot)
        assert not any(begin < at < end for begin, end in self.paused[name])
        if at <= planned + MINUTE:
            return "in time"
        self._assert_no_chance(name, planned, at)
        return "late"

    def _examine_skip(self, name: ClusterName, slot: datetime, why: str, at: datetime) -> None:
        if why == "fresh":
            made = [v.created_at for v in self.crowds_at_end[name].cluster.versions.values()]
            assert any(slot - HOUR < made_at <= at for made_at in made)
            return
        assert why == "window_closed"
        closes = self._closes(name, slot)
        assert at >= closes
        self._assert_no_chance(name, self._planned(name, slot), closes)

    def _examine_silence(self, name: ClusterName, slot: datetime) -> str:
        """No fact of its own: paused, in the place of a later one, or too near to the end."""
        planned = self._planned(name, slot)
        for fact in (one.fact for one in self.facts[name]):
            last = fact.details.get("slot") or fact.details.get("passed_over")
            if last is None:
                continue
            first = fact.details.get("due_since") or last
            if datetime.fromisoformat(first) <= slot <= datetime.fromisoformat(last):
                # From the slot on that stood for it, that one's own time counts.
                stood_for = datetime.fromisoformat(last)
                ends_at = min(fact.at, stood_for) if stood_for > slot else fact.at
                self._assert_no_chance(name, planned, ends_at)
                is_resume = fact.kind is FactKind.SCHEDULE_RESUMED
                return "paused" if is_resume else "stood for by a later one"
        self._assert_no_chance(name, planned, self.end)
        return "at the end"

    def _assert_no_chance(self, name: ClusterName, begin: datetime, end: datetime) -> None:
        """In this time the process was never up, idle and unpaused for as long as it needs."""
        free = [(max(begin, a), min(end, b)) for a, b in self.up if a < end and b > begin]
        for taken in (self.busy[name], self.paused[name]):
            for a, b in taken:
                free = [
                    part
                    for x, y in free
                    for part in ((x, min(y, a)), (max(x, b), y))
                    if part[0] < part[1]
                ]
        needed = CATCH_UP + MINUTE
        assert all(b - a <= needed for a, b in free), f"{name}: had the chance from {begin}"

    def _examine_rotations(self, name: ClusterName, facts: list[Any], runs: int) -> None:
        kinds = Counter(
            fact.details["rotation_kind"]
            for fact in facts
            if fact.kind in {FactKind.ROTATION_STARTED, FactKind.EMERGENCY_STARTED}
        )
        assert kinds["scheduled"] == runs
        cluster = self.crowds_at_end[name].cluster
        assert len(cluster.versions) == 1 + sum(kinds.values())
        if cluster.rotation is not None:
            assert cluster.rotation.phase is not Phase.COMPLETED
