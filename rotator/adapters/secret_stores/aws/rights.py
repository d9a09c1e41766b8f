"""What the service's identity may do in AWS, and what it must not: told by attempts in the void.

AWS has no question for one's own rights but iam:SimulatePrincipalPolicy, itself a right that a
service should not have. So each attempt is about a secret that cannot be there: its name ends in
128 random bits. AWS looks at rights before it looks for the secret (so its users report; no page of
AWS promises it), so a refusal for rights is AccessDenied, and what is allowed ends as not found.
Nothing can be written either way.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from rotator.adapters.secret_stores.aws.refusals import NotThere
from rotator.domain.findings import Finding
from rotator.errors import SecretStoreError, StoreBusy, StoreForbidden, StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rotator.adapters.secret_stores.aws.connection import Ask

_STAGE: Final = {"VersionStage": "AWSCURRENT"}
_VALUE: Final = {"SecretString": "an attempt of rotator doctor", "VersionStages": ["ROTATOR_NEXT"]}
#: By operation, what it is asked with besides the name. CreateSecret is not among them: it is the
#: one right that cannot be tried without making something.
_READ: Final[dict[str, dict[str, Any]]] = {"describe_secret": {}, "get_secret_value": _STAGE}
_WRITE: Final[dict[str, dict[str, Any]]] = {
    "put_secret_value": _VALUE,
    "update_secret_version_stage": _STAGE,
}
_HISTORY: Final[dict[str, dict[str, Any]]] = {"list_secret_version_ids": {}}
#: Never needed. Were the secret there after all, it could be restored for 30 days.
_DESTROY: Final[dict[str, dict[str, Any]]] = {
    "delete_secret": {"RecoveryWindowInDays": 30},
    "update_secret": {"Description": "an attempt of rotator doctor"},
    "restore_secret": {},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One operation on one name that nobody has."""

    operation: str  #: as boto3 spells it
    place: str  #: where the name lies, for people
    name: str = ""  #: empty: of an operation that is about no secret
    more: dict[str, Any] = field(default_factory=dict)
    is_needed: bool

    @property
    def action(self) -> str:
        """As a policy spells it."""
        return "".join(word.title() for word in self.operation.split("_"))


def attempts(prefix: str) -> Iterator[Attempt]:
    """Every right that deploy/policies/aws-service.json gives, and an excerpt of what it does not."""
    clusters, masters = f"{prefix}/clusters", f"{prefix}/masters"
    yield from _at(clusters, _READ | _WRITE | _HISTORY, is_needed=True)
    yield from _at(masters, _READ, is_needed=True)
    yield from _at(clusters, _DESTROY, is_needed=False)
    yield from _at(masters, _WRITE | _DESTROY, is_needed=False)
    yield from _at("", _READ | _WRITE | _DESTROY, is_needed=False)
    yield Attempt(
        operation="list_secrets", place="all secrets", more={"MaxResults": 1}, is_needed=False
    )


def _at(place: str, asked: dict[str, dict[str, Any]], *, is_needed: bool) -> Iterator[Attempt]:
    # A name of its own each time, so that no two attempts meet.
    for operation, more in asked.items():
        name = f"{place}/rotator-doctor-{secrets.token_hex(16)}".lstrip("/")
        where = f"{place}/*" if place else "elsewhere"
        yield Attempt(operation=operation, place=where, name=name, more=more, is_needed=is_needed)


def is_allowed(ask: Ask, attempt: Attempt) -> bool | None:
    """Whether AWS lets this identity do it; None if its answer tells neither.

    Raises `StoreBusy` and `StoreUnreachable`, which say nothing of rights.
    """
    about = {"SecretId": attempt.name} if attempt.name else {}
    try:
        ask.read(attempt.operation, **about, **attempt.more)
    except StoreForbidden:
        return False
    except NotThere:
        return True
    except (StoreBusy, StoreUnreachable):
        raise
    except SecretStoreError:
        return None
    return True


def compare(found: Iterable[tuple[Attempt, bool | None]]) -> Iterator[Finding]:
    """Rights that are missing, too many or unknown: one finding for each place."""
    told: dict[tuple[str, str], list[str]] = {}
    for attempt, allowed in found:
        if allowed is None:
            told.setdefault(("rights_unknown", attempt.place), []).append(attempt.action)
        elif allowed != attempt.is_needed:
            code = "rights_missing" if attempt.is_needed else "rights_too_wide"
            told.setdefault((code, attempt.place), []).append(attempt.action)
    for (code, place), actions in told.items():
        verb = _VERBS[code]
        yield Finding(code=code, subject=place, detail=f"{verb} {', '.join(sorted(actions))}")


_VERBS: Final = {
    "rights_missing": "lacks",
    "rights_too_wide": "may",
    "rights_unknown": "AWS does not tell of",
}
