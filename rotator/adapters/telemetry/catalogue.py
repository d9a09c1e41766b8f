"""Every metric by name: its kind, its labels and what it says. docs/reference/metrics.md follows it.

No label holds what a node, a person or a request made up: a cluster is declared in rotator.yaml, a
route is a template, and everything else is a word of the code. So the number of series is bounded,
and no label can hold a secret. Nodes are no label; `rotator nodes` names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric as it stands on /metrics."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"rotator_{name}", kind="gauge", help=text, labels=labels)


def _of_cluster(name: str, text: str, *labels: str) -> Metric:
    return _gauge(f"cluster_{name}", text, "cluster", *labels)


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"rotator_{name}_total", kind="counter", help=text, labels=labels)


BUILD: Final = _gauge("build_info", "Always 1; the version of the program.", "version")
LEADER: Final = _gauge("leader", "1 while this process may reconcile, else 0.")
FENCE: Final = _gauge("lease_fence", "Fencing token of the lease that this process took last.")
STATE_READ: Final = _gauge(
    "state_store_readable", "1 if this scrape could read the clusters, else 0 and none is shown."
)
LONG_POLLS: Final = _gauge("long_polls_open", "Requests that wait for a cluster to change.")
STREAMS: Final = _gauge("fact_streams_open", "Open streams of facts.")

STATE: Final = _of_cluster("state", "Always 1; the state as `rotator status` shows it.", "state")
VERSION: Final = _of_cluster("version", "Number of the current version; 0 before the first.")
VERSION_AGE: Final = _of_cluster(
    "version_age_seconds", "Time since the current version was made; absent before the first."
)
OVERDUE: Final = _of_cluster(
    "overdue_seconds",
    "Time since its schedule wanted a younger version; 0: not, absent: no schedule.",
)
PHASE: Final = _of_cluster(
    "rotation_phase", "Always 1; the phase of the rotation under way, or none.", "phase"
)
PHASE_AGE: Final = _of_cluster(
    "rotation_phase_seconds", "Time in the present phase; absent while nothing rotates."
)
ROTATION_AGE: Final = _of_cluster(
    "rotation_seconds", "Time since the rotation under way began; absent while nothing rotates."
)
EMERGENCY: Final = _of_cluster("emergency", "1 while an emergency is under way, else 0.")
LOCK_ROUND: Final = _of_cluster("emergency_lock_round", "Round of locking; 0 outside of one.")
MAY_BE_READ: Final = _of_cluster(
    "emergency_unlocked_members", "Members that may have read the new cookie in this emergency."
)
MEMBERS: Final = _of_cluster("members", "Members by liveness.", "liveness")
LAGGARDS: Final = _of_cluster(
    "laggards", "Running members not proven to use current for themselves and for every pair."
)
UNKNOWN: Final = _of_cluster("unknown_cookies", "Members on a cookie that is none of ours.")
RETIRED: Final = _of_cluster("retired_cookies", "Members on a version that is over.")
FOREIGN: Final = _of_cluster("foreign_links", "Members with a link to somebody who is no member.")
FINDINGS: Final = _of_cluster("findings", "Members whose agent found something to mend.")
CLAIMS: Final = _of_cluster(
    "restart_claims", "Claims on restarts that are under way, by state.", "state"
)
UNAVAILABLE: Final = _of_cluster(
    "unavailable_members", "Members that count against max_unavailable; absent where none restarts."
)
BLOCKERS: Final = _of_cluster("blockers", "What the cluster waits for, by code.", "code")
BLOCKER_AGE: Final = _of_cluster(
    "blocker_seconds", "How long the oldest blocker of this code has stood.", "code"
)

FACTS: Final = _counter("facts", "Facts written by this process.", "kind")
ROTATIONS: Final = _counter(
    "rotations_finished", "Rotations that ended, by kind and last phase.", "kind", "outcome"
)
PASSES: Final = _counter(
    "reconciler_passes",
    "Passes over a cluster; outcome is ok, or the code of what failed.",
    "outcome",
)
REQUESTS: Final = _counter(
    "http_requests", "Answered requests of the API, by route template.", "method", "route", "status"
)
STORE_SECONDS: Final = Metric(
    name="rotator_store_operation_seconds",
    kind="histogram",
    help="Time that calls of secrets_manager and state_store took, failed ones included.",
    labels=("store", "operation"),
)
STORE_ERRORS: Final = _counter(
    "store_errors",
    "Calls of a store that failed, by the error's code.",
    "store",
    "operation",
    "code",
)

CATALOGUE: Final[tuple[Metric, ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
