"""Desired state, as the agent takes it from the service."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from rotator.agent.orders import LockRound, orders_of
from rotator.domain.cookie import Cookie
from rotator.domain.ids import VersionNumber
from rotator.errors import InputError
from rotator.protocol import v1
from tests.support import answers
from tests.support.agents import ALIEN, ME, NEW, OLD, B, C, orders

FIRST, SECOND = {"number": 1, "cookie": "C1"}, {"number": 2, "cookie": "C2"}


def answer(**changes: Any) -> v1.Desired:
    """Decoded as the agent decodes it."""
    return msgspec.convert(answers.desired(**changes), v1.Desired)


def test_two_versions_are_accepted_and_the_current_is_the_target() -> None:
    """Pending is held and not accepted, and a version to be refused is known and not accepted."""
    found = orders_of(
        answer(current=SECOND, previous=FIRST, pending={"number": 3, "cookie": "C3"}), ME
    )
    assert found is not None
    assert found.target == Cookie("C2")
    assert found.accepted == {Cookie("C1"), Cookie("C2")}
    assert found.cookies == {n: Cookie(f"C{n}") for n in (1, 2, 3)}
    assert not found.is_emergency
    retiring = orders_of(answer(current=SECOND, refuse=[FIRST]), ME)
    assert retiring is not None
    assert retiring.accepted == {Cookie("C2")}
    assert retiring.refuse == {1: Cookie("C1")}
    assert not retiring.is_emergency


def test_an_emergency_is_known_by_its_lock_and_by_its_numbers() -> None:
    """While it locks, and afterwards by versions that are named by number alone."""
    locking = orders_of(answer(lock={"round": 2, "emergency": "e1"}), ME)
    after = orders_of(answer(refuse=[7]), ME)
    assert locking is not None
    assert after is not None
    assert (locking.lock, locking.is_emergency) == (LockRound("e1", 2), True)
    assert (after.refuse, after.is_emergency) == ({7: None}, True)


def test_the_node_is_no_peer_of_itself() -> None:
    """Members are the others, by what they are, and pairs of versions that are not served are left out."""
    members = {ME: "live", B: "unknown", C: "excused", "d@h": "lost", "e@h": "joining"}
    found = orders_of(answer(members=members, pairs={B: 1, C: 9}), ME)
    assert found is not None
    assert ME not in found.members
    assert found.running == {B, "e@h"}
    assert found.awaited_peers == {B, "d@h", "e@h"}
    assert found.pairs == {B: Cookie("CANARYCURRENT")}


def test_before_init_there_are_no_orders() -> None:
    """A cluster without a version says nothing that could be done."""
    for missing in ("current", "cluster_uid", "fingerprint_key"):
        assert orders_of(answer(**{missing: None}), ME) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"current": {"number": 1, "cookie": ""}},
        {"previous": {"number": 1, "cookie": "CANARY TWO"}},
        {"refuse": [{"number": 1, "cookie": "CANARYé"}]},
        {"fingerprint_key": "CANARY!"},
        {"fingerprint_key": "é"},
        {"fingerprint_key": ""},
        {"cluster_uid": "CANARY"},
        {"cluster_uid": ""},
        {"cluster_uid": "AB" * 16},
    ],
)
def test_orders_without_sense_are_refused_without_repeating_them(changes: dict[str, Any]) -> None:
    """What the service may never send is one error of ours, and none of it is in the error."""
    with pytest.raises(InputError) as caught:
        orders_of(answer(**changes), ME)
    assert "CANARY" not in str(caught.value)


def test_cookies_are_named_by_number_and_fingerprint() -> None:
    """Both as the service knows them; what is not served has no number."""
    made = orders()
    assert (made.number_of(OLD), made.number_of(NEW)) == (1, 2)
    assert (made.number_of(ALIEN), made.number_of(None)) == (None, None)
    assert made.fingerprint(NEW) == NEW.fingerprint(made.fingerprint_key, made.cluster_uid)


def test_orders_show_no_secret() -> None:
    """Neither a cookie nor the key is in their repr."""
    found = orders_of(answer(current=SECOND, refuse=[FIRST]), ME)
    key = base64.b64decode(answers.desired()["fingerprint_key"])
    assert "C1" not in repr(found)
    assert "C2" not in repr(found)
    assert repr(key) not in repr(found)


def test_in_an_emergency_who_waits_to_boot_is_nobodys_peer() -> None:
    """A link under its name is a stranger's, on a node that comes late to the emergency, too."""
    members = {B: "live", C: "joining"}
    assert orders(members=members).running == {B, C}
    assert orders(members=members, lock=LockRound("e1", 1)).running == {B}
    assert orders(members=members, refuse={VersionNumber(1): None}).running == {B}
