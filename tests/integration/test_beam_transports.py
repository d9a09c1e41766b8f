"""The distribution protocol over TLS and over IPv6."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rotator.beam import tls
from rotator.beam.node import Address, connect
from rotator.errors import BeamError, NodeTlsFailed, WrongCookie
from tests.support.beam import COOKIE, free_port, need_erl, start_node
from tests.support.certificates import Authority

LONG = timedelta(seconds=60)
OPTIONS = """[{{server, [{{certfile, "{certificate}"}}, {{keyfile, "{key}"}}, {{cacertfile, "{ca}"}},
  {{verify, verify_peer}}, {{fail_if_no_peer_cert, true}}]}}].
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the certificates are."""
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def ca(place: Path) -> Authority:
    """Whom both sides trust."""
    return Authority(place, "ca")


@pytest.fixture(scope="module")
def node(place: Path, ca: Authority) -> Iterator[Address]:
    """A node that speaks TLS alone and wants a certificate."""
    need_erl()
    own = ca.sign("node", address="127.0.0.1")
    options = place / "ssl_dist.conf"
    options.write_text(OPTIONS.format(certificate=own.certificate, key=own.key, ca=ca.certificate))
    port = str(free_port())
    program = start_node(
        "safe@127.0.0.1",
        *("-proto_dist", "inet_tls", "-ssl_dist_optfile", str(options)),
        *("-start_epmd", "false", "-erl_epmd_port", port),
        *("-kernel", "inet_dist_listen_min", port, "inet_dist_listen_max", port),
    )
    yield Address(name="safe@127.0.0.1", host="127.0.0.1", port=int(port))
    program.stop()


async def test_both_sides_verify_each_other(ca: Authority, node: Address) -> None:
    """With certificates of one authority, calls run over TLS, and a wrong cookie is still one."""
    ours = ca.sign("client", address="127.0.0.1")
    context = tls.context(ca=ca.certificate, certificate=ours.certificate, key=ours.key)
    address = replace(node, tls=context)
    async with await connect(address, COOKIE, timeout=LONG) as joined:
        assert await joined.call("erlang", "node", [], timeout=LONG) == node.name
        large = await joined.call("binary", "copy", [b"x", 1_000_000], timeout=LONG)
        assert large == b"x" * 1_000_000
    with pytest.raises(WrongCookie):
        await connect(address, "WRONG", timeout=LONG)


async def test_a_node_with_a_foreign_certificate_gets_nothing(
    place: Path, ca: Authority, node: Address
) -> None:
    """A node whose authority we do not trust is refused before anything is said."""
    other = Authority(place, "other")
    ours = ca.sign("client", address="127.0.0.1")
    context = tls.context(ca=other.certificate, certificate=ours.certificate, key=ours.key)
    with pytest.raises(NodeTlsFailed, match="not trusted"):
        await connect(replace(node, tls=context), COOKIE, timeout=LONG)


async def test_a_node_under_another_name_gets_nothing(ca: Authority, node: Address) -> None:
    """A trusted certificate that is not for the node's host is refused."""
    ours = ca.sign("client", address="127.0.0.1")
    context = tls.context(ca=ca.certificate, certificate=ours.certificate, key=ours.key)
    with pytest.raises(NodeTlsFailed, match="not trusted"):
        await connect(replace(node, name="safe@127.0.0.2", tls=context), COOKIE, timeout=LONG)


async def test_a_client_with_a_foreign_certificate_is_refused(
    place: Path, ca: Authority, node: Address
) -> None:
    """The node does not let in who shows a certificate of another authority."""
    ours = Authority(place, "third").sign("stranger", address="127.0.0.1")
    context = tls.context(ca=ca.certificate, certificate=ours.certificate, key=ours.key)
    with pytest.raises(NodeTlsFailed):
        await connect(replace(node, tls=context), COOKIE, timeout=LONG)


async def test_plain_words_to_a_tls_node_fail(node: Address) -> None:
    """Without TLS, such a node is no BEAM node that can be talked to, and there is no hang."""
    with pytest.raises(BeamError):
        await connect(node, COOKIE, timeout=LONG)


def has_ipv6() -> bool:
    """The machine has the loopback address of IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_a_node_on_ipv6_is_joined() -> None:
    """A node that listens on IPv6 is reached at ::1."""
    if not has_ipv6():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no IPv6 loopback")
    port = str(free_port())
    program = start_node(
        "six@ip6.localhost.test",
        *("-proto_dist", "inet6_tcp", "-start_epmd", "false", "-erl_epmd_port", port),
        *("-kernel", "inet_dist_listen_min", port, "inet_dist_listen_max", port),
    )
    try:
        address = Address(name="six@ip6.localhost.test", host="::1", port=int(port))
        async with await connect(address, COOKIE, timeout=LONG) as joined:
            assert await joined.call("erlang", "node", [], timeout=LONG) == address.name
    finally:
        program.stop()
