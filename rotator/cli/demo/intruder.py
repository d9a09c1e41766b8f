"""A hidden node that knows a cookie, and does all it can to stay in."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rotator.cli.demo.nodes import BeamNode
from rotator.cli.demo.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rotator.cli.demo.epmd import Erlang


@dataclass(frozen=True, slots=True)
class Intrusion:
    """What an intruder has, and has had."""

    links: frozenset[str]  #: members that he is linked to now
    cookies: frozenset[str]  #: the SHA-256, in hex, of each cookie that he knew or read
    entered: Mapping[str, int]  #: when he last got into a member; Unix time in milliseconds
    seen: Mapping[str, int]  #: when he last had a link to a member; the same
    tries: Mapping[str, int]  #: how often he has tried to get into a member, each cookie for itself


class Intruder(BeamNode):
    """A hidden node that reads every cookie within reach, and tries each one, 20 times a second."""

    mode = "intruder"

    def stalk(self, members: Sequence[str]) -> None:
        """From now on, be linked to each of *members*."""
        self.ask("stalk", *members)

    def intrusion(self) -> Intrusion:
        """How far he got."""
        found = self.ask("intrusion")
        return Intrusion(
            links=frozenset(found["links"]),
            cookies=frozenset(found["cookies"]),
            entered=found["entered"],
            seen=found["seen"],
            tries=found["tries"],
        )


@contextmanager
def intruder(
    erlang: Erlang, members: Sequence[str], *, cookie: str, name: str = "intruder@127.0.0.1"
) -> Iterator[Intruder]:
    """An intruder who is linked to every member when this returns; ended at the end."""
    node = Intruder(erlang, name, cookie=cookie, is_hidden=True)
    try:
        node.start()
        node.wait_up()
        node.stalk(members)
        wait_until("the intruder is in", lambda: node.intrusion().links >= set(members))
        yield node
    finally:
        node.kill()
