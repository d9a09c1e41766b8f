"""What a pod's object says, and which pod a node is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rotator.errors import ConfigurationError
from rotator.orchestrators.pods import NodeNames, PodSeen, labels, obstacle, seen

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SETTLE = timedelta(seconds=30)


def a_pod(*, ready: bool = True, age: float = 3600.0, **meta: Any) -> PodSeen:
    """One that is up, unless it is said otherwise."""
    created = (NOW - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [{"type": "Ready", "status": str(ready)}]
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    return seen(
        {
            "metadata": {"name": "app-0", "uid": "u", "creationTimestamp": created, **meta},
            "status": {
                "phase": "Running", "conditions": conditions,
                "containerStatuses": [] if ready else [waiting, waiting],
            },
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("node", "pod"),
    [
        ("rabbit@app-0.nodes.shop", "app-0"),
        ("rabbit@app-10.nodes.shop", "app-10"),
        ("rabbit@app-0xnodes.shop", None),
        ("rabbit@app-0.other.nodes.shop", None),
        ("rabbit@../../x.nodes.shop", None),
        ("rabbit@App.nodes.shop", None),
        ("mouse@app-0.nodes.shop", None),
        ("rabbit@.nodes.shop", None),
    ],
)
def test_a_nodes_name_gives_its_pod_or_none(node: str, pod: str | None) -> None:
    """The pattern is taken literally, and what stands for the pod can be nothing but a pod's name."""
    assert NodeNames("rabbit@{pod}.nodes.shop").pod_of(node) == pod


@pytest.mark.parametrize("pattern", ["", "rabbit@x", "{pod}", "{pod}@{pod}"])
def test_a_pattern_that_cannot_be_meant_is_refused(pattern: str) -> None:
    """It holds the mark once, and an @."""
    with pytest.raises(ConfigurationError):
        NodeNames(pattern)


@pytest.mark.parametrize("selector", ["", "app", "a=b,", "=x", "a!=b", "a in (b)"])
def test_a_selector_that_would_select_by_more_than_labels_is_refused(selector: str) -> None:
    """No selector at all would let any pod be evicted."""
    with pytest.raises(ConfigurationError):
        labels(selector)


def test_labels_are_read() -> None:
    """Several, with a domain before the name."""
    found = labels("app.kubernetes.io/name=rabbitmq, tier=mq")
    assert found == {"app.kubernetes.io/name": "rabbitmq", "tier": "mq"}


def test_only_a_pod_that_is_up_and_settled_may_go() -> None:
    """One that ends, starts, is ill or is new is left alone, and it is said why."""
    assert obstacle(a_pod(), now=NOW, settle=SETTLE) == ""
    ending = a_pod(deletionTimestamp="2026-11-25T12:00:00Z")
    assert "about to end" in obstacle(ending, now=NOW, settle=SETTLE)
    ill = obstacle(a_pod(ready=False), now=NOW, settle=SETTLE)
    assert ill == "pod app-0 is not ready: Running (CrashLoopBackOff)"
    assert "just started" in obstacle(a_pod(age=29.0), now=NOW, settle=SETTLE)
    assert obstacle(a_pod(age=31.0), now=NOW, settle=SETTLE) == ""
    assert "just started" in obstacle(a_pod(creationTimestamp=""), now=NOW, settle=SETTLE)


@pytest.mark.parametrize(("since", "is_new"), [(29, True), (31, False)])
def test_a_container_that_was_started_again_is_given_time_as_well(since: int, is_new: bool) -> None:
    """The pod is old, and ready for a moment only: its member may have booted just now."""
    changed = (NOW - timedelta(seconds=since)).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": changed}
    meta = {"name": "app-0", "creationTimestamp": "2026-11-01T00:00:00Z"}
    pod = seen({"metadata": meta, "status": {"phase": "Running", "conditions": [ready]}})
    assert ("just started" in obstacle(pod, now=NOW, settle=SETTLE)) is is_new


def test_an_object_without_anything_is_a_pod_that_is_not_up() -> None:
    """What is missing counts as not so."""
    assert obstacle(seen({}), now=NOW, settle=SETTLE) == "pod  is not ready: Unknown"
