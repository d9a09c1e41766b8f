"""Metrics for Prometheus: the one sink, in a registry of its own.

Counters are fed where things happen; gauges are read from `Vitals` at the moment of a scrape, so
none of them can be forgotten in a state that is over.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

import rotator
from rotator.adapters.telemetry import catalogue as c
from rotator.adapters.telemetry.samples import GAUGES, samples
from rotator.domain.facts import FactKind
from rotator.domain.rotation import NEXT, Kind
from rotator.errors import InvariantViolated, RotatorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client.metrics_core import Metric as Family

    from rotator.domain.facts import Fact
    from rotator.domain.rotation import Rotation
    from rotator.services.vitals import Vitals

#: However often it is scraped, it is read and written no more than once in this time.
_FRESH_SECONDS: Final = 1.0
#: From a read in memory to a call that nearly missed its deadline: of 5 s, on AWS of 10 s.
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS: Final = frozenset({"GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"})


class TakesVitals(Protocol):
    """Where the figures of a scrape come from."""

    async def take(self) -> Vitals:
        """As of now; never an error."""
        ...


class _Gauges(Collector):
    """The gauges of the last figures that were taken."""

    def __init__(self) -> None:
        self.vitals: Vitals | None = None

    def collect(self) -> Iterator[Family]:
        """Every gauge, also where it has no series just now."""
        families = {
            one.name: GaugeMetricFamily(one.name, one.help, labels=one.labels) for one in GAUGES
        }
        families[c.BUILD.name].add_metric([rotator.__version__], 1)
        if self.vitals is not None:
            for metric, labels, value in samples(self.vitals):
                families[metric.name].add_metric(labels, value)
        return iter(families.values())


class Metrics:
    """Counts, and writes the text that Prometheus reads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._gauges = _Gauges()
        self._registry.register(self._gauges)
        ProcessCollector(registry=self._registry)
        self._facts = self._counter(c.FACTS)
        self._rotations = self._counter(c.ROTATIONS)
        self._passes = self._counter(c.PASSES)
        self._requests = self._counter(c.REQUESTS)
        self._store_errors = self._counter(c.STORE_ERRORS)
        self._store_seconds = Histogram(
            c.STORE_SECONDS.name,
            c.STORE_SECONDS.help,
            c.STORE_SECONDS.labels,
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._begin_at_zero()
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._text = b""

    def _counter(self, metric: c.Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self._registry)

    def _begin_at_zero(self) -> None:
        """A series that appears with its first event hides that event from `increase()`."""
        for kind in FactKind:
            self._facts.labels(kind.value)
        for rotation_kind in Kind:
            for phase, following in NEXT.items():
                if not following:
                    self._rotations.labels(rotation_kind.value, phase.value)
        for outcome in ("ok", RotatorError.code, InvariantViolated.code):
            self._passes.labels(outcome)

    def wrote(self, facts: Sequence[Fact], rotations: Sequence[Rotation] = ()) -> None:
        """These facts, and these rotations, were stored."""
        for fact in facts:
            self._facts.labels(fact.kind.value).inc()
        for rotation in rotations:
            if rotation.is_finished:
                self._rotations.labels(rotation.kind.value, rotation.phase.value).inc()

    def passed(self, outcome: str) -> None:
        """The reconciler has looked at a cluster: ``ok``, or the code of what failed."""
        self._passes.labels(outcome).inc()

    def answered(self, method: str, route: str, status: int) -> None:
        """A request was answered; *route* is a template. *status* 0: nobody was there any more."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status) if status else "none").inc()

    def called(self, store: str, operation: str, *, seconds: float, error: str | None) -> None:
        """A call of a store has ended; *error* is the code of what it raised."""
        self._store_seconds.labels(store, operation).observe(seconds)
        if error is not None:
            self._store_errors.labels(store, operation, error).inc()

    async def scrape(self, signs: TakesVitals) -> tuple[bytes, str]:
        """The text for Prometheus and its media type, at most a second old."""
        async with self._reading:
            if time.monotonic() - self._read_at >= _FRESH_SECONDS:
                self._gauges.vitals = await signs.take()
                self._text = generate_latest(self._registry)
                self._read_at = time.monotonic()
            return self._text, CONTENT_TYPE_LATEST
