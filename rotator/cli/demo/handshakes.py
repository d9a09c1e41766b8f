"""The demonstration's own proof: fresh handshakes with every node."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from rotator.beam import node as beam
from rotator.beam.node import Address
from rotator.errors import BeamError, WrongCookie

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TRIES: Final = 5  #: of a handshake that comes to no end, on a machine that is busy


def addresses(names: Iterable[str], *, epmd_port: int) -> list[Address]:
    """Where nodes of loopback are."""
    return [Address(name=name, host="127.0.0.1", epmd_port=epmd_port) for name in names]


def accepted(nodes: Sequence[Address], cookies: Iterable[str]) -> list[bool | None]:
    """Whether each node accepts each of *cookies*; None: the handshake came to no end."""
    pairs = [(node, cookie) for cookie in cookies for node in nodes]

    async def ask() -> list[bool | None]:
        return await asyncio.gather(*(_is_accepted(*pair) for pair in pairs))

    return asyncio.run(ask())


async def _is_accepted(node: Address, cookie: str) -> bool | None:
    for _ in range(_TRIES):
        try:
            async with await beam.connect(node, cookie):
                return True
        except WrongCookie:
            return False
        except BeamError:
            await asyncio.sleep(0.2)
    return None
