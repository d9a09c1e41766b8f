"""Which secrets managers there are; one is loaded only when it is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from rotator.errors import ConfigurationError

if TYPE_CHECKING:
    from rotator.ports.cookie_store import CookieStore
    from rotator.ports.examiner import StoreExaminer
    from rotator.ports.master_store import MasterStore

_BACKENDS: Final = {
    "aws": "rotator.adapters.secret_stores.aws",
    "local": "rotator.adapters.secret_stores.local",
    "vault": "rotator.adapters.secret_stores.vault",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretStores:
    """Both stores of one secrets manager; they share what `close` gives back."""

    cookies: CookieStore
    masters: MasterStore
    examiner: StoreExaminer | None = None  #: where `rotator doctor` can look into it

    async def close(self) -> None:
        """Give back connections and threads of both."""
        await self.cookies.close()


def open_stores(kind: str, **arguments: Any) -> SecretStores:  # noqa: ANN401 - each kind has its own
    """The stores of a kind: ``local``, ``vault`` or ``aws``; nothing is contacted yet.

    ``aws`` takes *region*, *prefix*, *kms_key*, *endpoint* and *timeout* (see `aws.open_backend`);
    ``local`` takes *directory*; ``vault`` takes *address*, *auth* (a mapping with *method*),
    *mount*, *prefix*, *ca_cert* and *timeout* (see `vault.open_backend`).
    Raises `ConfigurationError` for an unknown kind, argument or method.
    """
    if kind not in _BACKENDS:
        raise ConfigurationError(f"secret_store.kind is one of: {', '.join(_BACKENDS)}")
    backend = import_module(_BACKENDS[kind])
    try:
        return cast("SecretStores", backend.open_backend(**arguments))
    except TypeError:
        # `from None`: an explicit token may be among the arguments.
        raise ConfigurationError(
            f"secret_store: the settings given do not fit the kind {kind!r}"
        ) from None
