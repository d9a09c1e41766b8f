"""The fake as a server on loopback: made by `fake_kubernetes`, which also ends it."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rotator.cli.demo.processes import free_port
from tests.support.certificates import Authority
from tests.support.kubectl import kubectl
from tests.support.kubernetes import kinds, statefulsets
from tests.support.kubernetes.accounts import Accounts
from tests.support.kubernetes.kubelet import NODE, Kubelet, Nothing, Runtime
from tests.support.kubernetes.requests import Requests
from tests.support.kubernetes.store import Item, Store
from tests.support.service import wait_for

T = TypeVar("T")
_VERSION = {"major": "1", "minor": "35", "gitVersion": "v1.35.0-fake", "platform": "linux/amd64"}
_REVIEWS = {
    "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"],
}  # fmt: skip
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass
class FakeKubernetes:
    """A cluster of one machine, and ways to ask it from outside."""

    directory: Path
    runtime: Runtime = field(default_factory=Nothing)

    def __post_init__(self) -> None:
        authority = Authority(self.directory, "kubernetes-ca")
        self.ca = authority.certificate
        self._signed = authority.sign("kubernetes", address="127.0.0.1")
        self.port = free_port()
        self.kubeconfig = self.directory / "kubeconfig"
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.lost = 0  #: answers to evictions that shall not arrive, though they are carried out
        self.evictions: list[tuple[str, int]] = []  #: pods, with the answer; no trials

    @property
    def address(self) -> str:
        """Its URL."""
        return f"https://127.0.0.1:{self.port}"

    # --- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Serve, until `stop`."""
        self._thread.start()
        assert self._started.wait(60)
        self._write_kubeconfig()
        for name in ("default", "kube-system"):
            self.create("Namespace", {"metadata": {"name": name}})
        self.create("Node", {"metadata": {"name": NODE}, "spec": {}})

    def stop(self) -> None:
        """Every pod is stopped, then the server."""
        self._server.should_exit = True
        self._thread.join(120)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.store = Store()
        self.accounts = Accounts(self.store)
        config = uvicorn.Config(
            self._app(),
            host="127.0.0.1",
            port=self.port,
            log_level="critical",
            ssl_certfile=str(self._signed.certificate),
            ssl_keyfile=str(self._signed.key),
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        tasks = [
            asyncio.create_task(Kubelet(self.store, self.runtime).run()),
            asyncio.create_task(self._control()),
            asyncio.create_task(self._announce()),
        ]
        await self._server.serve()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _announce(self) -> None:
        while not self._server.started:
            await asyncio.sleep(0.01)
        self._started.set()

    async def _control(self) -> None:
        while True:
            waiting = asyncio.create_task(self.store.changed())
            await asyncio.sleep(0)
            statefulsets.reconcile(self.store)
            await waiting

    def _app(self) -> Starlette:
        requests = Requests(self.store, self.accounts)

        async def serve(request: Request) -> Response:
            answer = await requests.serve(request)
            if request.url.path.endswith("/eviction") and b"dryRun" not in await request.body():
                self.evictions.append((request.url.path.split("/")[-2], answer.status_code))
                if self.lost > 0:
                    self.lost -= 1
                    raise ConnectionResetError
            return answer

        def fixed(answer: Callable[[Request], Any]) -> Callable[[Request], Response]:
            return lambda request: JSONResponse(answer(request))

        def of_group(request: Request) -> Any:
            return kinds.resources(request.path_params.get("group", ""))

        routes = [
            Route("/version", fixed(lambda _: _VERSION)),
            Route("/readyz", fixed(lambda _: "ok")),
            Route("/api", fixed(lambda _: {"kind": "APIVersions", "versions": ["v1"]})),
            Route("/apis", fixed(lambda _: _groups())),
            Route("/api/v1", fixed(of_group)),
            Route("/apis/{group}", fixed(lambda r: kinds.group_row(r.path_params["group"]))),
            Route("/apis/{group}/v1", fixed(of_group)),
            Route("/openapi/v3", fixed(lambda _: _openapi_index())),
            Route("/openapi/v3/api/v1", fixed(lambda _: kinds.openapi(""))),
            Route(
                "/openapi/v3/apis/{group}/v1",
                fixed(lambda r: kinds.openapi(r.path_params["group"])),
            ),
            Route("/{path:path}", serve, methods=_METHODS),
        ]
        return Starlette(routes=routes)

    # --- asking -----------------------------------------------------------------------------

    def run(self, function: Callable[[], T]) -> T:
        """*function* on the server's own loop: it may touch the store."""

        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(60)

    def create(self, kind: str, item: Item, *, namespace: str = "default") -> Item:
        """As a controller of its own would."""
        found = kinds.named(kind)
        space = namespace if found.is_namespaced else ""
        return self.run(lambda: self.store.create(found, space, item))

    def get(self, kind: str, name: str, *, namespace: str = "default") -> Item | None:
        """One object, or None."""
        return self.run(lambda: self.store.find(kinds.named(kind), namespace, name))

    def request(self, method: str, path: str, *, token: str = "", **options: Any) -> httpx.Response:
        """One request over the wire, by default as the administrator."""
        headers = {
            "Authorization": f"Bearer {token or self.accounts.admin_token}",
            **options.pop("headers", {}),
        }
        context = ssl.create_default_context(cafile=self.ca)
        with httpx.Client(verify=context, trust_env=False, timeout=60) as client:
            return client.request(method, f"{self.address}{path}", headers=headers, **options)

    def account(self, name: str, *rules: Item, namespace: str = "default") -> None:
        """A service account with these rights in its namespace."""
        self.create("ServiceAccount", {"metadata": {"name": name}}, namespace=namespace)
        if not rules:
            return
        role = {"metadata": {"name": name}, "rules": list(rules)}
        self.create("Role", role, namespace=namespace)
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [subject],
        }
        self.create("RoleBinding", binding, namespace=namespace)

    def reviewer(self, name: str, *, namespace: str = "default") -> None:
        """A service account that may review tokens, as by the ClusterRole `system:auth-delegator`."""
        self.account(name, namespace=namespace)
        self.create("ClusterRole", {"metadata": {"name": "reviews"}, "rules": [_REVIEWS]})
        binding = {
            "metadata": {"name": "reviews"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            "roleRef": {"kind": "ClusterRole", "name": "reviews"},
        }
        self.create("ClusterRoleBinding", binding)

    def token(
        self, account: str, *, audience: str = "", pod: str = "", namespace: str = "default"
    ) -> str:
        """A token of a service account, as a projected volume gets it."""
        spec: dict[str, Any] = {"audiences": [audience] if audience else []}
        if pod:
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": pod}
        found = self.run(lambda: self.accounts.issue(namespace, account, spec))
        return str(found["token"])

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """The real kubectl as the administrator; what it prints."""
        ran = self.run_kubectl(*words, stdin=stdin)
        assert ran.returncode == 0, f"kubectl {' '.join(words)}: {ran.stderr}"
        return ran.stdout

    def run_kubectl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """The same, whatever comes of it."""
        cache = str(self.directory / "kubectl-cache")
        return subprocess.run(
            [kubectl(), "--kubeconfig", str(self.kubeconfig), "--cache-dir", cache, *words],
            input=stdin, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip

    def apply(self, *items: Item) -> None:
        """`kubectl apply -f -`."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(items))

    def wait_ready(self, name: str, replicas: int, *, seconds: float = 90) -> None:
        """Until a StatefulSet has that many ready pods."""

        def is_ready() -> bool:
            found = self.get("StatefulSet", name) or {}
            return bool(found.get("status", {}).get("readyReplicas") == replicas)

        wait_for(f"{replicas} pods of {name} are ready", is_ready, seconds=seconds)

    def _write_kubeconfig(self) -> None:
        server = {"server": self.address, "certificate-authority": str(self.ca)}
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1", "kind": "Config", "current-context": "fake",
                    "clusters": [{"name": "fake", "cluster": server}],
                    "users": [{"name": "me", "user": {"token": self.accounts.admin_token}}],
                    "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
                }
            )
        )  # fmt: skip


def _groups() -> Item:
    rows = [kinds.group_row(group) for group in kinds.groups()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": rows}


def _openapi_index() -> Item:
    paths = ["api/v1", *(f"apis/{group}/v1" for group in kinds.groups())]
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}"} for path in paths}}


@contextmanager
def fake_kubernetes(directory: Path, runtime: Runtime | None = None) -> Iterator[FakeKubernetes]:
    """One that serves, on a free port of loopback."""
    place = directory / "kubernetes"
    place.mkdir()
    made = FakeKubernetes(place, runtime or Nothing())
    made.start()
    try:
        yield made
    finally:
        made.stop()
