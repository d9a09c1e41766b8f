"""Vault and OpenBao: KV version 2 over hvac, in threads of its own."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rotator.adapters.secret_stores.registry import SecretStores
from rotator.adapters.secret_stores.vault.auth import login_by
from rotator.adapters.secret_stores.vault.connection import VaultConnection
from rotator.adapters.secret_stores.vault.examiner import VaultExaminer
from rotator.adapters.secret_stores.vault.store import VaultCookieStore, VaultMasterStore

if TYPE_CHECKING:
    from collections.abc import Mapping


def open_backend(
    *,
    address: str,
    auth: Mapping[str, str],
    mount: str = "secret",
    prefix: str = "erlang-cookies",
    ca_cert: str | Path | None = None,
    timeout: timedelta = timedelta(seconds=5),
) -> SecretStores:
    """Both stores over one connection.

    *auth* is ``{"method": "token", "token_file": …}``, ``{"method": "approle", "role_id": …,
    "secret_id_file": …}`` or ``{"method": "jwt", "role": …, "jwt_file": …}``; the last two take
    ``mount`` too. *timeout* bounds every method of the stores as a whole.
    """
    connection = VaultConnection(
        address=address,
        login=login_by(**auth),
        ca_cert=None if ca_cert is None else Path(ca_cert),
        timeout=timeout,
    )
    return SecretStores(
        cookies=VaultCookieStore(connection, mount=mount, prefix=prefix),
        masters=VaultMasterStore(connection, mount=mount, prefix=prefix),
        examiner=VaultExaminer(connection, mount=mount, prefix=prefix, method=auth["method"]),
    )
