"""Looks all the time whether a quorum queue keeps its majority, by asking each broker's VM.

Over a connection to each VM and not by `rabbitmqctl`, which takes seconds for a look.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from rotator.beam.node import Address, Node, connect
from rotator.beam.terms import Atom
from rotator.errors import BeamError, CallFailed, NodeTimedOut, WrongCookie
from tests.support.rabbitmq import RabbitNode
from tests.support.service import wait_for

_PAUSE = 0.05
_PATIENCE = timedelta(seconds=30)
#: States of Raft in which a replica has its place among the others: it votes, and takes entries.
_TAKES_PART = {"leader", "follower", "candidate", "pre_vote", "await_condition"}


@dataclass
class Quorum:
    """What was seen of the replicas of one queue; made by `watching_quorum`."""

    brokers: Sequence[RabbitNode]
    queue: str
    looks: int = 0  #: at all replicas
    away: Counter[str] = field(default_factory=Counter)  #: looks at which a broker's replica was
    lost: list[tuple[str, ...]] = field(default_factory=list)  #: who was away, where too many were
    missing: tuple[str, ...] = ()  #: whose replica was away at the last look
    _nodes: dict[str, Node] = field(default_factory=dict)
    _cookies: list[str] = field(default_factory=list, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until `stop`."""
        asyncio.run(self._run())

    def stop(self) -> None:
        """No further look."""
        self._stop.set()

    def wait_look(self) -> None:
        """Until it has looked once more from now on: it still does."""
        before = self.looks
        wait_for("the watch goes on", lambda: self.looks > before + 1, seconds=120)

    def wait_whole(self) -> None:
        """Until a look that begins now, or a later one, finds every replica."""
        self.wait_look()
        wait_for("every replica is there", lambda: not self.missing, seconds=300)

    async def _run(self) -> None:
        try:
            while not self._stop.is_set():
                await self._look()
                await asyncio.sleep(_PAUSE)
        finally:
            for node in self._nodes.values():
                await node.close()

    async def _look(self) -> None:
        """One replica after the other, so that two may be seen away that were so in turn.

        Who was away before and is still away after another one was: both were at one moment.
        """
        away = [one for one in self.brokers if not await self._takes_part(one)]
        self.missing = tuple(one.name for one in away)
        self.looks += 1
        self.away.update(self.missing)
        if len(self.brokers) - len(away) > len(self.brokers) // 2:
            return
        still = [one.name for one in away if not await self._takes_part(one)]
        if away[0].name in still:
            self.lost.append(self.missing)

    async def _takes_part(self, broker: RabbitNode) -> bool:
        try:
            node = self._nodes.get(broker.name) or await self._connected(broker)
            # ra keeps the state of each of its servers in this table: {Name, State}.
            found = await node.call(
                "ets", "lookup", [Atom("ra_state"), Atom(self.queue)], timeout=_PATIENCE
            )
        except NodeTimedOut:
            return True  # It is slow, which says nothing; it will be asked again.
        except CallFailed:
            return False  # The table is not there: RabbitMQ does not run in that VM.
        except BeamError:
            if (node := self._nodes.pop(broker.name, None)) is not None:
                await node.close()
            return False
        rows = found if isinstance(found, list) else []
        return any(str(row[1]) in _TAKES_PART for row in rows)

    async def _connected(self, broker: RabbitNode) -> Node:
        """With its cookie: what its file holds may be what it will use only when it starts."""
        own = broker.cookie_file.read_text()
        if own not in self._cookies:
            self._cookies.append(own)
        address = Address(name=broker.name, host="127.0.0.1", epmd_port=broker.erlang.epmd_port)
        for cookie in (own, *self._cookies):
            try:
                self._nodes[broker.name] = await connect(address, cookie, timeout=_PATIENCE)
            except WrongCookie:
                continue
            return self._nodes[broker.name]
        raise WrongCookie


@contextmanager
def watching_quorum(brokers: Sequence[RabbitNode], queue: str) -> Iterator[Quorum]:
    """Look in the background, until the end. *queue*: its name in the vhost `/`."""
    made = Quorum(brokers, f"%2F_{queue}")
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join(120)
