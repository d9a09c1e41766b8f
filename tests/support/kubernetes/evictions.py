"""The Eviction API: a pod goes only while its PodDisruptionBudget lets it."""

from __future__ import annotations

import math
from typing import Any

from tests.support.kubernetes.selectors import selected
from tests.support.kubernetes.store import (
    BUDGET,
    POD,
    STATEFUL_SET,
    Item,
    Refused,
    Store,
    timestamp,
)

GRACE_SECONDS = 30


def is_ready(pod: Item) -> bool:
    """Whether its condition says so."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def is_healthy(pod: Item) -> bool:
    """Ready, and not about to go."""
    return is_ready(pod) and "deletionTimestamp" not in pod["metadata"]


def delete_pod(store: Store, pod: Item, options: Item | None = None) -> Item:
    """Mark it, so that the kubelet stops it; with a grace of 0 it is gone at once."""
    options = options or {}
    meta = pod["metadata"]
    wanted = options.get("preconditions") or {}
    for key, name in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if wanted.get(key) not in {None, meta[key]}:
            raise Refused(
                409, "Conflict",
                f'Operation cannot be fulfilled on pods "{meta["name"]}": Precondition failed:'
                f" {name} in precondition: {wanted[key]}, {name} in object meta: {meta[key]}",
                {"name": meta["name"], "kind": "pods"},
            )  # fmt: skip
    grace = options.get("gracePeriodSeconds")
    if grace is None:
        grace = pod["spec"].get("terminationGracePeriodSeconds", GRACE_SECONDS)
    if grace == 0 and not options.get("dryRun"):
        return store.remove(POD, meta["namespace"], meta["name"])

    def mark(item: Item) -> None:
        item["metadata"].setdefault("deletionTimestamp", timestamp())
        item["metadata"]["deletionGracePeriodSeconds"] = grace

    if options.get("dryRun"):
        return pod
    return store.change(POD, meta["namespace"], meta["name"], mark)


def evict(store: Store, pod: Item, options: Item | None) -> Item:
    """Delete it as far as its budget lets; 429 otherwise, 500 when it has two budgets."""
    meta, phase = pod["metadata"], pod.get("status", {}).get("phase", "Pending")
    is_free = phase in {"Pending", "Succeeded", "Failed"} or "deletionTimestamp" in meta
    budgets = [] if is_free else _budgets(store, pod)
    if len(budgets) > 1:
        raise Refused(
            500, "InternalError",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does"
            " not support.",
        )  # fmt: skip
    for budget in budgets:
        state = standing(store, budget)
        is_spared = not is_ready(pod) and state["currentHealthy"] >= state["desiredHealthy"] > 0
        if state["disruptionsAllowed"] < 1 and not is_spared:
            _refuse(budget, state)
    delete_pod(store, pod, options)
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    }  # fmt: skip


def _refuse(budget: Item, state: dict[str, int]) -> None:
    name = budget["metadata"]["name"]
    needs = f"needs {state['desiredHealthy']} healthy pods and has {state['currentHealthy']}"
    raise Refused(
        429, "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
        {"causes": [{"reason": "DisruptionBudget",
                     "message": f"The disruption budget {name} {needs} currently"}]},
    )  # fmt: skip


def _budgets(store: Store, pod: Item) -> list[Item]:
    labels = pod["metadata"].get("labels", {})
    found = store.list(BUDGET, pod["metadata"]["namespace"])
    return [one for one in found if selected(one["spec"].get("selector"), labels)]


def standing(store: Store, budget: Item) -> dict[str, int]:
    """The counts in a budget's status, as they are now."""
    space, spec = budget["metadata"]["namespace"], budget["spec"]
    pods = [
        pod
        for pod in store.list(POD, space)
        if selected(spec.get("selector"), pod["metadata"].get("labels", {}))
    ]
    owners = {owner["name"] for pod in pods for owner in pod["metadata"].get("ownerReferences", [])}
    sets = [store.find(STATEFUL_SET, space, name) for name in owners]
    expected = sum(one["spec"].get("replicas", 1) for one in sets if one) or len(pods)
    if "maxUnavailable" in spec:
        desired = expected - _share(spec["maxUnavailable"], expected)
    else:
        desired = _share(spec.get("minAvailable", 1), expected)
    healthy = sum(map(is_healthy, pods))
    return {
        "currentHealthy": healthy, "desiredHealthy": max(desired, 0), "expectedPods": expected,
        "disruptionsAllowed": max(healthy - max(desired, 0), 0),
    }  # fmt: skip


def _share(value: Any, of: int) -> int:
    if isinstance(value, str):
        return math.ceil(of * int(value.rstrip("%")) / 100)
    return int(value)
