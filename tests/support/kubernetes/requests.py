"""One request: who asks, what for, and the answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from tests.support.kubernetes import kinds, patches, protobuf
from tests.support.kubernetes.accounts import Accounts, User
from tests.support.kubernetes.evictions import delete_pod, evict
from tests.support.kubernetes.kinds import Kind
from tests.support.kubernetes.reading import Reading
from tests.support.kubernetes.store import Item, Refused, Store
from tests.support.kubernetes.tables import table

_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_STEPS = "application/json-patch+json"
_MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"


@dataclass(frozen=True, slots=True)
class Path:
    """What a request is about."""

    kind: Kind
    namespace: str
    name: str
    sub: str

    @property
    def what(self) -> str:
        """As RBAC names it."""
        return f"{self.kind.plural}/{self.sub}" if self.sub else self.kind.plural


def parsed(path: str) -> Path:
    """`/api/v1/…` or `/apis/<group>/v1/…`; 404."""
    parts = path.strip("/").split("/")
    group, rest = ("", parts[1:]) if parts[0] == "api" else (parts[1], parts[2:])
    version, *rest = rest or [""]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    plural, name, sub, *more = [*rest, "", "", ""][:4]
    kind = kinds.find(group, version, plural)
    if kind is None or any(more):
        raise Refused(404, "NotFound", "the server could not find the requested resource")
    return Path(kind, namespace, name, sub)


class Requests:
    """Serves what is below `/api` and `/apis`."""

    def __init__(self, store: Store, accounts: Accounts) -> None:
        self._store = store
        self._accounts = accounts

    async def serve(self, request: Request) -> Response:
        """The answer, or a `Status`."""
        try:
            user = self._user(request)
            path = parsed(request.url.path)
            verb = _verb(request, path)
            self._require(user, verb, path)
            body = await _body(request)
            if verb in {"list", "watch"}:
                return self._read(request, path, verb)
            code = 201 if verb == "create" else 200
            answer = self._act(request, path, verb, body, user)
            if verb in {"get", "create"} and not path.sub and "as=Table" in _accept(request):
                answer = table(path.kind, [answer], self._store.version)
            return JSONResponse(answer, code)
        except Refused as error:
            headers = {"Retry-After": "1"} if error.details.get("retryAfterSeconds") else None
            return JSONResponse(error.status(), error.code, headers)

    def _user(self, request: Request) -> User:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        found = self._accounts.user_of(token) if scheme == "Bearer" else None
        if found is None:
            raise Refused(401, "Unauthorized", "Unauthorized")
        return found[0]

    def _require(self, user: User, verb: str, path: Path) -> None:
        group, space = path.kind.group, path.namespace
        is_own = path.kind.plural.startswith("selfsubject")
        if not is_own and not self._accounts.may(user, verb, group, path.what, namespace=space):
            raise Refused(
                403, "Forbidden",
                f'{path.kind.plural} is forbidden: User "{user.name}" cannot {verb} resource'
                f' "{path.what}" in API group "{group}" in the namespace "{space}"',
            )  # fmt: skip

    def _read(self, request: Request, path: Path, verb: str) -> Response:
        reading = Reading(
            store=self._store,
            kind=path.kind,
            namespace=path.namespace,
            query=request.query_params,
            is_table="as=Table" in _accept(request),
        )
        if verb == "watch":
            return StreamingResponse(reading.watched(), media_type="application/json")
        return JSONResponse(reading.listed())

    # --- acting -----------------------------------------------------------------------------

    def _act(self, request: Request, path: Path, verb: str, body: Any, user: User) -> Item:
        kind, store = path.kind, self._store
        if special := self._reviewed(path, body, user):
            return special
        if verb == "get":
            return store.get(kind, path.namespace, path.name)
        if verb == "create":
            return self._create(path, body)
        if verb == "delete":
            return self._delete(path, body or {})
        found = store.get(kind, path.namespace, path.name)
        made = body if verb == "update" else _patched(request, found, body)
        made.setdefault("metadata", {}).setdefault("name", path.name)
        if kind.is_namespaced:
            made["metadata"]["namespace"] = path.namespace
        return store.update(kind, made, is_status=path.sub == "status")

    def _create(self, path: Path, body: Any) -> Item:
        if path.sub == "eviction":
            pod = self._store.get(path.kind, path.namespace, path.name)
            return evict(self._store, pod, body.get("deleteOptions"))
        if path.sub == "token":
            spec = body.get("spec", {})
            return {**body, "status": self._accounts.issue(path.namespace, path.name, spec)}
        if path.kind.plural == "pods":
            body["status"] = {"phase": "Pending"}
        if path.kind.plural == "statefulsets":
            spec = body["spec"]
            spec.setdefault("replicas", 1)
            spec.setdefault("podManagementPolicy", "OrderedReady")
            strategy = spec.setdefault("updateStrategy", {"type": "RollingUpdate"})
            if strategy["type"] == "RollingUpdate":
                strategy.setdefault("rollingUpdate", {"partition": 0})
        return self._store.create(path.kind, path.namespace, body)

    def _delete(self, path: Path, options: Item) -> Item:
        found = self._store.get(path.kind, path.namespace, path.name)
        if path.kind.plural == "pods":
            return delete_pod(self._store, found, options)
        return self._store.remove(path.kind, path.namespace, path.name)

    def _reviewed(self, path: Path, body: Any, user: User) -> Item | None:
        plural = path.kind.plural
        if plural == "tokenreviews":
            return {**body, "status": self._accounts.review(body.get("spec", {}))}
        if plural == "selfsubjectreviews":
            return {**body, "status": {"userInfo": user.shown()}}
        if plural == "selfsubjectaccessreviews":
            asked = body["spec"].get("resourceAttributes", {})
            sub = asked.get("subresource")
            what = asked.get("resource", "") + (f"/{sub}" if sub else "")
            is_allowed = self._accounts.may(
                user, asked.get("verb", ""), asked.get("group", ""), what,
                namespace=asked.get("namespace", ""),
            )  # fmt: skip
            return {**body, "status": {"allowed": is_allowed}}
        return None


def _accept(request: Request) -> str:
    """The first that is not protobuf, which is not spoken here."""
    wanted = request.headers.get("accept", "").split(",")
    return next((one for one in wanted if "protobuf" not in one), "")


def _verb(request: Request, path: Path) -> str:
    if request.method == "GET" and not path.name:
        return "watch" if request.query_params.get("watch") in {"true", "1"} else "list"
    return _VERBS[request.method]


async def _body(request: Request) -> Any:
    raw = await request.body()
    if not raw:
        return None
    try:
        return protobuf.decoded(raw) if raw.startswith(protobuf.MAGIC) else json.loads(raw)
    except ValueError as error:
        raise Refused(415, "UnsupportedMediaType", f"JSON is wanted: {error}") from None


def _patched(request: Request, found: Item, body: Any) -> Item:
    how = request.headers.get("content-type", "").partition(";")[0]
    try:
        if how == _STEPS:
            return dict(patches.by_steps(found, body))
        if how in {_MERGE, _STRATEGIC}:
            return dict((patches.merged if how == _MERGE else patches.strategic)(found, body))
    except (ValueError, KeyError, IndexError) as error:
        raise Refused(422, "Invalid", f"the patch does not fit: {error}") from None
    raise Refused(415, "UnsupportedMediaType", f"patches of {how} are not known here")
