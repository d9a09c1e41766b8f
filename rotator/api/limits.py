"""Limits on what reaches no route yet: how long a request's head may take, and how large it is.

uvicorn has no deadline for headers: of 200 half-open connections 200 lived on. This is the one
module beside the composition root that knows uvicorn, since a protocol class is the only place
where it lets one be added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: application/problem+json\r\ncontent-length: %d\r\n"
    b"cache-control: no-store\r\nconnection: close\r\n\r\n%s"
)
_PROBLEM = (
    b'{"type": "/problems/head_too_large", "title": "Head too large", "status": 431,'
    b' "code": "head_too_large", "detail": "The request\'s head is too large.", "request_id": ""}'
)


class DeadlineProtocol(HttpToolsProtocol):
    """Closes connections whose request head is late or too large."""

    head_deadline: ClassVar[float] = 10.0  #: seconds from connecting, or from a head's first byte
    max_head_bytes: ClassVar[int] = 32 * 1024

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The head is awaited from now on."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head that is not complete."""
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self.max_head_bytes:
                self._refuse()

    def on_message_begin(self) -> None:
        """The first byte of a head has come."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        if self._deadline is None:
            self._arm()

    def on_headers_complete(self) -> None:
        """The head is there; it starts a request unless it is too large."""
        self._disarm()
        self._in_head = False
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.max_head_bytes:
            self._refuse()
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A request that was refused has no body."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request that was refused does not end either."""
        if not self.transport.is_closing():
            super().on_message_complete()

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(self.head_deadline, self._too_late)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        # An abort: a peer that reads nothing would keep a close waiting for its buffer.
        self._deadline = None
        self.transport.abort()

    def _refuse(self) -> None:
        self._disarm()
        self.transport.write(_TOO_LARGE % (len(_PROBLEM), _PROBLEM))
        self.transport.close()
