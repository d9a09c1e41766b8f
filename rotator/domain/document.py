"""The one document per cluster in the secrets manager, and the only ways to change it.

Each function below is one line of the order of writes (K1, K2 …): it takes the document that
was read and returns the one to write by compare-and-set. Repeating one is harmless: it changes
nothing but the stamp, or it is refused because what it needs is gone.
"""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from rotator.domain.cookie import Cookie
from rotator.domain.ids import (
    ClusterUid,
    EpochNumber,
    Fence,
    Generation,
    RotationId,
    VersionNumber,
)
from rotator.domain.version import Origin
from rotator.errors import InvalidCookie, InvariantViolated, StoreDocumentInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rotator.domain.ids import Fingerprint

SCHEMA: Final = 1
FINGERPRINT_KEY_BYTES: Final = 32

_UID: Final = re.compile(r"[0-9a-f]{32}")
#: No program counts so far; beyond it JSON readers lose digits, and databases overflow.
MAX_NUMBER: Final = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """A version with its cookie, as it lies in the secrets manager."""

    number: VersionNumber
    cookie: Cookie
    epoch: EpochNumber | None
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsHead:
    """The newest link of the cluster's chain of facts when the document was written."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What every write carries: who writes, for what, and what was known then."""

    fence: Fence
    generation: Generation
    facts_head: FactsHead
    rotation: RotationId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDocument:
    """Everything that a cluster has in the secrets manager."""

    cluster_uid: ClusterUid
    last_version: VersionNumber  #: highest number ever used; never falls
    fingerprint_key: bytes = field(repr=False)
    stamp: Stamp
    current: StoredVersion
    previous: StoredVersion | None = None
    pending: StoredVersion | None = None

    def versions(self) -> tuple[StoredVersion, ...]:
        """Those present, in no particular order of age."""
        return tuple(v for v in (self.current, self.previous, self.pending) if v is not None)

    def find(self, number: VersionNumber) -> StoredVersion | None:
        """Look a version up by its number, never by slot."""
        return next((v for v in self.versions() if v.number == number), None)

    def fingerprints(self) -> dict[VersionNumber, Fingerprint]:
        """The fingerprint of each version present."""
        key, uid = self.fingerprint_key, self.cluster_uid
        return {v.number: v.cookie.fingerprint(key, uid) for v in self.versions()}


def _stamped(document: ClusterDocument, stamp: Stamp, *seen: VersionNumber) -> ClusterDocument:
    last = VersionNumber(max(document.last_version, *seen))
    return replace(document, stamp=stamp, last_version=last)


def _require_not_foreign(document: ClusterDocument, number: VersionNumber) -> None:
    if document.pending is not None and document.pending.number != number:
        raise StoreDocumentInvalid("another version is pending in the document")


def staged(document: ClusterDocument, version: StoredVersion, stamp: Stamp) -> ClusterDocument:
    """K1: the new version is pending.

    Raises `StoreDocumentInvalid` if another one is pending, or the same number with another
    cookie; `InvariantViolated` if the number was used before: a K1 that comes late, after its
    rotation was aborted, must not bring the version back.
    """
    _require_not_foreign(document, version.number)
    if document.pending is None and version.number <= document.last_version:
        raise InvariantViolated("a version number was about to be used twice")
    if document.pending is not None and document.pending.cookie != version.cookie:
        raise StoreDocumentInvalid("the pending version's cookie was changed in the document")
    return replace(_stamped(document, stamp, version.number), pending=version)


def promoted(document: ClusterDocument, stamp: Stamp) -> ClusterDocument:
    """K2: pending is current, current is previous.

    Raises `StoreDocumentInvalid` if nothing is pending, so a repeat cannot swap anything.
    """
    if document.pending is None:
        raise StoreDocumentInvalid("the pending version is gone from the document")
    return replace(
        _stamped(document, stamp, document.pending.number),
        current=document.pending,
        previous=document.current,
        pending=None,
    )


def retired(document: ClusterDocument, stamp: Stamp) -> ClusterDocument:
    """K3 and KR2: previous is gone."""
    return replace(_stamped(document, stamp, document.current.number), previous=None)


def discarded(document: ClusterDocument, number: VersionNumber, stamp: Stamp) -> ClusterDocument:
    """KA: pending is gone, its number burned. Raises `StoreDocumentInvalid` for another one."""
    _require_not_foreign(document, number)
    return replace(_stamped(document, stamp, number), pending=None)


def rolled_back(document: ClusterDocument, stamp: Stamp) -> ClusterDocument:
    """KR1: previous is current again, and current the rejected previous.

    Numbers only grow, so a previous above current was swapped before: a repeat must not swap
    the rejected version back. Raises `StoreDocumentInvalid` if there is no previous.
    """
    if document.previous is None:
        raise StoreDocumentInvalid("the previous version is gone from the document")
    if document.previous.number > document.current.number:
        return replace(_stamped(document, stamp, document.previous.number), pending=None)
    return replace(
        _stamped(document, stamp, document.current.number),
        current=document.previous,
        previous=document.current,
        pending=None,
    )


def revoked(document: ClusterDocument, version: StoredVersion, stamp: Stamp) -> ClusterDocument:
    """KE2: nothing but the new version is left."""
    return replace(
        _stamped(document, stamp, version.number), current=version, previous=None, pending=None
    )


def restamped(document: ClusterDocument, stamp: Stamp) -> ClusterDocument:
    """KL: the same versions, written in the name of a state store that was recovered."""
    return replace(document, stamp=stamp)


def _version_to_json(version: StoredVersion | None) -> dict[str, Any] | None:
    if version is None:
        return None
    return {
        "number": version.number,
        "cookie": version.cookie.reveal(),
        "epoch": version.epoch,
        "origin": version.origin.value,
    }


def to_json(document: ClusterDocument) -> dict[str, Any]:
    """The document as it is stored (storage.md, schema 1). Holds cookies: for adapters alone."""
    stamp = document.stamp
    return {
        "schema": SCHEMA,
        "cluster_uid": document.cluster_uid,
        "generation": stamp.generation,
        "last_version": document.last_version,
        "fence": stamp.fence,
        "rotation": stamp.rotation,
        "fingerprint_key": base64.b64encode(document.fingerprint_key).decode("ascii"),
        "facts_head": {"seq": stamp.facts_head.seq, "hash": stamp.facts_head.hash},
        "current": _version_to_json(document.current),
        "previous": _version_to_json(document.previous),
        "pending": _version_to_json(document.pending),
    }


def _whole(raw: Mapping[str, Any], name: str, *, least: int = 0) -> int:
    value = raw[name]
    if type(value) is not int or not least <= value <= MAX_NUMBER:
        raise StoreDocumentInvalid(f"'{name}' of the document is not a whole number in range")
    return value


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw[name]
    if not isinstance(value, str):
        raise StoreDocumentInvalid(f"'{name}' of the document is not text")
    return value


def _version_from_json(raw: Mapping[str, Any] | None) -> StoredVersion | None:
    if raw is None:
        return None
    epoch = None if raw["epoch"] is None else EpochNumber(_whole(raw, "epoch", least=1))
    return StoredVersion(
        number=VersionNumber(_whole(raw, "number", least=1)),
        cookie=Cookie(raw["cookie"]),
        epoch=epoch,
        origin=Origin(raw["origin"]),
    )


def _stamp_from_json(raw: Mapping[str, Any]) -> Stamp:
    head = raw["facts_head"]
    return Stamp(
        fence=Fence(_whole(raw, "fence")),
        generation=Generation(_whole(raw, "generation")),
        facts_head=FactsHead(seq=_whole(head, "seq"), hash=_text(head, "hash")),
        rotation=None if raw["rotation"] is None else RotationId(_text(raw, "rotation")),
    )


def _parsed(raw: Mapping[str, Any]) -> ClusterDocument:
    if _whole(raw, "schema") != SCHEMA:
        raise StoreDocumentInvalid(f"the document's schema is not {SCHEMA}")
    current = _version_from_json(raw["current"])
    if current is None:
        raise StoreDocumentInvalid("the document has no current version")
    uid = _text(raw, "cluster_uid")
    if _UID.fullmatch(uid) is None:
        raise StoreDocumentInvalid("the document's cluster_uid is not 32 hex digits")
    key = base64.b64decode(_text(raw, "fingerprint_key"), validate=True)
    if len(key) != FINGERPRINT_KEY_BYTES:
        raise StoreDocumentInvalid(f"the fingerprint key is not {FINGERPRINT_KEY_BYTES} bytes")
    return ClusterDocument(
        cluster_uid=ClusterUid(uid),
        last_version=VersionNumber(_whole(raw, "last_version", least=1)),
        fingerprint_key=key,
        stamp=_stamp_from_json(raw),
        current=current,
        previous=_version_from_json(raw["previous"]),
        pending=_version_from_json(raw["pending"]),
    )


def _require_numbers(document: ClusterDocument) -> None:
    numbers = [version.number for version in document.versions()]
    if len(set(numbers)) != len(numbers):
        raise StoreDocumentInvalid("the document holds a version number twice")
    if document.last_version < max(numbers):
        raise StoreDocumentInvalid("the document's last_version is below one of its versions")


def from_json(raw: Mapping[str, Any]) -> ClusterDocument:
    """Parse what was stored; raises `StoreDocumentInvalid`, never repeating what it read."""
    with suppress(KeyError, TypeError, ValueError, AttributeError, InvalidCookie):
        document = _parsed(raw)
        _require_numbers(document)
        return document
    # Out here there is no context to chain: it would hold what was read, perhaps a cookie.
    raise StoreDocumentInvalid
