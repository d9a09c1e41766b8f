"""Which PostgreSQL, as whom, and for how long at most. libpq fills in what is left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg

from rotator.errors import StateUnavailable

if TYPE_CHECKING:
    from pathlib import Path

#: What a stopped replica holds is free after IDLE, before anybody who waits for it gives up.
_IDLE_MS: Final = 4_000  #: between two statements of a transaction
_LOCK_MS: Final = 8_000
_STATEMENT_MS: Final = 10_000
#: The server may be stopped itself, and keep none of its promises: then the socket is cut.
LONGEST_SECONDS: Final = 15.0  #: of a transaction
_CONNECT_SECONDS: Final = 5

_SESSION: Final = (
    f"-c statement_timeout={_STATEMENT_MS} -c lock_timeout={_LOCK_MS}"
    f" -c idle_in_transaction_session_timeout={_IDLE_MS} -c TimeZone=UTC"
)
#: A peer that is gone without a word is noticed after about ten seconds.
_ALIVE: Final = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_NAMES: Final = (
    *("host", "port", "dbname", "user", "service"),
    *("sslmode", "sslrootcert", "application_name"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A database; every value but the password is libpq's parameter of that name."""

    host: str | None = None
    port: int | None = None
    dbname: str | None = None
    user: str | None = None
    service: str | None = None
    sslmode: str | None = None
    sslrootcert: str | None = None
    application_name: str = "rotator"  #: shown in pg_stat_activity
    password_file: Path | None = None  #: read for each connection, so that it may be exchanged

    def parameters(self) -> dict[str, Any]:
        """What to connect with; `StateUnavailable` if the password cannot be read."""
        given = {name: getattr(self, name) for name in _NAMES}
        found = {name: value for name, value in given.items() if value is not None}
        found |= {"connect_timeout": _CONNECT_SECONDS} | _ALIVE
        if self.password_file is not None:
            found["password"] = _password(self.password_file)
        return found

    async def connect(self, *, autocommit: bool = False) -> psycopg.AsyncConnection[Any]:
        """A connection of our own settings; raises psycopg's errors."""
        return await psycopg.AsyncConnection.connect(
            **self.parameters(), options=_SESSION, autocommit=autocommit
        )

    def connect_to_migrate(self) -> psycopg.Connection[Any]:
        """A connection without bounds: a migration takes as long as it takes."""
        return psycopg.connect(**self.parameters(), options="-c TimeZone=UTC")


def _password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise StateUnavailable(f"the password file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StateUnavailable(f"the password file {path} is not UTF-8") from None


def said(error: BaseException) -> str:
    """The database's own sentence on one line, without the values that its details may hold."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return primary or " ".join(str(error).split()) or type(error).__name__
