"""Proof by handshakes: what was tried counts, and what could not be tried is called so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rotator.agent.evidence import Proofs
from rotator.agent.prover import Prover
from rotator.domain.cookie import Cookie
from rotator.domain.ids import ClusterUid, VersionNumber
from rotator.errors import NodeGone, NodeTimedOut
from tests.support.agents import NEW, OLD, B, C, orders, settled

ONE, TWO = VersionNumber(1), VersionNumber(2)
RETIRING = orders(phase="retiring", accepted=frozenset({NEW}), refuse={ONE: OLD})
#: As an emergency ends: the revoked version is named by its number alone.
REVOKING = replace(RETIRING, cookies={TWO: NEW}, refuse={ONE: None})


class Vm:
    """Accepts these; None for a handshake that comes to no end."""

    def __init__(self, *accepted: Cookie) -> None:
        self.accepted, self.is_silent, self.asked = set(accepted), False, 0
        self.is_another = False

    async def look(self) -> None:
        """Over the connection of before."""
        if self.is_another:
            raise NodeGone

    async def accepts(self, cookie: Cookie) -> bool:
        """A fresh handshake."""
        self.asked += 1
        if self.is_silent:
            raise NodeTimedOut
        return cookie in self.accepted


def prover(vm: Vm) -> Prover:
    """Of this VM."""
    return Prover(vm)  # type: ignore[arg-type]


async def test_a_refusal_and_an_acceptance_are_shown_by_handshake() -> None:
    """Both are proven once, kept while nothing changes, and not tried again."""
    vm = Vm(NEW)
    made = prover(vm)
    assert not made.is_done(RETIRING)
    whole = Proofs(refuses={ONE: "handshake"}, accepts={TWO: "handshake"})
    assert await made.proofs(RETIRING, settled()) == whole
    assert made.is_done(RETIRING)
    asked = vm.asked
    assert await made.proofs(RETIRING, settled()) == whole
    assert vm.asked == asked


async def test_what_is_still_accepted_is_never_called_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However often it is tried, a version that gets in stays unproven, and the log says so by number."""
    made = prover(Vm(NEW, OLD))
    for _ in range(9):
        found = await made.proofs(RETIRING, settled())
    assert found.refuses == {}
    assert not made.is_done(RETIRING)
    assert "version 1 is still accepted" in caplog.text
    assert "CANARY" not in caplog.text


async def test_handshakes_without_an_end_come_down_to_read_back() -> None:
    """After three tries it is said that nothing but reading back was possible."""
    vm = Vm()
    vm.is_silent = True
    made = prover(vm)
    assert await made.proofs(RETIRING, settled()) == Proofs()
    assert await made.proofs(RETIRING, settled()) == Proofs()
    found = await made.proofs(RETIRING, settled())
    assert found == Proofs(refuses={ONE: "read_back"}, accepts={TWO: "read_back"})


async def test_a_revoked_version_is_tried_if_it_was_ever_known() -> None:
    """An emergency names it by number: who knew its cookie shows a refusal, who did not reads back."""
    knows = prover(Vm(NEW))
    knows.learn(orders())
    assert (await knows.proofs(REVOKING, settled())).refuses == {ONE: "handshake"}
    assert (await prover(Vm(NEW)).proofs(REVOKING, settled())).refuses == {ONE: "read_back"}


async def test_nothing_is_proven_while_something_is_left() -> None:
    """A row of before takes every proof back, until it is gone and all was tried anew."""
    vm = Vm(NEW)
    made = prover(vm)
    await made.proofs(RETIRING, settled())
    assert await made.proofs(RETIRING, settled(pins={B: OLD, C: NEW})) == Proofs()
    assert not made.is_done(RETIRING)
    asked = vm.asked
    assert (await made.proofs(RETIRING, settled())).refuses == {ONE: "handshake"}
    assert vm.asked > asked


async def test_another_vm_or_another_case_is_proven_anew() -> None:
    """A restart, a further version to refuse and another target each begin from nothing."""
    vm = Vm(NEW)
    made = prover(vm)
    await made.proofs(RETIRING, settled())
    made.forget()
    assert not made.is_done(RETIRING)
    await made.proofs(RETIRING, settled())
    more = replace(RETIRING, refuse={ONE: OLD, VersionNumber(9): Cookie("NINTH")})
    assert not made.is_done(more)
    assert set((await made.proofs(more, settled())).refuses) == {1, 9}


async def test_a_vm_that_restarts_between_two_handshakes_is_proven_anew() -> None:
    """What another VM than the one looked at accepts or refuses is no proof, and nothing of it is kept."""
    vm = Vm(NEW)
    made = prover(vm)
    vm.is_another = True
    assert await made.proofs(RETIRING, settled()) == Proofs()
    assert not made.is_done(RETIRING)
    vm.is_another, asked = False, vm.asked
    whole = Proofs(refuses={ONE: "handshake"}, accepts={TWO: "handshake"})
    assert await made.proofs(RETIRING, settled()) == whole
    assert vm.asked == 2 * asked


async def test_another_cluster_of_the_same_name_shares_no_number() -> None:
    """Version 1 of a cluster that was begun anew is not version 1 of before: neither cookie nor proof is taken over."""
    made = prover(Vm(NEW))
    made.learn(RETIRING)
    made.learn(orders())
    await made.proofs(RETIRING, settled())
    anew = replace(REVOKING, cluster_uid=ClusterUid("cd" * 16))
    made.learn(anew)
    assert not made.is_done(anew)
    assert (await made.proofs(anew, settled())).refuses == {ONE: "read_back"}


async def test_what_is_known_of_the_past_is_bounded() -> None:
    """A hundred rotations leave no hundred cookies in memory."""
    made = prover(Vm(NEW))
    for number in range(100):
        made.learn(orders(cookies={VersionNumber(number): Cookie(f"C{number}")}))
    assert len(made._known) == 16
    assert 99 in made._known
