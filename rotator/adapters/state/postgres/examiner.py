"""Look at a PostgreSQL server as the service would use it: one connection that only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.rows import dict_row

from rotator.adapters.state.postgres.database import CONNECTIONS
from rotator.adapters.state.postgres.server import said
from rotator.adapters.state.tables import metadata
from rotator.errors import StateUnavailable
from rotator.services.doctor.database import Surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rotator.adapters.state.postgres.server import Server

_NEEDED: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_POWERS: Final = {
    "rolsuper": "SUPERUSER",
    "rolcreaterole": "CREATEROLE",
    "rolcreatedb": "CREATEDB",
    "rolreplication": "REPLICATION",
}

_ABOUT: Final = """
    SELECT r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication,
           r.rolconnlimit, d.datconnlimit,
           pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool AS is_read_only,
           coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS is_encrypted,
           current_setting('fsync') AS fsync,
           current_setting('full_page_writes') AS full_page_writes,
           current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('max_connections')::int
             - current_setting('superuser_reserved_connections')::int
             - coalesce(current_setting('reserved_connections', true)::int, 0) AS most
    FROM pg_roles r, pg_database d
    WHERE r.rolname = current_user AND d.datname = current_database()
"""
#: Of others than us: replicas that run already have what they may have. Of the sessions of other
#: roles pg_stat_activity tells little more than that they are there.
_OTHERS: Final = """
    SELECT (SELECT sum(numbackends)::int FROM pg_stat_database) - ours AS in_all,
           (SELECT numbackends FROM pg_stat_database WHERE datname = current_database()) - ours
             AS in_database,
           of_role - ours AS of_role
    FROM (SELECT count(*) AS of_role,
                 count(*) FILTER (WHERE starts_with(application_name, %(ours)s)
                                    AND datname = current_database()) AS ours
          FROM pg_stat_activity WHERE usename = current_user) AS seen
"""
_LACKING: Final = """
    SELECT name, privilege
    FROM unnest(%(tables)s::text[]) AS name, unnest(%(needed)s::text[]) AS privilege
    WHERE to_regclass(name) IS NOT NULL
      AND NOT has_table_privilege(to_regclass(name)::oid, privilege)
    UNION ALL
    SELECT 'facts', 'USAGE of its sequence'
    WHERE to_regclass('facts') IS NOT NULL
      AND NOT has_sequence_privilege(pg_get_serial_sequence('facts', 'position'), 'USAGE')
"""


async def examine_server(server: Server) -> Surroundings:
    """What the server says; raises `StateUnavailable` where it cannot be asked."""
    try:
        async with await server.connect(autocommit=True) as connection:
            return await _seen(connection, server)
    except (psycopg.Error, OSError) as error:
        raise StateUnavailable(f"PostgreSQL failed: {said(error)}") from None


async def _seen(connection: psycopg.AsyncConnection[Any], server: Server) -> Surroundings:
    given = {"ours": server.application_name, "tables": list(metadata.tables)}
    async with connection.cursor(row_factory=dict_row) as cursor:
        about = await (await cursor.execute(_ABOUT)).fetchone() or {}
        others = await (await cursor.execute(_OTHERS, given)).fetchone() or {}
        await cursor.execute(_LACKING, {**given, "needed": list(_NEEDED)})
        lacking: dict[str, tuple[str, ...]] = {}
        for row in await cursor.fetchall():
            lacking[row["name"]] = (*lacking.get(row["name"], ()), row["privilege"])
    info = connection.info
    return Surroundings(
        address=info.hostaddr,
        is_encrypted=about["is_encrypted"],
        sslmode=info.get_parameters().get("sslmode", "prefer"),
        is_read_only=about["is_read_only"],
        unsafe={
            name: about[name]
            for name in ("fsync", "full_page_writes", "synchronous_commit")
            if about[name] == "off"
        },
        lacking=lacking,
        powers=tuple(word for name, word in _POWERS.items() if about[name]),
        room=_room(about, others),
        wanted=CONNECTIONS,
    )


def _room(about: Mapping[str, int], others: Mapping[str, int]) -> int:
    """What the narrowest of three limits leaves; -1 is none."""
    limits = [about["most"] - others["in_all"]]
    if about["rolconnlimit"] >= 0:
        limits.append(about["rolconnlimit"] - others["of_role"])
    if about["datconnlimit"] >= 0:
        limits.append(about["datconnlimit"] - others["in_database"])
    return max(0, min(limits))
