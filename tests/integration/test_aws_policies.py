"""The shipped IAM policies give what is needed and no more, held against what is really asked."""

from __future__ import annotations

import json
import secrets
from datetime import timedelta
from typing import Any

import pytest

from rotator.adapters.secret_stores.registry import open_stores
from rotator.domain.document import promoted, retired, staged
from rotator.domain.ids import EpochNumber
from rotator.testing.secret_stores import (
    DEFAULT,
    FIRST,
    ORDERS,
    document,
    epoch,
    present,
    stamp,
    version,
)
from tests.support import aws, aws_iam

NODE_LABELS = ["AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"]


def policy(name: str) -> dict[str, Any]:
    """A shipped policy."""
    text = (aws.POLICIES / f"aws-{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.fixture
def prefix() -> str:
    """A place for this test alone."""
    return f"t{secrets.token_hex(8)}"


@pytest.fixture
async def service(prefix: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A service's access key, after it has done all that it ever does."""
    server = aws.shared()
    key = server.identity("service", prefix)
    for name, value in server.environment(key).items():
        monkeypatch.setenv(name, value)
    stores = open_stores(
        "aws",
        region=aws.REGION,
        prefix=prefix,
        endpoint=server.address,
        timeout=timedelta(seconds=60),
    )
    await stores.cookies.check()
    await stores.masters.create(DEFAULT, FIRST, epoch())
    assert await stores.masters.read(DEFAULT, FIRST) == epoch()
    assert await stores.masters.read(DEFAULT, EpochNumber(2)) is None
    await stores.cookies.create(ORDERS, document(1))
    for change in (
        lambda found: staged(found, version(2), stamp()),
        lambda found: promoted(found, stamp()),
        lambda found: retired(found, stamp()),
    ):
        found = await present(stores.cookies)
        await stores.cookies.replace(ORDERS, change(found.document), mark=found.mark)
    await stores.close()
    return key


@pytest.mark.parametrize("part", ["clusters", "masters"])
def test_the_service_may_do_what_it_does_and_nothing_else(
    service: str, prefix: str, part: str
) -> None:
    """Each action that is allowed was asked for, and each that was asked for is allowed."""
    asked = {
        f"secretsmanager:{call.operation}"
        for call in aws.shared().calls
        if call.by == service and call.name.startswith(f"{prefix}/{part}/")
    }
    [statement] = [one for one in policy("service")["Statement"] if part in one["Resource"]]
    assert set(statement["Action"]) == asked
    assert not any("*" in action for action in statement["Action"])


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("put_secret_value", {"SecretId": "{}/masters/default/1", "SecretString": "x"}),
        ("get_secret_value", {"SecretId": "elsewhere/clusters/orders"}),
        ("create_secret", {"Name": "elsewhere/clusters/orders", "SecretString": "x"}),
        ("get_secret_value", {"SecretId": "{}x/clusters/orders"}),
    ],
)
def test_the_service_is_kept_below_its_prefix_and_writes_no_master_over(
    service: str, prefix: str, operation: str, arguments: dict[str, str]
) -> None:
    """What it has no business with is denied."""
    client = aws.shared().client(service)
    filled = {name: value.format(prefix) for name, value in arguments.items()}
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        getattr(client, operation)(**filled)


def test_a_node_reads_its_cluster_by_label_and_a_retired_version_in_no_way(
    service: str, prefix: str
) -> None:
    """By label it reads what is in use; by version, without either, or elsewhere: denied."""
    server = aws.shared()
    node = server.client(server.identity("node", prefix))
    own = f"{prefix}/clusters/orders"
    found = node.get_secret_value(SecretId=own, VersionStage="AWSCURRENT")
    assert json.loads(found["SecretString"])["number"] == 2
    for label in ("AWSPREVIOUS", "AWSPENDING"):
        with pytest.raises(node.exceptions.ResourceNotFoundException):
            node.get_secret_value(SecretId=own, VersionStage=label)
    retired_ids = set(server.secrets[own].versions) - {found["VersionId"]}
    assert retired_ids, "AWS keeps the retired version: that is what the policy is for"
    current = {"VersionId": found["VersionId"], "VersionStage": "AWSCURRENT"}
    denied: list[dict[str, str]] = [
        {},
        current,
        {"VersionStage": "ROTATOR_NEXT"},
        *({"VersionId": one} for one in [*retired_ids, found["VersionId"]]),
    ]
    for how in denied:
        with pytest.raises(node.exceptions.ClientError, match="AccessDenied"):
            node.get_secret_value(SecretId=own, **how)
    others = [f"{own}/meta", f"{prefix}/masters/default/1", f"{own}2", f"{prefix}/clusters/order"]
    for name in others:
        with pytest.raises(node.exceptions.ClientError, match="AccessDenied"):
            node.get_secret_value(SecretId=name, VersionStage="AWSCURRENT")
    for call in (node.describe_secret, node.list_secret_version_ids, node.delete_secret):
        with pytest.raises((node.exceptions.ClientError, NotImplementedError)):
            call(SecretId=own)


def test_the_policies_differ_in_nothing_but_what_is_to_be_filled_in() -> None:
    """The places that an operator has to fill in are REGION, ACCOUNT, KEY and the prefix."""
    for name in ("service", "service-kms", "node"):
        text = json.dumps(policy(name))
        assert "REGION" in text
        assert "ACCOUNT" in text
    assert aws_iam.actions(policy("node"), "secretsmanager") == {"secretsmanager:GetSecretValue"}
    assert aws_iam.actions(policy("service-kms"), "kms") == {"kms:Decrypt", "kms:GenerateDataKey"}
    [statement] = policy("node")["Statement"]
    labels = statement["Condition"]["ForAnyValue:StringEquals"]["secretsmanager:VersionStage"]
    assert labels == NODE_LABELS
