"""Tokens of Kubernetes service accounts, by TokenReview: the cluster itself says who it is.

Needs of the Kubernetes API: `create` on tokenreviews (the ClusterRole `system:auth-delegator` holds it).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from rotator.errors import IdentityAway, KubernetesError
from rotator.kubernetes import KubernetesApi, Place, in_cluster
from rotator.ports.workloads import Workload

if TYPE_CHECKING:
    from pathlib import Path

_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_ACCOUNT: Final = re.compile(r"system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})")
_POD: Final = "authentication.kubernetes.io/pod-name"


class KubernetesReviewer:
    """A `WorkloadReviewer` of one cluster and one audience."""

    def __init__(self, api: KubernetesApi, *, audience: str) -> None:
        self._api = api
        self._audience = audience

    async def review(self, token: str) -> Workload | None:
        """As the port says; a token for another audience is not good, whatever the server thinks of it."""
        spec = {"token": token, "audiences": [self._audience]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        try:
            answer = await self._api.post(_PATH, body)
        except KubernetesError as error:
            raise IdentityAway(f"tokens cannot be reviewed: {error}") from None
        status = answer.item.get("status")
        return _workload(status if isinstance(status, dict) else {}, self._audience)

    async def close(self) -> None:
        """Let go of connections."""
        await self._api.close()


def open_reviewer(
    *, audience: str, api: str | None, token_file: Path | None, ca_cert: Path | None
) -> KubernetesReviewer:
    """Nothing is asked yet; without *api* `ConfigurationError` outside of a pod."""
    if api is None:
        place = in_cluster(os.environ)
    else:
        place = Place(address=api, token_file=token_file, ca_cert=ca_cert)
    return KubernetesReviewer(KubernetesApi(place), audience=audience)


def _workload(status: dict[str, Any], audience: str) -> Workload | None:
    # A server that does not know audiences would say yes to any: then it names none.
    if status.get("authenticated") is not True or audience not in (status.get("audiences") or ()):
        return None
    user = status.get("user") or {}
    account = _ACCOUNT.fullmatch(str(user.get("username", "")))
    if account is None:
        return None
    pods = (user.get("extra") or {}).get(_POD) or []
    pod = pods[0] if isinstance(pods, list) and len(pods) == 1 else None
    return Workload(namespace=account[1], account=account[2], pod=pod)
