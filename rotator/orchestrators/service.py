"""The rollout, as an orchestrator asks for it: three calls, bounded in time and safe to repeat."""

from __future__ import annotations

import ssl
import uuid
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

import httpx
import msgspec

import rotator
from rotator.errors import ClaimOver, ConfigurationError, RolloutAway, RolloutRefused
from rotator.protocol import v1

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")
_SECONDS: Final = 10.0
_MAX_TEXT: Final = 500


class RolloutService:
    """One cluster at one service."""

    def __init__(
        self, *, address: str, cluster: str, token: Callable[[], str], ca_cert: str = ""
    ) -> None:
        self._token = token  # asked at every call, so that it can be replaced
        self._path = f"/v1/clusters/{quote(cluster, safe='')}/rollout"
        self._http = httpx.AsyncClient(
            base_url=address,
            verify=_trust(ca_cert) if address.startswith("https:") else False,
            headers={"user-agent": f"rotator/{rotator.__version__}"},
            trust_env=False,
        )

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()

    async def rollout(self, *, revision: int | None = None, wait: int = 0) -> v1.Rollout | None:
        """What may restart, what is under way, what waits; None: still that *revision*.

        Raises `RolloutAway` or `RolloutRefused`, as every call here.
        """
        query = {} if revision is None else {"revision": str(revision), "wait": f"{wait}s"}
        answer = await self._ask("GET", self._path, seconds=wait + _SECONDS, params=query)
        if answer.status_code == HTTPStatus.NOT_MODIFIED:
            return None
        return _decoded(v1.Rollout, answer)

    async def take(self, nodes: Sequence[str], *, holder: str, key: str = "") -> list[v1.Claim]:
        """Claims for some of *nodes*; the same again for the same *key*."""
        body = v1.TakeClaims(max=min(len(nodes), 100), nodes=list(nodes), holder=holder)
        headers = {"idempotency-key": key or str(uuid.uuid4())}
        path = f"{self._path}/claims"
        answer = await self._ask("POST", path, json=asdict(body), headers=headers)
        return _decoded(v1.Claims, answer).claims

    async def change(self, claim: v1.Claim, state: str, *, detail: str = "") -> v1.Claim:
        """Renew a claim, or say how far it is; `ClaimOver` when the node must not be touched for it."""
        body = v1.ChangeClaim(state=state, token=claim.token, detail=detail[:_MAX_TEXT])
        path = f"{self._path}/claims/{quote(claim.id, safe='')}"
        return _decoded(v1.Claim, await self._ask("PUT", path, json=asdict(body)))

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        seconds: float = _SECONDS,
        headers: dict[str, str] | None = None,
        **more: Any,  # noqa: ANN401 - as httpx takes it
    ) -> httpx.Response:
        sent = {"authorization": f"Bearer {self._token()}", **(headers or {})}
        timeout = httpx.Timeout(seconds, connect=min(seconds, 5.0))
        # What httpx says may quote a header; only words of our own go on from here.
        try:
            answer = await self._http.request(method, path, headers=sent, timeout=timeout, **more)
        except httpx.HTTPError as error:
            kind = type(error).__name__
            raise RolloutAway(f"the service does not answer ({kind})") from None
        if answer.is_success or answer.status_code == HTTPStatus.NOT_MODIFIED:
            return answer
        raise _refusal(answer)


def _trust(ca_cert: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_cert or None)
    except OSError:
        raise ConfigurationError(f"{ca_cert} holds no certificates") from None


def _decoded(kind: type[_T], answer: httpx.Response) -> _T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise RolloutAway("the service's answer is not one of this contract") from None


def _refusal(answer: httpx.Response) -> RolloutAway | RolloutRefused:
    try:
        problem = msgspec.json.decode(answer.content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        problem = {}
    code, detail = _line(problem.get("code")), _line(problem.get("detail"))
    is_passing = answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or is_passing or not code:
        return RolloutAway(f"the service answers {answer.status_code} {code}".rstrip())
    if code == "claim_lost" or (answer.status_code == HTTPStatus.NOT_FOUND and "claim" in detail):
        return ClaimOver(detail)
    return RolloutRefused(f"the service refuses: {detail or code}")


def _line(text: object) -> str:
    told = text[:_MAX_TEXT] if isinstance(text, str) else ""
    return "".join(letter if letter.isprintable() else " " for letter in told)
