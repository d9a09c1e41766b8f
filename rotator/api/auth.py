"""Who asks, and whether they may: every route says its roles, and none is reached without."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from rotator.errors import NotAllowed, NotAuthenticated, NotFound
from rotator.services import tokens, workloads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from rotator.api.throttle import Throttle
    from rotator.ports.state_store import TokenRow
    from rotator.services.tokens import TokenService

_SCHEME: Final = "bearer"
_MARK: Final = "rotator_roles"
_MAX_CREDENTIALS: Final = workloads.MAX_TOKEN


class Role(StrEnum):
    """What a principal is; `PUBLIC` marks a route that asks nobody."""

    NODE = "node"
    ORCHESTRATOR = "orchestrator"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody with a valid token."""

    id: str  #: ``token:<id>``, or ``kubernetes:<namespace>/<account>/<pod>``; what facts name
    role: Role
    token: TokenRow

    def may_see(self, cluster: str) -> bool:
        """Whether the cluster is in scope."""
        return tokens.may_see(self.token, cluster)

    def has_all(self, clusters: Sequence[str]) -> bool:
        """Whether the scope holds all of these: nobody decides about more than they have."""
        return tokens.is_within(clusters, self.token.clusters)

    def require_cluster(self, cluster: str) -> None:
        """`NotFound`, for a cluster out of scope exactly as for one that does not exist."""
        if not self.may_see(cluster):
            raise NotFound

    def require_node(self, node: str) -> None:
        """`NotAllowed` unless it is not a node at all, or this one."""
        if self.role is Role.NODE and not tokens.covers(self.token.nodes, node):
            raise NotAllowed("a node may speak for itself alone")


def declare(endpoint: Callable[..., object], roles: Sequence[Role]) -> None:
    """Say who may call the endpoint."""
    setattr(endpoint, _MARK, frozenset(roles))


def roles_of(endpoint: object) -> frozenset[Role]:
    """Who may call the endpoint; empty if nobody has said."""
    found: frozenset[Role] = getattr(endpoint, _MARK, frozenset())
    return found


def require_roles(routes: Sequence[BaseRoute]) -> None:
    """Refuse to start with a route that declares no role."""
    for route in routes:
        if not roles_of(getattr(route, "endpoint", None)):
            raise RuntimeError(f"route {getattr(route, 'path', '?')} declares no role")


def _credentials(request: Request) -> str:
    given = request.headers.getlist("authorization")
    if len(given) != 1:
        raise NotAuthenticated
    scheme, _, credentials = given[0].partition(" ")
    if scheme.lower() != _SCHEME or not 0 < len(credentials) <= _MAX_CREDENTIALS:
        raise NotAuthenticated
    return credentials


async def authenticate(request: Request, service: TokenService) -> Principal:
    """The principal of the request's token, as it is now; `NotAuthenticated`."""
    row = await service.authenticate(_credentials(request))
    of_another = ":" in row.id  # kubernetes:namespace/account/pod
    return Principal(id=row.id if of_another else f"token:{row.id}", role=Role(row.role), token=row)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def _knock(request: Request, service: TokenService) -> Principal:
    """As `authenticate`, within what the caller may ask for; `TooManyRequests`."""
    throttle: Throttle = request.app.state.throttle
    address = _address(request)
    try:
        credentials = _credentials(request)
    except NotAuthenticated:
        throttle.knock(address, None)
        throttle.failed(address, None)
        raise
    throttle.knock(address, credentials)
    try:
        principal = await authenticate(request, service)
    except NotAuthenticated:
        throttle.failed(address, credentials)
        raise
    except BaseException:  # Whatever a stranger's request leads to is no way to ask more often.
        throttle.unclear(address, credentials)
        raise
    throttle.passed(credentials, is_shared=tokens.ANY in principal.token.nodes)
    return principal


async def admit(request: Request, service: TokenService, endpoint: object) -> None:
    """Let the request pass to its endpoint: limits, then token, then role, cluster, node."""
    roles = roles_of(endpoint)
    if Role.PUBLIC in roles:
        throttle: Throttle = request.app.state.throttle
        throttle.knock(_address(request), None)
        throttle.failed(_address(request), None)
        return
    # Before the token is looked up: what is revoked from here on, a wait has to hear of.
    request.state.revocations = service.revocations
    principal = await _knock(request, service)
    require(request, principal, roles)
    request.state.principal = principal
    request.state.roles = roles


async def admit_again(request: Request) -> None:
    """Rights as they are after a wait: a token that was revoked meanwhile is `NotAuthenticated`."""
    service: TokenService = request.app.state.services.tokens
    require(request, await authenticate(request, service), request.state.roles)


def require(request: Request, principal: Principal, roles: frozenset[Role]) -> None:
    """`NotAllowed` or `NotFound` unless the principal may make this request."""
    if principal.role not in roles:
        may = " or ".join(sorted(roles))
        raise NotAllowed(f"this is for a token of role {may}; this one's role is {principal.role}")
    cluster = request.path_params.get("cluster")
    if cluster is not None:
        principal.require_cluster(cluster)
    node = request.path_params.get("node")
    if node is not None:
        principal.require_node(node)
