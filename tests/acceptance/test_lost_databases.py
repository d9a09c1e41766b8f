"""PostgreSQL put back or lost, with AWS beside it, as an operator meets it on the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import postgres
from tests.support.keeps import LEASE, Keep
from tests.support.losses import CLUSTER, PASSPHRASE, PLAIN, Reader, World
from tests.support.service import Service, wait_for

pytestmark = pytest.mark.timeout(600)

CONFLICT = 5


@pytest.fixture
def database() -> Iterator[postgres.Database]:
    """A database of its own."""
    made = postgres.new_database()
    yield made
    postgres.drop(made)


@pytest.fixture
def world(database: postgres.Database, tmp_path: Path, secret_stores: Any) -> Iterator[World]:
    """A service on it and on AWS, with a cluster at version 1."""
    place = secret_stores("aws", tmp_path)
    state = {"state_store": {**database.settings, "lease": LEASE}}
    made = World(
        service=Service(tmp_path, place.settings, {CLUSTER: PLAIN}, state, place.environment),
        secrets=place.keep,
        state=Keep(save=lambda: lambda: None, lose=lambda: None, content=database.content),
        open=place.open,
    )
    made.service.start()
    made.service.initialise(CLUSTER)
    yield made
    made.service.kill()


def to_the_end(world: World) -> Reader:
    """A node that has obeyed versions 1, 2 and 3: the first is retired, the second revoked."""
    reader = Reader(world)
    reader.ask()
    for kind in ("manual", "emergency"):
        world.begin(kind)
        reader.ask()
    world.over |= set(reader.cookies[:2])
    return reader


def goes_on(world: World, reader: Reader) -> None:
    """The same cookie as before, then version 4."""
    world.service.start()
    world.service.until_stable(CLUSTER)
    assert Reader(world).ask().json()["current"]["cookie"] == reader.cookies[-1]
    assert world.begin()["to_version"] == 4
    reader.ask()
    assert reader.numbers == [1, 2, 3, 4]


def program(server: postgres.Database, name: str, *words: str) -> None:
    """One of PostgreSQL's own programs, of the server's version."""
    where = server.parameters
    address = ["-h", where["host"], "-p", str(where["port"]), "-U", where["user"]]
    command = [str(postgres.program(name)), *address, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_a_dump_put_back_under_a_running_service_is_named_and_recovered(
    world: World, database: postgres.Database, tmp_path: Path
) -> None:
    """As in a failover that loses what was written last: noticed without a restart."""
    copy, name = str(tmp_path / "state.dump"), database.parameters["dbname"]
    program(database, "pg_dump", "--format=custom", f"--file={copy}", name)
    reader = to_the_end(world)
    postgres.drop(database)
    program(database, "createdb", name)
    program(database, "pg_restore", "--exit-on-error", f"--dbname={name}", copy)
    world.service.tokens.clear()
    wait_for("it is served again", lambda: Reader(world).ask().status_code < 600)
    assert world.frozen() == "state_store_behind"
    for _ in range(3):
        assert Reader(world).ask().status_code == httpx.codes.SERVICE_UNAVAILABLE
    world.assert_rotates_nothing()
    refused = world.run("recover", "--yes")
    assert refused.returncode == CONFLICT
    assert f":{world.service.port} leads" in refused.stderr
    assert "every replica" in refused.stderr
    world.service.stop()
    planned = json.loads(world.run("recover", "--dry-run").stdout)
    assert planned["dry_run"]
    done = world.run("recover", "--yes")
    assert done.returncode == 0, done.stderr
    assert [row["need"] for row in json.loads(done.stdout)["clusters"]] == ["rebuild"]
    world.service.tokens.clear()
    goes_on(world, reader)
    world.service.stop()
    world.assert_no_leak()


def test_a_database_that_is_gone_is_named_step_by_step_and_rebuilt(
    world: World, database: postgres.Database
) -> None:
    """No database, an empty one, one with tables: each says what to do, and all comes back."""
    exported = world.run("master", "export", "--to", str(world.file), text=PASSPHRASE)
    assert exported.returncode == 0, exported.stderr
    reader = to_the_end(world)
    world.service.stop()
    postgres.drop(database)
    gone = world.run("recover", "--yes")
    assert gone.returncode == 1
    assert "does not exist" in gone.stderr
    program(database, "createdb", database.parameters["dbname"])
    empty = world.run("recover", "--yes")
    assert empty.returncode == 1
    assert "rotator migrate" in empty.stderr
    assert world.run("migrate").returncode == 0
    assert world.run("rederive").returncode == 0, "an empty record has nothing to rebuild"
    done = world.run("recover", "--yes")
    assert done.returncode == 0, done.stderr
    world.service.tokens.clear()
    goes_on(world, reader)


def test_the_recovery_file_works_on_the_command_line_beside_and_without_the_service(
    world: World,
) -> None:
    """Export beside it, by whoever knows the passphrase; rederive only when every replica is down."""
    for words, text in (
        (("master", "rotate", "--yes"), ""),
        (("master", "import"), bytes(range(32)).hex()),
        (("master", "export", "--to", str(world.file)), PASSPHRASE),
    ):
        done = world.run(*words, text=text)
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == ["default/1", "default/2", "default/3"]
    reader = Reader(world)
    reader.ask()
    from_file = ("rederive", "--from", str(world.file))
    refused = world.run(*from_file, text=PASSPHRASE)
    assert refused.returncode == CONFLICT
    assert "every replica" in refused.stderr
    world.service.kill()
    early = world.run(*from_file, text=PASSPHRASE)
    assert early.returncode in {0, CONFLICT}, "the lease of who was killed runs out by itself"
    wait_for("the lease runs out", lambda: world.run(*from_file, text=PASSPHRASE).returncode == 0)
    world.secrets.lose()
    assert "recovery file" in json.loads(world.run("rederive").stdout)["outcomes"][0]["why"]
    done = world.run(*from_file, text=PASSPHRASE)
    assert done.returncode == 0, done.stderr
    assert [row["came"] for row in json.loads(done.stdout)["outcomes"]] == ["written"] * 4
    world.service.start()
    world.service.until_stable(CLUSTER)
    assert Reader(world).ask().json()["current"]["cookie"] == reader.cookies[0]
    assert world.begin()["to_version"] == 2
    world.service.stop()
    world.assert_no_leak()
