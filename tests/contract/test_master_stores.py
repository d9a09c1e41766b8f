"""Every master store passes the same suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rotator.testing.secret_stores import MasterStoreContract

if TYPE_CHECKING:
    from rotator.ports.master_store import MasterStore
    from tests.contract.conftest import Backend


class TestMasterStores(MasterStoreContract):
    @pytest.fixture
    def master_store(self, backend: Backend) -> MasterStore:
        """The store of each backend."""
        return backend.stores.masters
