"""The StatefulSet controller: pods by ordinal, one after the other, and updates from the highest down."""

from __future__ import annotations

import copy
import hashlib
import json

from tests.support.kubernetes.evictions import delete_pod, is_healthy, is_ready, standing
from tests.support.kubernetes.selectors import selected
from tests.support.kubernetes.store import BUDGET, POD, STATEFUL_SET, Item, Store

_REVISION = "controller-revision-hash"


def reconcile(store: Store) -> None:
    """One pass over every StatefulSet and every budget's status."""
    for one in store.list(STATEFUL_SET):
        _Pass(store, one).run()
    for budget in store.list(BUDGET):
        state = standing(store, budget)
        meta = budget["metadata"]
        status = {"observedGeneration": meta["generation"], **state}
        store.change(
            BUDGET, meta["namespace"], meta["name"], lambda item, s=status: item.update(status=s)
        )


def revision_of(one: Item) -> str:
    """A name for the template as it is."""
    text = json.dumps(one["spec"]["template"], sort_keys=True)
    return f"{one['metadata']['name']}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


class _Pass:
    def __init__(self, store: Store, one: Item) -> None:
        self.store, self.one = store, one
        self.space, self.name = one["metadata"]["namespace"], one["metadata"]["name"]
        self.replicas = one["spec"].get("replicas", 1)
        self.update = revision_of(one)
        self.current = one.get("status", {}).get("currentRevision") or self.update
        self.pods = {
            int(pod["metadata"]["name"].rpartition("-")[2]): pod
            for pod in store.list(POD, self.space)
            if self._is_ours(pod)
        }

    def run(self) -> None:
        """As far as it goes in one pass, and the status."""
        if "deletionTimestamp" not in self.one["metadata"]:
            self._act()
        self._tell()

    def _is_ours(self, pod: Item) -> bool:
        owners = [owner["uid"] for owner in pod["metadata"].get("ownerReferences", [])]
        return self.one["metadata"]["uid"] in owners and selected(
            self.one["spec"]["selector"], pod["metadata"].get("labels", {})
        )

    def _act(self) -> None:
        is_parallel = self.one["spec"].get("podManagementPolicy") == "Parallel"
        for ordinal in range(self.replicas):
            pod = self.pods.get(ordinal)
            if pod is None:
                self._create(ordinal)
            if not is_parallel and (pod is None or not is_healthy(pod)):
                return
        for ordinal in sorted((n for n in self.pods if n >= self.replicas), reverse=True):
            self._delete(ordinal)
            if not is_parallel:
                return
        self._roll()

    def _roll(self) -> None:
        strategy = self.one["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return
        for ordinal in range(self.replicas - 1, self._partition() - 1, -1):
            pod = self.pods.get(ordinal)
            if pod is None or "deletionTimestamp" in pod["metadata"]:
                return
            if pod["metadata"]["labels"][_REVISION] != self.update:
                self._delete(ordinal)
                return
            if not is_healthy(pod):
                return

    def _partition(self) -> int:
        strategy = self.one["spec"].get("updateStrategy") or {}
        return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)

    def _delete(self, ordinal: int) -> None:
        if "deletionTimestamp" not in self.pods[ordinal]["metadata"]:
            delete_pod(self.store, self.pods[ordinal])

    def _create(self, ordinal: int) -> None:
        strategy = (self.one["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate")
        is_held = strategy == "RollingUpdate" and ordinal < self._partition()
        template = copy.deepcopy(self.one["spec"]["template"])
        name = f"{self.name}-{ordinal}"
        labels = {
            **template.get("metadata", {}).get("labels", {}),
            "statefulset.kubernetes.io/pod-name": name,
            "apps.kubernetes.io/pod-index": str(ordinal),
            _REVISION: self.current if is_held else self.update,
        }
        owner = {
            "apiVersion": "apps/v1", "kind": "StatefulSet", "name": self.name,
            "uid": self.one["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True,
        }  # fmt: skip
        meta = {
            **template.get("metadata", {}),
            "name": name, "labels": labels, "ownerReferences": [owner],
        }  # fmt: skip
        service = self.one["spec"].get("serviceName", "")
        spec = {**template["spec"], "hostname": name, "subdomain": service}
        pod = {"metadata": meta, "spec": spec, "status": {"phase": "Pending"}}
        self.store.create(POD, self.space, pod)

    def _tell(self) -> None:
        pods = [
            pod
            for pod in self.store.list(POD, self.space)
            if self._is_ours(pod) and "deletionTimestamp" not in pod["metadata"]
        ]
        updated = [pod for pod in pods if pod["metadata"]["labels"][_REVISION] == self.update]
        ready = [pod for pod in pods if is_ready(pod)]
        strategy = (self.one["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate")
        if strategy == "RollingUpdate" and len(updated) == len(ready) == self.replicas:
            self.current = self.update
        status = {
            "observedGeneration": self.one["metadata"]["generation"],
            "replicas": len(pods), "readyReplicas": len(ready), "availableReplicas": len(ready),
            "updatedReplicas": len(updated),
            "currentReplicas": sum(
                pod["metadata"]["labels"][_REVISION] == self.current for pod in pods
            ),
            "currentRevision": self.current, "updateRevision": self.update, "collisionCount": 0,
        }  # fmt: skip
        if self.store.find(STATEFUL_SET, self.space, self.name) is not None:
            self.store.change(
                STATEFUL_SET, self.space, self.name, lambda item: item.update(status=status)
            )
