"""The whole of rotator.yaml: one section a class, one setting a field, its meaning under it."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from rotator.domain.ids import ClusterName, MasterName
from rotator.domain.policy import RotationPolicy
from rotator.settings.clusters import Cluster, Members, OnLost, Rollout
from rotator.settings.kubernetes import Identity, Kubernetes
from rotator.settings.limits import Limits
from rotator.settings.schedules import Schedule
from rotator.settings.secret_stores import METHODS, STORES, AwsStore, LocalStore, VaultStore
from rotator.settings.state_stores import STATES, PostgresStore, SqliteStore
from rotator.settings.values import Flag, Location, Name, Port, PositiveDuration, Section, Text

_CONNECTIONS: Final = 256


class Listen(Section):
    """Where the service answers."""

    address: str = "127.0.0.1"
    #: An IP address. Any other than loopback wants TLS here, or `plain_http`.
    port: Port = 8400
    #: Of the API.
    health_port: Port = 8401
    #: Of /healthz, /readyz and /metrics, which need no token and show no secret; never TLS.
    tls_certificate: Location | None = None
    #: PEM file with the certificate and its chain.
    tls_key: Location | None = None
    #: PEM file with its key.
    plain_http: Flag = False
    #: True: a proxy in front does TLS. Tokens and cookies cross this connection in the clear.

    @property
    def is_loopback(self) -> bool:
        """Whether nobody outside this machine can connect."""
        return ipaddress.ip_address(self.address).is_loopback

    @model_validator(mode="after")
    def _is_private(self) -> Listen:
        try:
            is_loopback = self.is_loopback
        except ValueError:
            raise ValueError("address is an IP address, such as 127.0.0.1 or 0.0.0.0") from None
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        if self.plain_http and self.tls_certificate is not None:
            raise ValueError("plain_http and tls_certificate exclude each other")
        if not is_loopback and self.tls_certificate is None and not self.plain_http:
            raise ValueError(
                "outside of loopback, cookies would cross the network in the clear: set"
                " tls_certificate and tls_key, or plain_http: true if a proxy in front does TLS"
            )
        if self.port == self.health_port:
            raise ValueError("port and health_port are the same")
        return self


def _at_least_a_day(value: timedelta) -> timedelta:
    if value < timedelta(days=1):
        raise ValueError("this is at least 1d: every epoch stays in the secrets manager")
    return value


class Master(Section):
    """A master secret that cookies are derived from."""

    kdf: Literal["argon2id", "pbkdf2-hmac-sha512", "scrypt"] = "argon2id"
    #: How it is stretched. A change applies to the next epoch.
    profile: Text = "rfc9106-low-memory"
    #: Named, sourced parameters (docs/reference/derivation.md).
    rotate_every: Annotated[PositiveDuration, AfterValidator(_at_least_a_day)] | None = None
    #: How old an epoch gets before the service opens the next one; without: only by command.


class Log(Section):
    """What the service says on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    #: Of this program; libraries are heard from warning on, because they log bodies below it.
    format: Literal["console", "json"] = "console"
    #: For people, or one JSON object a line.


class Settings(Section):
    """The whole file."""

    secret_store: Annotated[VaultStore | LocalStore | AwsStore, Field(discriminator="kind")]
    clusters: dict[Annotated[ClusterName, Name], Cluster]
    masters: dict[Annotated[MasterName, Name], Master] = Field(
        default_factory=lambda: {MasterName("default"): Master()}
    )
    listen: Listen = Listen()
    state_store: Annotated[SqliteStore | PostgresStore, Field(discriminator="kind")] = SqliteStore(
        kind="sqlite"
    )
    data_dir: Location = Path("rotator-data")
    #: Holds the state store, state.sqlite; relative to the file.
    log: Log = Log()
    limits: Limits = Limits()
    kubernetes: Kubernetes | None = None
    #: Without: only tokens of the service's own are taken.

    @property
    def connections_per_address(self) -> int:
        """At once; 0: no limit."""
        chosen = self.limits.connections_per_address
        if chosen is not None:
            return chosen
        return _CONNECTIONS if self.listen.tls_certificate is not None else 0

    @property
    def state_path(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "state.sqlite"

    def policies(self) -> dict[ClusterName, RotationPolicy]:
        """What is wanted of each declared cluster."""
        return {name: cluster.policy() for name, cluster in self.clusters.items()}


_BELOW_CLUSTER: Final[dict[tuple[str, ...], type[Section]]] = {
    (): Cluster,
    ("members",): Members,
    ("schedule",): Schedule,
    ("rollout",): Rollout,
    ("members", "on_lost"): OnLost,
}
_ENTRIES: Final[dict[str, type[Section]]] = {"masters": Master, "kubernetes": Identity}
_ALONE: Final[dict[str, type[Section]]] = {
    "listen": Listen,
    "log": Log,
    "limits": Limits,
    "kubernetes": Kubernetes,
}


def section_at(location: tuple[str, ...]) -> type[Section] | None:
    """The section at a place as pydantic writes it: with the kind of store and method of login."""
    match location:
        case ():
            return Settings
        case ("clusters", _, *below):
            return _BELOW_CLUSTER.get(tuple(below))
        case ("secret_store", kind):
            return STORES.get(kind)
        case ("state_store", kind):
            return STATES.get(kind)
        case ("secret_store", "vault", "auth", method):
            return METHODS.get(method)
        case ("masters" as name, _) | ("kubernetes" as name, "identities", _):
            return _ENTRIES[name]
        case (name,):
            return _ALONE.get(name)
        case _:
            return None
