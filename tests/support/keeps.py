"""Copies of the two stores, their loss, and what puts a copy back; for while no service runs."""

from __future__ import annotations

import copy
import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import postgres
from tests.support.aws import Aws
from tests.support.openbao import OpenBao

LEASE = "2s"  #: what the next service waits for where one died without a word


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Where one service keeps its secrets, or its state."""

    save: Callable[[], Callable[[], None]]  #: takes a copy of all that is there: puts it back
    lose: Callable[[], None]  #: everything that is there is gone
    settings: dict[str, Any] = field(default_factory=dict)  #: of a database, for rotator.yaml
    content: Callable[[], dict[str, bytes]] = dict  #: of a database that is no file


def directory_keep(where: Path) -> Keep:
    """A directory as it is."""
    made = itertools.count()

    def save() -> Callable[[], None]:
        copy = where.parent.parent / f"{where.parent.name}-copies" / f"{where.name}-{next(made)}"
        shutil.copytree(where, copy)

        def restore() -> None:
            shutil.rmtree(where, ignore_errors=True)
            shutil.copytree(copy, where)

        return restore

    return Keep(save=save, lose=lambda: shutil.rmtree(where))


def kv_keep(server: OpenBao, prefix: str) -> Keep:
    """The data of every path below a prefix; a real snapshot is in test_lost_snapshots.py."""

    def leaves(below: str) -> list[str]:
        answer = server.ask("LIST", f"secret/metadata/{below}")
        keys = answer.json()["data"]["keys"] if answer.is_success else []
        paths = [(key, f"{below}/{key}".rstrip("/")) for key in keys]
        return [p for key, path in paths for p in (leaves(path) if key[-1] == "/" else [path])]

    def put_back(data: dict[str, Any]) -> None:
        for path in leaves(prefix):
            server.do("DELETE", f"secret/metadata/{path}")
        for path, value in data.items():
            # KV versions begin anew, as they may after a loss.
            safe = {"max_versions": 1, "cas_required": True}
            server.do("POST", f"secret/metadata/{path}", safe)
            server.do("POST", f"secret/data/{path}", {"data": value, "options": {"cas": 0}})

    def save() -> Callable[[], None]:
        answers = {path: server.do("GET", f"secret/data/{path}") for path in leaves(prefix)}
        data = {path: answer["data"]["data"] for path, answer in answers.items()}
        return lambda: put_back(data)

    return Keep(save=save, lose=lambda: put_back({}))


def aws_keep(server: Aws, prefix: str) -> Keep:
    """Every secret below a prefix with its versions and labels.

    AWS has no snapshots. This is what a replica in another region would be that was made a
    secret of its own after it had lagged; what can be done by hand is in test_lost_aws.py.
    """

    def put_back(former: dict[str, Any]) -> None:
        with server.lock:
            for name in server.below(prefix):
                dict.pop(server.secrets, name)
            for name, secret in former.items():
                dict.__setitem__(server.secrets, name, copy.deepcopy(secret))

    def save() -> Callable[[], None]:
        with server.lock:
            former = copy.deepcopy(server.below(prefix))
        return lambda: put_back(former)

    return Keep(save=save, lose=lambda: put_back({}))


def database_keep() -> Keep:
    """A database of PostgreSQL; `pg_dump` and `pg_restore` are in test_lost_snapshots.py."""
    database = postgres.new_database()

    def save() -> Callable[[], None]:
        former = postgres.copied(database)
        return lambda: postgres.put_back(database, former)

    return Keep(
        save=save,
        lose=lambda: postgres.put_back(database, None),
        settings={"state_store": {**database.settings, "lease": LEASE}},
        content=database.content,
    )


#: Every database that the service runs on; each below its service's directory, or one of its own.
DATABASES: dict[str, Callable[[Path], Keep]] = {
    "sqlite": lambda directory: directory_keep(directory / "data"),
    "postgresql": lambda _directory: database_keep(),
}
