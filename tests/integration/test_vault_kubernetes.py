"""The service logs in to a real OpenBao by its Kubernetes auth method, which has the cluster review tokens."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from rotator.adapters.secret_stores.registry import open_stores
from rotator.errors import StoreLoginFailed
from rotator.testing.secret_stores import ORDERS, document
from tests.support import openbao
from tests.support.kubernetes.cluster import FakeKubernetes, fake_kubernetes


@pytest.fixture
def kubernetes(tmp_path) -> Iterator[FakeKubernetes]:
    """One with two service accounts."""
    with fake_kubernetes(tmp_path) as made:
        made.account("rotator")
        made.account("stranger")
        yield made


async def test_the_service_logs_in_with_its_service_account(
    kubernetes: FakeKubernetes, tmp_path
) -> None:
    """Its account's token, exchanged in its file meanwhile, opens what the role may; another's is refused."""
    server, prefix = openbao.shared(), f"t{secrets.token_hex(8)}"
    policy = (openbao.POLICIES / "vault-service.hcl").read_text()
    server.policy(prefix, policy.replace("erlang-cookies", prefix))
    mount = f"kubernetes-{prefix}"
    server.do("POST", f"sys/auth/{mount}", {"type": "kubernetes"})
    settings = {
        "kubernetes_host": kubernetes.address, "kubernetes_ca_cert": kubernetes.ca.read_text(),
        "token_reviewer_jwt": kubernetes.accounts.admin_token, "disable_local_ca_jwt": True,
    }  # fmt: skip
    server.do("POST", f"auth/{mount}/config", settings)
    role = {
        "bound_service_account_names": ["rotator"], "audience": "vault",
        "bound_service_account_namespaces": ["default"], "token_policies": [prefix],
    }  # fmt: skip
    server.do("POST", f"auth/{mount}/role/rotator", role)
    jwt = tmp_path / "token"
    jwt.touch(mode=0o600)
    jwt.write_text(kubernetes.token("rotator", audience="vault"))
    stores = open_stores(
        "vault",
        address=server.address,
        prefix=prefix,
        auth={"method": "kubernetes", "role": "rotator", "mount": mount, "jwt_file": str(jwt)},
    )
    try:
        await stores.cookies.create(ORDERS, document())
        assert await stores.cookies.read(ORDERS) is not None
    finally:
        await stores.close()
    for token in (
        kubernetes.token("stranger", audience="vault"),
        kubernetes.token("rotator", audience="rotator"),
    ):
        jwt.write_text(token)
        stores = open_stores(
            "vault",
            address=server.address,
            prefix=prefix,
            auth={"method": "kubernetes", "role": "rotator", "mount": mount, "jwt_file": str(jwt)},
        )
        try:
            with pytest.raises(StoreLoginFailed) as refused:
                await stores.cookies.read(ORDERS)
            assert token not in str(refused.value)
        finally:
            await stores.close()
