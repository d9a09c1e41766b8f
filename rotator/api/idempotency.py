"""``Idempotency-Key``: a request that is repeated is done once, and answered the same.

The receipt is stored in the same transaction as the change, so no crash comes between. Only
answers that went well are kept: whatever was refused may be tried again under its key.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from rotator.api import bodies
from rotator.api.dependencies import as_json, principal_of, services_of
from rotator.api.problems import KeyReused, StillRunning
from rotator.errors import InputError
from rotator.ports.state_store import Receipt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.requests import Request

    from rotator.domain.cluster import Cluster
    from rotator.domain.rotation import Rotation
    from rotator.services.changes import ReceiptFor

REPLAYED: Final = "idempotent-replayed"
_KEY: Final = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An idempotency key, bound to who sent it and to what was asked."""

    principal: str
    text: str
    request_hash: str  #: SHA-256 of method, path and body

    def digest(self, purpose: str) -> str:
        """64 hex digits that are the same whenever this principal sends this key."""
        parts = f"{purpose}\0{self.principal}\0{self.text}"
        return hashlib.sha256(parts.encode()).hexdigest()


async def key_of(request: Request) -> Key | None:
    """The key of the request, if it carries one."""
    text = request.headers.get("idempotency-key")
    if text is None:
        return None
    if _KEY.fullmatch(text) is None:
        raise InputError("an idempotency key has 1 to 255 printable characters")
    body = await bodies.read(request)
    asked = f"{request.method} {request.url.path}?{request.url.query}\n".encode() + body
    return Key(
        principal=principal_of(request).id,
        text=text,
        request_hash=hashlib.sha256(asked).hexdigest(),
    )


@contextmanager
def alone(request: Request, key: Key) -> Iterator[None]:
    """While this key is being served; `StillRunning` if it is already."""
    running: set[tuple[str, str]] = request.app.state.running_keys
    slot = (key.principal, key.text)
    if slot in running:
        raise StillRunning
    running.add(slot)
    try:
        yield
    finally:
        running.discard(slot)


async def once(
    request: Request,
    *,
    act: Callable[[ReceiptFor | None], Awaitable[object]],
    render: Callable[[Cluster, Rotation | None], object],
    status: int = HTTPStatus.OK,
    location: Callable[[dict[str, object]], str] | None = None,
) -> Response:
    """Do *act* once under the request's key; without a key, just do it.

    *act* returns the answer where nothing is to be kept. With a key it is given what makes the
    receipt, and the answer is the one that the receipt holds.
    """

    def answer(body: str, **headers: str) -> Response:
        if location is not None:
            headers["location"] = location(json.loads(body))
        return Response(body, status, headers=headers, media_type="application/json")

    key = await key_of(request)
    if key is None:
        return answer(as_json(await act(None)))
    states = services_of(request).queries.states
    with alone(request, key):
        now = await states.now()
        found = await states.receipt(key.principal, key.text, now=now)
        if found is not None:
            require_same(key, found.request_hash)
            return answer(found.body, **{REPLAYED: "true"})

        def receipt_for(cluster: Cluster, rotation: Rotation | None) -> Receipt:
            return Receipt(
                principal=key.principal,
                key=key.text,
                request_hash=key.request_hash,
                status=status,
                body=as_json(render(cluster, rotation)),
                at=now,
            )

        return answer(as_json(await act(receipt_for)))


def require_same(key: Key, request_hash: str) -> None:
    """`KeyReused` if the key was used for another request."""
    if key.request_hash != request_hash:
        raise KeyReused
