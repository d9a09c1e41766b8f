"""Ways to get a token. Files are read anew at every login, so that they may be exchanged."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from rotator.errors import (
    ConfigurationError,
    SecretStoreError,
    StoreBusy,
    StoreForbidden,
    StoreLoginFailed,
    StoreTokenExpired,
)

if TYPE_CHECKING:
    from rotator.adapters.secret_stores.deadline import Deadline
    from rotator.adapters.secret_stores.vault.wire import Wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A token and how long it lives."""

    token: str = field(repr=False)
    ttl: float  #: seconds that it had when it was given; 0: for ever
    ends_at: float  #: by `time.monotonic`
    is_renewable: bool

    def is_ending(self) -> bool:
        """Less than a third of its life is left."""
        return self.ttl > 0 and self.ends_at - time.monotonic() < self.ttl / 3


class Login(Protocol):
    """One way to log in."""

    def __call__(self, wire: Wire, deadline: Deadline) -> Lease:
        """Get a token; raises `StoreLoginFailed` or `StoreTokenExpired` if it is refused."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogin:
    """A token that somebody else made: in a file, or as it is."""

    token_file: Path | None = None
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.token_file is None) == (self.token is None):
            raise ConfigurationError("auth: either token_file or token")

    def __call__(self, wire: Wire, deadline: Deadline) -> Lease:
        """Ask the token how long it lives."""
        token = self.token or _from_file(self.token_file)
        try:
            answer = wire.ask("GET", "auth/token/lookup-self", token=token, deadline=deadline)
        except StoreForbidden:
            raise StoreTokenExpired from None
        about = answer.get("data")
        return _lease(about, token, ttl="ttl")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRoleLogin:
    """AppRole: a role id, and a secret id in a file."""

    role_id: str
    secret_id_file: Path
    mount: str = "approle"

    def __call__(self, wire: Wire, deadline: Deadline) -> Lease:
        """Exchange both for a token."""
        body = {"role_id": self.role_id, "secret_id": _from_file(self.secret_id_file)}
        return _exchange(wire, deadline, mount=self.mount, body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtLogin:
    """JWT: a role, and a signed token in a file."""

    role: str
    jwt_file: Path
    mount: str = "jwt"

    def __call__(self, wire: Wire, deadline: Deadline) -> Lease:
        """Exchange the signed token for one of the secrets manager's."""
        body = {"role": self.role, "jwt": _from_file(self.jwt_file)}
        return _exchange(wire, deadline, mount=self.mount, body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesLogin(JwtLogin):
    """Kubernetes: a role, and the token of a service account, which Vault has the cluster review."""

    jwt_file: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    mount: str = "kubernetes"


_METHODS: Final[dict[str, type[TokenLogin | AppRoleLogin | JwtLogin]]] = {
    "token": TokenLogin,
    "approle": AppRoleLogin,
    "jwt": JwtLogin,
    "kubernetes": KubernetesLogin,
}


def login_by(method: str, **arguments: str | Path) -> Login:
    """The login that a configuration names; raises `ConfigurationError` for an unknown one."""
    if method not in _METHODS:
        raise ConfigurationError(f"auth.method is one of: {', '.join(_METHODS)}")
    paths = {name: Path(value) for name, value in arguments.items() if name.endswith("_file")}
    return _METHODS[method](**{**arguments, **paths})  # type: ignore[arg-type]


def renew(wire: Wire, lease: Lease, deadline: Deadline) -> Lease:
    """Prolong a token; its new life may be shorter than the first (max_ttl)."""
    answer = wire.ask(
        "POST", "auth/token/renew-self", token=lease.token, deadline=deadline, body={}
    )
    return _lease(answer.get("auth"), lease.token, ttl="lease_duration")


def _exchange(wire: Wire, deadline: Deadline, *, mount: str, body: dict[str, str]) -> Lease:
    try:
        answer = wire.ask("POST", f"auth/{mount}/login", token=None, deadline=deadline, body=body)
    except SecretStoreError as error:
        if error.is_transient:
            raise
        raise StoreLoginFailed(f"the secrets manager refuses the login at 'auth/{mount}'") from None
    auth = answer.get("auth")
    token = auth.get("client_token") if isinstance(auth, dict) else None
    if not isinstance(token, str):
        raise StoreBusy("the secrets manager answered a login without a token")
    return _lease(auth, token, ttl="lease_duration")


def _lease(about: Any, token: str, *, ttl: str) -> Lease:  # noqa: ANN401 - JSON
    if not isinstance(about, dict) or not isinstance(about.get(ttl), int):
        raise StoreBusy("the secrets manager does not say how long the token lives")
    seconds = about[ttl]
    return Lease(
        token=token,
        ttl=seconds,
        ends_at=time.monotonic() + seconds,
        is_renewable=about.get("renewable") is True,
    )


def _from_file(path: Path | None) -> str:
    try:
        text = "" if path is None else path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        # `from None`: a decoding error holds what was read.
        raise StoreLoginFailed(f"cannot read {path} ({type(error).__name__})") from None
    if not text or not all("!" <= letter <= "~" for letter in text):
        raise StoreLoginFailed(f"{path} is empty, or more than one word of ASCII")
    return text
