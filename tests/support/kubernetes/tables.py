"""What `kubectl get` prints: the server decides on the columns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.support.kubernetes.evictions import is_ready
from tests.support.kubernetes.kinds import Kind

Column = tuple[str, Callable[[dict[str, Any]], Any]]


def _age(item: dict[str, Any]) -> str:
    made = datetime.strptime(item["metadata"]["creationTimestamp"], "%Y-%m-%dT%H:%M:%S%z")
    return f"{int((datetime.now(UTC) - made).total_seconds())}s"


def _pod_state(pod: dict[str, Any]) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    for one in pod.get("status", {}).get("containerStatuses", []):
        if "waiting" in one.get("state", {}):
            return str(one["state"]["waiting"]["reason"])
    return str(pod.get("status", {}).get("phase", "Pending"))


def _containers(pod: dict[str, Any]) -> str:
    many = len(pod["spec"]["containers"])
    return f"{many if is_ready(pod) else 0}/{many}"


def _restarts(pod: dict[str, Any]) -> int:
    return sum(one["restartCount"] for one in pod.get("status", {}).get("containerStatuses", []))


def _of_status(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda item: item.get("status", {}).get(name, 0)


_COLUMNS: dict[str, tuple[Column, ...]] = {
    "pods": (("Ready", _containers), ("Status", _pod_state), ("Restarts", _restarts)),
    "statefulsets": (
        (
            "Ready",
            lambda item: f"{_of_status('readyReplicas')(item)}/{item['spec'].get('replicas', 1)}",
        ),
    ),
    "poddisruptionbudgets": (
        ("Min Available", lambda item: item["spec"].get("minAvailable", "N/A")),
        ("Max Unavailable", lambda item: item["spec"].get("maxUnavailable", "N/A")),
        ("Allowed Disruptions", _of_status("disruptionsAllowed")),
    ),
    "leases": (("Holder", lambda item: item.get("spec", {}).get("holderIdentity", "")),),
}


def table(kind: Kind, items: list[dict[str, Any]], version: str) -> dict[str, Any]:
    """`meta.k8s.io/v1` Table."""
    columns: list[Column] = [
        ("Name", lambda item: item["metadata"]["name"]),
        *_COLUMNS.get(kind.plural, ()),
        ("Age", _age),
    ]
    return {
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version},
        "columnDefinitions": [
            {"name": name, "type": "string", "format": "name" if name == "Name" else "",
             "description": "", "priority": 0}
            for name, _ in columns
        ],
        "rows": [
            {
                "cells": [cell(item) for _, cell in columns],
                "object": {
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                    "metadata": item["metadata"],
                },
            }
            for item in items
        ],
    }  # fmt: skip
