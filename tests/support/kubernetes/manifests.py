"""Objects that tests apply."""

from __future__ import annotations

from typing import Any


def stateful_set(
    replicas: int, *, name: str = "app", strategy: str = "RollingUpdate", **spec: Any
) -> dict[str, Any]:
    """A set of pods with one container and the label `app`."""
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "beam", "image": "beam:1"}]},
    }
    return {
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "serviceName": name, "updateStrategy": {"type": strategy},
            "selector": {"matchLabels": {"app": name}}, "template": template, **spec,
        },
    }  # fmt: skip


def budget(*, name: str = "app", **spec: Any) -> dict[str, Any]:
    """A PodDisruptionBudget for those pods: `maxUnavailable=1`, `minAvailable="50%"`."""
    return {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, **spec},
    }  # fmt: skip
