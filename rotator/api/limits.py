"""Deadlines and sizes of a connection: of a head, a body, an idle while, and a peer that reads nothing.

uvicorn has a deadline for an idle connection alone, and a single byte undoes it: of 200 half-open
connections 200 lived on. This is the one module beside `serving` that knows uvicorn, since a
protocol class is the only place where it lets deadlines be added.

At each moment of a connection's life one of them runs, but while a request is being answered (a
long poll waits for minutes): that is bounded by whoever answers. Every one ends in an abort: a
peer that reads nothing would keep a close waiting for its buffer.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rotator.api.doors import Doors

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

#: For who is told before a request can be read, and so before there is an id.
_NO_ID: Final = ""


def _answer(status: HTTPStatus, *, code: str, detail: str, more: str = "") -> bytes:
    problem = {
        "type": f"/problems/{code}",
        "title": status.phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": _NO_ID,
    }
    body = json.dumps(problem)
    head = (
        f"HTTP/1.1 {status:d} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\ncache-control: no-store\r\n{more}connection: close\r\n\r\n"
    )
    return (head + body).encode("ascii")


_TOO_LARGE: Final = _answer(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    code="head_too_large",
    detail="The request's head is too large.",
)
_MALFORMED: Final = _answer(
    HTTPStatus.BAD_REQUEST, code="malformed_head", detail="This is no request of HTTP/1.1."
)
_TOO_MANY: Final = _answer(
    HTTPStatus.TOO_MANY_REQUESTS,
    code="too_many_connections",
    detail="There are too many connections, from this address or in all; come back later.",
    more="retry-after: 5\r\n",
)


class DeadlineProtocol(HttpToolsProtocol):
    """Cuts connections that are late, and refuses those that are too many or too large."""

    doors: ClassVar[Doors] = Doors()
    #: Seconds for a handshake of TLS, and for its end: asyncio gives them 60 and 30.
    tls_deadline: ClassVar[float] = 10.0
    head_deadline: ClassVar[float] = 10.0  #: seconds from connecting, or from a head's first byte
    #: Seconds from the head's end to the body's. Whoever reads it is to give up before, and say so.
    body_deadline: ClassVar[float] = 12.0
    #: Seconds from an answer to the next head. uvicorn closes earlier, unless a byte has come.
    idle_deadline: ClassVar[float] = 10.0
    #: Seconds in which a peer takes what waits for it.
    taking_deadline: ClassVar[float] = 10.0
    max_head_bytes: ClassVar[int] = 32 * 1024

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._is_in = self._is_lost = False
        self._in_head = self._is_first = True
        self._is_read = False  #: the last request has come to its end
        self._is_deaf = False  #: nothing more is taken: the connection ends with the next answer
        self._head_bytes = 0

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The head is awaited from now on."""
        super().connection_made(transport)
        self._arm(self.head_deadline)
        self._is_in = self.doors.enter(self._address, self)
        if not self._is_in:
            self._refuse(_TOO_MANY)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._is_lost = True
        if self._is_in:
            self._is_in = False
            self.doors.leave(self._address, self)
        self._disarm()
        self._taken()
        super().connection_lost(exc)

    def give_way(self) -> bool:
        """Go for a newcomer, unless an answer is being made."""
        if self._is_answering or not self._is_in:
            return False
        self._is_in = False
        self.doors.leave(self._address, self)
        self.transport.abort()
        return True

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head that is not complete."""
        if self._is_deaf or self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self.max_head_bytes:
                self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """The first byte of a head has come. Who does not await an answer gets no other one.

        Pipelined requests would be queued without bound, and run when their caller is long gone.
        """
        if self._is_deaf:
            return
        if self._is_answering:
            self.cycle.keep_alive = False
            self._is_deaf = True
            return
        super().on_message_begin()
        self._in_head, self._is_read = True, False
        self._head_bytes = 0
        if not self._is_first:
            self._arm(self.head_deadline)
        self._is_first = False

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        if not self._is_deaf:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of a head."""
        if not self._is_deaf:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there; it starts a request unless it is too large."""
        if self._is_deaf:
            return
        self._in_head = False
        self._arm(self.body_deadline)
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.max_head_bytes:
            self._refuse(_TOO_LARGE)
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A request that was refused has no body."""
        if not self._is_deaf and not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has come to its end; one that was refused has none."""
        if self._is_deaf or self.transport.is_closing():
            return
        super().on_message_complete()
        self._is_read = True
        if self.cycle.response_complete:
            self._arm(self.idle_deadline)
        else:
            self._disarm()

    def on_response_complete(self) -> None:
        """The next head is awaited, unless the body of this request still is."""
        super().on_response_complete()
        if self._is_read:
            self._arm(self.idle_deadline)

    def pause_writing(self) -> None:
        """More waits for the peer than is kept for it."""
        super().pause_writing()
        if self._taking is None and not self._is_lost:
            self._taking = self.loop.call_later(self.taking_deadline, self._too_late)

    def resume_writing(self) -> None:
        """The peer has taken it."""
        super().resume_writing()
        self._taken()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words
        """As a problem, like every other refusal; what nobody listens to is none."""
        if not self._is_deaf:
            self._refuse(_MALFORMED)

    def _arm(self, seconds: float) -> None:
        self._disarm()
        if not self._is_lost:
            self._deadline = self.loop.call_later(seconds, self._too_late)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _taken(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _too_late(self) -> None:
        # Told at once: uvloop refuses a write to what is aborted, before the loss is known.
        if self._is_answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_writing()
        self.transport.abort()

    def _refuse(self, answer: bytes) -> None:
        self._arm(self.idle_deadline)
        self.transport.write(answer)
        self.transport.close()
