"""A raft snapshot of a real OpenBao that is put back is noticed, and the document comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rotator.adapters.secret_stores.registry import open_stores
from tests.support import openbao
from tests.support.keeps import DATABASES, Keep
from tests.support.losses import CLUSTER, PLAIN, Reader, World
from tests.support.service import Service

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def server() -> Iterator[openbao.OpenBao]:
    """An OpenBao of its own with raft storage."""
    made = openbao.start_durable()
    yield made
    made.stop()


def raft_keep(server: openbao.OpenBao) -> Keep:
    """Snapshots of the whole server."""

    def save() -> Any:
        answer = server.ask("GET", "sys/storage/raft/snapshot")
        assert answer.is_success, answer.text

        def restore() -> None:
            with httpx.Client(trust_env=False, timeout=60) as client:
                put = client.post(
                    f"{server.address}/v1/sys/storage/raft/snapshot-force",
                    content=answer.content,
                    headers={"X-Vault-Token": server.root_token},
                )
            assert put.is_success, put.text
            server.wait_for(200)

        return restore

    return Keep(save=save, lose=lambda: None)


@pytest.fixture
def world(server: openbao.OpenBao, tmp_path: Path) -> Iterator[World]:
    """A service on it, with a cluster at version 1."""
    token_file = tmp_path / "vault.token"
    token_file.touch(mode=0o600)
    token_file.write_text(server.root_token)
    auth = {"method": "token", "token_file": str(token_file)}
    settings = {"kind": "vault", "address": server.address, "auth": auth}
    made = World(
        service=Service(tmp_path, settings, {CLUSTER: PLAIN}),
        secrets=raft_keep(server),
        state=DATABASES["sqlite"](tmp_path),
        open=lambda: open_stores("vault", address=server.address, auth=auth),
    )
    made.service.start()
    made.service.initialise(CLUSTER)
    yield made
    made.service.kill()


def test_a_raft_snapshot_put_back_freezes_and_is_mended(world: World) -> None:
    """Metadata and KV versions are old, too; nothing that is over is served, and 4 comes after 3."""
    reader = Reader(world)
    reader.ask()
    put_back = world.secrets.save()
    for kind in ("manual", "emergency"):
        world.begin(kind)
        reader.ask()
    world.over |= set(reader.cookies[:2])
    world.export()
    world.service.stop()
    put_back()
    world.service.start()
    assert world.frozen() == "reverted_document"
    for _ in range(3):
        assert Reader(world).ask().status_code == httpx.codes.SERVICE_UNAVAILABLE
    world.assert_rotates_nothing()
    world.service.stop()
    assert world.rederive() == {"cluster orders": "refused"}, "epoch 2 is in no snapshot"
    assert world.rederive(world.file)["cluster orders"] == "written"
    world.service.start()
    world.service.until_stable(CLUSTER)
    assert Reader(world).ask().json()["current"]["cookie"] == reader.cookies[-1]
    assert world.begin()["to_version"] == 4
    reader.ask()
    assert reader.numbers == [1, 2, 3, 4]
