"""Where a token may go: over TLS anywhere, over plain http to this machine alone."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

#: What to do about a refused address.
USE_HTTPS = "use an https:// address; plain http is for this machine alone"


def in_the_clear(address: str) -> str | None:
    """Why a token must not be sent to the URL *address*; None where it may, or where it is none."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return None
    if parts.scheme != "http" or not host or is_loopback(host):
        return None
    return f"the token would cross the network to {host} in the clear"


def is_loopback(host: str) -> bool:
    """Whether *host*, a name or an IP address, is this machine; no name is looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
