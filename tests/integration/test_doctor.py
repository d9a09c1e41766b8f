"""`rotator doctor` as a program, beside a real service and without one."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rotator import diagnosis
from rotator.adapters.secret_stores.registry import SecretStores, open_stores
from rotator.adapters.state.store import open_state
from rotator.cli.commands.doctor import _told, as_document
from rotator.domain.ids import ClusterName
from rotator.errors import StoreSealed
from rotator.services.doctor.runner import Checked, Outcome, examine
from rotator.settings import load
from rotator.testing.memory import MemoryCookieStore, MemoryMasterStore
from rotator.testing.secret_stores import document
from tests.support import openbao
from tests.support.certificates import Authority
from tests.support.service import Service, wait_for

CLUSTER = "orders"
CLUSTERS = {CLUSTER: {"grace_window": "0", "members": {"expect": 1}}}
NODE = "rabbit@a"


def doctor(
    config: Path, *options: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [sys.executable, "-m", "rotator", "doctor", "--config", str(config), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={**os.environ, **(env or {})},
    )


def examined(config: Path) -> dict[str, Any]:
    """Its report, without a process of its own."""
    now = lambda: datetime.now(UTC)  # noqa: E731
    report = asyncio.run(diagnosis.diagnose(config, now=now, on_progress=lambda _one: None))
    return as_document(report)


def run(config: Path, **options: Any) -> dict[str, Any]:
    """Its report as the program prints it; the exit code says what the report says."""
    ran = doctor(config, "-o", "json", **options)
    assert ran.stderr == ""
    report: dict[str, Any] = json.loads(ran.stdout)
    assert ran.returncode == (7 if report["degraded"] else 0)
    return report


def codes(report: dict[str, Any]) -> set[str]:
    """What was found."""
    return {one["code"] for one in report["findings"]}


def local(directory: Path) -> dict[str, Any]:
    """The local store below this directory."""
    return {"kind": "local", "directory": str(directory / "secrets")}


def vault(directory: Path) -> dict[str, Any]:
    """A prefix of its own in the shared OpenBao, with the shipped policy."""
    server, prefix = openbao.shared(), f"t{os.urandom(8).hex()}"
    text = (openbao.POLICIES / "vault-service.hcl").read_text().replace("erlang-cookies", prefix)
    token_file = directory / "vault.token"
    token_file.touch(mode=0o600)
    token_file.write_text(server.token(server.policy(prefix, text)))
    auth = {"method": "token", "token_file": str(token_file)}
    return {"kind": "vault", "address": server.address, "prefix": prefix, "auth": auth}


def a_service(directory: Path, store: dict[str, Any], **more: Any) -> Service:
    """One with a cluster that has its version 1, and an operator's token; it runs."""
    made = Service(directory, store, CLUSTERS, kdf_profile="owasp-argon2id", more=more)
    made.start()
    made.initialise(CLUSTER)
    return made


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service on the local store."""
    made = a_service(tmp_path, local(tmp_path))
    yield made
    made.kill()


@pytest.fixture
def made(tmp_path: Path) -> Service:
    """Settings, a database and a local store with a document, of a service that does not run."""
    prepared = Service(tmp_path, local(tmp_path), CLUSTERS, kdf_profile="owasp-argon2id")

    async def prepare() -> None:
        async with open_state(prepared.database) as state:
            await state.clusters.names()
        stores = open_stores("local", directory=tmp_path / "secrets")
        await stores.cookies.create(ClusterName(CLUSTER), document(1))

    asyncio.run(prepare())
    return prepared


def export(service: Service, **details: Any) -> None:
    """As if a recovery file had been made: the fact that tells of it."""
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    body = json.dumps({"at": at, "details": details})
    with sqlite3.connect(service.database) as database:
        (made,) = database.execute("SELECT count(*) FROM facts WHERE chain = ''").fetchone()
        row = ("", 10_000 + made, "MasterExported", body, "0" * 64)
        database.execute(
            "INSERT INTO facts (chain, seq, kind, body, hash) VALUES (?, ?, ?, ?, ?)", row
        )
    database.close()


def everything(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file below a directory: mode, time of its last change, content."""
    return {
        str(path.relative_to(directory)): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(directory.rglob("*"))
    }


def test_a_service_that_is_well_ends_with_0(tmp_path: Path) -> None:
    """On OpenBao with the shipped policy, and a recovery file, nothing is found, running or not."""
    service = a_service(tmp_path, vault(tmp_path))
    try:
        export(service)
        report = run(service.config)
        assert report["findings"] == []
        assert {one["outcome"] for one in report["checks"]} == {"clean"}
        assert service.stop() == 0
        assert examined(service.config) == report
        ran = doctor(service.config)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout == f"nothing found in {len(report['checks'])} checks\n"
    finally:
        service.kill()


def test_it_works_beside_a_running_service_and_takes_nothing_from_it(service: Service) -> None:
    """The service goes on leading, with the same files, and no cookie or token is told."""
    token, operator = service.token("node", nodes="*"), service.token("operator")
    answer = service.request("GET", f"clusters/{CLUSTER}/cookie?node={NODE}", token=token)
    cookie = answer.json()["current"]["cookie"]
    names = set(everything(service.directory))
    report = run(service.config)
    assert codes(report) == {"local_store", "never_exported", "token_too_wide"}
    printed = json.dumps(report) + doctor(service.config).stdout
    for secret in (cookie, token, operator, token.rsplit("_", 1)[1]):
        assert secret not in printed
    assert set(everything(service.directory)) == names
    assert not service.has_ended()
    with sqlite3.connect(service.database) as database:
        assert database.execute("SELECT fence FROM lease").fetchone() == (1,)
    database.close()
    assert service.get(f"clusters/{CLUSTER}")["state"] == "stable"


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_it_works_when_no_service_runs_and_changes_no_file(service: Service, ending: str) -> None:
    """After a good end and after SIGKILL, files are byte for byte what they were."""
    getattr(service, ending)()
    before = everything(service.directory)
    assert codes(examined(service.config)) == {"local_store", "never_exported"}
    after = everything(service.directory)
    assert set(after) == set(before)
    # SQLite's shared memory is an index that is made anew; it holds nothing.
    changed = {name for name in before if after[name] != before[name]}
    assert changed <= {"data/state.sqlite-shm"}
    service.start()
    assert service.get(f"clusters/{CLUSTER}")["state"] == "stable"


def test_before_the_first_start_it_makes_nothing(tmp_path: Path) -> None:
    """Neither data directory nor key nor database comes into being."""
    made = Service(tmp_path, local(tmp_path), CLUSTERS, kdf_profile="owasp-argon2id")
    before = everything(tmp_path)
    report = examined(made.config)
    assert codes(report) == {"local_store", "state_store_missing"}
    assert everything(tmp_path) == before
    skipped = {one["name"] for one in report["checks"] if one["outcome"] == "skipped"}
    assert skipped == {"clock of the state store", "clusters", "recovery file", "API tokens"}


@pytest.mark.parametrize("copy", ["deleted", "old"])
def test_a_state_store_that_is_lost_is_named_while_no_service_runs(
    service: Service, copy: str
) -> None:
    """Deleted, or an old copy: each cluster, and what to do, before anything is started on it."""
    service.stop()
    backup = service.database.read_bytes()
    if copy == "deleted":
        for file in service.database.parent.glob("state.sqlite*"):
            file.unlink()
    else:
        service.start()
        body = {"kind": "manual", "reason": "test"}
        begun = service.request("POST", f"clusters/{CLUSTER}/rotations", json=body).json()
        waits = lambda: service.rotation(CLUSTER, begun["id"])["phase"] == "installing"  # noqa: E731
        wait_for("the new cookie is written", waits)
        service.stop()
        assert "state_store_lost" not in codes(examined(service.config))
        service.database.write_bytes(backup)
    report = examined(service.config)
    (found,) = (one for one in report["findings"] if one["code"] == "state_store_lost")
    assert (found["severity"], found["subject"]) == ("error", CLUSTER)
    assert "rotator recover" in found["do"]
    assert codes(report) & {"cluster_uninitialised", "state_store_missing"} == (
        {"state_store_missing"} if copy == "deleted" else set()
    )


def test_a_secrets_manager_that_is_empty_is_named_with_what_rebuilds_it(service: Service) -> None:
    """Each document, and `rederive`; not the epoch alone."""
    service.stop()
    for file in (service.directory / "secrets").rglob("*"):
        if file.is_file() and file.name != "key":
            file.unlink()
    report = examined(service.config)
    found = {one["code"]: one for one in report["findings"]}
    assert found["document_missing"]["subject"] == CLUSTER
    assert all(
        "rotator rederive" in found[code]["do"] for code in ("document_missing", "epoch_missing")
    )


def test_a_recovery_file_from_before_an_epoch_in_use_is_outdated(service: Service) -> None:
    """The last fact of an export names its epochs, and one that cookies come from is not there."""
    service.stop()
    export(service, epochs=["default/1"])
    assert "export_outdated" not in codes(examined(service.config))
    export(service, epochs=["default/7"])
    (found,) = (
        one for one in examined(service.config)["findings"] if one["code"] == "export_outdated"
    )
    assert "default/1" in found["detail"]


def test_files_that_others_can_read_are_found(made: Service) -> None:
    """Database and key by their modes; the same files closed are no finding."""
    assert codes(examined(made.config)) == {
        "local_store",
        "cluster_uninitialised",
        "nobody_may_act",
        "state_store_lost",
    }
    made.database.chmod(0o644)
    key = made.directory / "secrets" / "key"
    key.chmod(0o640)
    report = examined(made.config)
    found = {(one["code"], one["subject"]) for one in report["findings"]}
    assert ("file_open_to_others", str(made.database)) in found
    assert ("file_open_to_group", str(key)) in found
    assert ("secrets_manager_unusable", "store_unsafe_settings") in found


def test_a_credential_that_is_missing_or_open_is_found(tmp_path: Path) -> None:
    """The token file of the secrets manager, by its path and never by what it holds."""
    store = vault(tmp_path)
    made = Service(tmp_path, store, CLUSTERS, kdf_profile="owasp-argon2id")
    token_file = Path(store["auth"]["token_file"])
    token = token_file.read_text()
    token_file.chmod(0o644)
    ran = doctor(made.config)
    assert "file_open_to_others" in ran.stdout
    assert token not in ran.stdout + ran.stderr
    token_file.unlink()
    report = examined(made.config)
    assert {"file_missing", "secrets_manager_unusable"} <= codes(report)


def test_a_configuration_that_cannot_be_read_is_a_finding_for_each_line(tmp_path: Path) -> None:
    """Where it is wrong and what was meant; and that nothing else was looked at."""
    config = tmp_path / "rotator.yaml"
    config.write_text("secret_store: {kind: local}\nclusters: {orders: {membres: 1}}\n")
    report = run(config)
    assert codes(report) == {"configuration_invalid"}
    assert any("did you mean 'members'?" in one["detail"] for one in report["findings"])
    assert {one["outcome"] for one in report["checks"]} == {"found", "skipped"}


def test_a_damaged_state_store_hides_nothing_else(tmp_path: Path) -> None:
    """The secrets manager is examined although the database is no database."""
    store = vault(tmp_path)
    made = Service(tmp_path, store, CLUSTERS, kdf_profile="owasp-argon2id")
    made.data.mkdir(mode=0o700)
    made.database.write_bytes(b"this is no database" * 100)
    made.database.chmod(0o600)
    server = openbao.shared()
    Path(store["auth"]["token_file"]).write_text(server.root_token)
    assert codes(examined(made.config)) == {"state_store_unusable", "store_token_root"}


def test_a_database_of_a_newer_version_is_named(made: Service) -> None:
    """Nothing in it is guessed at."""
    with sqlite3.connect(made.database) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    [found] = [
        one for one in examined(made.config)["findings"] if one["code"] == "state_store_unusable"
    ]
    assert found["subject"] == "database_too_new"


def test_a_secrets_manager_that_never_answers_does_not_hold_it_up(tmp_path: Path) -> None:
    """It comes to its end, says so once, and says all the rest."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = {**vault(tmp_path), "address": address, "timeout": "1s"}
        made = Service(tmp_path, store, CLUSTERS, kdf_profile="cheapest-argon2id")
        report = examined(made.config)
    assert codes(report) == {"secrets_manager_unusable", "state_store_missing", "profile_weak"}
    [found] = [one for one in report["findings"] if one["code"] == "secrets_manager_unusable"]
    assert found["subject"] == "store_unreachable"


def test_a_certificate_without_its_key_is_found(tmp_path: Path) -> None:
    """Before the service refuses to start with them; the right pair is no finding."""
    authority = Authority(tmp_path, "authority")
    pair, other = (authority.sign(name, address="127.0.0.1") for name in ("one", "other"))
    for path in (pair.key, other.key):
        path.chmod(0o600)
    for used, expected in ((pair.key, False), (other.key, True)):
        made = Service(
            tmp_path,
            local(tmp_path),
            CLUSTERS,
            more={"listen": {"tls_certificate": str(pair.certificate), "tls_key": str(used)}},
        )
        assert ("tls_unusable" in codes(examined(made.config))) == expected


def test_an_environment_with_failpoints_is_an_error(tmp_path: Path) -> None:
    """A service that is made to fail on purpose is not what somebody runs on purpose."""
    made = Service(tmp_path, local(tmp_path), CLUSTERS, kdf_profile="owasp-argon2id")
    report = run(made.config, env={"ROTATOR_FAILPOINTS": "S1:before:kill"})
    assert "failpoints_armed" in codes(report)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    """Who waits before it sees each check; a timer's mail does not."""
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", stderr)
    _told(Checked(name="clusters", outcome=Outcome.CLEAN))
    assert stderr.getvalue() == ("clusters: clean\n" if is_terminal else "")


class Unreachable(MemoryCookieStore):
    """A store that cannot be used."""

    async def check(self) -> None:
        """Fails by name."""
        raise StoreSealed


@pytest.mark.parametrize(
    ("cookies", "expected"),
    [(MemoryCookieStore(), []), (Unreachable(), ["secrets_manager_unusable"])],
)
async def test_a_store_without_an_examiner_is_asked_whether_it_can_be_used(
    tmp_path: Path, cookies: Any, expected: list[str]
) -> None:
    """To be looked into is an ability that a store need not have."""
    made = Service(tmp_path, local(tmp_path), CLUSTERS)
    stores = SecretStores(cookies=cookies, masters=MemoryMasterStore())
    report = await examine(diagnosis._of_stores(stores, None, load(made.config), {}))
    assert [one.code for one in report.findings] == expected
    assert ClusterName(CLUSTER) in load(made.config).clusters
