from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.api import auth
from rotator.api.app import build
from rotator.api.auth import Role
from rotator.api.dependencies import Route
from rotator.errors import InputError
from tests.support.api import NODE, ROLES, a_world


@pytest.fixture
async def world(tmp_path):
    """The service over a state store of its own."""
    async with a_world(tmp_path) as made:
        yield made


def _routes(*routes):
    return build(tuple(routes))


@pytest.mark.parametrize("is_plain", [False, True])
def test_a_route_without_a_role_does_not_let_the_service_start(is_plain):
    """Who adds a route has to say whom it is for."""

    async def open_to_all(request):
        """Nothing."""

    with pytest.raises(RuntimeError, match="/v1/open declares no role"):
        _routes(Route("GET", "/v1/open", open_to_all, (), is_plain=is_plain))


async def test_lists_show_what_is_in_scope_and_no_more(world):
    """Clusters, facts and tokens of others are in no list."""
    await world.initialise("orders")
    await world.initialise("billing")
    token = await world.token("auditor", clusters=("billing",))
    clusters = (await world.call("GET", "/v1/clusters", token=token)).json()["clusters"]
    assert [one["name"] for one in clusters] == ["billing"]
    facts = (await world.call("GET", "/v1/facts", token=token)).json()["facts"]
    assert {one["cluster"] for one in facts} == {"billing"}
    everything = (await world.call("GET", "/v1/facts")).json()["facts"]
    assert {one["cluster"] for one in everything} >= {"billing", "orders", None}
    refused = await world.call("GET", "/v1/facts", token=token, params={"cluster": "orders"})
    assert refused.status_code == 404
    admin = await world.token("admin", clusters=("billing",))
    tokens = (await world.call("GET", "/v1/tokens", token=admin)).json()["tokens"]
    assert {tuple(one["clusters"]) for one in tokens} == {("billing",)}


@pytest.mark.parametrize(
    "credentials",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic {token}",
        "Bearer {token}x",
        "Bearer x{token}",
        "Bearer rot_{id}_",
        "Bearer rot_{id}",
        "Bearer rot__{secret}",
        "Bearer rot_{id}_{zeros}",
        "Bearer rot_{id}_{secret}_{secret}",
        "Bearer rot_AAAAAAAAAAAA_{secret}",
        "Bearer {token} {token}",
    ],
)
async def test_a_malformed_or_unknown_token_is_401(world, credentials):
    """Whatever is wrong with a token, the answer is the same 401."""
    row, text = await world.tokens.create(role="auditor", clusters=("*",), by="test")
    secret = text.split("_", 2)[2]
    given = credentials.format(token=text, id=row.id, secret=secret, zeros="0" * 43)
    answer = await world.client.get("/v1/clusters", headers={"Authorization": given})
    assert answer.status_code == 401
    assert answer.json()["code"] == "not_authenticated"


async def test_two_tokens_at_once_are_none(world):
    """A request with two authorizations is refused, since parts might read different ones."""
    text = await world.token("auditor")
    both = [("Authorization", f"Bearer {text}"), ("Authorization", f"Bearer {text}")]
    assert (await world.client.get("/v1/clusters", headers=both)).status_code == 401


async def test_a_token_ends_at_once_when_it_is_revoked(world):
    """The first request after a revocation is refused."""
    row, text = await world.tokens.create(role="auditor", clusters=("*",), by="test")
    assert (await world.call("GET", "/v1/clusters", token=text)).status_code == 200
    answer = await world.call(
        "DELETE", f"/v1/tokens/{row.id}", role="admin", json={"reason": "lost laptop"}
    )
    assert answer.json()["revoked_at"] is not None
    assert (await world.call("GET", "/v1/clusters", token=text)).status_code == 401
    facts = (await world.call("GET", "/v1/facts", params={"newest_first": True})).json()["facts"]
    revoked = next(one for one in facts if one["kind"] == "TokenRevoked")
    assert revoked["details"]["token"] == row.id
    assert revoked["reason"] == "lost laptop"


async def test_a_token_that_has_expired_is_refused(world):
    """An expired token is 401 like any other that is not valid."""
    _, text = await world.tokens.create(
        role="auditor", clusters=("*",), by="test", expires_in=timedelta(microseconds=1)
    )
    assert (await world.call("GET", "/v1/clusters", token=text)).status_code == 401


@pytest.mark.parametrize(
    "wish",
    [
        {"role": "root", "clusters": ("*",)},
        {"role": "auditor", "clusters": ()},
        {"role": "auditor", "clusters": ("*", "orders")},
        {"role": "auditor", "clusters": ("or ders",)},
        {"role": "auditor", "clusters": ("*",), "nodes": "rabbit@a"},
        {"role": "node", "clusters": ("*",)},
        {"role": "node", "clusters": ("*",), "nodes": "rabbit @a"},
        {"role": "auditor", "clusters": ("*",), "note": "two\nlines"},
        {"role": "auditor", "clusters": ("*",), "expires_in": timedelta(days=91)},
        {"role": "auditor", "clusters": ("*",), "expires_in": timedelta(0)},
    ],
)
async def test_a_token_that_makes_no_sense_is_not_made(world, wish):
    """Roles, scopes, patterns and lifetimes are checked before anything is stored."""
    before = len(await world.tokens.list())
    with pytest.raises(InputError):
        await world.tokens.create(by="test", **wish)
    assert len(await world.tokens.list()) == before


async def test_a_token_is_stored_as_a_hash_and_its_facts_hold_no_secret(world, tmp_path):
    """The text of a token is in its answer and nowhere in the state store."""
    body = {"role": "node", "clusters": ["orders"], "nodes": NODE}
    answer = await world.call("POST", "/v1/tokens", role="admin", json=body, key="k1")
    assert answer.status_code == 201
    secret = answer.json()["token"].split("_", 2)[2]
    for file in tmp_path.iterdir():
        assert secret.encode() not in file.read_bytes()
    listed = (await world.call("GET", "/v1/tokens", role="admin")).json()["tokens"]
    assert all(one["token"] is None for one in listed)


async def test_an_admin_of_one_cluster_makes_no_token_for_another(world):
    """Nobody hands out rights that they do not have."""
    admin = await world.token("admin", clusters=("billing",))
    for clusters, status in (["orders"], 403), (["*"], 403), (["billing"], 201):
        body = {"role": "operator", "clusters": clusters}
        answer = await world.call("POST", "/v1/tokens", token=admin, json=body)
        assert answer.status_code == status
    other = (await world.tokens.create(role="auditor", clusters=("orders",), by="test"))[0]
    gone = await world.call("DELETE", f"/v1/tokens/{other.id}", token=admin)
    assert gone.status_code == 404


async def test_when_a_token_was_used_last_is_noted_later(world):
    """The time of use is written when it is flushed, not on the way of a request."""
    row, text = await world.tokens.create(role="auditor", clusters=("*",), by="test")
    await world.call("GET", "/v1/clusters", token=text)
    assert (await world.tokens.find(row.id)).last_used_at is None
    await world.tokens.flush_used()
    assert (await world.tokens.find(row.id)).last_used_at is not None


def test_roles_of_the_wire_are_those_of_the_tokens():
    """Every role that a token may have is one that routes can name, and `public` is none."""
    assert {str(role) for role in Role} - {"public"} == set(ROLES)
    assert auth.roles_of(object()) == frozenset()
