"""What a rotation by restarts means for nodes that nobody attests for, said before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.domain import agentless

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rotator.domain.ids import NodeName
    from rotator.domain.liveness import Crowd

#: There is nobody to keep pairs in step.
SPLIT: Final = (
    "nobody keeps pairs in step: from the first restart to the last, nodes that were restarted and"
    " nodes that were not refuse each other"
)
_MOST: Final = 3  #: names in a sentence
STANDSTILL: Final = (
    "stop_the_world: all nodes without an agent stop before the first one starts, so the cluster is"
    " down in between"
)


def notes(crowd: Crowd) -> Iterator[str]:
    """Sentences; none where agents keep the cluster whole."""
    words = agentless.names(crowd)
    if not crowd.policy.restarts or not (words or _is_alone(crowd)):
        return
    yield STANDSTILL if words and agentless.stops_the_world(crowd) else SPLIT
    if words:
        yield f"nothing proves what {_named(words)} use: restarted is who is said to be"


def untouched(crowd: Crowd) -> Iterator[str]:
    """What an emergency does not do: it locks and resets by agents."""
    words = agentless.names(crowd)
    if words:
        yield (
            f"{_named(words)} have no agent: nobody locks or resets them, so restart them yourself,"
            " all of them, as soon as the new version is current"
        )


def _named(words: tuple[NodeName, ...]) -> str:
    return f"{len(words)} nodes ({', '.join(words[:_MOST])}{', …' if words[_MOST:] else ''})"


def _is_alone(crowd: Crowd) -> bool:
    return not crowd.policy.expects_members and not crowd.cluster.members
