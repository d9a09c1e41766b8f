"""The service, as a node's agent asks it: three calls, each cancellable and bounded in time."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import h11
import msgspec

import rotator
from rotator.errors import AgentConflict, AgentRefused, ConfigurationError, ServiceAway
from rotator.protocol import v1

if TYPE_CHECKING:
    from pathlib import Path

_T = TypeVar("_T")
_MAX_ANSWER: Final = 8 * 1024 * 1024
_SECONDS: Final = 10.0  #: for an answer, besides the time that a long poll waits
_CONNECT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    body: bytes


class Server:
    """One service, one cluster, one token; a connection a call."""

    def __init__(self, *, url: str, cluster: str, token_file: Path, ca_cert: Path | None) -> None:
        scheme, self._authority, self._host, self._port = _place(url)
        self._tls = _trust(ca_cert) if scheme == "https" else None
        self._name = cluster
        self._cluster = f"/v1/clusters/{quote(cluster, safe='')}"
        self._token_file = token_file

    async def desired(
        self, node: str, *, generation: int | None = None, wait: int = 0
    ) -> v1.Desired | None:
        """Desired state of *node*; None if it is still that *generation* after *wait* seconds.

        Raises `ServiceAway` or `AgentRefused`.
        """
        query = f"node={quote(node, safe='')}"
        if generation is not None:
            query += f"&generation={generation}&wait={wait}s"
        path = f"{self._cluster}/cookie?{query}"
        answer = await self._ask("GET", path, node=node, seconds=wait + _SECONDS)
        if answer.status == HTTPStatus.NOT_MODIFIED:
            return None
        return _decoded(v1.Desired, answer)

    async def attest(self, node: str, report: v1.Attestation) -> v1.Attested:
        """Tell; raises `ServiceAway`, `AgentRefused`, or `AgentConflict` where it came too late."""
        path = f"{self._cluster}/nodes/{quote(node, safe='')}"
        answer = await self._ask("PUT", path, asdict(report), node=node, seconds=_SECONDS)
        return _decoded(v1.Attested, answer)

    async def leave(self, node: str, reason: str) -> None:
        """The node leaves in good order."""
        path = f"{self._cluster}/nodes/{quote(node, safe='')}/leave"
        await self._ask("POST", path, {"reason": reason}, node=node, seconds=_SECONDS)

    async def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        node: str,
        seconds: float,
    ) -> _Answer:
        try:
            async with asyncio.timeout(seconds):
                answer = await self._exchange(method, path, body)
        except (OSError, TimeoutError, h11.ProtocolError, EOFError) as error:
            # Of these only the kind is told: what came from elsewhere may hold anything.
            raise ServiceAway(
                f"the service at {self._authority} does not answer ({type(error).__name__})"
            ) from None
        if answer.status in {HTTPStatus.OK, HTTPStatus.NOT_MODIFIED}:
            return answer
        raise _refused(answer, hint=self._hint(answer.status, node))

    def _hint(self, status: int, node: str) -> str:
        """Which of our settings such a refusal is about."""
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return f"the token in {self._token_file}, for {_one_line(node)}"
        if status == HTTPStatus.NOT_FOUND:
            name = _one_line(self._name)
            return f"no cluster {name} there, or not in this token's scope"
        return ""

    async def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> _Answer:
        content = b"" if body is None else json.dumps(body).encode()
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        try:
            http = h11.Connection(h11.CLIENT)
            sent = http.send(self._head(method, path, len(content)))
            sent += http.send(h11.Data(data=content)) if content else b""
            sent += http.send(h11.EndOfMessage()) or b""
            writer.write(sent)
            await writer.drain()
            return await _received(http, reader)
        finally:
            writer.transport.abort()

    def _head(self, method: str, path: str, length: int) -> h11.Request:
        headers = [
            ("Host", self._authority),
            ("Authorization", f"Bearer {self._token()}"),
            ("Accept", "application/json"),
            ("User-Agent", f"rotator-agent/{rotator.__version__}"),
            ("Connection", "close"),
        ]
        if length:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(length))]
        return h11.Request(method=method, target=path, headers=headers)

    def _token(self) -> str:
        """Read anew at each call, so that a token can be replaced in its place."""
        try:
            text = self._token_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise AgentRefused(f"the token file {self._token_file} does not exist") from None
        except OSError as error:
            raise AgentRefused(
                f"the token file {self._token_file} cannot be read: {error.strerror}"
            ) from None
        except UnicodeError:
            raise AgentRefused(f"there is no token in {self._token_file}") from None
        if not text or not text.isprintable() or " " in text:
            raise AgentRefused(f"{self._token_file} holds no token")
        return text


def _place(url: str) -> tuple[str, str, str, int]:
    """Scheme, authority, host, port; the error does not repeat it, for it may hold a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    rest = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    is_plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in {"http", "https"} or not host or port == 0 or rest or not is_plain:
        raise ConfigurationError("service: http(s)://host:port is wanted, and no more")
    return parts.scheme, parts.netloc, host, port or (443 if parts.scheme == "https" else 80)


def _trust(ca_cert: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_cert is None else str(ca_cert))
    except OSError:
        raise ConfigurationError(f"ca_cert: {ca_cert} holds no certificates") from None


async def _received(http: h11.Connection, reader: asyncio.StreamReader) -> _Answer:
    status, body = 0, bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MAX_ANSWER:
                raise EOFError
        elif isinstance(event, h11.EndOfMessage):
            return _Answer(status=status, body=bytes(body))
        elif not isinstance(event, h11.InformationalResponse):
            raise EOFError


def _decoded(kind: type[_T], answer: _Answer) -> _T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        # The text of the error could repeat a part of the answer, which holds cookies.
        raise ServiceAway("the service's answer is not one of this contract") from None


def _refused(answer: _Answer, *, hint: str) -> ServiceAway | AgentRefused:
    try:
        problem = msgspec.json.decode(answer.body, type=dict)
        code = _one_line(problem.get("code"))[:100]
        detail = _one_line(problem.get("detail"))[:500]
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        code = detail = ""
    is_passing = answer.status == HTTPStatus.TOO_MANY_REQUESTS
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or is_passing or not code:
        return ServiceAway(f"the service answers {answer.status} {code}".rstrip())
    is_conflict = answer.status == HTTPStatus.CONFLICT
    kind = AgentConflict if is_conflict else AgentRefused
    told = detail or code
    return kind(f"the service refuses: {told}" + (f" ({hint})" if hint else ""))


def _one_line(text: object) -> str:
    """It goes to a log and a terminal, so nothing in it may look like more than a sentence."""
    told = text if isinstance(text, str) else ""
    return "".join(letter if letter.isprintable() else " " for letter in told)
