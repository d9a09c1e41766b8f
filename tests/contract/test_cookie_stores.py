"""Every cookie store passes the same suite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rotator.domain.cookie import Cookie
from rotator.domain.document import from_json
from rotator.testing.secret_stores import CookieStoreContract

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rotator.domain.ids import ClusterName
    from rotator.ports.cookie_store import CookieStore
    from tests.contract.conftest import Backend


class TestCookieStores(CookieStoreContract):
    @pytest.fixture
    def cookie_store(self, backend: Backend) -> CookieStore:
        """The store of each backend."""
        return backend.stores.cookies

    @pytest.fixture
    def plant(self, backend: Backend) -> Callable[[ClusterName, dict[str, Any]], None]:
        """A way around the store."""
        if backend.plant is None:
            pytest.skip("memory holds documents, not JSON")
        return backend.plant

    @pytest.fixture
    def room(self, backend: Backend) -> int:
        """AWS takes 65,536 bytes; the others more than anybody writes."""
        return backend.largest

    @pytest.fixture
    def readable_cookies(self, backend: Backend) -> Callable[[ClusterName], Awaitable[set[Cookie]]]:
        """Every cookie that the backend still serves."""

        async def read_all(cluster: ClusterName) -> set[Cookie]:
            if backend.node_cookies is not None:
                return {Cookie(text) for text in backend.node_cookies(cluster)}
            if backend.versions is not None:
                found = [from_json(raw) for raw in backend.versions(cluster)]
            else:
                stored = await backend.stores.cookies.read(cluster)
                found = [] if stored is None else [stored.document]
            return {v.cookie for document in found for v in document.versions()}

        return read_all
