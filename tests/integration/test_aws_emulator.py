"""The strict emulator refuses what AWS documents as refused; each rule is tried."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support import aws, aws_iam, aws_rules


@pytest.fixture
def client() -> Any:
    """Root's."""
    return aws.shared().client()


@pytest.fixture
def name(client: Any) -> str:
    """A secret with one version."""
    made = f"t/{uuid.uuid4()}"
    client.create_secret(Name=made, SecretString="one", ClientRequestToken="1" * 32)
    return made


@contextmanager
def refused(client: Any, code: str) -> Iterator[None]:
    """AWS's error of this code."""
    with pytest.raises(client.exceptions.ClientError) as caught:
        yield
    assert caught.value.response["Error"]["Code"] == code


def put(client: Any, name: str, number: int, *labels: str, text: str = "text") -> None:
    """A version whose id is a digit thirty-two times."""
    token = f"{number:032}"
    client.put_secret_value(
        SecretId=name, SecretString=text, ClientRequestToken=token, VersionStages=list(labels)
    )


def move(client: Any, name: str, label: str, **places: str) -> None:
    """UpdateSecretVersionStage."""
    client.update_secret_version_stage(SecretId=name, VersionStage=label, **places)


def test_a_token_stands_for_one_value(client: Any, name: str) -> None:
    """The same again is ignored, labels included; another value is refused, pending or not."""
    put(client, name, 2, "AWSPENDING")
    move(client, name, "AWSPENDING", RemoveFromVersionId=f"{2:032}")
    put(client, name, 2, "AWSPENDING")
    assert "AWSPENDING" not in aws.shared().labels(name)
    put(client, name, 3, "AWSPENDING")
    for number in (2, 3):
        with refused(client, "ResourceExistsException"):
            put(client, name, number, "AWSPENDING", text="another")
    client.create_secret(Name=name, SecretString="one", ClientRequestToken="1" * 32)
    with refused(client, "ResourceExistsException"):
        client.create_secret(Name=name, SecretString="two", ClientRequestToken="1" * 32)


def test_labels_are_moved_off_exactly_where_they_are(client: Any, name: str) -> None:
    """Each label, not AWSCURRENT alone; nothing is moved by half."""
    put(client, name, 2, "MINE")
    put(client, name, 3, "AWSPENDING")
    before = aws.shared().labels(name)
    bad: list[tuple[str, dict[str, str]]] = [
        ("MINE", {"MoveToVersionId": f"{3:032}"}),
        ("MINE", {"MoveToVersionId": f"{3:032}", "RemoveFromVersionId": "1" * 32}),
        ("MINE", {"MoveToVersionId": "9" * 32, "RemoveFromVersionId": f"{2:032}"}),
        ("NOBODYS", {"MoveToVersionId": f"{3:032}", "RemoveFromVersionId": f"{2:032}"}),
        ("AWSCURRENT", {"RemoveFromVersionId": "1" * 32}),
        ("AWSCURRENT", {"MoveToVersionId": f"{2:032}"}),
        ("MINE", {}),
    ]
    for label, places in bad:
        with refused(client, "InvalidParameterException"):
            move(client, name, label, **places)
    assert aws.shared().labels(name) == before


def test_previous_follows_current_by_itself(client: Any, name: str) -> None:
    """Also when it was on another version before, and on the one that becomes current."""
    put(client, name, 2, "MINE")
    move(client, name, "AWSCURRENT", MoveToVersionId=f"{2:032}", RemoveFromVersionId="1" * 32)
    assert aws.shared().labels(name)["AWSPREVIOUS"] == "1" * 32
    move(client, name, "AWSCURRENT", MoveToVersionId="1" * 32, RemoveFromVersionId=f"{2:032}")
    assert aws.shared().labels(name) == {
        "AWSCURRENT": "1" * 32,
        "AWSPREVIOUS": f"{2:032}",
        "MINE": f"{2:032}",
    }
    put(client, name, 3, "AWSCURRENT")
    assert aws.shared().labels(name)["AWSPREVIOUS"] == "1" * 32


def test_the_first_version_is_current_whatever_was_asked(client: Any) -> None:
    """A secret without a value gets AWSCURRENT with its first one."""
    made = f"t/{uuid.uuid4()}"
    client.create_secret(Name=made)
    put(client, made, 1, "AWSPENDING")
    assert set(aws.shared().labels(made)) == {"AWSCURRENT", "AWSPENDING"}


def test_limits_are_kept(client: Any, name: str) -> None:
    """Size, number of versions, number of labels, length of tokens, characters of names."""
    with refused(client, "InvalidParameterException"):
        put(client, name, 2, "MINE", text="x" * (aws_rules.LARGEST + 1))
    put(client, name, 2, "MINE", text="x" * aws_rules.LARGEST)
    with refused(client, "LimitExceededException"):
        put(client, name, 3, *(f"L{number}" for number in range(aws_rules.MOST_LABELS)))
    versions = aws.shared().secrets[name].versions
    for number in range(10, 8 + aws_rules.MOST_VERSIONS):
        versions[f"{number:032}"] = {"version_stages": [], "secret_string": "x"}
    with refused(client, "LimitExceededException"):
        put(client, name, 500, "MINE")
    with refused(client, "ValidationException"):
        client.create_secret(Name="a name", SecretString="x")


def test_versions_without_labels_are_listed_when_asked_for_in_pages(client: Any, name: str) -> None:
    """DescribeSecret does not show them at all."""
    for number in (2, 3, 4):
        put(client, name, number, "MINE")
    assert set(client.describe_secret(SecretId=name)["VersionIdsToStages"]) == {
        "1" * 32,
        f"{4:032}",
    }
    page = client.list_secret_version_ids(SecretId=name, IncludeDeprecated=True, MaxResults=3)
    assert len(page["Versions"]) == 3
    rest = client.list_secret_version_ids(
        SecretId=name, IncludeDeprecated=True, NextToken=page["NextToken"]
    )
    assert (len(rest["Versions"]), "NextToken" in rest) == (1, False)
    assert len(client.list_secret_version_ids(SecretId=name)["Versions"]) == 2


def test_a_secret_scheduled_for_deletion_takes_and_gives_nothing(client: Any, name: str) -> None:
    """But it can be described."""
    aws.shared().secrets[name].delete(1e10)
    for call in (
        lambda: client.get_secret_value(SecretId=name),
        lambda: put(client, name, 2, "MINE"),
        lambda: move(client, name, "MINE", MoveToVersionId="1" * 32),
        lambda: client.create_secret(Name=name, SecretString="x", ClientRequestToken="2" * 32),
        lambda: client.list_secret_version_ids(SecretId=name),
    ):
        with refused(client, "InvalidRequestException"):
            call()
    assert "DeletedDate" in client.describe_secret(SecretId=name)


def test_iam_denies_what_no_statement_allows_and_fails_on_what_it_does_not_know() -> None:
    """Deny wins; a wildcard is one; an unknown operator is no silent yes."""
    allow = {"Effect": "Allow", "Action": "secretsmanager:Get*", "Resource": "arn:a-??"}
    how: dict[str, Any] = {"action": "secretsmanager:GetSecretValue", "asked": {}}

    def is_allowed(*statements: dict[str, Any], resource: str = "arn:a-bc") -> bool:
        return aws_iam.is_allowed({"Statement": list(statements)}, resource=resource, **how)

    assert is_allowed(allow)
    assert not is_allowed()
    assert not is_allowed(allow, resource="arn:a-bcd")
    assert not is_allowed(allow, {**allow, "Effect": "Deny"})
    odd = {"Condition": {"Bool": {"secretsmanager:VersionId": "true"}}}
    with pytest.raises(NotImplementedError):
        is_allowed(allow | odd)
