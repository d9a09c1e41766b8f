"""Values that cannot be meant are refused, with words that say what to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from tests.support.charts import CHART, SETS, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
#: Objects of Kubernetes, which its own schemas are for (test_manifests.py), and maps with names of users.
OPEN = {
    "affinity", "annotations", "clusters", "commonLabels", "configMapKeyRef", "extraContainers",
    "extraEgress", "extraObjects", "extraVolumeMounts", "extraVolumes", "fieldRef", "global", "ipBlock", "labels",
    "limits", "livenessProbe", "masters", "metricRelabelings", "namespaceSelector", "nodeSelector", "podAnnotations",
    "podLabels", "podSecurityContext", "podSelector", "readinessProbe", "relabelings", "requests",
    "resourceFieldRef", "rollingUpdate", "securityContext", "startupProbe", "tolerations", "topologySpreadConstraints",
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("replicaCount=two", "at '/replicaCount': got string, want integer"),
        ("replicas=2", "additional properties 'replicas' not allowed"),
        ("image.digst=x", "at '/image': additional properties 'digst' not allowed"),
        ("image.digest=latest", "at '/image/digest': 'latest' does not match pattern"),
        ("image.repository=", "image.repository: no image is published; build deploy/Dockerfile"),
        ("config.secret_store.kind=valt", "value must be one of 'aws', 'local', 'vault'"),
        ("config.secret_store.auth.method=approle", "missing property 'role_id'"),
        ("config.secret_store.auth.jwt_file=/x", "additional properties 'jwt_file' not allowed"),
        ("config.secret_store.auth.token=CANARY", "additional properties 'token' not allowed"),
        ("config.clusters.orders.grace_windw=5m", "at '/config/clusters/orders': additional properties 'grace_windw' not allowed"),
        ("config.clusters.orders.grace_window=5 minutes", "at '/config/clusters/orders/grace_window': '5 minutes' does not match"),
        ("config.clusters.orders.members.expect=some", "at '/config/clusters/orders/members/expect'"),
        ("config.clusters.reports.grace_window=4h", "at '/config/clusters/reports': missing property 'members'"),
        ("config.clusters.Orders.members.expect=none", "'Orders'"),
        ("config.data_dir=/x", "additional properties 'data_dir' not allowed"),
        ("config.listen.port=9", "at '/config/listen': additional properties 'port' not allowed"),
        ("config.listen.plain_http=true", "tls.existingSecret and config.listen.plain_http exclude each other"),
        ("config.state_store.password=CANARY", "additional properties 'password' not allowed"),
        ("tls.existingSecret=", "cookies would cross the network in the clear"),
        ("orchestrator.clusters.reports.nodeName=a@{pod},orchestrator.clusters.reports.selector=a=b", "there is no such cluster in config.clusters"),
        ("orchestrator.clusters.orders.nodeName=rabbit@x,orchestrator.clusters.orders.selector=a=b", "at '/orchestrator/clusters/orders/nodeName'"),
        ("config.clusters.orders.rollout.order=size", "at '/config/clusters/orders/rollout/order'"),
        ("config.kubernetes.identities[0].service_account=a/b,config.kubernetes.identities[0].role=admin", "value must be one of"),
        ("tls.certManager.enabled=true", "tls.certManager.issuerRef.name: who signs the certificate?"),
        ("vault.existingSecret=x", "vault.existingSecret is for config.secret_store.auth.method approle and token"),
        ("database.existingSecret=x", "database.existingSecret is for config.state_store.kind postgresql"),
        ("persistence.size=big", "at '/persistence/size': 'big' does not match pattern"),
        ("serviceAccount.create=false", "serviceAccount.name: which one, if the chart makes none?"),
        ("service.type=Nodeport", "value must be one of 'ClusterIP', 'NodePort', 'LoadBalancer'"),
        ("ingress.enabled=true", "ingress.host and ingress.tlsSecret: both are needed"),
        ("extraEnv[0].name=A,extraEnv[0].valueFrom.secretKeyRef.name=b", "additional properties 'secretKeyRef' not allowed"),
        ("vault.tokenExpirationSeconds=60", "minimum: got 60, want 600"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_so_that_it_can_be_mended(given: str, said: str) -> None:
    """Each mistake is refused with its place, or with the reason and what to do."""
    told = refusal(SETS["sqlite-vault"], "--set", given)
    assert said in told
    assert "nil pointer" not in told
    assert "CANARY" not in told


def test_without_a_secret_store_nothing_is_installed(tmp_path: Path) -> None:
    """The one value that has no default is asked for, with an example."""
    values = tmp_path / "values.yaml"
    values.write_text("image: {repository: rotator}\ntls: {existingSecret: tls}\n")
    told = refusal(values)
    assert "config.secret_store: say where cookies are kept, such as {kind: vault" in told


def test_two_replicas_on_one_file_are_refused_with_the_reason() -> None:
    """`replicaCount > 1` on SQLite does not get as far as a pod that waits for a lock."""
    told = refusal(SETS["sqlite-vault"], "--set", "replicaCount=2")
    assert "a file has room for one process" in told
    assert "config.state_store to PostgreSQL" in told


def test_a_local_secret_store_is_for_one_replica() -> None:
    """Replicas never get secret stores of their own."""
    told = refusal(
        SETS["postgresql-replicas"], "--set-json", 'config.secret_store={"kind":"local"}'
    )
    assert "replicas would each have cookies of their own" in told


@pytest.mark.parametrize("name", ["approle", "token"])
def test_a_login_without_its_secret_is_refused(name: str) -> None:
    """What the service logs in with is named by its Secret, never given in values."""
    told = refusal(SETS[name], "--set", "vault.existingSecret=")
    assert "so name the Secret with what it logs in with" in told


def test_the_schema_is_one() -> None:
    """It is valid JSON Schema, draft 2020-12."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def open_objects(schema: Any, name: str) -> Iterator[str]:
    """Names of objects in which any key may stand."""
    is_open = schema.get("additionalProperties") is not False and "allOf" not in schema
    if schema.get("type") == "object" and is_open:
        yield name
    for key, each in schema.items():
        if key in {"properties", "$defs"}:
            for inner, value in each.items():
                yield from open_objects(value, inner)
        elif key in {"items", "additionalProperties", "then"} and isinstance(each, dict):
            yield from open_objects(each, name)


def test_no_object_takes_any_key_but_those_of_kubernetes_and_of_users() -> None:
    """A key that is written wrongly is refused wherever the chart, and no other, gives it a meaning."""
    assert set(open_objects(SCHEMA, "")) == OPEN


def names(values: Any, schema: Any) -> Iterator[tuple[str, bool]]:
    """Each value with whether the schema knows it, as far down as the schema goes."""
    for key, value in values.items():
        known = schema.get("properties", {})
        yield key, key in known
        below = known.get(key, {})
        below = SCHEMA["$defs"].get(below.get("$ref", "").removeprefix("#/$defs/"), below)
        if isinstance(value, dict) and "properties" in below:
            yield from names(value, below)


def test_each_value_is_in_the_schema() -> None:
    """Defaults and schema know the same values."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert [name for name, is_known in names(values, SCHEMA) if not is_known] == []
    assert set(SCHEMA["properties"]) - set(values) == {"global"}
