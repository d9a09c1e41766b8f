"""The service under demonstration: its settings, its process, its tokens."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from rotator.cli.demo.aws import CREDENTIALS, REGION, Emulator
from rotator.cli.demo.openbao import read_policy
from rotator.cli.demo.processes import DemoFailed, free_port, running, until_answers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rotator.cli.demo.openbao import Vault

CLUSTER: Final = "orders"
_GRACE_SECONDS: Final = 3


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _store(directory: Path, keeper: Vault | Emulator | None) -> dict[str, Any]:
    if keeper is None:
        return {"kind": "local", "directory": str(directory / "secrets")}
    if isinstance(keeper, Emulator):
        return {"kind": "aws", "region": REGION, "endpoint": keeper.address}
    token = directory / "service.token"
    _write_private(token, keeper.token_with("rotator", read_policy("vault-service.hcl")))
    auth = {"method": "token", "token_file": str(token)}
    return {"kind": "vault", "address": keeper.address, "auth": auth}


def _write_configuration(
    directory: Path,
    keeper: Vault | Emulator | None,
    *,
    members: Sequence[str],
    port: int,
    health_port: int,
) -> Path:
    path = directory / "rotator.yaml"
    cluster = {
        "grace_window": f"{_GRACE_SECONDS}s",
        "members": {"expect": list(members), "heartbeat": "1s", "node_ttl": "30s"},
    }
    settings = {
        "listen": {"port": port, "health_port": health_port},
        "data_dir": str(directory / "data"),
        "secret_store": _store(directory, keeper),
        "clusters": {CLUSTER: cluster},
    }
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


def _rotator(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "rotator", *arguments]


@dataclass(frozen=True, slots=True)
class Service:
    """A service that runs, and the settings that it was started with."""

    address: str  #: the base URL of its API, without ``/v1``
    configuration: Path

    def admin_token(self) -> str:
        """A new API token of an admin of the cluster, made as the first one is."""
        made = subprocess.run(  # noqa: S603 - our own program
            _rotator(
                "token", "create", "--local", "--config", str(self.configuration),
                "--role", "admin", "--cluster", CLUSTER,
            ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            start_new_session=True,
        )  # fmt: skip
        if made.returncode:
            raise DemoFailed(f"no token: {made.stderr.strip()}")
        return made.stdout.strip()


@contextmanager
def serving(
    directory: Path, keeper: Vault | Emulator | None, *, members: Sequence[str]
) -> Iterator[Service]:
    """The service, ready for requests, which expects *members*; it is stopped at the end."""
    port, health_port = free_port(), free_port()
    configuration = _write_configuration(
        directory, keeper, members=members, port=port, health_port=health_port
    )
    log = directory / "service.log"
    environment = CREDENTIALS if isinstance(keeper, Emulator) else {}
    with running(_rotator("serve", "--config", str(configuration)), log, **environment) as process:
        until_answers(f"http://127.0.0.1:{health_port}/readyz", process, log)
        yield Service(f"http://127.0.0.1:{port}", configuration)
