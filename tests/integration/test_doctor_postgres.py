"""What doctor finds in a real PostgreSQL, and of the role and the way to it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rotator import diagnosis
from rotator.adapters.state.postgres.examiner import examine_server
from rotator.cli.commands.doctor import as_document
from rotator.services.doctor import database as decisions
from tests.integration.test_doctor import CLUSTERS, codes, local, run
from tests.support import postgres
from tests.support.service import Service

#: The test's server keeps nothing for good, and its only user is its superuser.
OF_THE_SERVER = {"database_not_durable"}
OF_THE_USER = {"database_rights_too_wide"}
#: Of a database that no service has used, on the local secret store.
FRESH = {"cluster_uninitialised", "nobody_may_act", "local_store"}


def examined(made: Service, *, off: timedelta = timedelta()) -> dict[str, Any]:
    """The report, by a clock that is *off*."""
    now = lambda: datetime.now(UTC) + off  # noqa: E731
    report = asyncio.run(diagnosis.diagnose(made.config, now=now, on_progress=lambda _one: None))
    return as_document(report)


def detail(report: dict[str, Any], code: str) -> str:
    """What was seen, of the one finding with this code."""
    [found] = [one for one in report["findings"] if one["code"] == code]
    return f"{found['subject']} {found['detail']}".strip()


@pytest.fixture
def database() -> Iterator[postgres.Database]:
    """With our tables."""
    made = postgres.new_database()
    yield made
    postgres.drop(made)


@pytest.fixture
def role(database: postgres.Database) -> Iterator[str]:
    """One with the rights of docs/how-to/postgresql.md and no more."""
    name = f"r{secrets.token_hex(6)}"
    database.ask(f"CREATE ROLE {name} LOGIN")
    database.ask(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}")
    database.ask(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}")
    yield name
    database.ask(f"DROP OWNED BY {name}")
    database.ask(f"DROP ROLE {name}")


def a_service(directory: Path, on: postgres.Database, /, **settings: Any) -> Service:
    """Settings of a service on this database; it does not run."""
    store = {**on.settings, **settings}
    more = {"state_store": store}
    return Service(directory, local(directory), CLUSTERS, kdf_profile="owasp-argon2id", more=more)


def test_a_role_as_documented_has_nothing_to_mend(
    tmp_path: Path, database: postgres.Database, role: str
) -> None:
    """Its rights suffice, and reach no further; only the test's server is found to be one."""
    report = run(a_service(tmp_path, database, user=role).config)
    assert codes(report) == FRESH | OF_THE_SERVER
    assert detail(report, "database_not_durable") == "fsync=off"
    outcomes = {one["name"]: one["outcome"] for one in report["checks"]}
    assert outcomes["state store"] == "clean"
    assert outcomes["database server"] == "found"


def test_it_changes_nothing_and_works_beside_a_running_service(
    tmp_path: Path, database: postgres.Database
) -> None:
    """The service goes on leading; no row is another one, and no lease is taken."""
    made = a_service(tmp_path, database)
    made.start()
    try:
        made.initialise("orders")
        lease = database.ask("SELECT fence, holder FROM lease")
        facts = database.ask("SELECT * FROM facts ORDER BY position")
        report = examined(made)
        assert codes(report) == OF_THE_SERVER | OF_THE_USER | {"local_store", "never_exported"}
        assert database.ask("SELECT fence, holder FROM lease") == lease
        assert database.ask("SELECT * FROM facts ORDER BY position") == facts
        assert not made.has_ended()
    finally:
        made.kill()


def test_a_superuser_may_too_much(tmp_path: Path, database: postgres.Database) -> None:
    """Each attribute of the role that reaches beyond its database is named."""
    report = examined(a_service(tmp_path, database))
    assert codes(report) == FRESH | OF_THE_SERVER | OF_THE_USER
    assert "SUPERUSER" in detail(report, "database_rights_too_wide")


def test_rights_that_are_missing_are_named_by_table(
    tmp_path: Path, database: postgres.Database, role: str
) -> None:
    """Before the first write meets it; what can be read is examined all the same."""
    database.ask(f"REVOKE INSERT, DELETE ON members, tokens FROM {role}")
    report = examined(a_service(tmp_path, database, user=role))
    assert codes(report) == FRESH | OF_THE_SERVER | {"database_rights_missing"}
    assert detail(report, "database_rights_missing") == "members, tokens lacks INSERT, DELETE"


def test_a_table_that_cannot_be_read_is_named_beside_the_refusal(
    tmp_path: Path, database: postgres.Database, role: str
) -> None:
    """The state store is unusable, and the reason stands beside it."""
    database.ask(f"REVOKE SELECT ON clusters FROM {role}")  # noqa: S608 - a name of our own
    database.ask(f"REVOKE USAGE ON ALL SEQUENCES IN SCHEMA public FROM {role}")
    report = examined(a_service(tmp_path, database, user=role))
    assert {"state_store_unusable", "database_rights_missing"} <= codes(report)
    found = [one for one in report["findings"] if one["code"] == "database_rights_missing"]
    assert {(one["subject"], one["detail"]) for one in found} == {
        ("clusters", "lacks SELECT"),
        ("facts", "lacks USAGE of its sequence"),
    }


def test_a_database_that_was_never_migrated_is_named(tmp_path: Path) -> None:
    """With the command that makes the tables; the server is examined all the same."""
    empty = postgres.empty_database()
    try:
        report = examined(a_service(tmp_path, empty))
        assert codes(report) == OF_THE_SERVER | OF_THE_USER | {
            "state_store_unusable",
            "local_store",
        }
        assert "database_too_old" in detail(report, "state_store_unusable")
        assert "rotator migrate" in detail(report, "state_store_unusable")
        assert empty.ask("SELECT to_regclass('alembic_version')") == [(None,)]
    finally:
        postgres.drop(empty)


def test_a_database_of_a_newer_program_is_named(
    tmp_path: Path, database: postgres.Database
) -> None:
    """Nothing in it is guessed at."""
    database.ask("UPDATE alembic_version SET version_num = '9999'")
    report = examined(a_service(tmp_path, database))
    assert "database_too_new" in detail(report, "state_store_unusable")


@pytest.mark.parametrize(
    "settings", [{"port": 9}, {"database": "nobodys"}, {"user": "nobody-here"}]
)
def test_a_database_that_cannot_be_reached_is_one_finding(
    tmp_path: Path, database: postgres.Database, settings: dict[str, Any]
) -> None:
    """Port, database or user: PostgreSQL's own sentence, once; the rest is examined."""
    report = examined(a_service(tmp_path, database, **settings))
    assert codes(report) == {"state_store_unusable", "local_store"}
    assert "state_unavailable" in detail(report, "state_store_unusable")


def test_a_password_file_that_is_open_or_missing_is_found(
    tmp_path: Path, database: postgres.Database
) -> None:
    """By its path, and never by what it holds."""
    password = tmp_path / "password"
    password.write_text("a-planted-password\n")
    password.chmod(0o644)
    report = examined(a_service(tmp_path, database, password_file=str(password)))
    assert "file_open_to_others" in codes(report)
    assert "a-planted-password" not in str(report)
    password.unlink()
    report = examined(a_service(tmp_path, database, password_file=str(password)))
    assert {"file_missing", "state_store_unusable"} <= codes(report)


@pytest.mark.parametrize(
    ("off", "code"),
    [(timedelta(seconds=90), "clock_skew"), (timedelta(minutes=-10), "clock_far_off")],
)
def test_a_replica_whose_clock_is_not_the_databases_is_told_so(
    tmp_path: Path, database: postgres.Database, off: timedelta, code: str
) -> None:
    """Windows end by the database's clock, logins by the replica's."""
    report = examined(a_service(tmp_path, database), off=off)
    assert codes(report) == FRESH | OF_THE_SERVER | OF_THE_USER | {code}
    assert detail(report, code).startswith("state store")


@pytest.mark.parametrize(
    "limit", ["ROLE {role} CONNECTION LIMIT 5", "DATABASE {name} CONNECTION LIMIT 5"]
)
def test_too_few_connections_are_told_before_they_are_wanted(
    tmp_path: Path, database: postgres.Database, role: str, limit: str
) -> None:
    """The narrowest of the limits of server, database and role counts."""
    name = database.parameters["dbname"]
    database.ask(f"ALTER {limit.format(role=role, name=name)}")
    report = examined(a_service(tmp_path, database, user=role))
    assert codes(report) == FRESH | OF_THE_SERVER | {"database_connections_few"}
    assert detail(report, "database_connections_few").startswith("room for 5; ")


def test_connections_that_others_hold_are_not_free(
    tmp_path: Path, database: postgres.Database, role: str
) -> None:
    """Those of our own replicas do not count against us; anybody else's do."""
    name = database.parameters["dbname"]
    database.ask(f"ALTER DATABASE {name} CONNECTION LIMIT 14")
    server = replace(database.server, user=role)
    free = asyncio.run(examine_server(server)).room
    assert free == 14
    ours = psycopg.connect(
        **{**database.parameters, "user": role}, application_name="rotator host:1"
    )
    with ours, database.connect(), database.connect():
        assert asyncio.run(examine_server(server)).room == 12


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("default_transaction_read_only = on", "database_read_only"),
        ("synchronous_commit = off", "database_not_durable"),
    ],
)
def test_settings_of_the_role_that_lose_or_refuse_writes_are_found(
    tmp_path: Path, database: postgres.Database, role: str, setting: str, code: str
) -> None:
    """As they hold for the service's own sessions, whoever set them."""
    database.ask(f"ALTER ROLE {role} SET {setting}")
    report = examined(a_service(tmp_path, database, user=role))
    assert code in codes(report)
    if code == "database_not_durable":
        assert detail(report, code) == "fsync=off, synchronous_commit=off"


async def test_loopback_needs_no_tls(database: postgres.Database) -> None:
    """What does not leave the machine may be in the clear."""
    seen = await examine_server(database.server)
    assert (seen.is_encrypted, seen.is_remote) == (False, False)


@pytest.mark.parametrize(
    ("encrypted", "mode", "expected"),
    [
        (False, "disable", ["database_in_the_clear"]),
        (True, "require", ["database_unverified"]),
        (True, "verify-full", []),
        (True, "verify-ca", []),
    ],
)
async def test_a_way_over_a_network_is_to_be_encrypted_and_verified(
    database: postgres.Database, encrypted: bool, mode: str, expected: list[str]
) -> None:
    """The same server at an address of another machine."""
    seen = await examine_server(database.server)
    seen = replace(seen, address="192.0.2.7", is_encrypted=encrypted, sslmode=mode)
    found = {one.code for one in decisions.look(seen)}
    assert found == OF_THE_SERVER | OF_THE_USER | set(expected)
