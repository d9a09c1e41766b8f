"""One cluster's document: the calls of a read and of a write, in the order that is safe.

A write puts new cookies (unused, so no node may read them) → puts ``/meta`` → moves AWSCURRENT of
``/meta`` off exactly the version that was read: that is the compare-and-set, and from there the
write is decided → moves the labels of the cookies → marks ``/meta`` as settled. Cut short before
the decision it has changed nothing that anybody reads; after it, it is finished from what ``/meta``
says, by whoever leads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rotator.adapters.secret_stores.aws import labels, layout
from rotator.adapters.secret_stores.aws.labels import Move
from rotator.adapters.secret_stores.aws.refusals import Exists, NotAttached
from rotator.adapters.secret_stores.aws.secrets import Secret, Value, looks
from rotator.errors import (
    SecretStoreError,
    StoreBusy,
    StoreConflict,
    StoreDocumentInvalid,
    StoreStagesMoved,
)
from rotator.ports.cookie_store import Stored

if TYPE_CHECKING:
    from rotator.adapters.secret_stores.aws.connection import Ask
    from rotator.adapters.secret_stores.aws.labels import Labels
    from rotator.adapters.secret_stores.aws.layout import Meta, Written
    from rotator.domain.document import ClusterDocument

_POINTS: Final = {
    labels.CURRENT: "AwsCurrent",
    labels.PREVIOUS: "AwsPrevious",
    labels.PENDING: "AwsPending",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A document, and which write of it."""

    stored: Stored
    write: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one look showed; if it *may lag*, another one may show something else."""

    found: Found | None = None
    fault: SecretStoreError | None = None
    may_lag: bool


class Documents:
    """The two secrets of one cluster, within one call."""

    def __init__(self, ask: Ask, *, name: str, kms_key: str | None) -> None:
        self._ask = ask
        self._kms_key = kms_key
        self._cookies = Secret(ask, name)
        self._meta = Secret(ask, f"{name}/meta")

    def read(self, at_least: int) -> Found | None:
        """The document, not older than the write *at_least* (0: none was seen so far)."""
        for is_last in looks(self._ask):
            look = self._look(at_least)
            if not is_last and look.may_lag:
                continue
            if look.fault is not None:
                raise look.fault
            return look.found
        raise AssertionError  # pragma: no cover - the last look returns or raises

    def _look(self, at_least: int) -> _Look:
        value, places = self._meta.value(label=labels.CURRENT), self._cookies.labels()
        if value is None or places is None:
            return _Look(may_lag=bool(at_least or value or places))
        meta = layout.read_meta(value.text)
        if meta.write < at_least:
            return _Look(fault=self._older(at_least), may_lag=True)
        document = self._assembled(meta)
        if document is None:
            return _Look(fault=self._incomplete(), may_lag=True)
        is_said, is_so = labels.SETTLED in value.labels, labels.are_settled(places, meta.wanted)
        stored = Stored(document=document, mark=value.version, is_settled=is_said and is_so)
        return _Look(found=Found(stored=stored, write=meta.write), may_lag=is_said and not is_so)

    def _older(self, at_least: int) -> StoreBusy:
        return StoreBusy(
            f"{self._meta.name!r} is older than write {at_least}, which was there a moment ago: AWS"
            " lags, or somebody put an old one back"
        )

    def _incomplete(self) -> StoreDocumentInvalid:
        return StoreDocumentInvalid(
            f"{self._cookies.name!r} lacks a version that {self._meta.name!r} names"
        )

    def create(self, document: ClusterDocument) -> int:
        """Both secrets; `StoreConflict` if the document is there. Which write it is.

        Where somebody deleted the cookies alone, their ``/meta`` is written over.
        """
        marks = self._meta.labels()
        if marks is None:
            return self._create(document)
        former = self._meta.value(label=labels.CURRENT)
        if former is None or self._cookies.labels() is not None:
            raise StoreConflict
        there = layout.read_meta(former.text)
        if there.raw["cluster_uid"] != document.cluster_uid:
            raise StoreConflict
        wanted = layout.written(document, write=there.write + 1)
        self._create_cookies(wanted)
        return self._write_over(wanted, former.version, marks, known=None)

    def _create(self, document: ClusterDocument) -> int:
        wanted = layout.written(document, write=1)
        self._create_cookies(wanted)
        text = wanted.meta.text()
        version = layout.token("meta", "first", text)
        try:
            self._meta.create("AwsCreateMeta", version=version, text=text, kms_key=self._kms_key)
        except Exists:
            raise StoreConflict from None
        self._settle(wanted.meta, version, self._visible(self._meta))
        return wanted.meta.write

    def _create_cookies(self, wanted: Written) -> None:
        first = wanted.meta.wanted[labels.CURRENT]
        try:
            self._cookies.create(
                "AwsCreate", version=first, text=wanted.cookies[first], kms_key=self._kms_key
            )
        except Exists:
            # Left by a create that was cut short, or another one that runs: /meta decides.
            self._require_ours(wanted)
        self._put_new(wanted, self._visible(self._cookies))

    def replace(self, document: ClusterDocument, mark: str) -> int:
        """Write over exactly *mark*, or finish the write that left it."""
        marks = self._meta.labels()
        former = self._meta.value(version=mark) if marks else None
        if marks is None or former is None or marks.get(labels.CURRENT) != mark:
            raise StoreConflict
        there = layout.read_meta(former.text)
        wanted = layout.written(document, write=there.write + 1)
        if wanted.meta.says(there):
            self._finish(there, former, marks)
            return there.write
        self._put_new(wanted, self._visible(self._cookies))
        known = there.wanted if labels.SETTLED in former.labels else None
        return self._write_over(wanted, mark, marks, known=known)

    def _write_over(
        self, wanted: Written, mark: str, marks: Labels, *, known: Labels | None
    ) -> int:
        """Put the new ``/meta`` and decide; its cookies are stored already."""
        text = wanted.meta.text()
        version = layout.token("meta", mark, text)
        self._meta.put("AwsPutMeta", version=version, text=text, label=labels.NEXT)
        decided = Move(label=labels.CURRENT, off=mark, to=version)
        self._meta.move("AwsDecide", decided)
        self._settle(wanted.meta, version, labels.after(marks, decided), known=known)
        return wanted.meta.write

    def _finish(self, meta: Meta, value: Value, marks: Labels) -> None:
        if labels.SETTLED in value.labels:
            for is_last in looks(self._ask):
                places = self._visible(self._cookies)
                if labels.are_settled(places, meta.wanted):
                    return
                if is_last:
                    raise StoreStagesMoved(
                        f"somebody else moved labels of {self._cookies.name!r}:"
                        f" {labels.misplaced(places, meta.wanted)}; move it back"
                        " (docs/how-to/aws.md)"
                    )
        self._settle(meta, value.version, marks)

    def _settle(
        self, meta: Meta, version: str, marks: Labels, *, known: Labels | None = None
    ) -> None:
        """Move every label where *meta* says, say so on it, and wait until it is seen.

        Where the labels were before is *known* where we know it: an answer that lags could show
        them as they are to be, and one would stay.
        """
        try:
            self._move_all(known or self._visible(self._cookies), meta)
        except NotAttached:
            self._move_all(self._visible(self._cookies), meta)
        for is_last in looks(self._ask):
            if labels.are_settled(self._visible(self._cookies), meta.wanted):
                break
            if is_last:
                raise StoreBusy(f"the labels of {self._cookies.name!r} are not seen in place yet")
        if marks.get(labels.SETTLED) != version:
            move = Move(label=labels.SETTLED, off=marks.get(labels.SETTLED), to=version)
            self._meta.move("AwsSettle", move)
        self._until_seen(meta, version)

    def _move_all(self, places: Labels, meta: Meta) -> None:
        for move in labels.missing(places, meta.wanted):
            self._cookies.move(_POINTS[move.label], move)

    def _until_seen(self, meta: Meta, version: str) -> None:
        for is_last in looks(self._ask):
            value, places = self._meta.value(label=labels.CURRENT), self._cookies.labels()
            if value is not None and places is not None and value.version == version:
                is_said = labels.SETTLED in value.labels
                if is_said and labels.are_settled(places, meta.wanted):
                    return
            if is_last:
                raise StoreBusy(f"what was written to {self._cookies.name!r} is not visible yet")

    def _put_new(self, wanted: Written, places: Labels) -> None:
        """Store cookies that are not there, where no node may read them."""
        for version, text in wanted.cookies.items():
            if version not in places.values():
                self._meta_has_room(wanted)
                self._cookies.put("AwsPut", version=version, text=text, label=labels.NEXT)

    def _meta_has_room(self, wanted: Written) -> None:
        """A rotation that begins asks; an emergency and what runs already do not."""
        if wanted.meta.write > 1 and labels.PENDING in wanted.meta.wanted:
            self._meta.require_room()

    def _require_ours(self, wanted: Written) -> None:
        value = self._cookies.value(label=labels.CURRENT)
        if value is None:
            raise StoreBusy(f"{self._cookies.name!r} is there, and its value is not visible yet")
        if not layout.is_of(value.text, wanted.meta):
            raise StoreDocumentInvalid(
                f"{self._cookies.name!r} is there and holds something else; remove or rename it"
            )

    def _assembled(self, meta: Meta) -> ClusterDocument | None:
        texts = {}
        for version in meta.versions.values():
            value = self._cookies.value(version=version)
            if value is None:
                return None
            texts[version] = value.text
        return layout.assembled(meta, texts)

    def _visible(self, secret: Secret) -> Labels:
        """Labels of a secret that is there, once AWS shows it."""
        for is_last in looks(self._ask):
            found = secret.labels()
            if found is not None:
                return found
            if is_last:
                raise StoreBusy(f"{secret.name!r} is not visible yet, or was removed")
        raise AssertionError  # pragma: no cover - the last look returns or raises
