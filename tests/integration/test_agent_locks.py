"""The agent locks a real node: whoever knew the cookie is out, and stays out."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from rotator.agent import memory as memories
from rotator.agent.boot_files import BootFormat
from rotator.agent.files import NodeFiles
from rotator.agent.loop import NodeAgent, Outcome
from rotator.agent.orders import LockRound, Orders
from rotator.agent.settings import NodeSettings
from rotator.beam import handshake, wire
from rotator.beam.epmd import port_of
from rotator.beam.node import PATIENCE, Address, connect
from rotator.beam.terms import Atom
from rotator.cli.demo.epmd import Erlang, erlang
from rotator.cli.demo.intruder import intruder
from rotator.cli.demo.nodes import BeamNode
from rotator.domain.cookie import Cookie
from rotator.domain.ids import ClusterUid, Generation, NodeName, VersionNumber
from rotator.errors import BeamError, CallFailed, NodeGone, WrongCookie
from rotator.protocol import v1
from tests.support.parts import need

NAME = NodeName("locked@127.0.0.1")
LEAKED, NEXT = Cookie("LEAKEDCOOKIE"), Cookie("THENEXTCOOKIE")
NORMAL = Orders(
    cluster_uid=ClusterUid("00" * 16),
    fingerprint_key=b"key",
    generation=Generation(1),
    phase=None,
    target=LEAKED,
    cookies={VersionNumber(1): LEAKED},
    accepted=frozenset({LEAKED}),
    refuse={},
    lock=None,
    heals_drift=True,
    restarts=False,
    members={},
    pairs={},
)
LOCK = replace(NORMAL, generation=Generation(2), phase="locking", lock=LockRound("e1", 1))
RESET = replace(
    NORMAL,
    generation=Generation(3),
    phase="rolling_out",
    target=NEXT,
    cookies={VersionNumber(2): NEXT},
    accepted=frozenset({NEXT}),
    refuse={VersionNumber(1): None},
)


@pytest.fixture
def beam() -> Iterator[Erlang]:
    """An epmd of this test's own."""
    need("erl")
    with erlang() as made:
        yield made


@pytest.fixture
def node(beam: Erlang) -> Iterator[BeamNode]:
    """A node with the cookie that has leaked."""
    made = BeamNode(beam, NAME, cookie=LEAKED.reveal())
    made.start()
    made.wait_up()
    yield made
    made.kill()


@pytest.fixture
async def agent(beam: Erlang, node: BeamNode, tmp_path: Path) -> AsyncIterator[NodeAgent]:
    """Its agent, before the emergency."""
    files = NodeFiles(
        cookie_file=node.cookie_file, boot_file=node.boot_file, boot_format=BootFormat.ERL
    )
    made = NodeAgent(
        NodeSettings(name=NAME, files=files, epmd_port=beam.epmd_port), state_dir=tmp_path
    )
    made.obey(NORMAL)
    assert (await made.look()).is_settled
    yield made
    await made.close()


def at(beam: Erlang) -> Address:
    """Where the node is."""
    return Address(name=NAME, host="127.0.0.1", epmd_port=beam.epmd_port)


async def begin_handshake(beam: Erlang) -> tuple[wire.Wire, int]:
    """Come as far as the node's challenge, and no further."""
    port = await port_of("locked", host="127.0.0.1", epmd_port=beam.epmd_port, timeout=PATIENCE)
    line = await wire.dial("127.0.0.1", port, tls=None, tls_name="")
    await send(line, struct.pack("!cQIH", b"N", handshake.FLAGS, 0, 9) + b"127.0.0.1")
    status = await line.frame(2, most=handshake.MAX_MESSAGE)
    assert status.startswith(b"snamed:")
    challenge = await line.frame(2, most=handshake.MAX_MESSAGE)
    return line, int(struct.unpack_from("!cQI", challenge)[2])


async def send(line: wire.Wire, message: bytes) -> None:
    """One message of the handshake."""
    await line.send(len(message).to_bytes(2, "big") + message)


async def finish_handshake(line: wire.Wire, challenge: int, cookie: Cookie) -> bytes:
    """Answer the challenge with this cookie; what the node says to that."""
    await send(line, struct.pack("!cI", b"r", 1) + handshake.digest(challenge, cookie.reveal()))
    return await line.frame(2, most=handshake.MAX_MESSAGE)


async def test_a_handshake_that_is_stalled_gets_in_where_only_the_cookie_is_changed(
    beam: Erlang, node: BeamNode
) -> None:
    """OTP looks the cookie up when a handshake begins: what the agent has to reckon with."""
    line, challenge = await begin_handshake(beam)
    node.set_cookie(replaced(node, NEXT))
    try:
        assert (await finish_handshake(line, challenge, LEAKED)).startswith(b"a")
    finally:
        line.abort()


async def test_an_agent_hears_at_once_that_its_node_died(node: BeamNode, agent: NodeAgent) -> None:
    """Its connection ends with the VM; of a node that is down there is nothing more to hear."""
    gone = asyncio.create_task(agent.wait_gone())
    assert not (await asyncio.wait({gone}, timeout=0.1))[0]
    node.kill()
    await asyncio.wait_for(gone, 60)
    outcome = await agent.look()
    assert outcome.report is not None
    assert outcome.report.read_from == "none"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(agent.wait_gone(), 0.2)


def replaced(node: BeamNode, cookie: Cookie) -> Path:
    """A file with this cookie, for the node's control socket."""
    path = node.directory / "cookie-to-set"
    path.write_text(cookie.reveal(), encoding="ascii")
    path.chmod(0o600)
    return path


async def test_a_handshake_that_was_stalled_over_the_lock_gets_in_nowhere(
    beam: Erlang, agent: NodeAgent
) -> None:
    """Handshakes that began before the node was locked are ended before it says that it is."""
    line, challenge = await begin_handshake(beam)
    agent.obey(LOCK)
    outcome = await agent.look()
    assert outcome.report is not None
    assert outcome.report.locked_round == 1
    try:
        with pytest.raises(NodeGone):
            await finish_handshake(line, challenge, LEAKED)
    finally:
        line.abort()
    again = await agent.look()
    assert again.report is not None
    assert again.report.links == {}


async def test_who_is_linked_is_named_and_cut_and_the_next_round_is_clean(
    beam: Erlang, agent: NodeAgent
) -> None:
    """The first round finds the stranger, the second does not; it comes back with no cookie."""
    stranger = await connect(at(beam), LEAKED.reveal())
    agent.obey(LOCK)
    first = await agent.look()
    assert first.report is not None
    assert first.report.foreign_links == [stranger.own_name]
    await stranger.wait_closed()
    agent.obey(replace(LOCK, generation=Generation(3), lock=LockRound("e1", 2)))
    second = await agent.look()
    assert second.report is not None
    assert (second.report.locked_round, second.report.foreign_links) == (2, [])
    for cookie in (LEAKED, NEXT):
        with pytest.raises(WrongCookie):
            await connect(at(beam), cookie.reveal())


AFTER = replace(RESET, generation=Generation(5), phase=None, refuse={})


async def settled(agent: NodeAgent) -> v1.Attestation:
    """What it reports once its node is as its orders say."""
    for _ in range(200):
        outcome = await agent.look()
        if outcome.is_settled:
            assert outcome.report is not None
            return outcome.report
        await asyncio.sleep(min(outcome.next_look, 0.1))
    raise AssertionError(outcome.trouble)


class Spy:
    """Comes in with every cookie that he ever read, reads on, and comes back when he is cut."""

    def __init__(self, beam: Erlang) -> None:
        self._beam = beam
        self.read = [LEAKED.reveal()]

    async def lurk(self) -> None:
        """Until cancelled; four of him at once."""
        await asyncio.gather(*(self._lurk() for _ in range(4)))

    async def _lurk(self) -> None:
        while True:
            with suppress(BeamError):
                async with await connect(at(self._beam), self.read[-1]) as node:
                    while True:
                        found = str(await node.call("erlang", "get_cookie", []))
                        if found not in self.read:
                            self.read.append(found)
            await asyncio.sleep(0)


@pytest.mark.parametrize("orders", [RESET, AFTER])
@pytest.mark.parametrize("attempt", range(3))
async def test_a_node_that_missed_the_rounds_is_locked_before_it_gets_the_new_cookie(
    beam: Erlang, agent: NodeAgent, orders: Orders, attempt: int
) -> None:
    """Who is linked comes back with what he reads, never with the new cookie, in and after an emergency."""
    del attempt
    spy = Spy(beam)
    spying = asyncio.create_task(spy.lurk())
    while not (await agent.look()).report.links:  # type: ignore[union-attr]
        await asyncio.sleep(0.01)
    agent.obey(orders)
    report = await settled(agent)
    assert (report.uses, report.links) == (2, {})
    assert (await agent.look()).report.links == {}  # type: ignore[union-attr]
    spying.cancel()
    assert NEXT.reveal() not in spy.read
    async with await connect(at(beam), NEXT.reveal()):
        pass


async def test_a_stalled_handshake_is_ended_before_a_late_node_is_reset(
    beam: Erlang, agent: NodeAgent
) -> None:
    """It began with the leaked cookie, and ends nowhere."""
    line, challenge = await begin_handshake(beam)
    agent.obey(RESET)
    assert (await settled(agent)).uses == 2
    try:
        with pytest.raises(NodeGone):
            await finish_handshake(line, challenge, LEAKED)
    finally:
        line.abort()


async def test_who_calls_himself_like_a_member_is_found_and_cut(
    beam: Erlang, agent: NodeAgent
) -> None:
    """A hidden link under a member's name is a stranger's."""
    name = NodeName("impostor@127.0.0.1")
    members = {name: "live"}
    with intruder(beam, [NAME], cookie=LEAKED.reveal(), name=name) as him:
        for number in range(1, 20):
            agent.obey(
                replace(
                    LOCK,
                    generation=Generation(1 + number),
                    lock=LockRound("e1", number),
                    members=members,
                )
            )
            report = (await agent.look()).report
            assert report is not None
            assert report.locked_round == number
            if number == 1:
                assert report.foreign_links == [name]
            elif not report.foreign_links:
                break
        assert report.foreign_links == []
        agent.obey(replace(RESET, generation=Generation(30), members=members))
        assert (await settled(agent)).uses == 2
        seen = him.intrusion()
    assert hashlib.sha256(NEXT.reveal().encode()).hexdigest() not in seen.cookies


async def test_an_agent_that_is_killed_in_the_middle_of_a_lock_finds_its_way_back(
    beam: Erlang, node: BeamNode, agent: NodeAgent, tmp_path: Path
) -> None:
    """What the VM answers to is in the agent's memory before it is anywhere else."""
    agent.obey(LOCK)
    await agent.look()
    await agent.close()
    for orders in (LOCK, RESET):
        another = NodeAgent(agent.settings, state_dir=tmp_path)
        another.obey(orders)
        outcome = await another.look()
        for _ in range(10):
            outcome = await another.look()
        assert outcome.is_settled
        await another.close()
    assert node.cookie_file.read_text() == NEXT.reveal()
    left = memories.load(tmp_path / f"{NAME}.memory")
    assert left == memories.at_peace(left)


@pytest.mark.parametrize("rounds_before", [0, 1])
async def test_an_agent_finds_its_way_back_after_many_rounds_without_its_node(
    beam: Erlang, agent: NodeAgent, tmp_path: Path, rounds_before: int
) -> None:
    """However many went by: what the node does answer to is not forgotten."""
    for number in range(1, 1 + rounds_before):
        agent.obey(in_round(number))
        assert locked_round(await agent.look()) == number
    await agent.close()
    nowhere = replace(agent.settings, port=unused_port())
    away = NodeAgent(nowhere, state_dir=tmp_path)
    for number in range(1 + rounds_before, 20):
        away.obey(in_round(number))
        assert locked_round(await away.look()) is None
    await away.close()
    back = NodeAgent(agent.settings, state_dir=tmp_path)
    try:
        back.obey(in_round(20))
        assert locked_round(await back.look()) == 20
        back.obey(replace(RESET, generation=Generation(30)))
        assert (await settled(back)).uses == 2
    finally:
        await back.close()


def in_round(number: int) -> Orders:
    """The orders of a round of the emergency."""
    return replace(LOCK, generation=Generation(1 + number), lock=LockRound("e1", number))


def locked_round(outcome: Outcome) -> int | None:
    """In which the node says to be locked."""
    assert outcome.report is not None
    return outcome.report.locked_round


def unused_port() -> int:
    """Nobody listens there."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def test_who_came_after_a_round_was_reported_counts_in_the_next(
    beam: Erlang, agent: NodeAgent
) -> None:
    """Through him the throwaways of members that were faster may be known, so that one is not clean."""
    agent.obey(LOCK)
    first = (await agent.look()).report
    assert first is not None
    assert (first.locked_round, first.foreign_links) == (1, [])
    throwaway = (await agent.look()).report
    assert throwaway is not None
    stolen = agent.memory.throwaway
    assert stolen is not None
    stranger = await connect(at(beam), stolen.reveal())
    await agent.look()
    assert stranger.is_open, "who knows the throwaway would be back at once"
    agent.obey(replace(LOCK, generation=Generation(3), lock=LockRound("e1", 2)))
    second = (await agent.look()).report
    await stranger.wait_closed()
    assert second is not None
    assert second.foreign_links == [stranger.own_name]
    agent.obey(replace(LOCK, generation=Generation(4), lock=LockRound("e1", 3)))
    third = (await agent.look()).report
    assert third is not None
    assert (third.locked_round, third.foreign_links) == (3, [])


OTHER = NodeName("another@127.0.0.1")


@pytest.fixture
async def pair(
    beam: Erlang, node: BeamNode, agent: NodeAgent, tmp_path: Path
) -> AsyncIterator[tuple[NodeAgent, NodeAgent, BeamNode]]:
    """Two linked nodes with an agent each, both locked in the first round; the second node, too."""
    second = BeamNode(beam, OTHER, cookie=LEAKED.reveal())
    second.start()
    second.wait_up()
    second.connect(NAME)
    files = NodeFiles(
        cookie_file=second.cookie_file, boot_file=second.boot_file, boot_format=BootFormat.ERL
    )
    settings = NodeSettings(name=OTHER, files=files, epmd_port=beam.epmd_port)
    beside = NodeAgent(settings, state_dir=tmp_path)
    for one, peer in ((node, OTHER), (second, NAME)):
        one.call_peers(peer, pause_ms=10)  # A link that carries calls is up at both of its ends.
    await _until(lambda: node.counts().calls > 5 and second.counts().calls > 5)
    try:
        for one, peer in ((agent, OTHER), (beside, NAME)):
            one.obey(replace(LOCK, members={peer: "live"}))
            report = (await one.look()).report
            assert report is not None
            assert report.locked_round == 1
        yield agent, beside, second
    finally:
        await beside.close()
        second.kill()


def second_round(peer: NodeName) -> Orders:
    """The next round, as the agent of the other node gets it."""
    lock = LockRound("e1", 2)
    return replace(LOCK, generation=Generation(3), lock=lock, members={peer: "live"})


def sha256(cookie: Cookie | None) -> str:
    """As a node tells of a cookie."""
    assert cookie is not None
    return hashlib.sha256(cookie.reveal().encode()).hexdigest()


async def test_who_hears_of_the_next_round_first_locks_every_member(
    pair: tuple[NodeAgent, NodeAgent, BeamNode],
) -> None:
    """At one word all nodes take what their own agents laid ready; each agent goes on from there."""
    first, beside, second = pair
    laid = beside.memory.next_throwaway
    assert sha256(laid) != second.cookies().own
    first.obey(second_round(OTHER))
    report = (await first.look()).report
    assert report is not None
    assert report.locked_round == 2
    await _until(lambda: second.cookies().own == sha256(laid))
    assert set(second.cookies().rows.values()) == {sha256(laid)}
    assert NAME in second.links()
    report = (await beside.look()).report
    assert report is not None
    assert report.locked_round == 1, "its own orders know of no other round"
    assert second.cookies().own == sha256(laid), "it goes on from there, and not back"
    assert second.cookie_file.read_text() == beside.memory.throwaway.reveal()  # type: ignore[union-attr]
    beside.obey(second_round(NAME))
    report = (await beside.look()).report
    assert report is not None
    assert (report.locked_round, report.foreign_links) == (2, [])
    assert beside.memory.throwaway == laid


async def test_a_stranger_is_cut_from_all_members_at_one_word(
    beam: Erlang, pair: tuple[NodeAgent, NodeAgent, BeamNode]
) -> None:
    """He came in with throwaways that he read, and is out of a node whose agent does nothing."""
    first, beside, second = pair
    there = replace(at(beam), name=OTHER)
    stranger = await connect(there, beside.memory.throwaway.reveal())  # type: ignore[union-attr]
    first.obey(second_round(OTHER))
    await first.look()
    await asyncio.wait_for(stranger.wait_closed(), 60)
    assert NAME in second.links()
    assert stranger.own_name not in second.links()


async def test_an_agent_finds_its_way_back_into_a_node_that_a_word_has_locked(
    pair: tuple[NodeAgent, NodeAgent, BeamNode], tmp_path: Path
) -> None:
    """It was dead when the word was said: what it had laid ready is in its memory."""
    first, beside, second = pair
    laid = beside.memory.next_throwaway
    await beside.close()
    first.obey(second_round(OTHER))
    await first.look()
    await _until(lambda: second.cookies().own == sha256(laid))
    again = NodeAgent(beside.settings, state_dir=tmp_path)
    try:
        again.obey(second_round(NAME))
        report = (await again.look()).report
    finally:
        await again.close()
    assert report is not None
    assert report.locked_round == 2


async def test_what_is_laid_ready_cannot_be_listed_before_the_word(
    beam: Erlang, pair: tuple[NodeAgent, NodeAgent, BeamNode]
) -> None:
    """Whoever is linked can list every atom of a VM: the next throwaway is none yet."""
    first, beside, _ = pair
    laid = beside.memory.next_throwaway
    assert laid is not None
    there = replace(at(beam), name=OTHER)
    held = beside.memory.throwaway.reveal()  # type: ignore[union-attr]
    async with await connect(there, held) as stranger:
        asked = ["erlang", "binary_to_existing_atom"]
        known = [held.encode("ascii"), Atom("latin1")]
        assert await stranger.call(*asked, known) == Atom(held)
        with pytest.raises(CallFailed):
            await stranger.call(*asked, [laid.reveal().encode("ascii"), Atom("latin1")])
    first.obey(second_round(OTHER))
    await first.look()


async def test_a_word_that_comes_after_the_reset_locks_nobody(
    pair: tuple[NodeAgent, NodeAgent, BeamNode],
) -> None:
    """What waits in a VM is taken out before the node gets the new cookie, by a new agent, too."""
    first, beside, second = pair
    beside.obey(replace(RESET, members={NAME: "live"}))
    await settled(beside)
    first.obey(second_round(OTHER))
    report = (await first.look()).report
    assert report is not None
    assert report.locked_round == 2
    assert second.cookies().own == sha256(NEXT)
    assert (await settled(beside)).uses == 2


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)
