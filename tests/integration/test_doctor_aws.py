"""What doctor finds in AWS Secrets Manager: the emulator behind AWS's documented rules."""

from __future__ import annotations

import copy
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rotator.adapters.secret_stores.aws import examiner as aws_examiner
from rotator.adapters.secret_stores.registry import open_stores
from rotator.domain.document import staged
from rotator.ports.examiner import Subject
from rotator.services.doctor.runner import Outcome, examine
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
from tests.integration.test_doctor import codes, run
from tests.support import aws
from tests.support.service import Service

SUBJECT = Subject(clusters=(ORDERS,), initialised=frozenset({ORDERS}), epochs=((DEFAULT, FIRST),))
#: The emulator's keys are none of a role.
KEY = "store_key_lasting"
CHECKS = 5


@dataclass
class Place:
    """A prefix of this test's own; the process has the credentials of an identity below it."""

    patch: pytest.MonkeyPatch
    server: aws.Aws = field(default_factory=aws.shared)
    prefix: str = field(default_factory=lambda: f"t{secrets.token_hex(8)}")

    @property
    def cookies(self) -> str:
        """The secret of the cluster's cookies."""
        return f"{self.prefix}/clusters/{ORDERS}"

    @property
    def meta(self) -> str:
        """The secret of the rest."""
        return f"{self.cookies}/meta"

    def become(self, key: str) -> None:
        """The default chain finds this access key."""
        for name, value in self.server.environment(key).items():
            self.patch.setenv(name, value)

    def identity(self, more: dict[str, Any] | None = None, *, without: str = "") -> str:
        """One with the shipped policy, and *more*, or without an action."""
        key = self.server.identity("service", self.prefix)
        policy = copy.deepcopy(self.server.policies[key])
        assert policy is not None
        for statement in policy["Statement"]:
            statement["Action"] = [one for one in statement["Action"] if one != without]
        policy["Statement"] += [more] if more else []
        self.server.policies[key] = policy
        return key

    def open(self, **settings: Any) -> Any:
        """The stores."""
        given = {"region": aws.REGION, "prefix": self.prefix, "endpoint": self.server.address}
        return open_stores("aws", **{**given, "timeout": timedelta(seconds=60), **settings})

    async def written(self) -> None:
        """Document and epoch, as the service writes them."""
        self.become(self.identity())
        stores = self.open()
        await stores.masters.create(DEFAULT, FIRST, epoch())
        await stores.cookies.create(ORDERS, document(1))
        found = await present(stores.cookies)
        changed = staged(found.document, version(2), stamp())
        await stores.cookies.replace(ORDERS, changed, mark=found.mark)
        await stores.close()

    def state(self) -> str:
        """Everything that lies below the prefix, and all that was made by doctor elsewhere."""
        return json.dumps(
            {
                name: [secret.versions, secret.deleted_date]
                for name, secret in dict.items(self.server.secrets)
                if self.prefix in name or "rotator-doctor" in name
            },
            default=str,
            sort_keys=True,
        )

    async def found(
        self, *, subject: Subject = SUBJECT, off: timedelta | None = None, **settings: Any
    ) -> list[tuple[str, str, str]]:
        """What doctor finds: (code, subject, detail); it has changed nothing, and read no cookie."""
        before, asked = self.state(), len(self.server.calls)
        stores = self.open(**settings)
        examiner = stores.examiner
        if off is not None:
            clock = lambda: datetime.now(UTC) + off  # noqa: E731
            connection = stores.cookies._connection
            examiner = aws_examiner.AwsExaminer(connection, prefix=self.prefix, now=clock)
        try:
            report = await examine(examiner.checks(subject), seconds=120)
            await examiner.leave()
        finally:
            await stores.close()
        assert len(report.checks) == CHECKS
        assert self.state() == before
        calls = self.server.calls[asked:]
        assert not [one for one in calls if one.operation == "CreateSecret"]
        assert not [
            one for one in calls if one.operation == "GetSecretValue" and one.name == self.cookies
        ]
        written = [one for one in calls if one.operation not in _READING]
        assert all("rotator-doctor-" in one.name for one in written)
        return [(one.code, one.subject, one.detail) for one in report.findings]


_READING = {"DescribeSecret", "GetSecretValue", "ListSecretVersionIds", "ListSecrets"}


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    """In the shared emulator."""
    return Place(monkeypatch)


async def test_a_service_set_up_as_shipped_has_nothing_to_mend(place: Place) -> None:
    """Policy, secrets and labels as this project makes them are found good; the key is a note."""
    await place.written()
    assert [code for code, _, _ in await place.found()] == [KEY]


async def test_before_the_first_document_there_is_nothing_to_mend(place: Place) -> None:
    """A cluster that is only declared has no secrets, and that is no fault."""
    place.become(place.identity())
    found = await place.found(subject=Subject(clusters=(ORDERS,)))
    assert [code for code, _, _ in found] == [KEY]


@pytest.mark.parametrize(
    ("action", "where"),
    [
        ("GetSecretValue", "{}/masters/*"),
        ("PutSecretValue", "{}/clusters/*"),
        ("UpdateSecretVersionStage", "{}/clusters/*"),
        ("ListSecretVersionIds", "{}/clusters/*"),
    ],
)
async def test_a_right_that_is_missing_is_named_with_its_place(
    place: Place, action: str, where: str
) -> None:
    """Before a rotation meets it, the action and where it is lacking are told."""
    await place.written()
    place.become(place.identity(without=f"secretsmanager:{action}"))
    found = await place.found()
    assert ("rights_missing", where.format(place.prefix), f"lacks {action}") in found
    assert {code for code, _, _ in found} == {"rights_missing", KEY}


@pytest.mark.parametrize(
    ("action", "resource", "where", "told"),
    [
        ("secretsmanager:DeleteSecret", "*:secret:PREFIX/*", "{}/masters/*", "may DeleteSecret"),
        (
            "secretsmanager:PutSecretValue",
            "*:secret:PREFIX/masters/*",
            "{}/masters/*",
            "may PutSecretValue",
        ),
        ("secretsmanager:GetSecretValue", "*", "elsewhere", "may GetSecretValue"),
        ("secretsmanager:ListSecrets", "*", "all secrets", "may ListSecrets"),
        (
            "secretsmanager:*",
            "*",
            "{}/clusters/*",
            "may DeleteSecret, RestoreSecret, UpdateSecret",
        ),
    ],
)
async def test_a_right_too_many_is_named_with_its_place(
    place: Place, action: str, resource: str, where: str, told: str
) -> None:
    """To delete, to write an epoch over, to list or to reach elsewhere is more than is needed."""
    await place.written()
    resource = resource.replace("PREFIX", place.prefix)
    more = {"Effect": "Allow", "Action": action, "Resource": resource}
    place.become(place.identity(more))
    found = await place.found()
    assert ("rights_too_wide", where.format(place.prefix), told) in found
    assert {code for code, _, _ in found} == {"rights_too_wide", KEY}


async def test_what_aws_does_not_tell_of_a_right_is_no_right_that_is_good(place: Place) -> None:
    """An answer that is neither a refusal nor a secret that is not found is said to be unknown."""
    await place.written()
    with place.server.fault("DeleteSecret", "InvalidParameterException", times=9):
        found = await place.found()
    told = [(subject, detail) for code, subject, detail in found if code == "rights_unknown"]
    assert (f"{place.prefix}/clusters/*", "AWS does not tell of DeleteSecret") in told
    assert {code for code, _, _ in found} == {"rights_unknown", KEY}


async def test_throttling_is_no_right_that_is_missing(place: Place) -> None:
    """A check that AWS does not let come to its end is said to be one."""
    await place.written()
    with place.server.fault("PutSecretValue", "ThrottlingException", times=99):
        found = await place.found()
    assert [(code, subject) for code, subject, _ in found if code != KEY] == [
        ("check_failed", "rights in the secrets manager")
    ]
    assert "ThrottlingException" in str(found)


@pytest.mark.parametrize("which", ["cookies", "meta"])
async def test_a_secret_that_is_scheduled_for_deletion_is_named(place: Place, which: str) -> None:
    """Either of a cluster's two; until it is gone for good it can be restored."""
    await place.written()
    name = getattr(place, which)
    place.server.secrets[name].delete(datetime.now(UTC).timestamp())
    found = [one for one in await place.found() if one[0] != KEY]
    assert [(code, subject) for code, subject, _ in found] == [("secret_deletion_scheduled", name)]


async def test_labels_that_somebody_moved_are_named(place: Place) -> None:
    """Which label, on which version it is, and on which it belongs; no value is told."""
    await place.written()
    before = place.server.labels(place.cookies)
    place.server.client().update_secret_version_stage(
        SecretId=place.cookies,
        VersionStage="AWSCURRENT",
        RemoveFromVersionId=before["AWSCURRENT"],
        MoveToVersionId=before["AWSPENDING"],
    )
    [(code, subject, detail)] = [one for one in await place.found() if one[0] != KEY]
    assert (code, subject) == ("secret_stages_moved", place.cookies)
    assert f"AWSCURRENT is on {before['AWSPENDING']}" in detail
    assert f"belongs on {before['AWSCURRENT']}" in detail


async def test_labels_that_are_not_seen_yet_are_no_finding(place: Place) -> None:
    """What AWS answers may lag behind what was written a moment ago."""
    await place.written()
    former = copy.deepcopy(place.server.secrets[place.cookies])
    former.versions = {
        version: {**about, "version_stages": []} for version, about in former.versions.items()
    }
    place.server.answer_with(former, times=3)
    assert [code for code, _, _ in await place.found()] == [KEY]


async def test_rotation_by_aws_itself_is_found(place: Place) -> None:
    """Its function would put values that this program knows nothing of."""
    await place.written()
    secret = place.server.secrets[place.cookies]
    secret.rotation_enabled = secret.rotation_requested = True
    secret.rotation_lambda_arn, secret.auto_rotate_after_days = "arn:aws:lambda:x", 1
    secret.last_rotation_date = None
    found = [one for one in await place.found() if one[0] != KEY]
    assert [(code, subject) for code, subject, _ in found] == [
        ("secret_rotated_by_aws", place.cookies)
    ]


async def test_a_quota_that_is_near_is_told_before_a_rotation_meets_it(place: Place) -> None:
    """AWS keeps every version of a day and takes about a hundred."""
    await place.written()
    root = place.server.client()
    for number in range(80):
        root.put_secret_value(
            SecretId=place.meta, SecretString=f"x{number}", VersionStages=["SOMEBODYS"]
        )
    found = [one for one in await place.found() if one[0] != KEY]
    assert [(code, subject) for code, subject, _ in found] == [("store_quota_near", place.meta)]


async def test_secrets_that_are_not_there_point_at_region_account_and_prefix(place: Place) -> None:
    """Credentials that are good somewhere else find nothing of a cluster that has versions."""
    await place.written()
    elsewhere = f"{place.prefix}-elsewhere"
    place.become(place.server.identity("service", elsewhere))
    found = await place.found(prefix=elsewhere)
    assert [(code, subject) for code, subject, _ in found if code != KEY] == [
        ("document_missing", f"{elsewhere}/clusters/{ORDERS}")
    ]


async def test_no_credentials_are_one_finding(place: Place, tmp_path: Path) -> None:
    """Where the default chain finds none, five checks do not say the same five times."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        place.patch.delenv(name, raising=False)
    place.patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        place.patch.setenv(name, str(tmp_path / "none"))
    found = await place.found()
    assert [(code, subject) for code, subject, _ in found] == [
        ("secrets_manager_unusable", "store_login_failed")
    ]


@pytest.mark.parametrize(
    ("settings", "subject"),
    [
        ({"endpoint": "http://127.0.0.1:9"}, "store_unreachable"),
        ({"region": "no region", "endpoint": None}, "secret_store"),
    ],
)
async def test_a_place_that_is_not_there_is_one_finding(
    place: Place, settings: dict[str, Any], subject: str
) -> None:
    """An endpoint where nobody listens, and a region that is none."""
    place.become(place.identity())
    found = await place.found(**settings)
    assert [code for code, _, _ in found] == ["secrets_manager_unusable"]
    assert found[0][1] == subject


async def test_expired_credentials_are_named(place: Place) -> None:
    """And so is a key that AWS does not know."""
    await place.written()
    key = place.identity()
    place.become(key)
    place.server.expired.add(key)
    found = await place.found()
    assert [one[:2] for one in found] == [("secrets_manager_unusable", "store_token_expired")]
    place.become("AKIDNOBODY")
    found = await place.found()
    assert [one[:2] for one in found] == [("secrets_manager_unusable", "store_login_failed")]


async def test_temporary_credentials_that_nobody_renews_are_named(place: Place) -> None:
    """Put into the environment by hand they end within hours, and the service with them."""
    await place.written()
    place.patch.setenv("AWS_SESSION_TOKEN", "a-session-token")
    found = await place.found()
    [(code, _, detail)] = found
    assert (code, detail) == (
        "store_token_ends",
        "temporary credentials (env), which nobody renews",
    )
    assert "a-session-token" not in str(found)


async def test_credentials_that_are_renewed_are_no_finding(place: Place, tmp_path: Path) -> None:
    """As those of a role: here by a program that the default chain asks."""
    await place.written()
    key = place.identity()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        place.patch.delenv(name)
    program = tmp_path / "credentials"
    said = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": "secret", "SessionToken": "t"}
    said["Expiration"] = (datetime.now(UTC) + timedelta(hours=12)).isoformat()
    program.write_text(f"#!/bin/sh\necho '{json.dumps(said)}'\n")
    program.chmod(0o700)
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {program}\n")
    place.patch.setenv("AWS_CONFIG_FILE", str(config))
    place.patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    assert await place.found() == []


@pytest.mark.parametrize(
    ("off", "code"),
    [
        (timedelta(), None),
        (timedelta(seconds=120), "clock_skew"),
        (timedelta(minutes=-10), "clock_far_off"),
    ],
)
async def test_a_clock_that_differs_is_found_by_the_date_of_an_answer(
    place: Place, off: timedelta, code: str | None
) -> None:
    """Ours against that of whoever answers for AWS, to the second."""
    await place.written()
    found = [one for one in await place.found(off=off) if one[0] != KEY]
    assert [one[0] for one in found] == ([code] if code else [])


async def test_a_signature_refused_for_the_clock_says_so_beside_the_refusal(place: Place) -> None:
    """AWS refuses a signature that is five minutes off: the cause is found, not just its effect."""
    await place.written()
    with place.server.fault("*", "InvalidSignatureException", times=99):
        found = await place.found(off=timedelta(minutes=-10))
    assert {code for code, _, _ in found} == {"secrets_manager_unusable", "clock_far_off"}


def test_doctor_as_a_program_looks_into_aws(place: Place, tmp_path: Path) -> None:
    """On AWS as on the other stores: exit code, table of checks, and no credential in the output."""
    place.become(place.identity())
    store = {
        "kind": "aws",
        "region": aws.REGION,
        "prefix": place.prefix,
        "endpoint": place.server.address,
    }
    clusters = {ORDERS: {"members": {"expect": 1}}}
    made = Service(tmp_path, store, clusters, kdf_profile="owasp-argon2id")
    report = run(made.config)
    assert codes(report) == {KEY, "state_store_missing"}
    outcomes = {one["name"]: one["outcome"] for one in report["checks"]}
    assert outcomes["rights in the secrets manager"] == Outcome.CLEAN
    assert "secret_access_key" not in json.dumps(report).lower()
