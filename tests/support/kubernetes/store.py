"""Objects with versions: what etcd and the registry are in a real one. One event loop touches it."""

from __future__ import annotations

import asyncio
import copy
import secrets
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.support.kubernetes.kinds import Kind, named

Item = dict[str, Any]


class Refused(Exception):
    """An answer of class `Status`."""

    def __init__(
        self, code: int, reason: str, message: str, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.details = code, reason, details or {}

    def status(self) -> Item:
        """As it goes over the wire."""
        return {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": str(self), "reason": self.reason, "details": self.details, "code": self.code,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the history."""

    version: int
    what: str  #: ADDED, MODIFIED or DELETED
    kind: Kind
    item: Item
    before: Item | None


def timestamp() -> str:
    """Now, as objects have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """Everything that there is, and everything that was."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, str, str], Item] = {}
        self._version = 1
        self.history: list[Change] = []
        self._changed = asyncio.Event()
        self.forgotten = 0  #: the history before this version cannot be watched any more

    @property
    def version(self) -> str:
        """The newest."""
        return str(self._version)

    def list(self, kind: Kind, namespace: str = "") -> list[Item]:
        """Copies, by namespace and name."""
        return [
            copy.deepcopy(item)
            for (plural, space, _), item in sorted(self._items.items(), key=lambda pair: pair[0])
            if plural == kind.plural and (not namespace or space == namespace)
        ]

    def find(self, kind: Kind, namespace: str, name: str) -> Item | None:
        """A copy of one, or None."""
        return copy.deepcopy(self._items.get((kind.plural, namespace, name)))

    def get(self, kind: Kind, namespace: str, name: str) -> Item:
        """A copy of one; 404."""
        found = self.find(kind, namespace, name)
        if found is None:
            raise Refused(
                404, "NotFound", f'{_group(kind)} "{name}" not found',
                {"name": name, "group": kind.group, "kind": kind.plural},
            )  # fmt: skip
        return found

    def create(self, kind: Kind, namespace: str, item: Item) -> Item:
        """As it is then; 409 when there is one of that name."""
        item = copy.deepcopy(item)
        meta = item.setdefault("metadata", {})
        if "name" not in meta and "generateName" in meta:
            meta["name"] = f"{meta['generateName']}{secrets.token_hex(3)}"
        name = meta["name"]
        if self.find(kind, namespace, name) is not None:
            raise Refused(
                409, "AlreadyExists", f'{_group(kind)} "{name}" already exists',
                {"name": name, "group": kind.group, "kind": kind.plural},
            )  # fmt: skip
        if kind.is_namespaced:
            meta["namespace"] = namespace
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp(), "generation": 1}
        item |= {"kind": kind.kind, "apiVersion": kind.api_version}
        return self._write("ADDED", kind, item)

    def update(self, kind: Kind, item: Item, *, is_status: bool = False) -> Item:
        """Replace it: everything but its status, or its status alone; 404, and 409 when it has changed."""
        meta = item["metadata"]
        before = self.get(kind, meta.get("namespace", ""), meta["name"])
        old = before["metadata"]
        given = meta.get("resourceVersion")
        if given not in {None, "", old["resourceVersion"]}:
            raise Refused(
                409, "Conflict",
                f'Operation cannot be fulfilled on {_group(kind)} "{meta["name"]}": the object has'
                " been modified; please apply your changes to the latest version and try again",
                {"name": meta["name"], "group": kind.group, "kind": kind.plural},
            )  # fmt: skip
        made = _over(before, item, is_status=is_status) | {
            "kind": kind.kind, "apiVersion": kind.api_version,
        }  # fmt: skip
        if made == before:
            return before
        if made.get("spec") != before.get("spec"):
            made["metadata"]["generation"] = old["generation"] + 1
        return self._write("MODIFIED", kind, made)

    def change(self, kind: Kind, namespace: str, name: str, how: Callable[[Item], None]) -> Item:
        """By a controller of ours: read, change in place, write, status and all."""
        found = self.get(kind, namespace, name)
        made = copy.deepcopy(found)
        how(made)
        return found if made == found else self._write("MODIFIED", kind, made)

    def remove(self, kind: Kind, namespace: str, name: str) -> Item:
        """It is gone; 404."""
        found = self.get(kind, namespace, name)
        return self._write("DELETED", kind, found)

    async def changed(self) -> None:
        """Until the next change of anything."""
        await self._changed.wait()

    async def changes(self, after: int) -> AsyncIterator[Change]:
        """Every change after a version, as they come; 410 when it is too old."""
        if after < self.forgotten:
            raise Refused(410, "Expired", f"too old resource version: {after} ({self.forgotten})")
        place = next((n for n, one in enumerate(self.history) if one.version > after), None)
        place = len(self.history) if place is None else place
        while True:
            waiting = self._changed
            while place < len(self.history):
                yield self.history[place]
                place += 1
            await waiting.wait()

    def _write(self, what: str, kind: Kind, item: Item) -> Item:
        self._version += 1
        meta = item["metadata"]
        meta["resourceVersion"] = self.version
        key = (kind.plural, meta.get("namespace", ""), meta["name"])
        before = self._items.get(key)
        if what == "DELETED":
            del self._items[key]
        else:
            self._items[key] = item
        self.history.append(Change(self._version, what, kind, copy.deepcopy(item), before))
        self._changed.set()
        self._changed = asyncio.Event()
        return copy.deepcopy(item)


def _over(before: Item, item: Item, *, is_status: bool) -> Item:
    """What becomes of it: who writes decides on neither its identity nor its deletion."""
    made, old = copy.deepcopy(before if is_status else item), before["metadata"]
    if is_status:
        made["status"] = copy.deepcopy(item.get("status", {}))
    elif "status" in before:
        made["status"] = before["status"]
    for key in (
        "uid", "creationTimestamp", "generation", "namespace", "resourceVersion",
        "deletionTimestamp", "deletionGracePeriodSeconds",
    ):  # fmt: skip
        if key in old:
            made["metadata"][key] = old[key]
    return made


def _group(kind: Kind) -> str:
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


POD = named("Pod")
STATEFUL_SET = named("StatefulSet")
BUDGET = named("PodDisruptionBudget")
ACCOUNT = named("ServiceAccount")
EVENT = named("Event")
