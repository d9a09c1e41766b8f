"""Where the service answers, as its settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rotator.api.certificate import Tls
from rotator.api.doors import of_health
from rotator.api.serving import Listener

if TYPE_CHECKING:
    from rotator.api.doors import Doors
    from rotator.settings import Settings

App = Any  #: an ASGI application


def tls(settings: Settings) -> Tls | None:
    """Certificate and key; None where the API is served without."""
    listen = settings.listen
    if listen.tls_certificate is None or listen.tls_key is None:
        return None
    return Tls(certificate=listen.tls_certificate, key=listen.tls_key)


def listeners(app: App, health: App, settings: Settings, *, doors: Doors) -> list[Listener]:
    """The API behind its doors, and the health of the process on a port and behind doors of its own."""
    listen = settings.listen
    served = Listener(
        app=app,
        address=listen.address,
        port=listen.port,
        setting="listen.port",
        tls=tls(settings),
        doors=doors,
    )
    healthy = Listener(
        app=health,
        address=listen.address,
        port=listen.health_port,
        setting="listen.health_port",
        doors=of_health(),
    )
    return [served, healthy]
