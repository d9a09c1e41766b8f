"""What the agent must still know after it was killed."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from rotator.agent import memory as memories
from rotator.agent.decide import Memory
from rotator.agent.orders import LockRound
from rotator.domain.cookie import Cookie
from rotator.errors import AgentFileError

ROUND = LockRound("rot-1", 2)
FULL = Memory(
    generation=7, lock=ROUND, throwaway=Cookie("THROWN"), former=(Cookie("A"), Cookie("B"))
)


LAID = memories.with_next(FULL, LockRound("rot-1", 3), throwaway=Cookie("NEXT"))


@pytest.mark.parametrize("memory", [Memory(), Memory(generation=3), FULL, LAID])
def test_what_is_remembered_comes_back(tmp_path: Path, memory: Memory) -> None:
    """Everything that was stored is there after a restart, readable by its owner alone."""
    path = tmp_path / "n.memory"
    memories.store(path, memory)
    assert memories.load(path) == memory
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert memories.fault(path) is None


def test_without_a_memory_there_is_nothing_to_know(tmp_path: Path) -> None:
    """An agent that was never here starts with an empty memory, and that is no fault."""
    path = tmp_path / "n.memory"
    assert memories.load(path) == Memory()
    assert memories.fault(path) is None


def damaged() -> list[bytes]:
    """Bytes that no agent has written."""
    whole = {
        "generation": 1,
        "lock": {"emergency": "e", "round": 1},
        "throwaway": "CANARY",
        "former": ["CANARY"],
    }
    wrong = {
        "generation": ["1", None, 1.5],
        "lock": [3, {}, {"emergency": "e"}],
        "throwaway": [3, "", "CANARY two"],
        "former": ["CANARY", [3], [""], None],
    }
    texts = [json.dumps({**whole, key: value}) for key in wrong for value in wrong[key]]
    texts += [json.dumps({k: v for k, v in whole.items() if k != key}) for key in whole]
    texts += [json.dumps(whole)[:-1], "", "[]", "null", "[" * 100_000]
    return [*(text.encode() for text in texts), b'{"generation": 1, "lock": "\xff"}', b"\x00" * 9]


@pytest.mark.parametrize("content", damaged())
def test_a_damaged_memory_is_kept_aside_and_told(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It may hold the only way back into a locked node, so not a byte is lost, and none is shown."""
    path = tmp_path / "n.memory"
    path.write_bytes(content)
    path.chmod(0o600)
    assert memories.load(path) == Memory()
    aside = tmp_path / "n.memory.damaged"
    assert aside.read_bytes() == content
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    memories.store(path, Memory(generation=1))
    assert memories.load(path) == Memory(generation=1)
    fault = memories.fault(path)
    assert fault is not None
    assert str(aside) in fault
    assert str(aside) in caplog.text
    assert "CANARY" not in fault + caplog.text
    aside.unlink()
    assert memories.fault(path) is None


def test_a_memory_that_cannot_be_read_stops_the_agent(tmp_path: Path) -> None:
    """It is not taken for none: the agent would lock itself out."""
    path = tmp_path / "n.memory"
    path.mkdir()
    with pytest.raises(AgentFileError, match=r"n\.memory cannot be read"):
        memories.load(path)


def test_each_round_remembers_whatever_the_node_may_answer_to() -> None:
    """The newest stands first, nothing stands twice, and what was is not forgotten too soon."""
    own, file = Cookie("OWN"), Cookie("FILE")
    first = memories.for_round(
        Memory(generation=4), ROUND, throwaway=Cookie("T1"), answers_to=(own, file)
    )
    assert first == Memory(generation=4, lock=ROUND, throwaway=Cookie("T1"), former=(own, file))
    second = memories.for_round(
        first, LockRound("rot-1", 3), throwaway=Cookie("T2"), answers_to=(Cookie("T1"), None)
    )
    assert second.former == (Cookie("T1"), own, file)


def test_a_memory_does_not_grow_without_end() -> None:
    """After many rounds the last throwaways are there, and the list is bounded."""
    memory = Memory()
    for number in range(50):
        memory = memories.for_round(
            memory, LockRound("e", number), throwaway=Cookie(f"T{number}"), answers_to=()
        )
    assert len(memory.former) == 8
    assert memory.former[0] == Cookie("T48")


def test_a_vm_that_a_word_has_locked_is_in_the_next_round() -> None:
    """What was laid ready is its throwaway now, and the one before is remembered."""
    assert LAID.former == FULL.former
    for own in (None, Cookie("THROWN"), Cookie("OTHER")):
        assert memories.entered(LAID, own) == LAID
    assert memories.entered(FULL, Cookie("NEXT")) == FULL
    former = (Cookie("THROWN"), Cookie("A"), Cookie("B"))
    entered = replace(FULL, lock=LockRound("rot-1", 3), throwaway=Cookie("NEXT"), former=former)
    assert memories.entered(LAID, Cookie("NEXT")) == entered


def test_what_was_laid_ready_is_the_throwaway_of_its_round_alone() -> None:
    """A VM may have taken it at a word: in another round it is one of those that are remembered."""
    fresh = Cookie("FRESH")
    same = memories.for_round(LAID, LockRound("rot-1", 3), throwaway=fresh, answers_to=())
    assert (same.throwaway, same.next_lock, same.next_throwaway) == (Cookie("NEXT"), None, None)
    later = memories.for_round(LAID, LockRound("rot-1", 4), throwaway=fresh, answers_to=())
    assert later.throwaway == fresh
    assert {Cookie("NEXT"), Cookie("THROWN")} <= set(later.former)
    again = memories.with_next(LAID, LockRound("rot-1", 4), throwaway=fresh)
    assert Cookie("NEXT") in again.former


def test_peace_leaves_no_cookie() -> None:
    """When the emergency is over on this node only the generation is kept."""
    assert memories.at_peace(FULL) == Memory(generation=7)
    assert "THROWN" not in repr(FULL)
