"""A whole mesh of BEAM nodes with one cookie, OTP's default settings, and calls all the time."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rotator.cli.demo.nodes import BeamNode, Counts, Event
from rotator.cli.demo.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rotator.cli.demo.epmd import Erlang


class Mesh:
    """*count* nodes, each linked to every other one; made by `mesh`, which also ends it."""

    def __init__(self, nodes: Mapping[str, BeamNode]) -> None:
        self.nodes = dict(nodes)
        self._pause_ms: int | None = None  # between calls; None: nobody calls
        self._before: list[Counts] = []  # what nodes had counted when they were killed

    def __getitem__(self, name: str) -> BeamNode:
        return self.nodes[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names, in order."""
        return tuple(self.nodes)

    @property
    def full(self) -> int:
        """How many links a mesh of the nodes that are alive has: n * (n - 1), each from both ends."""
        alive = len(self._alive())
        return alive * (alive - 1)

    def links(self) -> int:
        """How many links between members there are now, each counted from both of its ends."""
        return sum(len(node.links() & self.nodes.keys()) for node in self._alive())

    def counts(self) -> Mapping[str, Counts]:
        """What each node that is alive has counted."""
        return {node.name: node.counts() for node in self._alive()}

    def calls(self) -> int:
        """Calls made since the mesh began, by killed nodes too."""
        return sum(counts.calls for counts in self._all())

    def failed(self) -> int:
        """Calls that failed."""
        return sum(counts.failed for counts in self._all())

    def lost(self) -> int:
        """Links lost that nobody expected, each counted by whoever saw it, even between two looks."""
        return sum(counts.lost for counts in self._all())

    def losses(self) -> Mapping[str, tuple[Event, ...]]:
        """Which links each node lost, and when."""
        return {name: counts.losses for name, counts in self.counts().items() if counts.losses}

    def start(self) -> None:
        """Start every node at once, link them all, wait for the whole mesh."""
        for node in self.nodes.values():
            node.start()
        for node in self.nodes.values():
            node.wait_up()
        self.connect()

    def connect(self) -> None:
        """Link whoever is alive, until the mesh is whole."""

        def is_whole() -> bool:
            if self.links() == self.full:
                return True
            alive = self._alive()
            for place, node in enumerate(alive):
                missing = {peer.name for peer in alive[:place]} - node.links()
                for peer in sorted(missing):
                    node.connect(peer)
            return self.links() == self.full

        wait_until("the mesh is whole", is_whole)

    def wait_whole(self) -> None:
        """Wait until it is whole, without helping: somebody else has to reconnect."""
        wait_until("the mesh is whole", lambda: self.links() == self.full)

    def call(self, *, pause_ms: int = 25) -> None:
        """From now on each node calls random peers."""
        self._pause_ms = pause_ms
        for node in self._alive():
            node.call_peers(*self._peers(node), pause_ms=pause_ms)

    def stop_calls(self) -> None:
        """No further calls."""
        self._pause_ms = None
        for node in self._alive():
            node.stop_calls()

    def kill(self, name: str) -> None:
        """SIGKILL one; the others expect its links to go."""
        for node in self._alive():
            node.expect_down(name)
        self._before.append(self.nodes[name].counts())
        self.nodes[name].kill()

    def restart(self, name: str, *, connect: bool = True) -> None:
        """Start one that was killed, on the files that are there, and wait until it is up.

        With *connect* it is linked to everyone and counted again; otherwise `readmit` does that.
        """
        node = self.nodes[name]
        node.start()
        node.wait_up()
        if connect:
            self.connect()
            self.readmit(name)

    def readmit(self, name: str) -> None:
        """Wait for the whole mesh, without helping; from then on count *name*'s links again."""
        self.wait_whole()
        for node in self._alive():
            node.expect_up(name)
        if self._pause_ms is not None:
            node = self.nodes[name]
            node.call_peers(*self._peers(node), pause_ms=self._pause_ms)

    def stop(self) -> None:
        """End every node; their files stay."""
        for node in self.nodes.values():
            node.kill()

    def _all(self) -> list[Counts]:
        return [*self._before, *self.counts().values()]

    def _alive(self) -> list[BeamNode]:
        return [node for node in self.nodes.values() if node.is_alive]

    def _peers(self, node: BeamNode) -> list[str]:
        return [name for name in self.nodes if name != node.name]


@contextmanager
def mesh(
    erlang: Erlang, count: int, *, cookie: str | None = None, prefix: str = "n"
) -> Iterator[Mesh]:
    """*count* nodes `<prefix>1@127.0.0.1` and so on, whole when this returns, ended at the end.

    Without *cookie* they share a random one, which their cookie files hold.
    """
    shared = cookie or secrets.token_hex(20)
    names = [f"{prefix}{number}@127.0.0.1" for number in range(1, count + 1)]
    made = Mesh({name: BeamNode(erlang, name, cookie=shared) for name in names})
    with ExitStack() as stack:
        stack.callback(made.stop)
        made.start()
        yield made
