"""What cannot be used is refused with a sentence that says what to do, and nothing is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rotator.domain import document as documents
from rotator.domain.cookie import Cookie
from rotator.domain.ids import ClusterName
from tests.support.service import Service, wait_for

CLUSTER = "orders"
PLAIN = {"grace_window": "0", "members": {"expect": "none"}}


@pytest.fixture(params=["local", "vault"])
def place(request: pytest.FixtureRequest, tmp_path: Path, secret_stores: Any) -> Any:
    """A secrets manager of each kind."""
    return secret_stores(request.param, tmp_path)


@pytest.fixture
def service(tmp_path: Path, place: Any) -> Iterator[Service]:
    """A service with one cluster that has version 1."""
    made = Service(tmp_path, place.settings, {CLUSTER: PLAIN})
    made.start()
    made.initialise(CLUSTER)
    yield made
    if not made.has_ended():
        made.stop()


def rotate(service: Service) -> dict[str, Any]:
    """Begin a manual rotation."""
    body = {"kind": "manual", "reason": "test"}
    answer = service.request("POST", f"clusters/{CLUSTER}/rotations", json=body)
    return {"status": answer.status_code, **answer.json()}


def change_document(place: Any, change: Any) -> None:
    """Write the document behind the service's back, as a person or another program would."""

    async def write() -> None:
        stores = place.open()
        stored = await stores.cookies.read(ClusterName(CLUSTER))
        await stores.cookies.replace(
            ClusterName(CLUSTER), change(stored.document), mark=stored.mark
        )
        await stores.close()

    asyncio.run(write())


def test_a_document_edited_by_hand_freezes_the_cluster_by_name(
    service: Service, place: Any
) -> None:
    """An edited cookie is never handed out or rotated away: the cluster is frozen, and says why."""
    token = service.token("node", nodes="n@h")
    before = service.request("GET", f"clusters/{CLUSTER}/cookie?node=n@h", token=token).json()

    def edit(document: documents.ClusterDocument) -> documents.ClusterDocument:
        current = documents.replace(document.current, cookie=Cookie("EDITEDBYHAND"))
        return documents.replace(document, current=current)

    change_document(place, edit)
    begun = rotate(service)
    assert begun["status"] == 202
    frozen = wait_for(
        "frozen",
        lambda: (found := service.get(f"clusters/{CLUSTER}"))["state"] == "frozen" and found,
    )
    assert [blocker["code"] for blocker in frozen["blockers"]] == ["edited_document"]
    assert frozen["current"] == 1
    after = service.request("GET", f"clusters/{CLUSTER}/cookie?node=n@h", token=token)
    assert "EDITEDBYHAND" not in after.text
    assert after.status_code == 503 or after.json()["current"] == before["current"]
    assert rotate(service)["status"] == 409

    def mend(document: documents.ClusterDocument) -> documents.ClusterDocument:
        current = documents.replace(document.current, cookie=Cookie(before["current"]["cookie"]))
        return documents.replace(document, current=current)

    change_document(place, mend)
    assert service.until_phase(CLUSTER, begun["id"], "completed")["to_version"] == 2


def test_a_foreign_writer_freezes_the_cluster_by_name(service: Service, place: Any) -> None:
    """A document that was written for a rotation of somebody else is not written over."""
    change_document(
        place,
        lambda document: documents.replace(
            document, stamp=documents.replace(document.stamp, rotation="not-ours")
        ),
    )
    begun = rotate(service)
    frozen = wait_for(
        "frozen",
        lambda: (found := service.get(f"clusters/{CLUSTER}"))["state"] == "frozen" and found,
    )
    assert [blocker["code"] for blocker in frozen["blockers"]] == ["foreign_writer"]
    assert frozen["rotation"]["id"] == begun["id"]
    assert frozen["rotation"]["phase"] == "staged"


def test_an_edited_document_does_not_stop_an_emergency(service: Service, place: Any) -> None:
    """Whoever may write the secrets manager cannot keep a leaked cookie alive by editing it."""

    def edit(document: documents.ClusterDocument) -> documents.ClusterDocument:
        current = documents.replace(document.current, cookie=Cookie("EDITEDBYHAND"))
        return documents.replace(document, current=current)

    change_document(place, edit)
    begun = service.command(
        f"clusters/{CLUSTER}/rotations", {"kind": "emergency", "reason": "leaked"}
    )
    assert begun is not None
    service.until_phase(CLUSTER, begun["id"], "completed")
    assert service.until_stable(CLUSTER)["current"] == 2


def test_a_second_process_on_the_same_database_is_refused_by_name(service: Service) -> None:
    """SQLite serves one replica: the second says who has it, and the first goes on."""
    assert service.process is not None
    second = Service(service.directory, service.secret_store, service.clusters)
    second.log = service.directory / "second.log"
    second.start()
    assert second.wait_ended() != 0
    assert f"process {service.process.pid}" in second.output()
    assert "Traceback" not in second.output()
    begun = rotate(service)
    service.until_phase(CLUSTER, begun["id"], "completed")


def dump(database: Path) -> list[str]:
    """Everything in the database, as SQL."""
    connection = sqlite3.connect(database)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_a_database_from_a_newer_version_is_refused_and_left_alone(service: Service) -> None:
    """A downgraded program does not touch what it does not understand."""
    service.stop()
    with sqlite3.connect(service.database) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    before = dump(service.database)
    service.start()
    assert service.wait_ended() != 0
    assert "upgrade the program" in service.output()
    assert dump(service.database) == before


def test_a_typo_in_the_configuration_is_shown_with_line_column_and_what_was_meant(
    service: Service,
) -> None:
    """The service does not start on a configuration that it does not understand."""
    service.stop()
    text = service.config.read_text().replace("grace_window", "grace_windw")
    service.config.write_text(text)
    line = next(n for n, row in enumerate(text.splitlines(), 1) if "grace_windw" in row)
    service.start()
    assert service.wait_ended() == 2
    assert f"rotator.yaml:{line}:5" in service.output()
    assert "did you mean 'grace_window'?" in service.output()


def test_more_rotations_an_hour_than_the_cap_are_refused(service: Service) -> None:
    """A loop of rotations is stopped by the cap, but an emergency never is."""
    for _ in range(4):
        service.until_phase(CLUSTER, rotate(service)["id"], "completed")
    refused = rotate(service)
    assert (refused["status"], refused["code"]) == (409, "too_many_rotations")
    emergency = {"kind": "emergency", "reason": "leaked"}
    answer = service.request("POST", f"clusters/{CLUSTER}/rotations", json=emergency)
    assert answer.status_code == 202


def test_a_restart_starts_nothing_that_is_not_due(service: Service) -> None:
    """Stopping and starting the service changes no version and begins no rotation."""
    before = service.get(f"clusters/{CLUSTER}")
    service.stop()
    service.start()
    after = service.until_stable(CLUSTER)
    assert after["versions"] == before["versions"]
    assert service.get(f"clusters/{CLUSTER}/rotations")["rotations"] == []


def test_a_termination_signal_ends_it_in_good_order(service: Service) -> None:
    """SIGTERM ends the process with status 0 within seconds, also with a long poll waiting."""
    assert service.stop() == 0


def test_a_port_that_is_taken_is_named_without_a_traceback(service: Service) -> None:
    """Two services on one port: the second says which setting to change, and ends."""
    directory = service.directory / "second"
    directory.mkdir()
    second = Service(directory, {"kind": "local", "directory": str(directory / "s")}, {"a": PLAIN})
    second.port = service.port
    second.write_config()
    second.start()
    assert second.wait_ended() == 2
    assert f"listen.port: 127.0.0.1 port {service.port} cannot be used" in second.output()
    assert "Traceback" not in second.output()


def test_a_secrets_manager_that_cannot_be_used_is_logged_at_the_start(
    tmp_path: Path, secret_stores: Any
) -> None:
    """An operator who starts with a bad login reads so at once, not at the first rotation."""
    place = secret_stores("vault", tmp_path)
    Path(place.settings["auth"]["token_file"]).write_text("not-a-token")
    service = Service(tmp_path, place.settings, {CLUSTER: PLAIN})
    service.start(wait=False)
    try:
        wait_for("it is logged", lambda: "cannot be used" in service.output())
        assert "store_token_expired" in service.output()
    finally:
        service.stop()


def test_a_cluster_keeps_the_master_that_it_was_initialised_with(service: Service) -> None:
    """Another master in the file is refused by name, while serving and at the next start."""
    assert service.process is not None
    text = service.config.read_text()
    text = text.replace("masters:\n", "masters:\n  other: {}\n")
    service.config.write_text(
        text.replace("    grace_window:", "    master: other\n    grace_window:")
    )
    service.process.send_signal(1)
    said = f"clusters.{CLUSTER}.master: it was initialised with default"
    wait_for("it is refused", lambda: said in service.output())
    service.stop()
    service.start()
    assert service.wait_ended() == 2
    assert service.output().count(said) == 2


def test_a_process_whose_fence_is_not_the_newest_writes_nothing_and_ends(service: Service) -> None:
    """A replica that has lost the lease changes nothing more, and ends as a failure."""
    with sqlite3.connect(service.database) as database:
        database.execute("UPDATE lease SET fence = fence + 1")
    begun = rotate(service)
    assert begun["status"] == 202
    assert service.wait_ended() != 0
    service.start()
    assert service.until_phase(CLUSTER, begun["id"], "completed")["to_version"] == 2
