"""The same documents in a directory, encrypted: for one machine, trials and tests."""

from __future__ import annotations

from pathlib import Path

from rotator.adapters.secret_stores.local.examiner import LocalExaminer
from rotator.adapters.secret_stores.local.store import LocalCookieStore, LocalMasterStore
from rotator.adapters.secret_stores.registry import SecretStores

__all__ = ["LocalCookieStore", "LocalMasterStore", "open_backend"]


def open_backend(*, directory: str | Path) -> SecretStores:
    """Both stores in one directory, which is made on the first write."""
    place = Path(directory)
    return SecretStores(
        cookies=LocalCookieStore(place),
        masters=LocalMasterStore(place),
        examiner=LocalExaminer(place),
    )
