"""Search for secrets where none may be: in every encoding that they are likely to turn up in."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

#: Base64 of a secret inside a longer text depends on where it begins, modulo 3.
_OFFSETS = (b"", b"x", b"xx")


def encodings(secret: bytes) -> dict[str, bytes]:
    """The secret's texts, by the name of the encoding."""
    found = {
        "raw": secret,
        "hex": secret.hex().encode(),
        "HEX": secret.hex().upper().encode(),
        "reversed": secret[::-1],
        "python": repr(secret)[2:-1].encode(),
        "utf-16": secret.decode("latin-1").encode("utf-16-le"),
        "json": json.dumps(secret.decode("latin-1"))[1:-1].encode(),
        "url": urllib.parse.quote_from_bytes(secret, safe="").encode(),
    }
    for offset in _OFFSETS:
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            text = encode(offset + secret)
            # The first and last group of four mix with their neighbours.
            found[f"{name}+{len(offset)}"] = text[4:-4] if offset else text[:-4]
    return found


def find(secrets: dict[str, bytes], places: dict[str, bytes]) -> list[str]:
    """Every hit as ``secret in place as encoding``; the secrets themselves are not named."""
    return [
        f"{name} in {where} as {encoding}"
        for name, secret in secrets.items()
        for encoding, text in encodings(secret).items()
        for where, content in places.items()
        if text in content
    ]


def files_below(*roots: Path, leaving_out: Iterable[Path] = ()) -> dict[str, bytes]:
    """Every file below these directories, but for those below *leaving_out*."""
    out = tuple(leaving_out)
    return {
        str(path): path.read_bytes()
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(path.is_relative_to(place) for place in out)
    }


def process(pid: int) -> dict[str, bytes]:
    """Arguments and environment of a process and of all its children."""
    found: dict[str, bytes] = {}
    pids = [pid]
    while pids:
        one = pids.pop()
        place = Path("/proc") / str(one)
        try:
            found[f"arguments of {one}"] = (place / "cmdline").read_bytes()
            found[f"environment of {one}"] = (place / "environ").read_bytes()
            children = (place / "task" / str(one) / "children").read_text()
        except OSError:
            continue
        pids += [int(child) for child in children.split()]
    return found
