"""The secrets managers that the service is run against: real ones, a place of its own each."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rotator.adapters.secret_stores.registry import SecretStores, open_stores
from tests.support import aws, openbao
from tests.support.keeps import DATABASES, Keep, aws_keep, directory_keep, kv_keep


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one service keeps its secrets, and ways to look at it from outside."""

    settings: dict[str, Any]  #: for rotator.yaml
    open: Callable[[], SecretStores]
    raw_versions: Callable[[str], int]  #: how many versions of a cluster's document are readable
    keep: Keep  #: copies of it, and its loss
    environment: dict[str, str] = field(default_factory=dict)  #: for whoever opens it

    def assert_single_copy(self, cluster: str) -> None:
        """No second copy of the cluster's document can be read."""
        assert self.raw_versions(cluster) == 1


def local_place(directory: Path) -> Place:
    """The local store below this directory."""
    where = directory / "secrets"

    def count(cluster: str) -> int:
        return len([path for path in (where / "clusters").iterdir() if cluster in path.name])

    return Place(
        settings={"kind": "local", "directory": str(where)},
        open=lambda: open_stores("local", directory=where),
        raw_versions=count,
        keep=directory_keep(where),
    )


def vault_place(directory: Path) -> Place:
    """A prefix of its own in the shared OpenBao, with the shipped service policy."""
    server, prefix = openbao.shared(), f"t{secrets.token_hex(8)}"
    policy = (openbao.POLICIES / "vault-service.hcl").read_text()
    name = server.policy(prefix, policy.replace("erlang-cookies", prefix))
    token_file = directory / "vault.token"
    token_file.touch(mode=0o600)
    token_file.write_text(server.token(name))
    auth = {"method": "token", "token_file": str(token_file)}

    def count(cluster: str) -> int:
        path = f"secret/data/{prefix}/clusters/{cluster}"
        return sum(server.ask("GET", path, version=n).is_success for n in range(1, 40))

    return Place(
        settings={
            "kind": "vault",
            "address": server.address,
            "prefix": prefix,
            "auth": auth,
        },
        open=lambda: open_stores(
            "vault",
            address=server.address,
            prefix=prefix,
            auth={"method": "token", "token": server.root_token},
        ),
        raw_versions=count,
        keep=kv_keep(server, prefix),
    )


def aws_place(_directory: Path) -> Place:
    """A prefix of its own in the shared emulator, with the shipped service policy."""
    server, prefix = aws.shared(), f"t{secrets.token_hex(8)}"
    settings = {"region": aws.REGION, "prefix": prefix, "endpoint": server.address}

    def count(cluster: str) -> int:
        return len(server.readable(f"{prefix}/clusters/{cluster}"))

    return Place(
        settings={"kind": "aws", "timeout": "30s", **settings},
        open=lambda: open_stores("aws", timeout=timedelta(seconds=60), **settings),
        raw_versions=count,
        keep=aws_keep(server, prefix),
        environment=server.environment(server.identity("service", prefix)),
    )


#: Every kind; whoever opens one needs its environment.
PLACES: dict[str, Callable[[Path], Place]] = {
    "local": local_place,
    "vault": vault_place,
    "aws": aws_place,
}


@pytest.fixture
def secret_stores(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], Place]:
    """Make a place of a kind: ``local``, ``vault`` or ``aws``; its credentials are set."""

    def make(kind: str, directory: Path) -> Place:
        place = PLACES[kind](directory)
        for name, value in place.environment.items():
            monkeypatch.setenv(name, value)
        return place

    return make


@pytest.fixture(scope="session")
def store_places() -> dict[str, Callable[[Path], Place]]:
    """Places by their kind."""
    return PLACES


@pytest.fixture(scope="session")
def databases() -> dict[str, Callable[[Path], Keep]]:
    """Every database, by its kind."""
    return DATABASES
