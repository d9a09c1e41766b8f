"""What the agent must still know after it was killed: a file of its own, 0600, beside nothing else.

It holds cookies (a throwaway, and what the VM may still answer to) only while an emergency is not
over on this node.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rotator.agent import files
from rotator.agent.decide import Memory
from rotator.agent.orders import LockRound
from rotator.domain.cookie import Cookie
from rotator.errors import AgentFileError, InvalidCookie

if TYPE_CHECKING:
    from pathlib import Path

_FORMER: Final = 8  #: rounds of one emergency that a node can have missed, and more


def load(path: Path) -> Memory:
    """What was stored; an empty memory where there is none, or nothing that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        lock = found["lock"]
        return Memory(
            generation=int(found["generation"]),
            lock=LockRound(str(lock["emergency"]), int(lock["round"])) if lock else None,
            throwaway=Cookie(found["throwaway"]) if found["throwaway"] else None,
            former=tuple(Cookie(text) for text in found["former"]),
        )
    except FileNotFoundError:
        return Memory()
    except OSError as error:
        raise AgentFileError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, InvalidCookie):
        return Memory()


def store(path: Path, memory: Memory) -> None:
    """Durable on return."""
    lock = memory.lock
    stored = {
        "generation": memory.generation,
        "lock": {"emergency": lock.emergency, "round": lock.number} if lock else None,
        "throwaway": memory.throwaway.reveal() if memory.throwaway else None,
        "former": [cookie.reveal() for cookie in memory.former],
    }
    files.replace(path, json.dumps(stored), mode=0o600)


def for_round(
    memory: Memory, lock: LockRound, *, throwaway: Cookie, answers_to: tuple[Cookie | None, ...]
) -> Memory:
    """Remember a new throwaway, and whatever the VM may answer to until it has it."""
    known = (memory.throwaway, *answers_to, *memory.former)
    former = tuple(dict.fromkeys(cookie for cookie in known if cookie is not None))
    return replace(memory, lock=lock, throwaway=throwaway, former=former[:_FORMER])


def at_peace(memory: Memory) -> Memory:
    """Nothing but the generation: the node is on current, with every row."""
    return Memory(generation=memory.generation)
