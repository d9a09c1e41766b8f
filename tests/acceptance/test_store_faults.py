"""A secrets manager that fails is named as what blocks, since when, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rotator.adapters.secret_stores.registry import open_stores
from rotator.domain.ids import ClusterName
from tests.support import openbao
from tests.support.service import Service, wait_for

CLUSTER = "orders"
PLAIN = {"grace_window": "0", "members": {"expect": "none"}}


@pytest.fixture
def server() -> Iterator[openbao.OpenBao]:
    """An OpenBao of its own, on disk, that can be sealed."""
    made = openbao.start_durable()
    yield made
    made.stop()


def store(server: openbao.OpenBao, directory: Path, token: str) -> dict[str, Any]:
    """Settings for this server with this token."""
    path = directory / "vault.token"
    path.touch(mode=0o600)
    path.write_text(token)
    auth = {"method": "token", "token_file": str(path)}
    return {"kind": "vault", "address": server.address, "timeout": "2s", "auth": auth}


def begin(service: Service) -> str:
    """The id of a new manual rotation."""
    begun = service.command(f"clusters/{CLUSTER}/rotations", {"kind": "manual", "reason": "test"})
    assert begun is not None
    return str(begun["id"])


def blocked_by(service: Service, code: str) -> dict[str, Any]:
    """The blocker of this code, once it stands."""

    def ask() -> dict[str, Any] | None:
        found = service.get(f"clusters/{CLUSTER}")["blockers"]
        return next((blocker for blocker in found if blocker["code"] == code), None)

    return dict(wait_for(f"blocked by {code}", ask))


@pytest.mark.timeout(180)
def test_a_sealed_store_is_named_and_the_rotation_goes_on_after_unsealing(
    server: openbao.OpenBao, tmp_path: Path
) -> None:
    """Sealed in the middle: shown as blocked since then, not ready; unsealed: it finishes."""
    service = Service(tmp_path, store(server, tmp_path, server.root_token), {CLUSTER: PLAIN})
    service.start()
    try:
        service.initialise(CLUSTER)
        server.seal()
        rotation = begin(service)
        blocker = blocked_by(service, "store_sealed")
        assert blocker["since"]
        assert blocker["subject"] == "secrets manager"
        assert not service.is_ready()
        server.unseal()
        done = service.until_phase(CLUSTER, rotation, "completed")
        assert done["to_version"] == 2
        assert service.get(f"clusters/{CLUSTER}")["blockers"] == []
    finally:
        service.stop()


@pytest.mark.timeout(180)
def test_missing_rights_are_named_and_no_number_is_burned(
    server: openbao.OpenBao, tmp_path: Path
) -> None:
    """Without the right to write the rotation waits, by name; with it again it finishes."""
    text = (openbao.POLICIES / "vault-service.hcl").read_text()
    policy = server.policy("service", text)
    service = Service(tmp_path, store(server, tmp_path, server.token(policy)), {CLUSTER: PLAIN})
    service.start()
    try:
        service.initialise(CLUSTER)
        server.policy("service", text.replace('"create", "read", "update"', '"read"'))
        rotation = begin(service)
        blocked_by(service, "store_forbidden")
        server.policy("service", text)
        service.stop()
        service.start()
        assert service.until_phase(CLUSTER, rotation, "completed")["to_version"] == 2
    finally:
        service.stop()


@pytest.mark.timeout(180)
def test_a_store_that_is_gone_leaves_nodes_with_what_they_had(
    server: openbao.OpenBao, tmp_path: Path
) -> None:
    """With the secrets manager away, nodes still get the cookie that is current."""
    service = Service(tmp_path, store(server, tmp_path, server.root_token), {CLUSTER: PLAIN})
    service.start()
    try:
        service.initialise(CLUSTER)
        token = service.token("node", nodes="n@h")
        path = f"clusters/{CLUSTER}/cookie?node=n@h"
        before = service.request("GET", path, token=token)
        server.process.kill()
        server.process.wait()
        rotation = begin(service)
        blocked_by(service, "store_unreachable")
        after = service.request("GET", path, token=token)
        assert after.json()["current"] == before.json()["current"]
        assert service.rotation(CLUSTER, rotation)["phase"] == "staged"
    finally:
        service.stop()


def test_masters_are_imported_from_standard_input_and_weak_ones_refused(
    tmp_path: Path, secret_stores: Any
) -> None:
    """The next rotation derives from the imported master; a weak one is refused with the reason."""
    import base64
    import secrets
    import subprocess
    import sys

    place = secret_stores("local", tmp_path)
    service = Service(tmp_path, place.settings, {CLUSTER: PLAIN})
    service.start()
    try:
        service.initialise(CLUSTER)
        command = [sys.executable, "-m", "rotator", "master", "import", "default"]
        command += ["--config", str(service.config)]

        def take(text: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command, input=text, capture_output=True, text=True, timeout=60, check=False
            )

        weak = take("ab" * 32)
        assert weak.returncode != 0
        assert "distinct bytes" in weak.stderr
        assert "abab" not in weak.stderr
        taken = take(base64.b64encode(secrets.token_bytes(48)).decode())
        assert taken.returncode == 0, taken.stderr
        done = service.until_phase(CLUSTER, begin(service), "completed")
        assert done["epoch"] == 2
    finally:
        service.stop()

    async def epoch_of_current() -> int | None:
        stores = open_stores("local", directory=Path(place.settings["directory"]))
        stored = await stores.cookies.read(ClusterName(CLUSTER))
        assert stored is not None
        return stored.document.current.epoch

    assert asyncio.run(epoch_of_current()) == 2
