"""What TLS distribution needs: both sides show a certificate, and both look at it."""

from __future__ import annotations

import ssl
from pathlib import Path


def context(*, ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Trust nodes whose certificate `ca` signed, and show `certificate`; PEM files, unencrypted.

    The name in a node's certificate must be the part of the node's name after the @. Raises OSError
    (ssl.SSLError among it) when a file cannot be used.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies, and compares names
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_verify_locations(ca)
    made.load_cert_chain(certificate, key, password="")
    return made
