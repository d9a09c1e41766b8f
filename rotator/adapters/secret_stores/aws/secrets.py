"""One secret in AWS Secrets Manager: values by version, and labels that are moved."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from rotator.adapters.secret_stores.aws.refusals import NotThere
from rotator.errors import StoreBusy, StoreDocumentInvalid, StoreQuotaReached

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from rotator.adapters.secret_stores.aws.connection import Ask
    from rotator.adapters.secret_stores.aws.labels import Labels, Move

#: Of a value, in bytes (https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html).
LARGEST: Final = 65_536
#: AWS keeps every version of the last 24 hours and refuses more than about 100; what is left
#: above this is for finishing rotations that run, and for emergencies.
MANY_VERSIONS: Final = 75
_DAY: Final = timedelta(hours=24)
#: Seconds between looks for what was written and is not visible yet; then it is said.
_PATIENCE: Final = (0.05, 0.1, 0.2, 0.4, 0.8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A version of a secret."""

    version: str
    text: str = field(repr=False)
    labels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret by its name; every method is one request, and raises a `SecretStoreError`."""

    ask: Ask
    name: str

    def value(self, *, label: str | None = None, version: str | None = None) -> Value | None:
        """The value at a label or of a version, or None if there is no such, or no secret."""
        which = {"VersionStage": label} if label else {"VersionId": version}
        try:
            answer = self.ask.read("get_secret_value", SecretId=self.name, **which)
        except NotThere:
            return None
        text, found = answer.get("SecretString"), answer.get("VersionId")
        if found is None:
            raise StoreBusy(f"the answer for {self.name!r} is not one of AWS; a proxy?")
        if not isinstance(text, str):
            raise StoreDocumentInvalid(f"{self.name!r} holds no text")
        return Value(
            version=found,
            text=text,
            labels=frozenset(answer.get("VersionStages") or ()),
        )

    def about(self) -> dict[str, Any] | None:
        """AWS's description, without a value, or None if there is no such secret."""
        try:
            answer = self.ask.read("describe_secret", SecretId=self.name)
        except NotThere:
            return None
        if "Name" not in answer:
            raise StoreBusy(f"the answer for {self.name!r} is not one of AWS; a proxy?")
        return answer

    def labels(self) -> Labels | None:
        """Where each label is, or None if there is no such secret."""
        answer = self.about()
        if answer is None:
            return None
        versions: dict[str, list[str]] = answer.get("VersionIdsToStages") or {}
        return {label: version for version, labels in versions.items() for label in labels}

    def create(self, point: str, *, version: str, text: str, kms_key: str | None) -> None:
        """Make the secret with its first version, which is AWSCURRENT; `Exists` if it is there."""
        key: dict[str, Any] = {} if kms_key is None else {"KmsKeyId": kms_key}
        self.ask.write(
            point,
            "create_secret",
            Name=self.name,
            ClientRequestToken=version,
            SecretString=_fitting(self.name, text),
            **key,
        )

    def put(self, point: str, *, version: str, text: str, label: str) -> None:
        """Add a version; one that is there with this very value stays as it is, without *label*."""
        self.ask.write(
            point,
            "put_secret_value",
            SecretId=self.name,
            ClientRequestToken=version,
            SecretString=_fitting(self.name, text),
            VersionStages=[label],
        )

    def move(self, point: str, move: Move) -> None:
        """Move one label off exactly where it is thought to be, else `NotAttached`."""
        places: dict[str, Any] = {"RemoveFromVersionId": move.off, "MoveToVersionId": move.to}
        self.ask.write(
            point,
            "update_secret_version_stage",
            SecretId=self.name,
            VersionStage=move.label,
            **{name: version for name, version in places.items() if version is not None},
        )

    def require_room(self) -> None:
        """Raise `StoreQuotaReached` if there are many versions of the last 24 hours.

        AWS recommends no more than one in ten minutes, sustained; a rotation that cannot be
        finished would be worse than one that is not begun.
        """
        made: list[datetime] = []
        token, now = "", None
        while True:
            more: dict[str, Any] = {"NextToken": token} if token else {}
            answer = self.ask.read(
                "list_secret_version_ids", SecretId=self.name, IncludeDeprecated=True, **more
            )
            made += [one["CreatedDate"] for one in answer.get("Versions") or ()]
            now = answer["ResponseMetadata"]["HTTPHeaders"].get("date", now)
            token = answer.get("NextToken") or ""
            if not token:
                break
        # AWS's own clock, not ours; the newest version's where a proxy took it away.
        until = parsedate_to_datetime(now) if now else max(made)
        recent = sum(until - one < _DAY for one in made)
        if recent > MANY_VERSIONS:
            raise StoreQuotaReached(
                f"{self.name!r} has {recent} versions of the last 24 hours, and AWS takes about"
                " 100; this rotation begins when they are fewer: rotate less often"
            )


def _fitting(name: str, text: str) -> str:
    if len(text.encode()) > LARGEST:
        raise StoreDocumentInvalid(f"what {name!r} is to hold is over AWS's {LARGEST:,} bytes")
    return text


def looks(ask: Ask) -> Iterator[bool]:
    """Look, wait, look again: what AWS answers may lag behind. True with the last look."""
    for seconds in _PATIENCE:
        yield False
        ask.pause(seconds)
    yield True
