"""What the agent must still know after it was killed: a file of its own, 0600, beside nothing else.

It holds cookies (a throwaway, and what the VM may still answer to) only while an emergency is not
over on this node.
"""

from __future__ import annotations

import json
import logging
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from rotator.agent import files
from rotator.agent.decide import Memory
from rotator.agent.orders import LockRound
from rotator.domain.cookie import Cookie
from rotator.domain.ids import ClusterUid
from rotator.errors import AgentFileError, InvalidCookie

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORMER: Final = 8  #: rounds of one emergency that a node can have missed, and more


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lock:
    emergency: str
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    generation: int
    cluster_uid: str | None = None
    lock: _Lock | None
    throwaway: str | None
    former: list[str]
    next_lock: _Lock | None = None
    next_throwaway: str | None = None


def load(path: Path) -> Memory:
    """What was stored; an empty memory where there is none. Raises `AgentFileError`.

    It is written as a whole, so a damaged one was damaged by somebody else. It is kept aside, for
    it may hold the only way back into a locked node, and `fault` tells of it until it is removed.
    """
    try:
        return _memory_of(msgspec.json.decode(path.read_bytes(), type=_Stored))
    except FileNotFoundError:
        return Memory()
    except OSError as error:
        raise AgentFileError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError, InvalidCookie):
        _keep_aside(path)
        return Memory()


def _memory_of(found: _Stored) -> Memory:
    return Memory(
        generation=found.generation,
        cluster_uid=None if found.cluster_uid is None else ClusterUid(found.cluster_uid),
        lock=_round_of(found.lock),
        throwaway=_cookie_of(found.throwaway),
        former=tuple(Cookie(text) for text in found.former),
        next_lock=_round_of(found.next_lock),
        next_throwaway=_cookie_of(found.next_throwaway),
    )


def _round_of(lock: _Lock | None) -> LockRound | None:
    return None if lock is None else LockRound(lock.emergency, lock.round)


def _cookie_of(text: str | None) -> Cookie | None:
    return None if text is None else Cookie(text)


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.damaged")


def _keep_aside(path: Path) -> None:
    try:
        path.replace(_aside(path))
    except OSError as error:
        raise AgentFileError(
            f"{path} is damaged and cannot be kept aside: {error.strerror}"
        ) from None
    log.error("%s", fault(path))


def fault(path: Path) -> str | None:
    """What is to be told of a memory that was found damaged; None without one."""
    if not _aside(path).exists():
        return None
    return (
        f"the agent's memory was damaged and lies in {_aside(path)}: if the node refuses every"
        " cookie, restart it; remove that file when the node is in step"
    )


def store(path: Path, memory: Memory) -> None:
    """Durable on return."""
    stored = {
        "generation": memory.generation,
        "cluster_uid": memory.cluster_uid,
        "lock": _stored(memory.lock),
        "throwaway": memory.throwaway.reveal() if memory.throwaway else None,
        "former": [cookie.reveal() for cookie in memory.former],
        "next_lock": _stored(memory.next_lock),
        "next_throwaway": memory.next_throwaway.reveal() if memory.next_throwaway else None,
    }
    files.replace(path, json.dumps(stored), mode=0o600)


def _stored(lock: LockRound | None) -> dict[str, object] | None:
    return None if lock is None else {"emergency": lock.emergency, "round": lock.number}


def throwaway() -> Cookie:
    """A random cookie of 256 bits that never leaves its node."""
    return Cookie("".join(secrets.choice(_ALPHABET) for _ in range(43)))


def for_round(
    memory: Memory, lock: LockRound, *, throwaway: Cookie, answers_to: tuple[Cookie | None, ...]
) -> Memory:
    """Remember a throwaway, and whatever the VM may answer to until it has it.

    For a round that was laid out before (`with_next`) the throwaway is that one.
    """
    if memory.next_lock == lock and memory.next_throwaway is not None:
        throwaway = memory.next_throwaway
    former = _without(
        throwaway, memory.throwaway, *answers_to, memory.next_throwaway, *memory.former
    )
    entered = replace(memory, lock=lock, throwaway=throwaway, former=former)
    return replace(entered, next_lock=None, next_throwaway=None)


def with_next(memory: Memory, lock: LockRound, *, throwaway: Cookie) -> Memory:
    """Remember the throwaway of the round after this one, before the VM is given it."""
    former = _without(throwaway, memory.next_throwaway, *memory.former)
    return replace(memory, next_lock=lock, next_throwaway=throwaway, former=former)


def entered(memory: Memory, own: Cookie | None) -> Memory:
    """The memory when a VM that answers to *own* is in the next round already, by a peer's word."""
    if own is None or memory.next_lock is None or own != memory.next_throwaway:
        return memory
    return for_round(memory, memory.next_lock, throwaway=own, answers_to=())


def _without(one: Cookie, *known: Cookie | None) -> tuple[Cookie, ...]:
    found = dict.fromkeys(cookie for cookie in known if cookie is not None and cookie != one)
    return tuple(found)[:_FORMER]


def at_peace(memory: Memory) -> Memory:
    """Nothing but what was obeyed: the node is on current, with every row."""
    return Memory(generation=memory.generation, cluster_uid=memory.cluster_uid)
