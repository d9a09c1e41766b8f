"""Lists and watches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.kubernetes.kinds import Kind
from tests.support.kubernetes.selectors import fields_match, labels_match
from tests.support.kubernetes.store import Change, Item, Refused, Store
from tests.support.kubernetes.tables import table

_WATCH_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is asked for, and how it shall look."""

    store: Store
    kind: Kind
    namespace: str
    query: Mapping[str, str]
    is_table: bool

    def listed(self) -> Item:
        """Whatever fits now."""
        items = self._fitting()
        if self.is_table:
            return table(self.kind, items, self.store.version)
        return {
            "kind": f"{self.kind.kind}List", "apiVersion": self.kind.api_version,
            "metadata": {"resourceVersion": self.store.version}, "items": items,
        }  # fmt: skip

    async def watched(self) -> AsyncIterator[str]:
        """A line for each change from a version on; without a version, first one for whatever fits."""
        begin = self.query.get("resourceVersion", "")
        wants_state = self.query.get("sendInitialEvents") == "true"
        after = 0 if wants_state else int(begin or 0)
        if after == 0:
            after = int(self.store.version)
            for item in self._fitting():
                yield self._line("ADDED", item)
        if wants_state:
            yield self._mark(after)
        try:
            async with asyncio.timeout(float(self.query.get("timeoutSeconds") or _WATCH_SECONDS)):
                async for change in self.store.changes(after):
                    if what := self._seen(change):
                        yield self._line(what, change.item)
        except TimeoutError:
            return
        except Refused as error:
            yield json.dumps({"type": "ERROR", "object": error.status()}) + "\n"

    def _fitting(self) -> list[Item]:
        return [item for item in self.store.list(self.kind, self.namespace) if self._fits(item)]

    def _seen(self, change: Change) -> str:
        """How a change looks through the selectors: an object may come and go without being made."""
        if change.kind is not self.kind:
            return ""
        was = change.before is not None and self._fits(change.before)
        now = change.what != "DELETED" and self._fits(change.item)
        if was and not now:
            return "DELETED"
        if now:
            return "MODIFIED" if was else "ADDED"
        return ""

    def _fits(self, item: Item) -> bool:
        meta = item["metadata"]
        if self.namespace and meta.get("namespace") != self.namespace:
            return False
        labels = labels_match(self.query.get("labelSelector", ""), meta.get("labels", {}))
        return labels and fields_match(self.query.get("fieldSelector", ""), item)

    def _line(self, what: str, item: Item) -> str:
        shown: Any = item
        if self.is_table:
            shown = table(self.kind, [item], item["metadata"]["resourceVersion"])
        return json.dumps({"type": what, "object": shown}) + "\n"

    def _mark(self, version: int) -> str:
        """The end of what there was at the beginning."""
        ended = {"k8s.io/initial-events-end": "true"}
        meta = {"resourceVersion": str(version), "annotations": ended}
        mark = {"kind": self.kind.kind, "apiVersion": self.kind.api_version, "metadata": meta}
        return json.dumps({"type": "BOOKMARK", "object": mark}) + "\n"
