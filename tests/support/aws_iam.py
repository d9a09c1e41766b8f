"""A policy of IAM, held against one request: as much of it as the shipped policies use.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html: denied
unless a statement allows it, and denied whatever allows it if a statement denies it.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecretsmanager.html:
the condition keys (both pages were found again in November 2026). What is not known here fails loudly.
A name that no secret has is evaluated as an ARN made of it: that AWS looks at rights before it looks
for the secret is what its users report, and not a promise of its documentation.
"""

from __future__ import annotations

import re
from typing import Any

_KEYS = {
    "secretsmanager:VersionStage": "VersionStage",
    "secretsmanager:VersionId": "VersionId",
    "secretsmanager:Name": "Name",
    "secretsmanager:SecretId": "SecretId",
}


def is_allowed(
    policy: dict[str, Any], *, action: str, resource: str, asked: dict[str, Any]
) -> bool:
    """Whether the policy allows the action on the resource, with these parameters."""
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if any(_like(one, action) for one in _many(statement["Action"]))
        and any(_like(one, resource) for one in _many(statement["Resource"]))
        and _holds(statement.get("Condition", {}), asked)
    }
    return effects == {"Allow"}


def actions(policy: dict[str, Any], service: str) -> set[str]:
    """The actions of one service that it names; a wildcard is none."""
    named = {one for statement in policy["Statement"] for one in _many(statement["Action"])}
    return {one for one in named if one.startswith(f"{service}:")}


def _many(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _like(pattern: str, text: str) -> bool:
    regex = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regex, text, re.DOTALL) is not None


def _holds(condition: dict[str, Any], asked: dict[str, Any]) -> bool:
    return all(
        _one(operator, asked.get(_KEYS[key]), _many(values))
        for operator, keys in condition.items()
        for key, values in keys.items()
        if not key.startswith("kms:")
    )


def _one(operator: str, found: str | None, values: list[str]) -> bool:
    match operator:
        case "StringEquals" | "ForAnyValue:StringEquals":
            return found in values
        case "Null":
            return (found is None) == (values == ["true"])
    raise NotImplementedError(operator)
