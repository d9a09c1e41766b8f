"""Documents in a KV version 2 mount that keeps one version of each."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from rotator.adapters.secret_stores.vault.wire import NotThere
from rotator.errors import (
    StoreBusy,
    StoreForbidden,
    StoreKvVersion1,
    StoreMountMissing,
    StoreUnsafeSettings,
)

if TYPE_CHECKING:
    from rotator.adapters.secret_stores.vault.connection import Ask

SAFE: Final = {"max_versions": 1, "cas_required": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What lies at a path."""

    raw: dict[str, Any] | None = field(repr=False)  #: None: nothing, or it was deleted
    version: int  #: to write over exactly this; 0: never written


class KvDocuments:
    """Reads and writes below one mount; every method runs in a thread of the connection."""

    def __init__(self, mount: str) -> None:
        self._mount = mount.strip("/")
        self._is_checked = False

    def check(self, ask: Ask, path: str) -> None:
        """Raise unless the mount is there and KV version 2; *path* is one that we may read."""
        about = self._about_mount(ask, path)
        if about.get("type") != "kv" or str(about.get("path")).strip("/") != self._mount:
            raise StoreMountMissing(f"there is no KV secrets engine at {self._mount!r}")
        if (about.get("options") or {}).get("version") != "2":
            raise StoreKvVersion1(
                f"the mount {self._mount!r} is KV version 1, which has no compare-and-set;"
                " use a KV version 2 mount"
            )
        self._is_checked = True

    def look(self, ask: Ask, path: str) -> Look:
        """The newest version at *path*."""
        if not self._is_checked:
            self.check(ask, path)
        try:
            answer = ask("GET", f"{self._mount}/data/{path}")
        except NotThere as absent:
            # A missing mount is 404 just so.
            self.check(ask, path)
            return Look(raw=None, version=_deleted_version(absent.answer))
        try:
            raw, version = answer["data"]["data"], answer["data"]["metadata"]["version"]
        except (KeyError, TypeError):
            raise StoreBusy(f"the answer for {path!r} is not one of KV version 2") from None
        return Look(raw=raw, version=version)

    def write(self, ask: Ask, path: str, raw: dict[str, Any], *, over: int) -> None:
        """Write over exactly the version *over*, and keep nothing else; else `StoreConflict`."""
        if not self._is_checked:
            self.check(ask, path)
        self._make_safe(ask, path)
        self._put(ask, path, raw, over=over)

    def write_once(self, ask: Ask, path: str, raw: dict[str, Any]) -> None:
        """Write where nothing was ever; else `StoreConflict`.

        Without metadata of its own this needs the right "create" alone: after a write to the
        metadata the same request would count as "update".
        """
        if not self._is_checked:
            self.check(ask, path)
        self._put(ask, path, raw, over=0)

    def _put(self, ask: Ask, path: str, raw: dict[str, Any], *, over: int) -> None:
        answer = ask("POST", f"{self._mount}/data/{path}", {"data": raw, "options": {"cas": over}})
        if (answer.get("data") or {}).get("deletion_time"):
            raise StoreUnsafeSettings(f"{path!r} would be deleted by delete_version_after")

    def _make_safe(self, ask: Ask, path: str) -> None:
        """One version and compare-and-set, or no write: a history would serve retired cookies."""
        where = f"{self._mount}/metadata/{path}"
        if _is_safe(ask, where):
            return
        ask("POST", where, dict(SAFE))
        if not _is_safe(ask, where):
            raise StoreUnsafeSettings(
                f"the metadata of {path!r} does not keep max_versions=1 and cas_required=true"
            )

    def _about_mount(self, ask: Ask, path: str) -> dict[str, Any]:
        """The mount as seen by any token with a right below it; a missing one is 403, too."""
        about = None
        try:
            about = ask("GET", f"sys/internal/ui/mounts/{self._mount}").get("data")
        except (StoreForbidden, NotThere):
            # A token without rights hears of it here, by the path that it lacks.
            with suppress(NotThere):
                ask("GET", f"{self._mount}/data/{path}")
        if not isinstance(about, dict):
            raise StoreMountMissing(f"there is no secrets engine at {self._mount!r}")
        return about


def _is_safe(ask: Ask, where: str) -> bool:
    try:
        metadata = ask("GET", where).get("data") or {}
    except NotThere:
        return False
    return all(metadata.get(name) == value for name, value in SAFE.items())


def _deleted_version(answer: dict[str, Any]) -> int:
    """A deleted document is 404 with its version, which a write over it must name."""
    try:
        return int(answer["data"]["metadata"]["version"])
    except (KeyError, TypeError, ValueError):
        return 0
