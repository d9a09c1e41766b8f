"""A cluster's document as two secrets: one of cookies, one of all the rest. Pure.

::

    <prefix>/clusters/<cluster>        one version of the secret for each version of the cookie
        {"cluster_uid": …, "number": 12, "cookie": …, "epoch": 3, "origin": "derived"}
    <prefix>/clusters/<cluster>/meta   the document without cookies, and where they are
        {"schema": 1, "write": 17, …, "current": {"number": 12, "version": "<VersionId>"}, …}

AWSCURRENT of ``/meta`` is the truth, and its VersionId the mark of the document.
"""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from rotator.adapters.secret_stores.aws.labels import CURRENT, PENDING, PREVIOUS
from rotator.domain import document as documents
from rotator.domain.document import MAX_NUMBER
from rotator.errors import StoreDocumentInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rotator.adapters.secret_stores.aws.labels import Labels
    from rotator.domain.document import ClusterDocument

_NAMESPACE: Final = uuid.UUID("0c59e4c1-52a0-5f0e-a3f1-9c1b0c6d7a11")
_SLOTS: Final = {"current": CURRENT, "previous": PREVIOUS, "pending": PENDING}


def token(*parts: object) -> str:
    """A ClientRequestToken, which becomes the VersionId: the same parts, the same version."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(map(str, parts))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What ``/meta`` says."""

    write: int  #: counts the writes; never falls
    raw: Mapping[str, Any] = field(repr=False)  #: as `documents.to_json`, without cookies
    versions: Mapping[str, str]  #: slot → VersionId of its cookie

    @property
    def wanted(self) -> Labels:
        """Where the labels of the cookies belong."""
        return {_SLOTS[slot]: version for slot, version in self.versions.items()}

    def says(self, other: Meta) -> bool:
        """Whether both say the same, whichever write it was."""
        return (self.raw, self.versions) == (other.raw, other.versions)

    def text(self) -> str:
        """As it is stored."""
        slots = {
            slot: None if number is None else {"number": number, "version": self.versions[slot]}
            for slot, number in ((slot, self.raw[slot]) for slot in _SLOTS)
        }
        return json.dumps({**self.raw, **slots, "write": self.write}, sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A document as it is to be stored."""

    meta: Meta
    cookies: Mapping[str, str] = field(repr=False)  #: VersionId → text


def written(document: ClusterDocument, *, write: int) -> Written:
    """The document in two parts.

    A version's id is a function of uid, number and fingerprint: a repeat puts the same value under
    the same token, and no id tells more of a cookie than its fingerprint, which may be shown.
    """
    raw = documents.to_json(document)
    uid, prints = document.cluster_uid, document.fingerprints()
    versions, cookies = {}, {}
    for slot in _SLOTS:
        stored = raw[slot]
        raw[slot] = None if stored is None else stored["number"]
        if stored is not None:
            versions[slot] = token("cookie", uid, stored["number"], prints[stored["number"]])
            cookies[versions[slot]] = json.dumps({"cluster_uid": uid, **stored}, sort_keys=True)
    return Written(meta=Meta(write=write, raw=raw, versions=versions), cookies=cookies)


def read_meta(text: str) -> Meta:
    """Parse ``/meta``; raises `StoreDocumentInvalid`, never repeating what it read."""
    with suppress(KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raw = json.loads(text)
        write, versions = raw.pop("write"), {}
        if type(write) is not int or not 0 < write <= MAX_NUMBER:
            raise StoreDocumentInvalid("'write' of /meta is not a whole number in range")
        for slot in _SLOTS:
            if raw[slot] is not None:
                versions[slot] = str(uuid.UUID(raw[slot]["version"]))
                raw[slot] = raw[slot]["number"]
        return Meta(write=write, raw=raw, versions=versions)
    raise StoreDocumentInvalid("/meta is not one that this program wrote")


def assembled(meta: Meta, cookies: Mapping[str, str]) -> ClusterDocument:
    """The document out of its parts; *cookies* are texts by VersionId."""
    with suppress(KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raw = dict(meta.raw)
        for slot, version in meta.versions.items():
            stored = json.loads(cookies[version])
            if (stored.pop("cluster_uid"), stored["number"]) != (raw["cluster_uid"], raw[slot]):
                raise StoreDocumentInvalid(
                    "a version of the secret is of another cluster or number"
                )
            raw[slot] = stored
        return documents.from_json(raw)
    raise StoreDocumentInvalid("a version of the secret is not one that this program wrote")


def is_of(text: str, meta: Meta) -> bool:
    """Whether this is a cookie of the cluster that *meta* is of."""
    with suppress(KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return bool(json.loads(text)["cluster_uid"] == meta.raw["cluster_uid"])
    return False
