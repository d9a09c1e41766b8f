"""Pods show the token of their service account; the cluster itself says who they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from rotator.errors import NotAuthenticated
from rotator.services.workloads import KEPT, Identity, Workloads, claims_of
from tests.support.kubernetes.cluster import FakeKubernetes, fake_kubernetes
from tests.support.kubernetes.manifests import stateful_set
from tests.support.service import Service, wait_for

pytestmark = pytest.mark.timeout(300)

AUDIENCE = "rotator"
OWN = "rabbit%40app-0.app"
SAID = {"generation": 0, "at": "2026-11-25T01:00:00Z", "read_from": "none"}


@dataclass
class Both:
    """A Kubernetes with two pods, and the service that takes their tokens."""

    kubernetes: FakeKubernetes
    service: Service

    def token(self, pod: str = "app-0", *, account: str = "beam", audience: str = AUDIENCE) -> str:
        """As a pod gets it."""
        return self.kubernetes.token(account, audience=audience, pod=pod)

    def attest(self, token: str, node: str = OWN) -> int:
        """The status of the answer to a report."""
        path = f"clusters/orders/nodes/{node}"
        return self.service.request("PUT", path, token=token, json=SAID).status_code


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """One for all tests of this module."""
    directory = tmp_path_factory.mktemp("identity")
    with fake_kubernetes(directory) as kubernetes:
        kubernetes.apply(stateful_set(2))
        kubernetes.wait_ready("app", 2)
        for name in ("beam", "restarter", "stranger"):
            kubernetes.account(name)
        kubernetes.reviewer("rotator")
        token_file = directory / "kube.token"
        token_file.touch(mode=0o600)
        token_file.write_text(kubernetes.token("rotator"))
        identities: list[dict[str, Any]] = [
            {
                "service_account": "default/beam", "role": "node", "clusters": ["orders"],
                "nodes": "rabbit@{pod}.app",
            },
            {
                "service_account": "default/restarter", "role": "orchestrator",
                "clusters": ["orders"],
            },
        ]  # fmt: skip
        section = {
            "api": kubernetes.address, "token_file": str(token_file),
            "ca_cert": str(kubernetes.ca), "identities": identities,
        }  # fmt: skip
        store = {"kind": "local", "directory": str(directory / "secrets")}
        clusters = {name: {"members": {"expect": "none"}} for name in ("orders", "billing")}
        service = Service(directory, store, clusters, more={"kubernetes": section})
        service.start()
        try:
            service.initialise("orders")
            yield Both(kubernetes, service)
        finally:
            service.kill()


def test_a_pod_speaks_for_its_own_node_and_for_no_other(both: Both) -> None:
    """It attests for itself and reads its cluster's cookie, and is refused as anybody else or elsewhere."""
    token = both.token()
    assert both.attest(token) == 200
    path = "clusters/orders/cookie?node="
    assert both.service.request("GET", f"{path}{OWN}", token=token).json()["current"]["number"] == 1
    other = "rabbit%40app-1.app"
    assert both.attest(token, other) == 403
    assert both.service.request("GET", f"{path}{other}", token=token).status_code == 403
    elsewhere = f"clusters/billing/cookie?node={OWN}"
    assert both.service.request("GET", elsewhere, token=token).status_code == 404
    assert both.service.request("GET", "clusters/orders", token=token).status_code == 403
    assert both.attest(both.token("app-1"), other) == 200


def test_other_tokens_of_the_cluster_open_nothing(both: Both) -> None:
    """Another audience, an account nobody named, a token bound to no pod, and a forgery are refused."""
    before = both.kubernetes.accounts.reviews
    assert both.attest(both.token(audience="vault")) == 401
    assert both.attest(both.token(audience="")) == 401
    assert both.attest(both.token(account="stranger")) == 401
    asked_nobody = both.kubernetes.accounts.reviews == before
    unbound = both.kubernetes.token("beam", audience=AUDIENCE)
    assert both.attest(unbound) == 401
    head, claims, signature = both.token().split(".")
    assert both.attest(f"{head}.{claims}.{signature[::-1]}") == 401
    assert both.attest(f"e30.{claims}.") == 401
    assert asked_nobody


def test_an_orchestrators_account_has_its_role(both: Both) -> None:
    """It reads the rollout, and no cookie."""
    token = both.kubernetes.token("restarter", audience=AUDIENCE)
    assert both.service.request("GET", "clusters/orders/rollout", token=token).status_code == 200
    path = f"clusters/orders/cookie?node={OWN}"
    assert both.service.request("GET", path, token=token).status_code == 403


def test_an_answer_counts_for_seconds_and_ends_with_the_pod(both: Both) -> None:
    """Many requests cost one review, and the token of a pod that is gone is refused soon."""
    token, before = both.token(), both.kubernetes.accounts.reviews
    for _ in range(20):
        assert both.attest(token) == 200
    assert both.kubernetes.accounts.reviews - before < 20
    old = (both.kubernetes.get("Pod", "app-0") or {})["metadata"]["uid"]
    both.kubernetes.kubectl("delete", "pod", "app-0", "--wait=false")

    def is_another() -> bool:
        found = both.kubernetes.get("Pod", "app-0")
        return found is not None and found["metadata"]["uid"] != old

    wait_for("the pod is another one", is_another)
    wait_for("it is refused", lambda: both.attest(token) == 401)
    assert both.attest(both.token()) == 200
    assert token not in both.service.output()


def test_facts_name_the_pod_that_did_it(both: Both) -> None:
    """Whoever reads the facts finds namespace, service account and pod."""
    path = f"clusters/orders/nodes/{OWN}/leave"
    token = both.token()
    assert both.attest(token) == 200
    answer = both.service.request("POST", path, token=token, json={"reason": "test"})
    assert answer.status_code == 200, answer.text
    found = both.service.get("facts?cluster=orders&limit=500")["facts"]
    assert "kubernetes:default/beam/app-0" in {fact["by"] for fact in found}
    assert token.encode() not in json.dumps(found).encode()


class Away:
    """A reviewer that counts, waits, and can be away."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()

    async def review(self, token: str) -> None:
        """Nobody."""
        self.asked += 1
        await self.go.wait()

    async def close(self) -> None:
        """Nothing is held."""


async def test_many_who_ask_with_one_token_ask_the_cluster_once(both: Both) -> None:
    """Requests that come while a review is under way wait for its answer, a refusal included."""
    reviewer, now = Away(), 0.0
    identity = Identity(
        namespace="default", account="beam", role="node", clusters=("orders",), nodes="r@{pod}"
    )
    workloads = Workloads(reviewer, audience=AUDIENCE, identities=(identity,), clock=lambda: now)
    token = both.token()
    at = datetime.now(UTC)

    async def ask() -> str:
        try:
            await workloads.authenticate(token, now=at)
        except NotAuthenticated:
            return "refused"
        return "good"

    asked = [asyncio.create_task(ask()) for _ in range(50)]
    await asyncio.sleep(0)
    reviewer.go.set()
    assert set(await asyncio.gather(*asked)) == {"refused"}
    assert reviewer.asked == 1
    await ask()
    assert reviewer.asked == 1
    now += KEPT.total_seconds()
    await ask()
    assert reviewer.asked == 2
    assert claims_of("a.b") == claims_of("a.!.c") == claims_of(f"a.{'W10' * 4000}.c") == {}


def test_while_the_cluster_cannot_be_asked_the_answer_is_try_again(tmp_path) -> None:
    """Without a Kubernetes API a token is neither taken nor refused, and tokens of ours still work."""
    with fake_kubernetes(tmp_path) as kubernetes:
        kubernetes.apply(stateful_set(1))
        kubernetes.wait_ready("app", 1)
        kubernetes.account("beam")
        token = kubernetes.token("beam", audience=AUDIENCE, pod="app-0")
        identity = {
            "service_account": "default/beam", "role": "node", "clusters": ["orders"],
            "nodes": "rabbit@{pod}.app",
        }  # fmt: skip
        section = {
            "api": kubernetes.address, "ca_cert": str(kubernetes.ca), "identities": [identity],
        }  # fmt: skip
        store = {"kind": "local", "directory": str(tmp_path / "secrets")}
        clusters = {"orders": {"members": {"expect": "none"}}}
        service = Service(tmp_path, store, clusters, more={"kubernetes": section})
        service.start()
    try:
        path = f"clusters/orders/nodes/{OWN}"
        answer = service.request("PUT", path, token=token, json=SAID)
        assert (answer.status_code, answer.json()["code"]) == (503, "identity_away")
        assert "retry-after" in answer.headers
        assert service.request("GET", "clusters/orders").status_code == 200
        assert token not in service.output()
    finally:
        service.kill()
