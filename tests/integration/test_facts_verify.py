"""`rotator facts verify` as a program, on real databases whose rows somebody has changed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from rotator.cli.commands import local
from rotator.cli.commands.facts import as_document
from tests.support import postgres
from tests.support.service import Service, wait_for

CLUSTER = "orders"
COLUMNS = ("position", "chain", "seq", "kind", "rotation", "once_key", "body", "hash")


@dataclass
class Kept:
    """A service that has made facts, and the way around it to its database."""

    service: Service
    database: postgres.Database | None  #: None: SQLite's file

    def ask(self, statement: str, *values: Any) -> list[Any]:
        """One statement, with ? for values."""
        if self.database is not None:
            return self.database.ask(statement.replace("?", "%s"), *values)
        with closing(sqlite3.connect(self.service.database)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def rows(self) -> list[Any]:
        """Every fact."""
        return self.ask(f"SELECT {', '.join(COLUMNS)} FROM facts ORDER BY position")  # noqa: S608

    def chain(self, name: str = CLUSTER) -> list[dict[str, Any]]:
        """The facts of one chain."""
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in self.rows()]
        return [row for row in rows if row["chain"] == name]

    def head(self, seq: int, of: str) -> None:
        """Put the cluster's own head there."""
        self.ask(
            "UPDATE clusters SET facts_seq = ?, facts_hash = ? WHERE name = ?", seq, of, CLUSTER
        )

    @contextmanager
    def restored(self) -> Iterator[None]:
        """What is done to facts in between is undone."""
        rows = self.rows()
        [head] = self.ask("SELECT facts_seq, facts_hash FROM clusters WHERE name = ?", CLUSTER)
        try:
            yield
        finally:
            self.ask("DELETE FROM facts")
            for row in rows:
                marks = ", ".join("?" * len(COLUMNS))
                self.ask(f"INSERT INTO facts ({', '.join(COLUMNS)}) VALUES ({marks})", *row)  # noqa: S608
            self.head(*head)

    def verify(self, *, is_anchored: bool = True) -> dict[str, Any]:
        """What the program would print; in this process, which is a hundred times quicker."""
        found = local.verify_facts(self.service.config, is_anchored=is_anchored)
        report: dict[str, Any] = json.loads(json.dumps(as_document(found)))
        return report

    def broken(self, *, is_anchored: bool = True, name: str | None = CLUSTER) -> tuple[int, str]:
        """Where and why the one chain is broken; every other one verifies."""
        report = self.verify(is_anchored=is_anchored)
        assert report["is_whole"] is False
        [found] = [one for one in report["chains"] if not one["is_whole"]]
        assert found["cluster"] == name
        assert found["facts"] == found["broken_at"] - 1 or found["why"] in {"added", "changed"}
        return found["broken_at"], found["why"]


def program(config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [sys.executable, "-m", "rotator", "facts", "verify", "--config", str(config), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def kept(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kept]:
    """A cluster after a rotation, and a service that goes on running."""
    directory = tmp_path_factory.mktemp(request.param)
    database = postgres.new_database() if request.param == "postgresql" else None
    more = {"state_store": database.settings} if database else {}
    store = {"kind": "local", "directory": str(directory / "secrets")}
    clusters = {CLUSTER: {"grace_window": "0", "members": {"expect": "none"}}}
    service = Service(directory, store, clusters, more)
    service.start()
    try:
        service.initialise(CLUSTER)
        asked = {"kind": "manual"}
        service.request("POST", f"clusters/{CLUSTER}/rotations", json=asked, key="1")
        made = Kept(service, database)
        wait_for(
            "the rotation has completed",
            lambda: made.chain()[-1]["kind"] == "RotationCompleted",
        )
        yield made
    finally:
        service.kill()
        if database is not None:
            postgres.drop(database)


@pytest.fixture(autouse=True)
def _as_it_was(kept: Kept) -> Iterator[None]:
    with kept.restored():
        yield


def rewritten(kept: Kept, seq: int) -> None:
    """A fact is changed, and every hash from there on is made to fit, the cluster's head, too."""
    previous = "0" * 64
    for row in kept.chain():
        body = row["body"]
        if row["seq"] == seq:
            body = body.replace('"by":"', '"by":"somebody else than ')
        if row["seq"] >= seq:
            digest = hashlib.sha256(f"{previous}\n{body}".encode()).hexdigest()
            kept.ask(
                "UPDATE facts SET body = ?, hash = ? WHERE position = ?",
                body,
                digest,
                row["position"],
            )
            previous = digest
        else:
            previous = row["hash"]
    kept.head(kept.chain()[-1]["seq"], previous)


def test_untouched_chains_verify_beside_a_running_service(kept: Kept) -> None:
    """How many facts, the head, and where the secrets manager's head is in it; nothing changes."""
    before = kept.rows()
    report = kept.verify()
    assert report["is_whole"] is True
    assert report["unanchored"] == {}
    service, cluster = report["chains"]
    facts = kept.chain()
    assert service["cluster"] is None
    assert service["facts"] == len(kept.chain(""))
    assert cluster["cluster"] == CLUSTER
    assert (cluster["facts"], cluster["head"]) == (len(facts), facts[-1]["hash"])
    assert 0 < cluster["anchor"] <= len(facts)
    assert (cluster["broken_at"], cluster["why"]) == (None, None)
    assert kept.rows() == before
    assert not kept.service.has_ended()


def test_for_people_it_is_a_table(kept: Kept) -> None:
    """One line a chain: facts, head, anchor, and that it verifies."""
    ran = program(kept.service.config)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert lines[0].split() == ["CHAIN", "FACTS", "HEAD", "ANCHORED", "AT", "IS"]
    assert all(line.endswith("verifies") for line in lines[1:])
    kept.ask("DELETE FROM facts WHERE chain = ? AND seq = 2", CLUSTER)
    ran = program(kept.service.config)
    assert ran.returncode == 7
    assert "broken at 2: missing" in ran.stdout


@pytest.mark.parametrize(
    "change",
    [
        'body = replace(body, \'"by":"\', \'"by":"not \')',
        "kind = 'RotationAborted'",
        "once_key = 'x'",
        "rotation = 'x'",
        "hash = '" + "1" * 64 + "'",
        "body = 'no json'",
    ],
)
def test_a_changed_fact_is_found_where_it_is(kept: Kept, change: str) -> None:
    """Its text, its hash, and each column that is searched by."""
    kept.ask(f"UPDATE facts SET {change} WHERE chain = ? AND seq = 4", CLUSTER)  # noqa: S608
    assert kept.broken() == (4, "changed")
    assert kept.broken(is_anchored=False) == (4, "changed")


@pytest.mark.parametrize("seq", [1, 3])
def test_a_fact_that_was_deleted_is_missing(kept: Kept, seq: int) -> None:
    """The first one and one in the middle."""
    kept.ask("DELETE FROM facts WHERE chain = ? AND seq = ?", CLUSTER, seq)
    assert kept.broken() == (seq, "missing")


def test_a_fact_of_the_services_own_chain_is_found_too(kept: Kept) -> None:
    """Tokens and masters have their facts there."""
    kept.ask("UPDATE facts SET body = replace(body, 'by', 'bu') WHERE chain = '' AND seq = 1")
    assert kept.broken(name=None) == (1, "changed")


def test_a_tail_that_was_cut_off_is_found_by_the_clusters_own_head(kept: Kept) -> None:
    """Who deletes the last facts alone has left the head behind."""
    last = kept.chain()[-1]["seq"]
    kept.ask("DELETE FROM facts WHERE chain = ? AND seq >= ?", CLUSTER, last - 1)
    assert kept.broken(is_anchored=False) == (last - 1, "cut")


def test_a_tail_cut_off_with_its_head_is_found_by_the_secrets_manager(kept: Kept) -> None:
    """Within the state store it is all well; the document knows of a fact that is not there."""
    anchor = kept.verify()["chains"][1]["anchor"]
    kept.ask("DELETE FROM facts WHERE chain = ? AND seq >= ?", CLUSTER, anchor)
    left = kept.chain()[-1]
    kept.head(left["seq"], left["hash"])
    assert kept.verify(is_anchored=False)["is_whole"] is True
    assert kept.broken() == (anchor, "cut")


def test_a_chain_that_was_written_anew_is_found_by_the_secrets_manager(kept: Kept) -> None:
    """Whoever makes every hash fit cannot make the head fit that is kept elsewhere."""
    anchor = kept.verify()["chains"][1]["anchor"]
    rewritten(kept, 2)
    assert kept.verify(is_anchored=False)["is_whole"] is True
    assert kept.broken() == (anchor, "another")


def test_a_chain_that_is_gone_with_its_cluster_is_found(kept: Kept) -> None:
    """All facts of a declared cluster are missing, and its document knows of some."""
    kept.ask("DELETE FROM facts WHERE chain = ?", CLUSTER)
    kept.head(0, "0" * 64)
    assert kept.broken() == (1, "cut")


def test_a_fact_that_somebody_added_is_found(kept: Kept) -> None:
    """After the cluster's own head nothing was written by the program."""
    last = kept.chain()[-1]
    body = last["body"].replace(f'"seq":{last["seq"]}', f'"seq":{last["seq"] + 1}')
    digest = hashlib.sha256(f"{last['hash']}\n{body}".encode()).hexdigest()
    kept.ask(
        "INSERT INTO facts (chain, seq, kind, rotation, once_key, body, hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        *(CLUSTER, last["seq"] + 1, last["kind"], last["rotation"], None, body, digest),
    )
    at, why = kept.broken()
    # Its key says that it is there already: one and the same thing happened once.
    assert (at, why) in {(last["seq"] + 1, "changed"), (last["seq"] + 1, "added")}


def test_a_document_that_cannot_be_read_is_said_and_is_no_success(
    kept: Kept, tmp_path: Path
) -> None:
    """The chain is followed all the same; what could not be compared ends with 1."""
    config = tmp_path / "rotator.yaml"
    text = kept.service.config.read_text()
    store = {"kind": "vault", "address": "http://127.0.0.1:9", "auth": {"method": "token"}}
    settings = yaml.safe_load(text)
    token = tmp_path / "token"
    token.write_text("s.planted-token")
    token.chmod(0o600)
    store["auth"] = {"method": "token", "token_file": str(token)}
    settings["secret_store"] = {**store, "timeout": "1s"}
    config.write_text(json.dumps(settings))
    ran = program(config, "-o", "json")
    assert ran.returncode == 1
    report = json.loads(ran.stdout)
    assert report["is_whole"] is True
    assert "store_unreachable" in report["unanchored"][CLUSTER]
    assert "a cut tail is not found" in ran.stderr
    assert "planted" not in ran.stderr + ran.stdout
    assert program(config, "--state-store-only").returncode == 0


def test_where_there_is_no_state_store_it_says_so_and_makes_none(tmp_path: Path) -> None:
    """A wrong data_dir is no chain that verifies."""
    store = {"kind": "local", "directory": str(tmp_path / "secrets")}
    made = Service(tmp_path, store, {CLUSTER: {"members": {"expect": "none"}}})
    ran = program(made.config)
    assert ran.returncode == 1
    assert "there is no state store" in ran.stderr
    assert not made.data.exists()
