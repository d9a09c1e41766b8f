"""Look at every pair all the time: do both ends use the same cookie for each other?"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations

from rotator.cli.demo.nodes import BeamNode, Sha256
from rotator.cli.demo.processes import DemoFailed

_PAUSE = 0.02

Pair = tuple[str, str]


@dataclass
class Watch:
    """What was seen. Two ends are read one after the other, so a move can look like a breach."""

    nodes: Mapping[str, BeamNode]
    samples: int = 0  #: looks at the whole mesh
    pairs: int = 0  #: looks at one pair
    out_of_step: int = 0  #: of those, how many had ends that differed
    longest: float = 0.0  #: seconds that a pair was out of step, both of its nodes up all the while
    worst: Pair | None = None
    restarted: float = 0.0  #: the same, of pairs of which a node had been restarted
    _since: dict[Pair, float] = field(default_factory=dict)
    _looks: dict[Pair, int] = field(default_factory=dict)
    most_looks: int = 0  #: consecutive looks at which one pair was out of step
    _disturbed: set[str] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)

    def disturbed(self, name: str) -> None:
        """*name* is about to be killed: its pairs are counted apart until `calm`."""
        self._disturbed.add(name)

    def calm(self, name: str) -> None:
        """It has been back for long enough."""
        self._disturbed.discard(name)

    def run(self) -> None:
        """Until `stop`."""
        while not self._stop.wait(_PAUSE):
            self.look()

    def stop(self) -> None:
        """No further look; what is out of step now counts until now."""
        self._stop.set()

    def look(self) -> None:
        """Once at each pair."""
        tables = self._tables()
        now = time.monotonic()
        self.samples += 1
        for pair in combinations(sorted(tables), 2):
            self.pairs += 1
            if _is_in_step(tables, pair):
                self._since.pop(pair, None)
                self._looks.pop(pair, None)
            else:
                self._count(pair, now)
        for pair in [pair for pair in self._since if not tables.keys() >= set(pair)]:
            del self._since[pair]
            del self._looks[pair]

    def _count(self, pair: Pair, now: float) -> None:
        self.out_of_step += 1
        lasted = now - self._since.setdefault(pair, now)
        if self._disturbed & set(pair):
            self.restarted = max(self.restarted, lasted)
            return
        self._looks[pair] = self._looks.get(pair, 0) + 1
        self.most_looks = max(self.most_looks, self._looks[pair])
        if lasted >= self.longest:
            self.longest, self.worst = lasted, pair

    def _tables(self) -> dict[str, Sha256]:
        found = {}
        for name, node in list(self.nodes.items()):
            try:
                if node.is_alive:
                    found[name] = node.cookies()
            except DemoFailed:
                continue  # It is being killed, or is not up yet.
        return found


def _is_in_step(tables: Mapping[str, Sha256], pair: Pair) -> bool:
    one, other = pair
    ours = tables[one].rows.get(other, tables[one].own)
    return ours == tables[other].rows.get(one, tables[other].own)


@contextmanager
def watching(nodes: Mapping[str, BeamNode]) -> Iterator[Watch]:
    """Look in the background, until the end."""
    watch = Watch(nodes)
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join(60)
