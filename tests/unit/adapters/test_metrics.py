from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rotator.adapters.telemetry import metrics as module
from rotator.adapters.telemetry.catalogue import CATALOGUE
from rotator.adapters.telemetry.metered import SECRETS_MANAGER, metered, metered_states
from rotator.adapters.telemetry.metrics import Metrics
from rotator.adapters.telemetry.samples import samples
from rotator.domain.calendar import Calendar
from rotator.domain.cluster import Blocker, Change, Standing
from rotator.domain.facts import Fact, FactKind
from rotator.domain.rotation import NEXT, Phase
from rotator.domain.schedule import Progress, Schedule
from rotator.errors import StateUnavailable, StoreSealed
from rotator.services.queries import _report
from rotator.services.vitals import Vitals, VitalSigns, cluster_vitals
from rotator.testing.factories import (
    NOW,
    a_cluster,
    a_crowd,
    a_member,
    a_policy,
    a_rotation,
    an_attestation,
    an_emergency,
)
from tests.support.rollouts import Course, by_restart, three

NODE = "rabbit@a"
WEEKLY = Schedule(calendar=Calendar("0 3 * * sun", UTC), jitter=timedelta())


def vitals(*crowds, **changes):
    """The figures of these clusters."""
    clusters = tuple(cluster_vitals(_report(crowd)) for crowd in crowds)
    plain = {"has_state": True, "is_leader": True, "fence": 7, "long_polls": 3, "fact_streams": 1}
    return Vitals(**{**plain, "clusters": clusters, **changes})


class Signs:
    """Figures that were taken before, and how often they were asked for."""

    def __init__(self, found):
        self.found = found
        self.taken = 0

    async def take(self):
        """What it has."""
        self.taken += 1
        return self.found


async def scraped(metrics, found=None):
    """Every series of a scrape: (name, its labels) → value."""
    text = (await metrics.scrape(Signs(found or vitals())))[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(series, name, **labels):
    """The value of one series."""
    return series.get((name, frozenset(labels.items())))


def crowd_of(phase=None, *members, **changes):
    """A cluster in a phase, with members and a policy."""
    rotation = None
    if phase is Phase.LOCKING:
        rotation = an_emergency(phase)
    elif phase is not None:
        rotation = a_rotation(phase)
    cluster = a_cluster(rotation, members=members, **changes)
    return a_crowd(cluster, policy=a_policy())


async def test_a_stable_cluster_is_told_by_its_figures():
    """State, version, its age and the members of a cluster stand on /metrics."""
    crowd = crowd_of(None, a_member(NODE))
    series = await scraped(Metrics(), vitals(crowd))
    cluster = {"cluster": crowd.cluster.name}
    assert of(series, "rotator_cluster_state", state="stable", **cluster) == 1
    assert of(series, "rotator_cluster_version", **cluster) == crowd.cluster.current.number
    age = (crowd.now - crowd.cluster.current.created_at).total_seconds()
    assert of(series, "rotator_cluster_version_age_seconds", **cluster) == age
    assert of(series, "rotator_cluster_rotation_phase", phase="none", **cluster) == 1
    assert of(series, "rotator_cluster_rotation_phase_seconds", **cluster) is None
    assert of(series, "rotator_cluster_members", liveness="live", **cluster) == 1
    assert of(series, "rotator_cluster_members", liveness="lost", **cluster) == 0
    assert of(series, "rotator_cluster_emergency", **cluster) == 0
    assert of(series, "rotator_leader") == 1
    assert of(series, "rotator_lease_fence") == 7
    assert of(series, "rotator_long_polls_open") == 3


async def test_a_cluster_without_a_schedule_is_never_overdue():
    """The series is absent, so that nobody takes it for one whose schedule holds."""
    crowd = crowd_of(None, a_member(NODE))
    series = await scraped(Metrics(), vitals(crowd))
    assert of(series, "rotator_cluster_overdue_seconds", cluster=crowd.cluster.name) is None


@pytest.mark.parametrize(("made", "overdue"), [(timedelta(days=8), True), (timedelta(0), False)])
async def test_a_version_that_its_schedule_wants_younger_is_overdue(made, overdue):
    """For how long it has been is a figure; 0 while the schedule is kept."""
    crowd = crowd_of(None, a_member(NODE))
    long_ago = crowd.now - timedelta(days=30)
    progress = Progress(rules=WEEKLY.rules, since=long_ago, settled_until=long_ago)
    current = replace(crowd.cluster.current, created_at=crowd.now - made)
    cluster = replace(crowd.cluster, schedule=progress).with_version(current)
    policy = replace(crowd.policy, schedule=WEEKLY)
    crowd = replace(crowd, cluster=cluster, policy=policy, serving_since=long_ago)
    series = await scraped(Metrics(), vitals(crowd))
    seconds = of(series, "rotator_cluster_overdue_seconds", cluster=crowd.cluster.name)
    assert (seconds > 0) is overdue


async def test_an_emergency_shows():
    """While an emergency locks, phase, round and that it is one can be alerted on."""
    crowd = crowd_of(Phase.LOCKING, a_member(NODE))
    series = await scraped(Metrics(), vitals(crowd))
    cluster = {"cluster": crowd.cluster.name}
    assert of(series, "rotator_cluster_emergency", **cluster) == 1
    assert of(series, "rotator_cluster_rotation_phase", phase="locking", **cluster) == 1
    assert of(series, "rotator_cluster_emergency_lock_round", **cluster) >= 1
    assert of(series, "rotator_cluster_rotation_phase_seconds", **cluster) >= 0


async def test_restarts_under_way_are_counted():
    """Claims by state, and who takes a place of those that may be down; only where nodes restart."""
    course = Course(three())
    hot = await scraped(Metrics(), vitals(replace(course.crowd, policy=a_policy())))
    course.take()
    series = await scraped(Metrics(), vitals(course.crowd))
    cluster = {"cluster": course.cluster.name}
    assert of(series, "rotator_cluster_restart_claims", state="claimed", **cluster) == 1
    assert of(series, "rotator_cluster_restart_claims", state="restarting", **cluster) == 0
    assert of(series, "rotator_cluster_unavailable_members", **cluster) == 1
    assert of(hot, "rotator_cluster_restart_claims", state="claimed", **cluster) is None
    assert of(hot, "rotator_cluster_unavailable_members", **cluster) is None


async def test_strange_members_are_counted_and_never_named():
    """Unknown cookies, foreign links and findings are figures; no node's name is a label."""
    said = an_attestation(
        None, own="f1:" + "0" * 32, foreign_links=("evil@x",), preflight=("cookie file is 0644",)
    )
    crowd = crowd_of(None, a_member(NODE, said))
    series = await scraped(Metrics(), vitals(crowd))
    cluster = {"cluster": crowd.cluster.name}
    assert of(series, "rotator_cluster_unknown_cookies", **cluster) == 1
    assert of(series, "rotator_cluster_foreign_links", **cluster) == 1
    assert of(series, "rotator_cluster_findings", **cluster) == 1
    assert of(series, "rotator_cluster_laggards", **cluster) == 1
    values = {value for _, labels in series for _, value in labels}
    assert not any("@" in value for value in values)


async def test_blockers_are_counted_by_code_with_the_age_of_the_oldest():
    """Two blockers of one code are one series, as old as the older."""
    standings = tuple(
        Standing(
            blocker=Blocker(code="laggard", subject=f"rabbit@{n}"), since=NOW - timedelta(minutes=n)
        )
        for n in (1, 5)
    )
    crowd = crowd_of(Phase.ROLLING_OUT, blockers=standings)
    series = await scraped(Metrics(), vitals(crowd))
    labels = {"cluster": crowd.cluster.name, "code": "laggard"}
    assert of(series, "rotator_cluster_blockers", **labels) == 2
    expected = (crowd.now - (NOW - timedelta(minutes=5))).total_seconds()
    assert of(series, "rotator_cluster_blocker_seconds", **labels) == expected


async def test_events_of_every_kind_begin_at_zero():
    """`increase()` sees the first fact of a kind and the first rotation that ends so."""
    series = await scraped(Metrics())
    for kind in FactKind:
        assert of(series, "rotator_facts_total", kind=kind.value) == 0
    ends = {phase for phase, following in NEXT.items() if not following}
    found = {
        dict(labels)["outcome"]
        for name, labels in series
        if name.endswith("rotations_finished_total")
    }
    assert found == {phase.value for phase in ends}


class Port:
    """A port with one method that works and one that fails."""

    async def read(self, name):
        """Works."""
        return name

    async def write(self):
        """Fails by name."""
        raise StoreSealed

    async def crash(self):
        """Fails as nobody foresaw."""
        raise ValueError("planted")


async def test_calls_of_a_store_are_timed_and_failures_counted_by_code():
    """A metered store answers and fails as the one behind it, and every call is counted."""
    metrics = Metrics()
    port = metered(Port(), store=SECRETS_MANAGER, prefix="document_", meter=metrics)
    assert await port.read("x") == "x"
    with pytest.raises(StoreSealed):
        await port.write()
    with pytest.raises(ValueError):
        await port.crash()
    series = await scraped(metrics)
    call = {"store": SECRETS_MANAGER, "operation": "document_read"}
    assert of(series, "rotator_store_operation_seconds_count", **call) == 1
    call["operation"] = "document_write"
    assert of(series, "rotator_store_operation_seconds_count", **call) == 1
    assert of(series, "rotator_store_errors_total", code="store_sealed", **call) == 1
    call["operation"] = "document_crash"
    assert of(series, "rotator_store_errors_total", code="internal", **call) == 1
    assert not any("planted" in value for _, labels in series for _, value in labels)


class States:
    """Clusters that are saved, or not."""

    def __init__(self):
        self.fails = False

    async def save(self, before, change, **_more):
        """The cluster, or an error."""
        if self.fails:
            raise StateUnavailable
        return change.cluster

    async def add_fact(self, fact, *, cluster=None):
        """Works."""
        return


async def test_facts_and_finished_rotations_are_counted_once_they_are_stored():
    """What the store did not confirm is not counted, and a rotation only when it has ended."""
    metrics, states = Metrics(), States()
    counted = metered_states(states, meter=metrics)
    done = a_rotation(Phase.COMPLETED)
    fact = Fact(kind=FactKind.ROTATION_COMPLETED, at=NOW, by="rotator")
    change = Change(
        cluster=a_cluster(None), facts=(fact,), rotations=(done, a_rotation(Phase.GRACE))
    )
    await counted.save(a_cluster(None), change)
    states.fails = True
    with pytest.raises(StateUnavailable):
        await counted.save(a_cluster(None), change)
    await counted.add_fact(Fact(kind=FactKind.TOKEN_CREATED, at=NOW, by="local"))
    series = await scraped(metrics)
    assert of(series, "rotator_facts_total", kind="RotationCompleted") == 1
    assert of(series, "rotator_facts_total", kind="TokenCreated") == 1
    ended = {"kind": str(done.kind), "outcome": "completed"}
    assert of(series, "rotator_rotations_finished_total", **ended) == 1


async def test_methods_that_nobody_knows_are_one_label():
    """A client cannot make series by inventing methods."""
    metrics = Metrics()
    for method in ("GET", "BREW", "PROPFIND"):
        metrics.answered(method, "/v1/clusters", 405)
    metrics.answered("GET", "/v1/clusters", 0)
    series = await scraped(metrics)
    name, route = "rotator_http_requests_total", "/v1/clusters"
    assert of(series, name, method="other", route=route, status="405") == 2
    assert of(series, name, method="GET", route=route, status="none") == 1


async def test_scrapes_at_the_same_moment_are_one(monkeypatch):
    """Whoever hammers /metrics hammers neither the state store nor the event loop."""
    monkeypatch.setattr(module, "_FRESH_SECONDS", 3600.0)
    metrics, signs = Metrics(), Signs(vitals())
    found = await asyncio.gather(*(metrics.scrape(signs) for _ in range(20)))
    assert signs.taken == 1
    assert all(text is found[0][0] for text, _ in found), "written once"
    monkeypatch.setattr(module, "_FRESH_SECONDS", 0.0)
    metrics.passed("changing")
    assert b'"changing"' in (await metrics.scrape(signs))[0]


class Broken:
    """A state store that fails."""

    async def names(self):
        """Fails."""
        raise StateUnavailable


class BrokenQueries:
    states = Broken()
    cluster = None


async def test_a_state_store_that_fails_is_a_figure_and_no_error():
    """A scrape answers while the state store is down, and says so."""
    signs = VitalSigns(
        queries=BrokenQueries(),
        is_leader=lambda: True,
        fence=lambda: 1,
        long_polls=lambda: 0,
        fact_streams=lambda: 0,
    )
    series = await scraped(Metrics(), await signs.take())
    assert of(series, "rotator_state_store_readable") == 0
    assert of(series, "rotator_leader") == 1
    assert not any(name.startswith("rotator_cluster_") for name, _ in series)


def test_each_sample_has_the_labels_that_the_catalogue_names():
    """A gauge has as many values as labels, and every gauge can be filled."""
    standing = Standing(blocker=Blocker(code="laggard"), since=NOW)
    crowd = crowd_of(Phase.LOCKING, a_member(NODE), blockers=(standing,))
    crowd = replace(crowd, policy=by_restart(schedule=WEEKLY))
    made = list(samples(vitals(crowd)))
    assert all(len(metric.labels) == len(labels) for metric, labels, _ in made)
    gauges = {one.name for one in CATALOGUE if one.kind == "gauge"} - {"rotator_build_info"}
    assert {metric.name for metric, _, _ in made} == gauges


def test_names_follow_the_conventions_of_prometheus():
    """Counters end in _total, times in _seconds, and everything begins with rotator_."""
    for metric in CATALOGUE:
        assert metric.name.startswith("rotator_")
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert metric.kind != "histogram" or metric.name.endswith("_seconds")
        assert "node" not in metric.labels
