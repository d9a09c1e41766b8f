"""What can be set: one section a class, one setting a field, its meaning under it."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from rotator.domain.ids import ClusterName, MasterName, NodeName
from rotator.domain.policy import Expectation, OnDrift, RotationPolicy

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NODE: Final = re.compile(r"[^@\s]{1,127}@[^@\s]{1,127}")
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
#: What the design has and this version has not: refused, rather than accepted and not done.
LATER: Final = {
    "schedule": "schedules are not in this version; rotate with `rotator rotate`",
    "rollout": "rolling restarts are not in this version",
    "rotate_every": "scheduled renewal is not in this version; use `rotator master rotate`",
}


def _duration(value: object) -> timedelta:
    text = str(value).strip()
    if text == "0":
        return timedelta()
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])", text)
    if match is None or isinstance(value, bool):
        raise ValueError("a duration is a number and a unit: 90s, 15m, 4h, 30d; or 0")
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


Duration = Annotated[timedelta, BeforeValidator(_duration)]
PositiveDuration = Annotated[Duration, Field(gt=timedelta())]


class Section(BaseModel):
    """A part of rotator.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Listen(Section):
    """Where the service answers."""

    address: str = "127.0.0.1"
    #: An IP address. Any other than loopback wants TLS here, or `plain_http`.
    port: int = Field(default=8400, ge=1, le=65535)
    #: Of the API.
    health_port: int = Field(default=8401, ge=1, le=65535)
    #: Of /healthz and /readyz, which need no token and show no secret; never TLS.
    tls_certificate: Path | None = None
    #: PEM file with the certificate and its chain.
    tls_key: Path | None = None
    #: PEM file with its key.
    plain_http: bool = False
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
        if not is_loopback and self.tls_certificate is None and not self.plain_http:
            raise ValueError(
                "outside of loopback, cookies would cross the network in the clear: set"
                " tls_certificate and tls_key, or plain_http: true if a proxy in front does TLS"
            )
        if self.port == self.health_port:
            raise ValueError("port and health_port are two")
        return self


class TokenAuth(Section):
    """A token that somebody else renews or replaces in its file."""

    method: Literal["token"]
    token_file: Path
    #: Read at start and again when the token has expired.


class AppRoleAuth(Section):
    """AppRole: a role and a secret id."""

    method: Literal["approle"]
    role_id: str
    secret_id_file: Path
    #: Read at each login.
    mount: str = "approle"


class JwtAuth(Section):
    """A JSON web token of the platform."""

    method: Literal["jwt"]
    role: str
    jwt_file: Path
    #: Read at each login.
    mount: str = "jwt"


class VaultStore(Section):
    """HashiCorp Vault or OpenBao, KV version 2."""

    kind: Literal["vault"]
    address: str = Field(pattern=r"^https?://\S+$")
    #: Such as https://vault.example:8200.
    mount: str = "secret"
    #: The KV version 2 mount.
    prefix: str = "erlang-cookies"
    #: Everything lies below <mount>/<prefix>.
    ca_cert: Path | None = None
    #: PEM file of the authority that signed Vault's certificate; default: the system's.
    timeout: PositiveDuration = timedelta(seconds=5)
    #: Bound of one call, logins included.
    auth: Annotated[TokenAuth | AppRoleAuth | JwtAuth, Field(discriminator="method")]


class LocalStore(Section):
    """Encrypted files in a directory: for one machine, trials and tests."""

    kind: Literal["local"]
    directory: Path
    #: Holds the documents and, beside them, the key file.


class Master(Section):
    """A master secret that cookies are derived from."""

    kdf: Literal["argon2id", "pbkdf2-hmac-sha512", "scrypt"] = "argon2id"
    #: A change applies to the next epoch.
    profile: str = "rfc9106-low-memory"
    #: Named parameters (docs/reference/derivation.md).


class OnLost(Section):
    """What to do about a member that fell silent."""

    action: Literal["wait", "excuse"] = "wait"
    #: wait: previous is not retired before it is back, has left, or an operator excuses it.
    after: PositiveDuration | None = None
    #: excuse: after so long.

    @model_validator(mode="after")
    def _goes_together(self) -> OnLost:
        if (self.action == "excuse") != (self.after is not None):
            raise ValueError("write {action: wait}, or {action: excuse, after: 24h}")
        return self


def _expectation(value: object) -> object:
    if value == "none":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError("a count is at least 1; write `none` if nobody has to attest")
        return value
    if isinstance(value, list) and value:
        return _names(value)
    raise ValueError("expect is `none`, a count, or a list of node names")


def _names(names: list[object]) -> frozenset[object]:
    if not all(isinstance(name, str) and _NODE.fullmatch(name) for name in names):
        raise ValueError("a node's name is as Erlang writes it: name@host")
    if len(set(names)) != len(names):
        raise ValueError("a node's name is there twice")
    return frozenset(names)


class Members(Section):
    """Whom the cluster consists of."""

    expect: Annotated[frozenset[NodeName] | int | None, BeforeValidator(_expectation)]
    #: Names, a count, or none: its nodes read the secrets manager, nothing is attested.
    heartbeat: PositiveDuration = timedelta(seconds=15)
    #: How often a member reports.
    node_ttl: PositiveDuration = timedelta(seconds=90)
    #: Silence after which a member is lost; more than two heartbeats.
    ephemeral: bool = False
    #: True: a lost member counts as left.
    on_lost: OnLost = OnLost()

    @model_validator(mode="after")
    def _outlives_a_heartbeat(self) -> Members:
        if self.node_ttl <= 2 * self.heartbeat:
            raise ValueError("node_ttl is more than two heartbeats, or members get lost by chance")
        return self


class Cluster(Section):
    """One cluster and how it rotates; a change applies from the next gate."""

    members: Members
    master: MasterName = MasterName("default")
    #: Which master its cookies come from.
    adoption: Literal["hot"] = "hot"
    #: How running nodes get a new cookie; restart is not in this version.
    install_timeout: PositiveDuration = timedelta(minutes=2)
    #: How long to wait for members to hold the new version before it is promoted.
    grace_window: Duration = timedelta(minutes=15)
    #: How long previous stays readable after the rollout; 0: until it is proven unused.
    lock_timeout: PositiveDuration = timedelta(seconds=30)
    #: How long an emergency waits for members to shut everybody out.
    emergency_cooldown: Duration = timedelta(minutes=10)
    #: How soon a second emergency needs force.
    max_rotations_per_hour: int = Field(default=4, ge=1, le=1000)
    #: Manual and scheduled ones.
    on_drift: OnDrift = OnDrift.HEAL
    #: What to do when somebody set a cookie by hand: heal or hold.

    @model_validator(mode="after")
    def _grace_is_seen(self) -> Cluster:
        if timedelta() < self.grace_window < self.members.heartbeat:
            raise ValueError(
                "grace_window is 0 or at least a heartbeat: in less, no member can report"
            )
        return self

    def policy(self) -> RotationPolicy:
        """As the domain takes it."""
        members = self.members
        expect: Expectation = members.expect
        return RotationPolicy(
            expect=expect,
            master=self.master,
            install_timeout=self.install_timeout,
            grace_window=self.grace_window,
            lock_timeout=self.lock_timeout,
            emergency_cooldown=self.emergency_cooldown,
            max_rotations_per_hour=self.max_rotations_per_hour,
            on_drift=self.on_drift,
            heartbeat=members.heartbeat,
            node_ttl=members.node_ttl,
            ephemeral=members.ephemeral,
            excuse_lost_after=members.on_lost.after,
        )


class Log(Section):
    """What the service says on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Settings(Section):
    """The whole file."""

    secret_store: Annotated[VaultStore | LocalStore, Field(discriminator="kind")]
    clusters: dict[ClusterName, Cluster]
    masters: dict[MasterName, Master] = {MasterName("default"): Master()}
    listen: Listen = Listen()
    data_dir: Path = Path("rotator-data")
    #: Holds the state store, state.sqlite; relative to the file.
    log: Log = Log()

    @property
    def state_path(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "state.sqlite"

    def policies(self) -> dict[ClusterName, RotationPolicy]:
        """What is wanted of each declared cluster."""
        return {name: cluster.policy() for name, cluster in self.clusters.items()}


def fields_at(place: tuple[str | int, ...]) -> dict[str, Any]:
    """The settings that there are at a place, for suggestions."""
    section: Any = Settings
    for step in place:
        section = _below(section, str(step))
    return dict(getattr(section, "model_fields", {}))


def _below(section: Any, step: str) -> Any:  # noqa: ANN401 - a class or an annotation
    if section in {dict[ClusterName, Cluster], dict[MasterName, Master]}:
        return section.__args__[1]
    known = {cls.model_fields[tag].annotation.__args__[0]: cls for cls, tag in _TAGGED}
    if step in known:
        return known[step]
    field = getattr(section, "model_fields", {}).get(step)
    return field.annotation if field else None


_TAGGED: Final[tuple[tuple[Any, str], ...]] = (
    (VaultStore, "kind"),
    (LocalStore, "kind"),
    (TokenAuth, "method"),
    (AppRoleAuth, "method"),
    (JwtAuth, "method"),
)
