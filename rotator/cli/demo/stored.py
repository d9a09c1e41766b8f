"""Which cookies can be read: with a node's rights, and with the service's own."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from rotator.cli.demo.aws import Emulator
from rotator.cli.demo.openbao import Vault, read_policy
from rotator.cli.demo.processes import DemoFailed
from rotator.cli.demo.service import CLUSTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rotator.cli.demo.api import Api

_PLACE: Final = f"erlang-cookies/clusters/{CLUSTER}"


@dataclass(slots=True)
class Stored:
    """Looks for cookies, and remembers each one by its version; raises `DemoFailed`."""

    api: Api
    keeper: Vault | Emulator | None
    directory: Path  #: the service's
    node: str  #: whose rights are tried
    seen: dict[int, str] = field(default_factory=dict, repr=False)
    _node_vault_token: str | None = field(default=None, repr=False)

    @property
    def former(self) -> dict[int, str]:
        """Every version that was seen but the newest."""
        return {number: cookie for number, cookie in self.seen.items() if number < max(self.seen)}

    def by_node(self) -> list[dict[int, str]]:
        """By version, what a node's rights show: over the API, and of OpenBao or AWS directly."""
        desired = self.api.of_cluster(f"/cookie?node={self.node}", role="node")
        slots = [desired["current"], desired["previous"], desired["pending"]]
        refused = [item for item in desired["refuse"] if isinstance(item, dict)]
        found = [{slot["number"]: slot["cookie"] for slot in (*slots, *refused) if slot}]
        if isinstance(self.keeper, Emulator):
            found.append(self.keeper.by_label(_PLACE))
        elif self.keeper is not None:
            token = self._node_vault_token or self.keeper.token_with(
                "rotator-node", read_policy("vault-node.hcl")
            )
            self._node_vault_token = token
            found.append(dict(ChainMap(*map(_cookies, self._documents(self.keeper, token)))))
        for cookies in found:
            self.seen |= cookies
        return found

    def is_readable(self, number: int) -> bool:
        """Whether any of a node's ways shows this version, or its cookie under another number."""
        return any(
            number in cookies or self.seen[number] in cookies.values() for cookies in self.by_node()
        )

    def is_former_stored(self) -> bool:
        """Whether the secrets manager still holds any former cookie."""
        left = self._by_service()
        return any(
            number in left or cookie in left.values() for number, cookie in self.former.items()
        )

    def _by_service(self) -> dict[int, str]:
        if self.keeper is None:
            return _local_cookies(self.directory / "secrets")
        if isinstance(self.keeper, Emulator):
            return self.keeper.by_version(_PLACE)
        token = (self.directory / "service.token").read_text(encoding="utf-8")
        return dict(ChainMap(*map(_cookies, self._documents(self.keeper, token))))

    def _documents(self, vault: Vault, token: str) -> Iterator[dict[str, Any]]:
        """The cluster's document in every KV version that this token can read."""
        path = f"secret/data/{_PLACE}"
        newest = vault.call("GET", path, token)
        if newest.status_code != httpx.codes.OK:
            raise DemoFailed(f"{path} cannot be read: {newest.status_code}")
        data = newest.json()["data"]
        yield data["data"]
        for number in range(1, data["metadata"]["version"]):
            older = vault.call("GET", f"{path}?version={number}", token)
            if older.status_code == httpx.codes.OK:
                yield older.json()["data"]["data"]


def _cookies(document: dict[str, Any]) -> dict[int, str]:
    slots = (document.get(name) for name in ("current", "previous", "pending"))
    return {slot["number"]: slot["cookie"] for slot in slots if slot}


def _local_cookies(directory: Path) -> dict[int, str]:
    import asyncio  # noqa: PLC0415 - only with the local store

    from rotator.adapters.secret_stores.registry import open_stores  # noqa: PLC0415 - server part
    from rotator.domain.ids import ClusterName  # noqa: PLC0415 - server part

    stores = open_stores("local", directory=directory)
    stored = asyncio.run(stores.cookies.read(ClusterName(CLUSTER)))
    if stored is None:
        raise DemoFailed("the document is gone")
    return {v.number: v.cookie.reveal() for v in stored.document.versions()}
