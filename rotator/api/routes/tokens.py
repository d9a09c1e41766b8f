"""API tokens: made, listed, revoked. The token itself is in one answer, once."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Path, Request
from starlette.responses import Response

from rotator.api import bodies, idempotency, mapping
from rotator.api.auth import Role
from rotator.api.dependencies import Asked, Asking, Route, answered
from rotator.api.problems import AlreadyDone, KeyReused
from rotator.domain.ids import ClusterName
from rotator.errors import NotAllowed, NotFound
from rotator.protocol import v1

if TYPE_CHECKING:
    from rotator.api.auth import Principal
    from rotator.api.dependencies import Services
    from rotator.ports.state_store import TokenRow

_KEPT: Final = timedelta(hours=24)
_ID_LENGTH: Final = 24


async def create(
    request: Request,
    body: Annotated[v1.CreateToken, bodies.command(v1.CreateToken)],
    services: Asked,
    principal: Asking,
) -> Response:
    """Make a token. Under an idempotency key it is made once; its answer is not kept."""
    if not principal.has_all(body.clusters):
        raise NotAllowed("a token cannot reach further than the one that makes it")
    key = await idempotency.key_of(request)
    if key is None:
        return await _make(services, principal, body, None)
    with idempotency.alone(request, key):
        token_id = key.digest("token")[:_ID_LENGTH]
        now = await services.queries.states.now()
        while (made := await services.tokens.find(token_id)) is not None:
            if now - made.created_at < _KEPT:
                raise AlreadyDone if _is_of(made, body) else KeyReused
            token_id = key.digest(f"token after {token_id}")[:_ID_LENGTH]
        return await _make(services, principal, body, token_id)


def _is_of(made: TokenRow, body: v1.CreateToken) -> bool:
    lifetime = (made.expires_at - made.created_at).total_seconds()
    return (
        (made.role, made.nodes, made.note) == (body.role, body.nodes, body.note)
        and list(made.clusters) == list(dict.fromkeys(body.clusters))
        and abs(lifetime - body.expires_in_seconds) < 1
    )


async def _make(
    services: Services, principal: Principal, body: v1.CreateToken, token_id: str | None
) -> Response:
    row, text = await services.tokens.create(
        role=body.role,
        clusters=body.clusters,
        nodes=body.nodes,
        note=body.note,
        expires_in=timedelta(seconds=min(max(body.expires_in_seconds, 0), 1e9)),
        by=principal.id,
        token_id=token_id,
    )
    undeclared = await _undeclared(services, row.clusters)
    return answered(mapping.token(row, text, undeclared=undeclared), HTTPStatus.CREATED)


async def _undeclared(services: Services, names: tuple[str, ...]) -> list[str]:
    """The clusters of a scope that are not in the configuration: it may be a slip."""
    found = {name: await services.queries.states.load(ClusterName(name)) for name in names}
    return [
        name
        for name, cluster in found.items()
        if name != "*" and (cluster is None or not cluster.is_declared)
    ]


async def list_tokens(services: Asked, principal: Asking) -> Response:
    """The tokens within the caller's scope, newest first."""
    found = await services.tokens.list()
    seen = [mapping.token(row) for row in found if principal.has_all(row.clusters)]
    return answered(v1.Tokens(tokens=seen))


async def revoke(
    token: Annotated[str, Path(max_length=64)],
    body: Annotated[v1.Reason, bodies.command(v1.Reason)],
    services: Asked,
    principal: Asking,
) -> Response:
    """Refuse a token from now on, on every replica; repeating it is harmless."""
    found = await services.tokens.find(token)
    if found is None or not principal.has_all(found.clusters):
        raise NotFound
    reason = bodies.reason(body.reason, required=False)
    return answered(
        mapping.token(await services.tokens.revoke(token, by=principal.id, reason=reason))
    )


_ADMIN: Final = (Role.ADMIN,)

ROUTES: Final = (
    Route(
        "POST",
        "/v1/tokens",
        create,
        _ADMIN,
        v1.Token,
        status=HTTPStatus.CREATED,
        takes=v1.CreateToken,
    ),
    Route("GET", "/v1/tokens", list_tokens, _ADMIN, v1.Tokens),
    Route("DELETE", "/v1/tokens/{token}", revoke, _ADMIN, v1.Token, takes=v1.Reason),
)
