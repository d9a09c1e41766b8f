"""The service's API, asked in each of the roles that the demonstration plays."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from rotator.cli.demo.processes import DemoFailed
from rotator.cli.demo.service import CLUSTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rotator.cli.demo.service import Service


@dataclass(slots=True)
class Api:
    """One connection; `tokens` has one for each role, and `node` is any of the nodes'."""

    client: httpx.Client
    tokens: dict[str, str] = field(repr=False)

    def call(self, role: str, method: str, path: str, /, **body: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """One call; raises `DemoFailed` for a problem, and when no answer comes."""
        headers = {"Authorization": f"Bearer {self.tokens[role]}"}
        try:
            answer = self.client.request(method, f"/v1/{path}", headers=headers, json=body or None)
        except httpx.HTTPError as error:
            raise DemoFailed(f"{method} {path}: {type(error).__name__}") from None
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            problem = answer.json()
            raise DemoFailed(f"{method} {path}: {problem.get('code')}: {problem.get('detail')}")
        return dict(answer.json())

    def of_cluster(self, rest: str = "", *, role: str = "operator") -> dict[str, Any]:
        """What `GET /v1/clusters/…` answers; *rest* follows the cluster's name."""
        return self.call(role, "GET", f"clusters/{CLUSTER}{rest}")

    def make_token(self, role: str, *, node: str = "") -> str:
        """A new token for the cluster, made by the admin."""
        made = self.call("admin", "POST", "tokens", role=role, clusters=[CLUSTER], nodes=node)
        return str(made["token"])


@contextmanager
def open_api(service: Service) -> Iterator[Api]:
    """The API, with an admin's and an operator's token."""
    with httpx.Client(base_url=service.address, timeout=30, trust_env=False) as client:
        api = Api(client, {"admin": service.admin_token()})
        api.tokens["operator"] = api.make_token("operator")
        yield api
