"""A service out of asyncio that answers an agent with given bytes, and keeps what it heard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

HANG = None  #: says nothing more, and holds the connection open

Say = Callable[[str], bytes | None]


def http(status: int, body: object = b"", *headers: str) -> bytes:
    """A whole answer; what is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


def problem(status: int, code: str = "", detail: str = "") -> bytes:
    """An error of the service."""
    return http(status, {"code": code, "detail": detail})


@dataclass
class Service:
    """`say` gets the request's head, and gives the answer; it may be replaced at any time."""

    say: Say
    port: int = 0
    heads: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    open: int = 0  #: connections
    _hanging: list[asyncio.StreamWriter] = field(default_factory=list)

    def count(self, method: str) -> int:
        """How many requests of this method there were."""
        return sum(head.startswith(f"{method} ") for head in self.heads)

    def hang_up(self) -> None:
        """End what hangs."""
        for writer in self._hanging:
            writer.close()
        self._hanging.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        self.open += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                (
                    int(line[15:])
                    for line in head.lower().splitlines()
                    if line.startswith("content-length")
                ),
                0,
            )
            body = await reader.readexactly(length)
            self.heads.append(head)
            if body:
                self.bodies.append(json.loads(body))
            answer = self.say(head)
            if answer is None:
                self._hanging.append(writer)
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            self.open -= 1
            writer.close()


@contextlib.asynccontextmanager
async def serving(say: Say, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Service]:
    """The service at a free port of 127.0.0.1."""
    service = Service(say)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, ssl=tls)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        server.close()


def desired(**changes: Any) -> dict[str, Any]:
    """Desired state as JSON, as the service gives it."""
    return {
        "cluster": "orders",
        "cluster_uid": "ab" * 16,
        "fingerprint_key": "a2V5a2V5a2V5a2V5",
        "generation": 3,
        "phase": None,
        "adoption": "hot",
        "adopt": 1,
        "join": True,
        "current": {"number": 1, "cookie": "CANARYCURRENT"},
        "previous": None,
        "pending": None,
        "refuse": [],
        "lock": None,
        "members": {},
        "pairs": {},
        **changes,
    }
