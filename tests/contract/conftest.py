"""Each backend of the secret stores, behind one fixture."""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from rotator.adapters.secret_stores.local.files import Envelope, SealedFiles
from rotator.adapters.secret_stores.registry import SecretStores, open_stores
from rotator.testing.memory import MemoryCookieStore, MemoryMasterStore
from tests.support import aws, openbao

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from rotator.domain.ids import ClusterName


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Stores under test, and the ways around them."""

    stores: SecretStores
    plant: Callable[[ClusterName, dict[str, Any]], None] | None = None
    versions: Callable[[ClusterName], list[dict[str, Any]]] | None = None
    node_cookies: Callable[[ClusterName], set[str]] | None = None
    largest: int = 1_000_000  #: a text in a document that surely fits


def _local(directory: Path) -> Backend:
    def plant(cluster: ClusterName, raw: dict[str, Any]) -> None:
        SealedFiles(directory).write(f"clusters/{cluster}", Envelope(mark=1, document=raw))

    return Backend(stores=open_stores("local", directory=directory), plant=plant)


def _vault() -> Backend:
    server, prefix = openbao.shared(), f"t{secrets.token_hex(8)}"

    def path(cluster: ClusterName) -> str:
        return f"secret/data/{prefix}/clusters/{cluster}"

    def plant(cluster: ClusterName, raw: dict[str, Any]) -> None:
        server.do("POST", path(cluster), {"data": raw})

    def versions(cluster: ClusterName) -> list[dict[str, Any]]:
        answers = [server.ask("GET", path(cluster), version=n) for n in range(1, 20)]
        return [answer.json()["data"]["data"] for answer in answers if answer.is_success]

    auth = {"method": "token", "token": server.root_token}
    stores = open_stores("vault", address=server.address, prefix=prefix, auth=auth)
    return Backend(stores=stores, plant=plant, versions=versions)


def _aws(monkeypatch: pytest.MonkeyPatch) -> Backend:
    server, prefix = aws.shared(), f"t{secrets.token_hex(8)}"
    for name, value in server.environment(server.identity("service", prefix)).items():
        monkeypatch.setenv(name, value)
    node = server.client(server.identity("node", prefix))
    root = server.client()

    def plant(cluster: ClusterName, raw: dict[str, Any]) -> None:
        for name in (f"{prefix}/clusters/{cluster}", f"{prefix}/clusters/{cluster}/meta"):
            root.create_secret(Name=name, SecretString=json.dumps(raw))

    def cookies(cluster: ClusterName) -> set[str]:
        found = set()
        for label in ("AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"):
            with suppress(node.exceptions.ResourceNotFoundException):
                where = f"{prefix}/clusters/{cluster}"
                answer = node.get_secret_value(SecretId=where, VersionStage=label)
                found.add(json.loads(answer["SecretString"])["cookie"])
        return found

    stores = open_stores(
        "aws",
        region=aws.REGION,
        prefix=prefix,
        endpoint=server.address,
        timeout=timedelta(seconds=60),
    )
    return Backend(stores=stores, plant=plant, node_cookies=cookies, largest=40_000)


@pytest.fixture(params=["memory", "local", "vault", "aws"])
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Backend]:
    """One backend after the other."""
    if request.param == "memory":
        made = Backend(
            stores=SecretStores(cookies=MemoryCookieStore(), masters=MemoryMasterStore())
        )
    elif request.param == "aws":
        made = _aws(monkeypatch)
    else:
        made = _vault() if request.param == "vault" else _local(tmp_path / "store")
    yield made
    await made.stores.close()
