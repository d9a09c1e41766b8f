"""Two rotations, watched with the rights that a node has, and what is left after them."""

from __future__ import annotations

import time
from collections import ChainMap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from rotator.cli.demo.openbao import Vault
from rotator.cli.demo.processes import READY_SECONDS, DemoFailed
from rotator.cli.demo.service import CLUSTER, NODE
from rotator.cli.demo.telling import say, say_phases, yes

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROTATION_SECONDS: Final = 60.0


@dataclass(slots=True)
class Demo:
    """The service under demonstration, and what has been seen of it."""

    address: str
    tokens: dict[str, str] = field(repr=False)
    vault: Vault | None
    node_vault_token: str | None = field(repr=False)
    configuration: Path
    seen: dict[int, str] = field(
        default_factory=dict, repr=False
    )  #: cookies by version, to look for
    rotations: list[dict[str, Any]] = field(default_factory=list)

    def call(self, role: str, method: str, path: str, **body: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """One call of the service's API; raises `DemoFailed` for a problem."""
        answer = httpx.request(
            method,
            f"{self.address}/v1/{path}",
            headers={"Authorization": f"Bearer {self.tokens[role]}"},
            json=body or None,
            timeout=30,
            trust_env=False,
        )
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            problem = answer.json()
            raise DemoFailed(f"{method} {path}: {problem.get('code')}: {problem.get('detail')}")
        return dict(answer.json())

    def readable_by_node(self) -> list[dict[int, str]]:
        """Every cookie that a node's rights show, by version: over the API, and on vault directly."""
        desired = self.call("node", "GET", f"clusters/{CLUSTER}/cookie?node={NODE}")
        slots = [desired["current"], desired["previous"], desired["pending"]]
        refused = [item for item in desired["refuse"] if isinstance(item, dict)]
        found = [{slot["number"]: slot["cookie"] for slot in (*slots, *refused) if slot}]
        if self.node_vault_token is not None:
            documents = self._documents(self.node_vault_token)
            found.append(dict(ChainMap(*map(_cookies, documents))))
        for cookies in found:
            self.seen |= cookies
        return found

    def _documents(self, token: str | None) -> Iterator[dict[str, Any]]:
        """The cluster's document in every KV version that this token can read."""
        if self.vault is None or token is None:
            return
        path = f"secret/data/erlang-cookies/clusters/{CLUSTER}"
        newest = self.vault.call("GET", path, token)
        if newest.status_code != httpx.codes.OK:
            raise DemoFailed(f"the node policy cannot read {path}: {newest.status_code}")
        data = newest.json()["data"]
        yield data["data"]
        for number in range(1, data["metadata"]["version"]):
            older = self.vault.call("GET", f"{path}?version={number}", token)
            if older.status_code == httpx.codes.OK:
                yield older.json()["data"]["data"]

    def stored(self) -> dict[int, str]:
        """Every cookie that the service's own rights still show in the secrets manager."""
        found: dict[int, str] = {}
        if self.vault is not None:
            token = (self.configuration.parent / "service.token").read_text(encoding="utf-8")
            for document in self._documents(token):
                found |= _cookies(document)
            return found
        return _local_cookies(self.configuration.parent / "secrets")

    def rotate(self, kind: str) -> dict[str, bool | None]:
        """One rotation, watched to its end."""
        begun = time.monotonic()
        path = f"clusters/{CLUSTER}/rotations"
        rotation = self.call("operator", "POST", path, kind=kind, reason="demonstration")
        former = rotation["from_version"]
        say(f"\n{kind} rotation: version {former} -> {rotation['to_version']}")
        in_grace, shown = None, 0
        while True:
            rotation = self.call("operator", "GET", f"{path}/{rotation['id']}")
            if rotation["phase"] == "grace" and in_grace is None:
                in_grace = all(former in cookies for cookies in self.readable_by_node())
            shown = say_phases(rotation, shown, in_grace)
            if rotation["finished_at"] is not None:
                break
            if time.monotonic() - begun > _ROTATION_SECONDS:
                stuck = rotation["phase"]
                raise DemoFailed(
                    f"the rotation is still in {stuck} after {_ROTATION_SECONDS:.0f} s"
                )
            time.sleep(0.02)  # noqa: TID251 - a program that watches another
        self.rotations.append(
            {name: rotation[name] for name in ("kind", "phase", "from_version", "to_version")}
            | {"seconds": round(time.monotonic() - begun, 3)}
        )
        after = any(
            former in cookies or self.seen[former] in cookies.values()
            for cookies in self.readable_by_node()
        )
        say(f"            version {former} readable by a node now: {yes(after)}")
        return {"in_grace": in_grace, "after": after}

    def run(self, store: str) -> dict[str, Any]:
        """Make version 1, rotate by hand and in an emergency, and look what is left."""
        self.call("admin", "POST", f"clusters/{CLUSTER}/init", reason="demonstration")
        deadline = time.monotonic() + READY_SECONDS
        while self.call("operator", "GET", f"clusters/{CLUSTER}")["state"] != "stable":
            if time.monotonic() > deadline:
                raise DemoFailed("the cluster is not initialised")
            time.sleep(0.05)  # noqa: TID251 - a program that watches another
        self.readable_by_node()
        say(f"cluster {CLUSTER} has version 1")
        manual = self.rotate("manual")
        emergency = self.rotate("emergency")
        over = {number: cookie for number, cookie in self.seen.items() if number < max(self.seen)}
        left = self.stored()
        still_stored = any(
            number in left or cookie in left.values() for number, cookie in over.items()
        )
        return {
            "store": store,
            "rotations": self.rotations,
            "previous_readable_during_grace": manual["in_grace"],
            "previous_readable_after": manual["after"],
            "revoked_readable_after": emergency["after"],
            "still_stored": still_stored,
        }


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
