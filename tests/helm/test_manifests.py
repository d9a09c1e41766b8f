"""What the charts render is what Kubernetes takes, and what a cluster with strict rules lets in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.support.charts import RECIPE_SETS, SETS, containers, documents, pods, rendered
from tests.support.checkov import findings

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = sorted({*SETS, *RECIPE_SETS})
#: Kinds that Kubernetes does not know by itself: what we write of them, and no more.
FOREIGN = yaml.safe_load((Path(__file__).parent / "foreign-kinds.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_kubernetes_takes_each_object(name: str) -> None:
    """Every object is valid by the schemas of Kubernetes 1.35, strictly, or by one of the kind's own."""
    for each in documents(rendered(name)):
        if each["apiVersion"].split("/")[0] in {"cert-manager.io", "monitoring.coreos.com"}:
            jsonschema.Draft202012Validator(FOREIGN[each["kind"]]).validate(each)
        else:
            kubernetes_validate.validate(each, "1.35", strict=True)


def test_the_schemas_of_foreign_kinds_refuse_what_is_wrong() -> None:
    """A field that is written wrongly does not pass."""
    [monitor] = [
        one for one in documents(rendered("monitoring")) if one["kind"] == "ServiceMonitor"
    ]
    monitor["spec"]["endpoints"][0]["portt"] = "health"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(FOREIGN["ServiceMonitor"]).validate(monitor)


@pytest.mark.parametrize("name", NAMES)
def test_each_pod_is_one_of_the_restricted_profile(name: str) -> None:
    """No pod needs more than the strictest of Kubernetes' pod security standards allows, and none can write to its image."""
    for where, _, spec in pods(documents(rendered(name))):
        of_pod = spec["securityContext"]
        assert of_pod["runAsNonRoot"] is True, where
        assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert of_pod.get("runAsUser", 10001) >= 10000, where
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(spec), where
        assert {next(iter(set(one) - {"name"})) for one in spec.get("volumes", ())} <= {
            "configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret",
        }  # fmt: skip
        for container in containers(spec):
            found = container["securityContext"]
            assert found["allowPrivilegeEscalation"] is False, where
            assert found["readOnlyRootFilesystem"] is True, where
            assert found["capabilities"] == {"drop": ["ALL"]}, where
            assert "privileged" not in found, where


@pytest.mark.parametrize("name", NAMES)
def test_no_pod_has_a_token_for_the_kubernetes_api_that_it_does_not_need(name: str) -> None:
    """Tokens of service accounts are projected with an audience and an end, and none is mounted by default."""
    for where, _, spec in pods(documents(rendered(name))):
        assert spec["automountServiceAccountToken"] is False, where
        for source in _projected(spec):
            token = source["serviceAccountToken"]
            assert token["audience"], where
            assert 600 <= token["expirationSeconds"] <= 86400, where


def _projected(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for volume in spec.get("volumes", ()):
        if volume["name"] == "kube-api":  # the API's own audience; see below
            continue
        for source in volume.get("projected", {}).get("sources", ()):
            if "serviceAccountToken" in source:
                yield source


def test_who_asks_the_kubernetes_api_may_do_one_thing() -> None:
    """An orchestrator gets and evicts pods where it was told to, the service reviews tokens, and no other pod asks."""
    found = documents(rendered("orchestrator"))
    rules = {
        (one["kind"], one["metadata"].get("namespace")): [
            (rule["resources"], rule["verbs"]) for rule in one["rules"]
        ]
        for one in found
        if one["kind"] in {"Role", "ClusterRole"}
    }
    evicts = [(["pods"], ["get"]), (["pods/eviction"], ["create"])]
    assert rules == {
        ("Role", "rotator"): evicts,
        ("Role", "shop"): evicts,
        ("ClusterRole", None): [(["tokenreviews"], ["create"])],
    }
    for name in NAMES:
        for where, metadata, spec in pods(documents(rendered(name))):
            asks = any(volume["name"] == "kube-api" for volume in spec.get("volumes", ()))
            component = metadata["labels"].get("app.kubernetes.io/component")
            may = component == "orchestrator" or (component, name) == ("server", "orchestrator")
            assert asks is may, where


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_is_made_and_none_is_in_an_environment(name: str) -> None:
    """The chart renders no Secret, and secrets come to a process as files alone."""
    found = documents(rendered(name))
    assert not [one for one in found if one["kind"] == "Secret"]
    for where, _, spec in pods(found):
        for container in containers(spec):
            assert "envFrom" not in container, where
            for variable in container.get("env", ()):
                source = variable.get("valueFrom", {})
                assert "secretKeyRef" not in source, where
                word = re.search(r"(?i)token|secret|password|cookie|key", variable["name"])
                assert word is None, f"{where}: {variable['name']}"


@pytest.mark.parametrize("name", sorted(SETS))
def test_who_is_not_named_reaches_no_pod(name: str) -> None:
    """Each pod of the chart's is selected by a NetworkPolicy for both directions, unless they are switched off."""
    found = documents(rendered(name))
    policies = [one["spec"] for one in found if one["kind"] == "NetworkPolicy"]
    if name == "openshift":
        assert policies == []
        return
    for where, metadata, _ in pods(found):
        labels = metadata["labels"].items()
        covering = [one for one in policies if one["podSelector"]["matchLabels"].items() <= labels]
        assert [one["policyTypes"] for one in covering] == [["Ingress", "Egress"]], where
    for policy in policies:
        assert policy["podSelector"]["matchLabels"]
        for rule in policy["egress"]:
            assert rule["ports"], "a rule without ports allows all of them"


@pytest.mark.parametrize("name", NAMES)
def test_names_and_selectors_fit(name: str) -> None:
    """Names are short enough, selectors find their pods, and each volume that is mounted is there."""
    found = documents(rendered(name))
    labels = [metadata["labels"].items() for _, metadata, _ in pods(found)]
    for each in found:
        assert len(each["metadata"]["name"]) <= 63
        if not each["kind"].startswith("Cluster"):
            assert each["metadata"]["namespace"] in {"rotator", "shop"}
        selector = each.get("spec", {}).get("selector", {})
        wanted = selector if each["kind"] == "Service" else selector.get("matchLabels")
        if wanted and each["kind"] != "ServiceMonitor":
            assert any(wanted.items() <= one for one in labels), each["metadata"]["name"]
    for where, _, spec in pods(found):
        claims = next((one["spec"].get("volumeClaimTemplates", ()) for one in found if f"{one['kind']}/{one['metadata']['name']}" == where and one["kind"] == "StatefulSet"), ())  # fmt: skip
        there = {one["name"] for one in spec.get("volumes", ())}
        there |= {one["metadata"]["name"] for one in claims}
        for container in containers(spec):
            mounted = [one["name"] for one in container.get("volumeMounts", ())]
            assert set(mounted) <= there, where
            assert len(
                {one["mountPath"] for one in container["volumeMounts"]} if mounted else ()
            ) == len(mounted)


# --- checkov --------------------------------------------------------------------------------------

PROBELESS = r"Pod\..*-test|StatefulSet\..*\.orders|Deployment\..*-orchestrator-.*"
#: What checkov finds, and why it stays: by check, the objects (a pattern) and the reason.
EXPLAINED = {
    "CKV_K8S_11": (r".*", "no limit of CPU: who is throttled is slow in an emergency; requests are there"),
    "CKV_K8S_8": (PROBELESS, "a pod of `helm test` ends; an orchestrator answers to nobody; an application knows its own probes"),
    "CKV_K8S_9": (PROBELESS, "the same"),
    "CKV_K8S_40": (r"StatefulSet\..*\.cookies", "OpenShift chooses the user"),
    "CKV2_K8S_6": (r"Pod\..*\.(orders|cookies)\..*", "who may reach an application is its chart's to say; `openshift` switches ours off"),
}  # fmt: skip


@pytest.mark.timeout(400)
def test_checkov_finds_nothing_that_is_not_explained() -> None:
    """Each finding of checkov in each value set has a reason here, and each reason a finding."""
    found = findings("kubernetes")
    unexplained = {
        each for each in found if not re.fullmatch(EXPLAINED.get(each[0], ("",))[0], each[1])
    }
    assert unexplained == set()
    assert {check for check, _ in found} == set(EXPLAINED)
