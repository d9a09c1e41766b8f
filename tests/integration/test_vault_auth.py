"""Tokens end; whoever can log in again goes on, and whoever cannot is told so."""

from __future__ import annotations

import asyncio
import secrets
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rotator.adapters.secret_stores.vault import VaultCookieStore
from rotator.adapters.secret_stores.vault.auth import AppRoleLogin, JwtLogin, Login, TokenLogin
from rotator.adapters.secret_stores.vault.connection import VaultConnection
from rotator.errors import StoreLoginFailed, StoreTokenExpired
from rotator.testing.secret_stores import ORDERS, document
from tests.support import openbao

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.openbao import OpenBao

POLICY = (openbao.POLICIES / "vault-service.hcl").read_text(encoding="utf-8")


@pytest.fixture
def server() -> OpenBao:
    """The shared server."""
    return openbao.shared()


@pytest.fixture
def prefix() -> str:
    """A place for this test alone."""
    return f"t{secrets.token_hex(8)}"


@pytest.fixture
def policy(server: OpenBao, prefix: str) -> str:
    """The service's policy for this test's prefix."""
    return server.policy(prefix, POLICY.replace("erlang-cookies", prefix))


@pytest.fixture
async def connect(server: OpenBao, prefix: str) -> AsyncIterator[Callable[..., VaultCookieStore]]:
    """Opens a cookie store with some way to log in."""
    opened: list[VaultCookieStore] = []

    def open_(login: Login, interval: float = 0.0) -> VaultCookieStore:
        connection = VaultConnection(
            address=server.address, login=login, login_interval=timedelta(seconds=interval)
        )
        opened.append(VaultCookieStore(connection, mount="secret", prefix=prefix))
        return opened[-1]

    yield open_
    for store in opened:
        await store.close()


@pytest.fixture
def app_role(
    server: OpenBao, prefix: str, policy: str, tmp_path: Path
) -> Callable[..., AppRoleLogin]:
    """Makes a role with settings as in auth/approle/role, and a secret id for it in a file."""
    server.ask("POST", "sys/auth/approle", {"type": "approle"})

    def make(**settings: Any) -> AppRoleLogin:
        role = f"auth/approle/role/{prefix}"
        server.do("POST", role, {"token_policies": [policy], **settings})
        role_id = server.do("GET", f"{role}/role-id")["data"]["role_id"]
        secret_id = server.do("POST", f"{role}/secret-id", {})["data"]["secret_id"]
        (tmp_path / "secret-id").write_text(f"{secret_id}\n")
        return AppRoleLogin(role_id=role_id, secret_id_file=tmp_path / "secret-id")

    return make


def logins(server: OpenBao, policy: str) -> int:
    """How many living tokens have this policy."""
    accessors = server.do("LIST", "auth/token/accessors")["data"]["keys"]
    found = [server.ask("POST", "auth/token/lookup-accessor", {"accessor": a}) for a in accessors]
    return sum(policy in a.json()["data"]["policies"] for a in found if a.is_success)


async def test_app_role_logs_in_again_after_its_token_ended(
    connect: Callable[..., VaultCookieStore], app_role: Callable[..., AppRoleLogin]
) -> None:
    """A token of one second that cannot be prolonged ends twice, and no call notices."""
    store = connect(app_role(token_ttl="1s", token_max_ttl="1s"))
    await store.create(ORDERS, document())
    for _ in range(2):
        await asyncio.sleep(1.2)
        assert await store.read(ORDERS) is not None


async def test_a_revoked_token_is_replaced_at_once(
    server: OpenBao, connect: Callable[..., VaultCookieStore], app_role: Callable[..., AppRoleLogin]
) -> None:
    """A token taken away before its time is replaced by one login, though twenty calls fail."""
    login = app_role(token_ttl="1h")
    store = connect(login)
    await store.check()
    [policy] = server.do("GET", f"auth/approle/role/{store._below.split('/')[0]}")["data"][
        "token_policies"
    ]
    for accessor in server.do("LIST", "auth/token/accessors")["data"]["keys"]:
        found = server.ask("POST", "auth/token/lookup-accessor", {"accessor": accessor})
        if found.is_success and policy in found.json()["data"]["policies"]:
            server.do("POST", "auth/token/revoke-accessor", {"accessor": accessor})
    assert logins(server, policy) == 0
    await asyncio.gather(*(store.read(ORDERS) for _ in range(20)))
    assert logins(server, policy) == 1


async def test_a_plain_token_that_ended_is_named(
    server: OpenBao, connect: Callable[..., VaultCookieStore], policy: str
) -> None:
    """A token that nobody can renew ends by name, and is not retried for ever."""
    token = server.token(policy, ttl="1s", explicit_max_ttl="1s")
    store = connect(TokenLogin(token=token))
    await store.check()
    await asyncio.sleep(1.2)
    with pytest.raises(StoreTokenExpired) as caught:
        await store.read(ORDERS)
    assert not caught.value.is_transient
    assert token not in str(caught.value)


async def test_an_exchanged_token_file_is_read_again(
    server: OpenBao, connect: Callable[..., VaultCookieStore], policy: str, tmp_path: Path
) -> None:
    """Whoever puts a new token into the file need not start the service anew."""
    file = tmp_path / "token"
    file.write_text(server.token(policy, ttl="1s", explicit_max_ttl="1s"))
    store = connect(TokenLogin(token_file=file))
    await store.check()
    await asyncio.sleep(1.2)
    file.write_text(server.token(policy) + "\n")
    assert await store.read(ORDERS) is None


async def test_a_renewable_token_is_prolonged(
    server: OpenBao, connect: Callable[..., VaultCookieStore], policy: str
) -> None:
    """A plain token with a short life outlives it by renewal, used as it is."""
    store = connect(TokenLogin(token=server.token(policy, ttl="2s", period="2s")))
    ends_at = time.monotonic() + 5
    while time.monotonic() < ends_at:
        assert await store.read(ORDERS) is None
        await asyncio.sleep(0.25)


async def test_a_refused_login_is_named_and_not_repeated_at_once(
    connect: Callable[..., VaultCookieStore], app_role: Callable[..., AppRoleLogin], tmp_path: Path
) -> None:
    """A wrong secret id is refused by name, and a storm of calls makes no storm of logins."""
    login = app_role()
    right = (tmp_path / "secret-id").read_text()
    (tmp_path / "secret-id").write_text("CANARY-wrong")
    store = connect(login, interval=60)
    for _ in range(3):
        with pytest.raises(StoreLoginFailed) as caught:
            await store.read(ORDERS)
        assert "CANARY" not in str(caught.value)
    (tmp_path / "secret-id").write_text(right)
    with pytest.raises(StoreLoginFailed):
        await store.read(ORDERS)


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xffCANARY"])
async def test_a_file_without_a_token_is_named(
    connect: Callable[..., VaultCookieStore], tmp_path: Path, content: bytes | None
) -> None:
    """A missing, empty or damaged file is named by its path and not shown."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StoreLoginFailed) as caught:
        await connect(TokenLogin(token_file=file)).check()
    assert str(file) in str(caught.value)
    assert "CANARY" not in str(caught.value)


async def test_a_signed_token_logs_in(
    server: OpenBao,
    connect: Callable[..., VaultCookieStore],
    policy: str,
    prefix: str,
    tmp_path: Path,
) -> None:
    """JWT authentication exchanges a signed token from a file for one of OpenBao's."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    server.do("POST", f"sys/auth/{prefix}", {"type": "jwt"})
    server.do("POST", f"auth/{prefix}/config", {"jwt_validation_pubkeys": [public.decode("ascii")]})
    role = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": ["bao"],
        "token_policies": [policy],
    }
    server.do("POST", f"auth/{prefix}/role/rotator", role)
    (tmp_path / "jwt").write_text(_signed(key))
    login = JwtLogin(role="rotator", jwt_file=tmp_path / "jwt", mount=prefix)
    assert await connect(login).read(ORDERS) is None
    (tmp_path / "jwt").write_text("not.a.jwt")
    with pytest.raises(StoreLoginFailed):
        await connect(login).read(ORDERS)


def _signed(key: ec.EllipticCurvePrivateKey) -> str:
    import base64
    import json

    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    def part(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")

    now = int(time.time())
    claims = {"sub": "rotator", "aud": "bao", "iat": now, "nbf": now, "exp": now + 600}
    text = ".".join(part(json.dumps(x).encode()) for x in ({"alg": "ES256"}, claims))
    r, s = decode_dss_signature(key.sign(text.encode("ascii"), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
