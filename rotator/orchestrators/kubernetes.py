"""Restarts pods by evicting them: PodDisruptionBudgets hold, and no template is touched.

Needs of the Kubernetes API: `get` on pods, `create` on pods/eviction, in one namespace.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rotator.errors import KubernetesRefused, RestartImpossible, RotatorError
from rotator.orchestrators import pods
from rotator.orchestrators.restarter import Go, NotNow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from rotator.kubernetes import KubernetesApi
    from rotator.orchestrators.pods import NodeNames, PodSeen
    from rotator.protocol.v1 import Claim


class KubernetesRestarter:
    """A `Restarter` of one namespace's pods that have certain labels. It evicts, and stops none."""

    steps = frozenset({"restart"})

    def __init__(
        self,
        api: KubernetesApi,
        *,
        namespace: str,
        names: NodeNames,
        labels: Mapping[str, str],
        settle: timedelta,
    ) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
        self._names = names
        self._labels = dict(labels)
        self._settle = settle

    def handles(self, node: str) -> bool:
        """Whether the name is made of a pod's."""
        return self._names.pod_of(node) is not None

    async def prepare(self, claim: Claim) -> Go | NotNow:
        """Look at the pod, and ask without doing it whether it may be evicted."""
        name = self._pod(claim.node)
        try:
            pod, now = await self._seen(name)
        except KubernetesRefused as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return NotNow(f"there is no pod {name}: its controller has to make one")
            raise _impossible(error) from None
        if any(pod.labels.get(key) != value for key, value in self._labels.items()):
            raise RestartImpossible(f"pod {name} has other labels than those it has to have")
        if why := pods.obstacle(pod, now=now, settle=self._settle):
            return NotNow(why)
        # Tried before the service is told that it begins: a budget that refuses is no attempt.
        return await self._evict(name, pod.uid, is_trial=True) or Go(pod.uid)

    async def restart(self, claim: Claim, go: Go) -> NotNow | None:
        """Evict that pod, by its uid: another one of the same name is left alone."""
        return await self._evict(self._pod(claim.node), go.handle, is_trial=False)

    async def look(self, node: str) -> str:
        """What the pod says about itself."""
        name = self._pod(node)
        try:
            pod, _ = await self._seen(name)
        except KubernetesRefused as error:
            is_gone = error.status == HTTPStatus.NOT_FOUND
            return f"there is no pod {name} yet" if is_gone else str(error)
        except RotatorError as error:
            return str(error)
        return pods.not_ready(pod)

    def _pod(self, node: str) -> str:
        found = self._names.pod_of(node)
        if found is None:
            raise RestartImpossible(f"{node} is not made of a pod's name as the pattern says")
        return found

    async def _seen(self, name: str) -> tuple[PodSeen, datetime]:
        answer = await self._api.get(f"{self._path}/{name}")
        return pods.seen(answer.item), answer.at

    async def _evict(self, name: str, uid: str, *, is_trial: bool) -> NotNow | None:
        try:
            await self._api.post(f"{self._path}/{name}/eviction", eviction(name, uid, is_trial))
        except KubernetesRefused as error:
            if error.status == HTTPStatus.TOO_MANY_REQUESTS:
                return NotNow(str(error))
            if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
                # That pod has gone, by us before an answer that was lost, or by somebody else.
                return NotNow(f"pod {name} is another one than a moment ago") if is_trial else None
            raise _impossible(error) from None
        return None


def eviction(name: str, uid: str, is_trial: bool) -> dict[str, Any]:  # noqa: FBT001
    """The body of an eviction of that one pod; a trial is judged and not carried out."""
    options: dict[str, Any] = {"preconditions": {"uid": uid}}
    if is_trial:
        options["dryRun"] = ["All"]
    return {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name},
        "deleteOptions": options,
    }


def _impossible(error: KubernetesRefused) -> RotatorError:
    """Refused for what does not pass by itself; a server that is ill is asked again."""
    has_two_budgets = "more than one PodDisruptionBudget" in str(error)
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not has_two_budgets:
        return error
    return RestartImpossible(str(error))
