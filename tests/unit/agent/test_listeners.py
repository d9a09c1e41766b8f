"""Nobody but the node's own user is shown what the agent knows of its cookie."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rotator.agent.listeners import owners, require_ours
from rotator.agent.node import Vm
from rotator.beam.node import Address
from rotator.domain.cookie import Cookie
from rotator.errors import NodeRefused

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:ABFB 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 1 1 0
   1: 00000000:ABFB 00000000:0000 0A 00000000:00000000 00:00000000 00000000   106        0 2 1 0
   2: garbage
   2: 0100007F:ABFB 0100007F:2116 03 00000000:00000000 00:00000000 00000000  1001        0 3 1 0
   3: 0100007F:ABFB 00000000:0000 0A 00000000:00000000 00:00000000 00000000   107        0 2 1 0
""".splitlines()
CONNECTED = "   4: 0100007F:ABFB 0100007F:2116 06 00000000:00000000 00:00000000 00000000  1000        0 3 1 0"


def test_those_who_listen_are_read_out_of_the_table() -> None:
    """Connections at the same port, other ports and rows that make no sense do not count."""
    assert owners(0xABFB, [*TABLE, CONNECTED]) == {105, 106, 107}
    assert owners(0x2116, [*TABLE, CONNECTED]) == set()


def test_the_connections_of_a_busy_host_are_not_read() -> None:
    """Listeners come first: what follows, tens of thousands of rows, costs nothing."""

    def rows() -> Iterator[str]:
        yield from TABLE
        yield CONNECTED
        raise AssertionError

    assert owners(0xABFB, rows()) == {105, 106, 107}


def test_the_kernel_lists_listeners_before_connections() -> None:
    """A listener is found whose own connections, open and ended, stand in the table as well."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        for _ in range(3):
            with socket.create_connection(address, timeout=10):
                server.accept()[0].close()
        with socket.create_connection(address, timeout=10), Path("/proc/net/tcp").open() as table:
            assert owners(address[1], table) == {os.geteuid()}


LISTENER = """\
import os, socket, sys
os.setuid(int(sys.argv[1]))
with socket.create_server(("127.0.0.1", 0)) as server:
    server.settimeout(60)
    print(server.getsockname()[1], flush=True)
    try:
        server.accept()
        print("somebody came", flush=True)
    except OSError:
        pass
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_a_program_of_another_user_is_not_spoken_to(tmp_path: Path) -> None:
    """Whoever took the node's place while it is down could pass our handshake on to a member."""
    arguments = [sys.executable, "-c", LISTENER, "65534"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        cookie_file = tmp_path / ".erlang.cookie"
        cookie_file.write_text("C")
        address = Address(name="a@h", host="127.0.0.1", port=port)
        with pytest.raises(NodeRefused, match="another user"):
            await Vm(address, cookie_file=cookie_file).reach([Cookie("CANARYCOOKIE")])
        with pytest.raises(NodeRefused):
            await Vm(address).accepts(Cookie("CANARYCOOKIE"))
        require_ours("127.0.0.1", port, users={65534})
        require_ours("192.0.2.1", port, users=set())
        other.kill()
        assert other.stdout.read() == ""
