"""Where the service is and who asks: options first, then the environment.

A token is never an argument: arguments are readable by every user of the machine.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rotator.cli.failure import Misuse
from rotator.protocol.address import USE_HTTPS, in_the_clear

DEFAULT_ADDRESS: Final = "http://127.0.0.1:8400"
_MAX_TOKEN: Final = 16 * 1024
_VISIBLE: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How to reach the service."""

    address: str
    token: str = field(repr=False)
    cacert: str = ""


def resolve(*, address: str | None, token_file: Path | None, cacert: Path | None) -> Connection:
    """Options where they are given, else ROTATOR_ADDR, ROTATOR_TOKEN(_FILE), ROTATOR_CACERT."""
    found = (address or os.environ.get("ROTATOR_ADDR") or DEFAULT_ADDRESS).rstrip("/")
    _require_safe(found)
    return Connection(
        address=found,
        token=_token(token_file),
        cacert=str(cacert or os.environ.get("ROTATOR_CACERT", "")),
    )


def _require_safe(address: str) -> None:
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in {"http", "https"} or not host:
        raise Misuse(
            "the service's address is not one such as https://rotator.example:8400",
            hint="it comes from --addr or ROTATOR_ADDR",
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise Misuse("the service's address holds a user, a password or a query; leave them out")
    if (why := in_the_clear(address)) is not None:
        raise Misuse(why, hint=USE_HTTPS)


def _token(token_file: Path | None) -> str:
    given, from_file = os.environ.get("ROTATOR_TOKEN"), os.environ.get("ROTATOR_TOKEN_FILE")
    if token_file is None and given and from_file:
        raise Misuse("both ROTATOR_TOKEN and ROTATOR_TOKEN_FILE are set; which is meant?")
    path = token_file or (Path(from_file) if from_file else None)
    text = _read(path) if path else (given or "")
    clean = text.strip()
    if path and not clean:
        raise Misuse(f"the token file {path} is empty")
    # Checked here, because a transport that refuses a header would quote it.
    if clean and not _VISIBLE.fullmatch(clean):
        where = f"in {path}" if path else "in ROTATOR_TOKEN"
        raise Misuse(f"the token {where} has white space or other characters that no token has")
    return clean


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_MAX_TOKEN)
    except OSError as error:
        raise Misuse(f"the token file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Misuse(f"the token file {path} does not hold text") from None
