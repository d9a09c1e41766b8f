"""Requests to a Kubernetes API: bounded in time, with errors that say whether to try again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import httpx

import rotator
from rotator.errors import KubernetesAway, KubernetesRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rotator.kubernetes.place import Place

_MAX_TEXT: Final = 500
_MAX_TOKEN: Final = 64 * 1024
_MAX_ANSWER: Final = 8 * 1024 * 1024
_WHOLE: Final = 3.0  #: times the seconds of one step, for all of them together


@dataclass(frozen=True, slots=True)
class Answer:
    """An object, and the server's clock when it answered."""

    item: dict[str, Any]
    at: datetime


class KubernetesApi:
    """One API server. Each request is made once: whoever asks knows whether it may be repeated."""

    def __init__(self, place: Place, *, seconds: float = 10.0) -> None:
        self._place = place
        self._seconds = _WHOLE * seconds
        self._http = httpx.AsyncClient(
            base_url=place.address,
            verify=place.trust(),
            timeout=httpx.Timeout(seconds, connect=min(seconds, 5.0)),
            headers={
                "user-agent": f"rotator/{rotator.__version__}",
                "accept": "application/json",
                "accept-encoding": "identity",  # What is bounded is what is read.
            },
            trust_env=False,  # A proxy is not asked for what is in the cluster.
        )

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()

    async def get(self, path: str) -> Answer:
        """One object; `KubernetesRefused` (404: there is none) or `KubernetesAway`."""
        return await self._ask("GET", path)

    async def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Make something; after `KubernetesAway` it may have been made, or not."""
        return await self._ask("POST", path, body)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        # What httpx says may quote a header; only words of our own go on from here.
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._http.stream(method, path, json=body, headers=self._credentials()) as answer,
            ):
                said = _read(await _bounded(answer))
        except (httpx.TimeoutException, TimeoutError):
            raise KubernetesAway("the Kubernetes API does not answer in time") from None
        except httpx.HTTPError as error:
            kind = type(error).__name__
            raise KubernetesAway(f"the Kubernetes API cannot be reached ({kind})") from None
        if answer.is_success and said is not None:
            return Answer(said, _clock(answer))
        raise _refusal(answer, said or {})

    def _credentials(self) -> dict[str, str]:
        path = self._place.token_file
        if path is None:
            return {}
        try:
            with path.open(encoding="ascii") as file:
                token = file.read(_MAX_TOKEN).strip()
        except (OSError, UnicodeError) as error:
            raise KubernetesAway(
                f"the token file {path} cannot be read ({type(error).__name__})"
            ) from None
        if not token or not all("!" <= letter <= "~" for letter in token):
            raise KubernetesAway(f"{path} holds no token")
        return {"authorization": f"Bearer {token}"}


async def _bounded(answer: httpx.Response) -> bytes:
    """The body as it comes; nothing of one that is too long, of which no more is read."""
    found = bytearray()
    async for piece in answer.aiter_raw():
        found += piece
        if len(found) > _MAX_ANSWER:
            return b""
    return bytes(found)


def _read(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _clock(answer: httpx.Response) -> datetime:
    try:
        return parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)  # noqa: TID251 - the answer brings no clock


def _refusal(answer: httpx.Response, said: dict[str, Any]) -> KubernetesAway | KubernetesRefused:
    message = _line(said.get("message")) or f"status {answer.status_code}"
    causes = _causes(said)
    is_passing = answer.status_code == HTTPStatus.TOO_MANY_REQUESTS and not causes
    if not said or said.get("kind") != "Status" or is_passing:
        return KubernetesAway(f"the Kubernetes API answers {answer.status_code}")
    return KubernetesRefused(
        f"Kubernetes: {'; '.join((message, *causes))}",
        status=answer.status_code,
        reason=_line(said.get("reason")),
    )


def _causes(said: dict[str, Any]) -> tuple[str, ...]:
    details = said.get("details")
    found = details.get("causes") if isinstance(details, dict) else None
    causes = found if isinstance(found, list) else []
    return tuple(_line(one.get("message")) for one in causes if isinstance(one, dict))


def _line(text: object) -> str:
    """It goes to logs, so nothing in it may look like more than a sentence."""
    told = text[:_MAX_TEXT] if isinstance(text, str) else ""
    return "".join(letter if letter.isprintable() else " " for letter in told)
