"""Sockets and servers: the API and the health port, from one process, until it is told to end."""

from __future__ import annotations

import asyncio
import signal
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from rotator.api.certificate import Renewal
from rotator.api.limits import DeadlineProtocol
from rotator.errors import ConfigurationError

if TYPE_CHECKING:
    from rotator.api.certificate import Tls
    from rotator.api.doors import Doors

_GRACEFUL_SECONDS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """An application, and where it is to be served; *setting* names the port in errors."""

    app: Any  #: an ASGI application
    address: str
    port: int
    setting: str
    tls: Tls | None = None
    protocol: type[DeadlineProtocol] = DeadlineProtocol
    doors: Doors | None = None  #: who may connect; None: as the protocol says

    def bind(self) -> socket.socket:
        """A socket of its own; `ConfigurationError` names the setting."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        bound = socket.socket(family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((self.address, self.port))
        except OSError as error:
            bound.close()
            raise ConfigurationError(
                f"{self.setting}: {self.address} port {self.port} cannot be used: {error.strerror}"
            ) from None
        return bound

    def server(self) -> uvicorn.Server:
        """What serves it."""
        config = uvicorn.Config(
            self.app,
            host=self.address,
            port=self.port,
            http=self._protocol(),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACEFUL_SECONDS,
            ssl_certfile=self.tls.certificate if self.tls else None,
            ssl_keyfile=self.tls.key if self.tls else None,
        )
        return Server(config, renewal=Renewal(self.tls) if self.tls else None)

    def _protocol(self) -> type[DeadlineProtocol]:
        if self.doors is None:
            return self.protocol
        return type("Protocol", (self.protocol,), {"doors": self.doors})


class Server(uvicorn.Server):
    """uvicorn's own, with a deadline for the handshake of TLS: until its end there is no protocol.

    And with a look each second at whether there is a new certificate.
    """

    def __init__(self, config: uvicorn.Config, *, renewal: Renewal | None) -> None:
        super().__init__(config)
        self._renewal = renewal

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; whether to end."""
        if counter % 10 == 0 and self._renewal is not None and self.config.ssl is not None:
            self._renewal.look(self.config.ssl)
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen on *sockets*."""
        await super().startup(sockets=[])
        self.started = False
        loop, config = asyncio.get_running_loop(), self.config
        kind: Any = config.http_protocol_class
        seconds = None if config.ssl is None else kind.tls_deadline
        for bound in sockets or ():
            server = await loop.create_server(
                self._protocol,
                sock=bound,
                ssl=config.ssl,
                backlog=config.backlog,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=seconds,
            )
            self.servers.append(server)
        self.started = True

    def _protocol(self) -> asyncio.Protocol:
        made: type[Any] = self.config.http_protocol_class
        protocol: asyncio.Protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


async def run(
    listeners: list[Listener], sockets: list[socket.socket], closing: asyncio.Event
) -> None:
    """Serve until a signal comes, *closing* is set, or one of the servers ends."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, closing.set)
    servers = [listener.server() for listener in listeners]
    running = [
        loop.create_task(server._serve([bound]))  # noqa: SLF001 - see below
        for server, bound in zip(servers, sockets, strict=True)
    ]
    # `serve()` is `_serve()` with signal handlers of its own, and two of them would undo each other.
    ending = loop.create_task(closing.wait())
    await asyncio.wait([*running, ending], return_when=asyncio.FIRST_COMPLETED)
    closing.set()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*running)
    ending.cancel()
