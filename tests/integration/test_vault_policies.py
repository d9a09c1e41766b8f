"""The shipped policies give what is needed and no more, with real tokens."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from rotator.adapters.secret_stores.registry import open_stores
from rotator.testing.secret_stores import DEFAULT, FIRST, ORDERS, document, epoch, present
from tests.support import openbao

if TYPE_CHECKING:
    from tests.support.openbao import OpenBao


@pytest.fixture
def server() -> OpenBao:
    """The shared server."""
    return openbao.shared()


@pytest.fixture
def prefix() -> str:
    """A place for this test alone."""
    return f"t{secrets.token_hex(8)}"


def token_of(server: OpenBao, prefix: str, name: str) -> str:
    """A token with one shipped policy and nothing else, not even the default one."""
    text = (openbao.POLICIES / f"vault-{name}.hcl").read_text(encoding="utf-8")
    policy = server.policy(f"{prefix}-{name}", text.replace("erlang-cookies", prefix))
    return server.token(policy, no_default_policy=True)


@pytest.fixture
async def service(server: OpenBao, prefix: str) -> str:
    """A service's token, after it has done all that it ever does."""
    token = token_of(server, prefix, "service")
    auth = {"method": "token", "token": token}
    stores = open_stores("vault", address=server.address, prefix=prefix, auth=auth)
    await stores.cookies.check()
    await stores.masters.create(DEFAULT, FIRST, epoch())
    await stores.cookies.create(ORDERS, document(1))
    mark = (await present(stores.cookies)).mark
    await stores.cookies.replace(ORDERS, document(2), mark=mark)
    assert await stores.masters.read(DEFAULT, FIRST) == epoch()
    await stores.close()
    return token


@pytest.mark.parametrize(
    "refused",
    [
        ("DELETE", "secret/data/{}/clusters/orders", None),
        ("DELETE", "secret/metadata/{}/clusters/orders", None),
        ("POST", "secret/delete/{}/clusters/orders", {"versions": [2]}),
        ("POST", "secret/destroy/{}/clusters/orders", {"versions": [2]}),
        ("LIST", "secret/metadata/{}/clusters", None),
        ("POST", "secret/data/{}/masters/default/1", {"data": {}, "options": {"cas": 1}}),
        ("DELETE", "secret/data/{}/masters/default/1", None),
        ("GET", "secret/data/elsewhere", None),
    ],
)
async def test_the_service_cannot_destroy_what_it_wrote(
    server: OpenBao, prefix: str, service: str, refused: tuple[str, str, object]
) -> None:
    """The service does its work without any right to delete, list or write an epoch over."""
    method, path, body = refused
    answer = server.ask(method, path.format(prefix), body, token=service)
    assert answer.status_code == 403


async def test_a_node_reads_its_own_cluster_and_nothing_else(
    server: OpenBao, prefix: str, service: str
) -> None:
    """A node reads the newest document of its cluster, by no version number, and writes nothing."""
    node = token_of(server, prefix, "node")
    own = f"secret/data/{prefix}/clusters/orders"

    def status(method: str, path: str, body: object = None, **params: object) -> int:
        return server.ask(method, path, body, token=node, **params).status_code

    assert status("GET", own) == 200
    assert status("GET", own, version=1) == 403
    assert status("GET", own, version=2) == 403
    assert status("GET", f"secret/data/{prefix}/clusters/orders2") == 403
    assert status("GET", f"secret/data/{prefix}/masters/default/1") == 403
    assert status("GET", f"secret/metadata/{prefix}/clusters/orders") == 403
    assert status("POST", own, {"data": {}, "options": {"cas": 2}}) == 403
    assert status("DELETE", own) == 403
