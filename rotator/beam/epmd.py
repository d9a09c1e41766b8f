"""Where a node listens, asked of the port mapper (epmd) on its host.

Source: OTP, "Distribution Protocol", section "EPMD Protocol".
"""

from __future__ import annotations

import struct
from datetime import timedelta
from typing import Final

from rotator.beam import wire
from rotator.errors import BeamProtocolError, NodeGone, NodeRefused, NoSuchNode

PORT_PLEASE2: Final = 122
PORT2_RESPONSE: Final = 119
HANDSHAKE_VERSION: Final = 6
DEFAULT_PORT: Final = 4369


async def port_of(
    alive: str, *, host: str, epmd_port: int = DEFAULT_PORT, timeout: timedelta
) -> int:
    """The distribution port of the node whose name before the @ is `alive`.

    Raises NoSuchNode when epmd does not know it, NodeRefused when no epmd is there, NodeTimedOut,
    and BeamProtocolError when what answers is no epmd or the node is too old or too new.
    """
    async with wire.within(timeout, f"epmd at {host}:{epmd_port} did not answer in time"):
        try:
            line = await wire.dial(host, epmd_port)
        except NodeRefused as refused:
            raise NodeRefused(f"no epmd answers: {refused}") from refused
        try:
            return await _ask(line, alive, f"epmd at {host}:{epmd_port}")
        finally:
            line.abort()


async def _ask(line: wire.Wire, alive: str, epmd: str) -> int:
    name = alive.encode()
    await line.send(struct.pack("!HB", len(name) + 1, PORT_PLEASE2) + name)
    try:
        kind, result = await line.exactly(2)
        if kind != PORT2_RESPONSE:
            raise BeamProtocolError(f"{epmd} is none")
        if result:
            raise NoSuchNode(f"{epmd} knows no node {alive}")
        port, _, _, highest, lowest = struct.unpack("!HBBHH", await line.exactly(8))
    except NodeGone as gone:
        raise BeamProtocolError(f"{epmd} closed the connection without an answer") from gone
    if not lowest <= HANDSHAKE_VERSION <= highest:
        raise BeamProtocolError("the node does not speak version 6 of the handshake")
    return int(port)
