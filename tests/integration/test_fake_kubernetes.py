"""The fake Kubernetes API is held against the real kubectl 1.35, which knows nothing of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.kubernetes.cluster import FakeKubernetes, fake_kubernetes
from tests.support.kubernetes.kubelet import NODE, Nothing
from tests.support.kubernetes.manifests import budget, stateful_set
from tests.support.service import wait_for

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def runtime() -> Nothing:
    """Pods without content."""
    return Nothing()


@pytest.fixture
def cluster(tmp_path, runtime: Nothing) -> Iterator[FakeKubernetes]:
    """One with a StatefulSet of three pods that are ready, of which one may be away."""
    with fake_kubernetes(tmp_path, runtime) as made:
        made.apply(stateful_set(3), budget(maxUnavailable=1))
        made.wait_ready("app", 3)
        yield made


def uids(cluster: FakeKubernetes) -> dict[str, str]:
    """Of each pod, by name."""
    found = json.loads(cluster.kubectl("get", "pods", "-o", "json"))["items"]
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in found}


def test_kubectl_gets_describes_and_selects(cluster: FakeKubernetes) -> None:
    """What kubectl prints of pods, sets and budgets is what it prints of a real cluster."""
    rows = cluster.kubectl("get", "pods").splitlines()
    assert [row.split()[:4] for row in rows] == [
        ["NAME", "READY", "STATUS", "RESTARTS"],
        *(["app-0", "1/1", "Running", "0"], ["app-1", "1/1", "Running", "0"]),
        ["app-2", "1/1", "Running", "0"],
    ]
    assert "3/3" in cluster.kubectl("get", "sts")
    assert cluster.kubectl("get", "pdb").splitlines()[1].split()[:4] == ["app", "N/A", "1", "1"]
    chosen = ("-l", "app in (app),!x", "--field-selector", "metadata.name!=app-0", "-o", "name")
    assert cluster.kubectl("get", "pods", *chosen).split() == ["pod/app-1", "pod/app-2"]
    described = cluster.kubectl("describe", "pod", "app-1")
    assert "Controlled By:  StatefulSet/app" in described
    assert "3 Running / 0 Waiting" in cluster.kubectl("describe", "sts", "app")
    missing = cluster.run_kubectl("get", "pod", "nobody")
    assert missing.returncode == 1
    assert 'pods "nobody" not found' in missing.stderr


def test_kubectl_apply_rolls_a_set_from_the_highest_ordinal_down(
    cluster: FakeKubernetes, runtime: Nothing
) -> None:
    """A new template restarts each pod once, one after the other, and kubectl sees the end."""
    before = uids(cluster)
    runtime.started.clear()
    changed = stateful_set(3)
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "beam:2"
    cluster.apply(changed)
    cluster.kubectl("rollout", "status", "sts/app", "--timeout=60s")
    assert runtime.started == ["app-2", "app-1", "app-0"]
    cluster.kubectl("rollout", "restart", "sts/app")
    cluster.kubectl("rollout", "status", "sts/app", "--timeout=60s")
    assert runtime.started == ["app-2", "app-1", "app-0"] * 2
    assert not set(before.values()) & set(uids(cluster).values())


def test_a_set_that_updates_on_delete_waits_for_it(
    cluster: FakeKubernetes, runtime: Nothing
) -> None:
    """With OnDelete nothing restarts by a new template, and what is deleted comes back with it."""
    changed = stateful_set(3, strategy="OnDelete")
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "beam:2"
    before = uids(cluster)
    cluster.apply(changed)
    cluster.kubectl("delete", "pod", "app-1", "--wait=false")
    wait_for("it is another one", lambda: uids(cluster).get("app-1") not in {None, before["app-1"]})
    cluster.wait_ready("app", 3)
    after = uids(cluster)
    assert {name for name in after if after[name] != before[name]} == {"app-1"}
    images = "-o=jsonpath={.items[*].spec.containers[0].image}"
    assert cluster.kubectl("get", "pods", images).split() == ["beam:1", "beam:2", "beam:1"]


def test_kubectl_drain_evicts_only_as_far_as_the_budget_lets(
    cluster: FakeKubernetes, runtime: Nothing
) -> None:
    """While one pod is away the others are refused with 429, which kubectl shows and waits for."""
    before = uids(cluster)
    runtime.held = {"app-0", "app-1", "app-2"}
    drained = cluster.run_kubectl("drain", NODE, "--force", "--timeout=3s")
    assert drained.returncode == 1
    assert "would violate the pod's disruption budget" in drained.stderr
    after = uids(cluster)
    assert sum(after.get(name) != uid for name, uid in before.items()) == 1
    runtime.held = set()
    cluster.wait_ready("app", 3)


def test_kubectl_asks_who_one_is_and_what_one_may(cluster: FakeKubernetes) -> None:
    """Rights of a service account end at its role, for kubectl as for anybody."""
    cluster.account("restarter", {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]})
    token = cluster.kubectl("create", "token", "restarter").strip()
    asks = ("--token", token, "--server", cluster.address, "--kubeconfig", "/dev/null")
    trust = ("--certificate-authority", str(cluster.ca))
    assert "system:serviceaccount:default:restarter" in cluster.kubectl(
        "auth", "whoami", *asks, *trust
    )
    assert cluster.kubectl("auth", "can-i", "get", "pods", *asks, *trust).strip() == "yes"
    refused = cluster.run_kubectl("auth", "can-i", "create", "pods/eviction", *asks, *trust)
    assert refused.stdout.strip() == "no"
    refused = cluster.run_kubectl("delete", "pod", "app-0", *asks, *trust)
    assert "cannot delete resource" in refused.stderr
    assert set(uids(cluster)) == {"app-0", "app-1", "app-2"}


def test_a_write_on_an_old_version_is_a_conflict(cluster: FakeKubernetes) -> None:
    """Of two who replace a Lease that both have read, the second one is refused."""
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    lease: dict[str, Any] = {"metadata": {"name": "one"}, "spec": {"holderIdentity": "a"}}
    read = cluster.request("POST", path, json=lease).json()
    first, second = copy.deepcopy(read), copy.deepcopy(read)
    first["spec"]["holderIdentity"], second["spec"]["holderIdentity"] = "b", "c"
    assert cluster.request("PUT", f"{path}/one", json=first).status_code == 200
    answer = cluster.request("PUT", f"{path}/one", json=second)
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    assert "b" in cluster.kubectl("get", "lease", "one")


def test_a_watch_goes_on_where_a_list_ended(cluster: FakeKubernetes) -> None:
    """Whoever lists and then watches from that version misses nothing and sees nothing twice."""
    path = "/api/v1/namespaces/default/configmaps"
    cluster.request("POST", path, json={"metadata": {"name": "before"}})
    version = cluster.request("GET", path).json()["metadata"]["resourceVersion"]
    cluster.request("POST", path, json={"metadata": {"name": "after"}})
    cluster.request("DELETE", f"{path}/before")
    query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "1"}
    lines = cluster.request("GET", path, params=query).text.splitlines()
    seen = [(json.loads(x)["type"], json.loads(x)["object"]["metadata"]["name"]) for x in lines]
    assert seen == [("ADDED", "after"), ("DELETED", "before")]


def test_a_token_ends_with_its_pod_and_holds_for_its_audience(cluster: FakeKubernetes) -> None:
    """A TokenReview says no to another audience, to a pod that is another one now, and to a forgery."""
    cluster.account("node")
    token = cluster.token("node", audience="rotator", pod="app-0")

    def review(text: str, audience: str = "rotator") -> dict[str, Any]:
        body = {"spec": {"token": text, "audiences": [audience]}}
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        return dict(cluster.request("POST", path, json=body).json()["status"])

    good = review(token)
    assert good["authenticated"]
    assert good["user"]["username"] == "system:serviceaccount:default:node"
    assert good["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["app-0"]
    head, claims, signature = token.split(".")
    assert not review(token, "vault").get("authenticated")
    assert not review(f"{head}.{claims[:-8]}AAAAAAAA.{signature}").get("authenticated")
    before = uids(cluster)
    cluster.kubectl("delete", "pod", "app-0", "--wait=false")
    wait_for("it is another one", lambda: uids(cluster).get("app-0") not in {None, before["app-0"]})
    assert not review(token).get("authenticated")
