"""Where what should happen, and what was attested, is kept: never a cookie."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, model_validator

from rotator.settings.values import Duration, Location, Port, Section, Text

_SHORTEST: Final = timedelta(seconds=1)


def _can_be_renewed(value: timedelta) -> timedelta:
    if value < _SHORTEST:
        raise ValueError("a lease lasts at least 1s")
    return value


class SqliteStore(Section):
    """A file in data_dir, for one replica."""

    kind: Literal["sqlite"]


class PostgresStore(Section):
    """PostgreSQL, for one replica or more. What is left out, libpq finds as `psql` would."""

    kind: Literal["postgresql"]
    host: Text | None = None
    #: A name, an address, or the directory of a socket.
    port: Port | None = None
    #: Default 5432.
    database: Text | None = None
    #: Its name; one for the service alone, made before `rotator migrate`.
    user: Text | None = None
    #: Owns the tables, or may read and write them all.
    password_file: Location | None = None
    #: Read for each connection, so that it may be exchanged; or use PGPASSFILE, or no password.
    service: Text | None = None
    #: A section of libpq's service file, in place of the settings above.
    sslmode: Literal["disable", "require", "verify-ca", "verify-full"] | None = None
    #: Default verify-full, but where host is a socket or loopback.
    ca_cert: Location | None = None
    #: PEM file of the authority that signed the server's certificate; default: the system's.
    lease: Annotated[Duration, AfterValidator(_can_be_renewed)] = timedelta(seconds=15)
    #: How long after the leader's death another replica leads at the latest.

    @property
    def tls_mode(self) -> str | None:
        """As libpq's sslmode; None: as libpq, or the service file, has it."""
        if self.sslmode is not None:
            return self.sslmode
        return None if self.host is None or _is_near(self.host) else "verify-full"

    @property
    def tls_roots(self) -> str | None:
        """As libpq's sslrootcert."""
        if self.ca_cert is not None:
            return str(self.ca_cert)
        return "system" if self.tls_mode == "verify-full" else None

    def parameters(self) -> dict[str, Any]:
        """By libpq's names, and the password's file."""
        return {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.user,
            "service": self.service,
            "sslmode": self.tls_mode,
            "sslrootcert": self.tls_roots,
            "password_file": self.password_file,
        }

    @model_validator(mode="after")
    def _is_one_way(self) -> PostgresStore:
        apart = (self.host, self.port, self.database, self.user)
        if self.service is not None and any(value is not None for value in apart):
            raise ValueError("service stands in place of host, port, database and user")
        if self.host is not None and ("@" in self.host or "://" in self.host or "," in self.host):
            raise ValueError("host is one name, address or directory; no URL, and no password")
        return self


def _is_near(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith("/")


STATES: Final[dict[str, type[Section]]] = {"sqlite": SqliteStore, "postgresql": PostgresStore}
