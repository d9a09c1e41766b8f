"""The real application over real services and a real state store, for tests of the HTTP contract.

Secrets lie in memory, and the key is stretched by one hash: what is tested here is the way between
a socket and the services.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from rotator.adapters.derivation import PROFILES
from rotator.adapters.state.store import open_state
from rotator.adapters.state.wakeups import LocalWakeups
from rotator.api.app import create_app
from rotator.api.certificate import Tls
from rotator.api.dependencies import Services
from rotator.api.limits import DeadlineProtocol
from rotator.api.serving import Listener
from rotator.domain.ids import ClusterName, MasterName
from rotator.domain.policy import RotationPolicy
from rotator.services.attestations import Attestations
from rotator.services.beginnings import Beginnings
from rotator.services.changes import Changes
from rotator.services.claims import Claims
from rotator.services.commands import Commands
from rotator.services.crowds import Crowds
from rotator.services.documents import Documents
from rotator.services.executor import Executor
from rotator.services.fleet import Fleet
from rotator.services.heads import Heads
from rotator.services.keyring import KeyRing
from rotator.services.queries import Queries
from rotator.services.reconciler import Reconciler
from rotator.services.tokens import TokenService
from rotator.services.turns import Turns
from rotator.testing.memory import MemoryCookieStore, MemoryMasterStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from fastapi import FastAPI

    from rotator.adapters.state.store import State
    from rotator.domain.ids import Fence
    from rotator.ports.master_store import Epoch

NODE = "rabbit@a"
ROLES = ("node", "orchestrator", "operator", "auditor", "admin")
POLICY = RotationPolicy(expect=None, grace_window=timedelta(0))
PATIENT = RotationPolicy(
    expect=None, grace_window=timedelta(hours=1), install_timeout=timedelta(hours=1)
)


class QuickStretcher:
    """A `KeyStretcher` of one hash."""

    async def stretch(self, epoch: Epoch) -> bytes:
        """32 bytes."""
        return hashlib.sha256(epoch.salt).digest()


@dataclass
class World:
    """A service without a socket, and ways to call it."""

    app: FastAPI
    state: State
    tokens: TokenService
    wakeups: LocalWakeups
    reconciler: Reconciler
    crowds: Crowds
    attestations: Attestations
    cookies: MemoryCookieStore
    closing: asyncio.Event
    client: httpx.AsyncClient
    made: dict[str, str] = field(default_factory=dict)

    async def token(self, role: str, *, nodes: str = "", clusters: tuple[str, ...] = ("*",)) -> str:
        """A token with this role, made once."""
        pattern = nodes or (NODE if role == "node" else "")
        key = f"{role}/{pattern}/{clusters}"
        if key not in self.made:
            _, self.made[key] = await self.tokens.create(
                role=role, clusters=clusters, nodes=pattern, by="test"
            )
        return self.made[key]

    async def call(
        self,
        method: str,
        path: str,
        *,
        role: str = "operator",
        token: str | None = None,
        key: str | None = None,
        **options: Any,
    ) -> httpx.Response:
        """One request."""
        headers = dict(options.pop("headers", {}))
        headers["Authorization"] = f"Bearer {token or await self.token(role)}"
        if key is not None:
            headers["Idempotency-Key"] = key
        return await self.client.request(method, path, headers=headers, **options)

    async def initialise(self, cluster: str = "orders") -> None:
        """`init`, until version 1 is current."""
        answer = await self.call("POST", f"/v1/clusters/{cluster}/init", role="admin", json={})
        assert answer.status_code == 202, answer.text
        await self.until(cluster, lambda found: found["state"] == "stable")

    async def until(self, cluster: str, condition: Any, *, seconds: float = 60) -> dict[str, Any]:
        """The cluster once the condition holds of it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found: dict[str, Any] = (await self.call("GET", f"/v1/clusters/{cluster}")).json()
            if condition(found):
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"not within {seconds} s: {found}")

    async def rotate(self, cluster: str = "orders", **body: Any) -> dict[str, Any]:
        """Begin a rotation."""
        answer = await self.call("POST", f"/v1/clusters/{cluster}/rotations", json=body)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def until_waiting(self, count: int = 1) -> None:
        """So many requests wait for a change."""
        async with asyncio.timeout(60):
            while self.app.state.looks.waiting < count:
                await asyncio.sleep(0.01)

    async def desired(self, cluster: str = "orders", **query: Any) -> httpx.Response:
        """What the node gets."""
        path = f"/v1/clusters/{cluster}/cookie"
        return await self.call("GET", path, role="node", params={"node": NODE, **query})


def attestation(**changes: Any) -> dict[str, Any]:
    """A report of a node whose VM cannot be reached."""
    said = {"generation": 0, "at": "2026-11-23T06:45:00Z", "read_from": "none"}
    return said | changes


@asynccontextmanager
async def a_world(
    directory: Path,
    policies: Mapping[str, RotationPolicy] | None = None,
    *,
    cookies: MemoryCookieStore | None = None,
    masters: MemoryMasterStore | None = None,
) -> AsyncIterator[World]:
    """Open everything; close it at the end."""
    wanted = policies or {"orders": POLICY, "billing": POLICY}
    named = {ClusterName(name): policy for name, policy in wanted.items()}
    closing = asyncio.Event()
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(open_state(directory / "state.sqlite"))
        fence = await state.lease.acquire()
        stack.push_async_callback(state.lease.release)
        now = datetime.now(UTC)
        await state.clusters.declare(list(named), now=now)
        wakeups, cookies = LocalWakeups(), cookies or MemoryCookieStore()
        crowds = Crowds(state.clusters, named, serving_since=now)
        documents = Documents(cookies)
        kdf = next(iter(PROFILES.values()))
        masters = masters or MemoryMasterStore()
        keyring = KeyRing(masters, state.epochs, QuickStretcher(), {MasterName("default"): kdf})
        executor = Executor(state.clusters, documents, keyring)

        async def newest_fence() -> Fence:
            return fence

        heads = Heads(state.clusters)
        shared: dict[str, Any] = {
            "states": state.clusters,
            "crowds": crowds,
            "wakeups": wakeups,
            "turns": Turns(),
        }
        reconciler = Reconciler(
            documents=documents,
            keyring=keyring,
            executor=executor,
            heads=heads,
            fence=fence,
            on_lost_lease=closing.set,
            **shared,
        )
        stack.push_async_callback(reconciler.stop)
        tokens = TokenService(tokens=state.tokens, states=state.clusters, wakeups=wakeups)
        changes = Changes(poke=reconciler.poke, **shared)
        commands = Commands(changes=changes, documents=documents, keyring=keyring)
        attestations = Attestations(poke=reconciler.poke, **shared)
        app = create_app(
            Services(
                beginnings=Beginnings(
                    changes=changes,
                    documents=documents,
                    keyring=keyring,
                    executor=executor,
                    fence=newest_fence,
                ),
                commands=commands,
                claims=Claims(changes),
                fleet=Fleet(
                    commands=commands, states=state.clusters, emergencies=state.emergencies
                ),
                attestations=attestations,
                queries=Queries(
                    states=state.clusters, documents=documents, heads=heads, crowds=crowds
                ),
                tokens=tokens,
                emergencies=state.emergencies,
                wakeups=wakeups,
                closing=closing,
            )
        )
        client = await stack.enter_async_context(
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
        )
        yield World(
            app=app,
            state=state,
            tokens=tokens,
            wakeups=wakeups,
            reconciler=reconciler,
            crowds=crowds,
            attestations=attestations,
            cookies=cookies,
            closing=closing,
            client=client,
        )
        closing.set()


@asynccontextmanager
async def served(
    app: Any, protocol: type[DeadlineProtocol] = DeadlineProtocol, *, tls: Tls | None = None
) -> AsyncIterator[int]:
    """The application on a free port of loopback, which is given."""
    listener = Listener(
        app=app, address="127.0.0.1", port=0, setting="", protocol=protocol, tls=tls
    )
    bound = listener.bind()
    server = listener.server()
    task = asyncio.ensure_future(server._serve([bound]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        await task
