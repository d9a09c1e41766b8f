"""The certificate that the API shows, read again when its files change: as cert-manager renews them."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rotator.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Where the certificate, with its chain, and its key lie (PEM)."""

    certificate: Path
    key: Path

    def require(self) -> None:
        """Fail with a sentence, before anything is opened, where uvicorn would with a traceback."""
        self.load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def load(self, context: ssl.SSLContext) -> None:
        """Show it from now on to whoever connects; `ConfigurationError`."""
        try:
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigurationError(
                "listen.tls_certificate and listen.tls_key cannot be used:"
                f" {error.strerror or type(error).__name__}"
            ) from None

    def stamp(self) -> tuple[object, ...]:
        """Another one when a file was written, replaced, or given to another user."""
        return _stamp(self.certificate) + _stamp(self.key)


def _stamp(path: Path) -> tuple[object, ...]:
    try:
        found = path.stat()
    except OSError:
        return (None,)
    # ctime: also where a file is made readable for the service after it was written.
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


class Renewal:
    """Keeps one context at what the files hold; connections that are open go on with what they have."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._taken = self._told = tls.stamp()

    def look(self, context: ssl.SSLContext) -> None:
        """Take what is new as soon as it can be used: certificate and key may come one by one.

        What cannot be used is told once, and tried again at each look: it may be the moment's fault.
        """
        stamp = self._tls.stamp()
        if stamp == self._taken:
            return
        try:
            self._tls.require()
            self._tls.load(context)
        except ConfigurationError as error:
            if stamp != self._told:
                log.error(  # noqa: TRY400 - the reason says all
                    "certificate not taken; the former one stays", extra={"reason": str(error)}
                )
        else:
            self._taken = stamp
            log.info("certificate read again", extra={"file": str(self._tls.certificate)})
        self._told = stamp
