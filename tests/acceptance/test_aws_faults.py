"""AWS Secrets Manager in trouble: named as what blocks, nodes are served on, and it goes on after."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import aws, canary
from tests.support.service import Service, wait_for

pytestmark = pytest.mark.timeout(400)

CLUSTER = "orders"
PLAIN = {"grace_window": "0", "members": {"expect": "none"}}
SLOW = {"grace_window": "10m", "members": {"expect": "none"}}


class Stage:
    """A service on an emulator of its own, with version 1."""

    def __init__(self, directory: Path, policy: dict[str, Any]) -> None:
        self.server, self.prefix = aws.start(), f"t{secrets.token_hex(8)}"
        self.key = self.server.identity("service", self.prefix)
        self.name = f"{self.prefix}/clusters/{CLUSTER}"
        store = {"kind": "aws", "region": aws.REGION, "prefix": self.prefix}
        self.service = Service(
            directory,
            store | {"endpoint": self.server.address},
            {CLUSTER: policy},
            {"log": {"level": "debug", "format": "json"}},
            self.server.environment(self.key),
        )

    def begin(self) -> str:
        """The id of a new manual rotation."""
        body = {"kind": "manual", "reason": "test"}
        begun = self.service.command(f"clusters/{CLUSTER}/rotations", body)
        assert begun is not None
        return str(begun["id"])

    def blocked_by(self, code: str) -> dict[str, Any]:
        """The blocker of this code, once it stands."""

        def ask() -> dict[str, Any] | None:
            found = self.service.get(f"clusters/{CLUSTER}")["blockers"]
            return next((one for one in found if one["code"] == code), None)

        return dict(wait_for(f"blocked by {code}", ask))

    def cookie(self) -> Any:
        """What a node gets."""
        token = self.service.token("node", nodes="n@h")
        answer = self.service.request("GET", f"clusters/{CLUSTER}/cookie?node=n@h", token=token)
        assert answer.is_success, answer.text
        return answer.json()["current"]

    def facts(self) -> set[str]:
        """Kinds of all facts."""
        path = f"facts?cluster={CLUSTER}&limit=200"
        return {fact["kind"] for fact in self.service.get(path, role="auditor")["facts"]}


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Running, with version 1 current; the policy is the test's parameter."""
    made = Stage(tmp_path, getattr(request, "param", PLAIN))
    made.service.start()
    try:
        made.service.initialise(CLUSTER)
        yield made
        assert made.service.process is not None
        where = canary.files_below(tmp_path) | canary.process(made.service.process.pid)
        stored = {
            f"{name} {version}": about["secret_string"].encode()
            for name, secret in dict.items(made.server.secrets)
            if name.startswith(made.prefix)
            for version, about in secret.versions.items()
        }
        cookie = made.server.readable(made.name)["AWSCURRENT"]["cookie"].encode()
        assert canary.find({**stored, "cookie": cookie}, where) == []
    finally:
        made.service.stop()


def test_a_deleted_secret_is_named_and_the_rotation_goes_on_when_it_is_restored(
    stage: Stage,
) -> None:
    """Scheduled for deletion in the middle: blocked since then, and nodes keep what they had."""
    before = stage.cookie()
    stage.server.secrets[stage.name].delete(1e10)
    rotation = stage.begin()
    blocker = stage.blocked_by("store_deletion_scheduled")
    assert blocker["subject"] == "secrets manager"
    assert "restore-secret" in blocker["detail"]
    assert stage.cookie() == before
    stage.server.secrets[stage.name].restore()
    stage.service.stop()
    stage.service.start()
    assert stage.service.until_phase(CLUSTER, rotation, "completed")["to_version"] == 2
    assert stage.service.get(f"clusters/{CLUSTER}")["blockers"] == []


def test_missing_rights_are_named_and_no_number_is_burned(stage: Stage) -> None:
    """Without the right to write it waits, by name; with it again it finishes."""
    policy = stage.server.policies[stage.key]
    stage.server.policies[stage.key] = stage.server.policies[
        stage.server.identity("node", stage.prefix)
    ]
    rotation = stage.begin()
    stage.blocked_by("store_forbidden")
    stage.server.policies[stage.key] = policy
    stage.service.stop()
    stage.service.start()
    assert stage.service.until_phase(CLUSTER, rotation, "completed")["to_version"] == 2


def test_throttled_and_lagging_it_takes_its_time_and_nothing_else(stage: Stage) -> None:
    """Every third request refused, and answers that are old: one rotation, no freeze."""
    stage.server.lag = 1
    rotation = None
    with (
        stage.server.fault("PutSecretValue", "ThrottlingException", times=2),
        stage.server.fault("UpdateSecretVersionStage", "ThrottlingException", times=3, skip=2),
        stage.server.fault("GetSecretValue", "InternalServiceError", times=3, status=500, skip=9),
        stage.server.fault("UpdateSecretVersionStage", times=3, skip=3),
    ):
        rotation = stage.begin()
        done = stage.service.until_phase(CLUSTER, rotation, "completed")
    assert done["to_version"] == 2
    stage.server.lag = 0
    labels = stage.server.readable(stage.name)
    assert {label: value["number"] for label, value in labels.items()} == {"AWSCURRENT": 2}
    assert "ClusterFrozen" not in stage.facts()
    assert stage.server.puts(stage.name) == 2


@pytest.mark.parametrize("stage", [SLOW], indirect=True)
def test_labels_that_somebody_moved_are_named_and_an_emergency_goes_over_them(
    stage: Stage,
) -> None:
    """In the grace window AWSCURRENT is put back by hand: no node is harmed, nothing retires."""
    rotation = stage.begin()
    stage.service.until_phase(CLUSTER, rotation, "grace")
    labels = stage.server.labels(stage.name)
    stage.server.client().update_secret_version_stage(
        SecretId=stage.name,
        VersionStage="AWSCURRENT",
        RemoveFromVersionId=labels["AWSCURRENT"],
        MoveToVersionId=labels["AWSPREVIOUS"],
    )
    blocker = stage.blocked_by("store_stages_moved")
    assert labels["AWSCURRENT"] in blocker["detail"]
    assert stage.cookie()["number"] == 2
    body = {"kind": "emergency", "reason": "somebody was here"}
    begun = stage.service.command(f"clusters/{CLUSTER}/rotations", body)
    assert begun is not None
    stage.service.until_phase(CLUSTER, str(begun["id"]), "completed")
    readable = stage.server.readable(stage.name)
    assert {label: value["number"] for label, value in readable.items()} == {"AWSCURRENT": 3}
    assert stage.cookie()["number"] == 3
