from __future__ import annotations

import asyncio
import hashlib
from contextlib import AsyncExitStack, ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.api import throttle
from rotator.api.throttle import Limits, Throttle, TooManyAtWork, TooManyRequests
from rotator.services.allowance import Allowance

LIMITS = Limits(requests_per_second=10, burst=20, long_polls=2)
HOME = "192.0.2.1"


class Clock:
    now = 100.0

    def __call__(self):
        """Seconds."""
        return self.now


@pytest.fixture
def clock():
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def gate(clock):
    """A throttle on that clock, to which one token is known as good."""
    made = Throttle(LIMITS, clock=clock)
    made.passed("good", is_shared=False)
    return made


def let_in(gate, times, *, credentials="good", address=HOME):
    """How many of so many requests at once are let in."""
    count = 0
    for _ in range(times):
        try:
            gate.knock(address, credentials)
        except TooManyRequests:
            continue
        count += 1
        if credentials != "good":
            gate.failed(address, credentials)
    return count


def test_a_token_has_its_burst_and_then_its_rate(gate, clock):
    """As many as the burst at once, then as many a second as the rate, and no more."""
    assert let_in(gate, 100) == 20
    clock.now += 1
    assert let_in(gate, 100) == 10
    clock.now += 3600
    assert let_in(gate, 100) == 20


def test_a_refusal_says_when_to_come_back(gate):
    """Whoever waits as long as was said is let in."""
    let_in(gate, 20)
    with pytest.raises(TooManyRequests) as refused:
        gate.knock(HOME, "good")
    assert refused.value.retry_after == 1


def test_a_token_for_a_pattern_may_ask_for_all_of_its_nodes(gate):
    """One token for many nodes has an allowance for many."""
    gate.passed("good", is_shared=True)
    assert let_in(gate, 5000) == 20 * throttle.SHARED


def test_strangers_cost_their_address_and_no_good_token(gate, clock):
    """Guesses are held back by address; a token that was good is let in from the same one."""
    assert let_in(gate, 1000, credentials="guess") == throttle.STRANGERS_BURST
    assert let_in(gate, 1, credentials="another") == 0
    assert let_in(gate, 1, credentials=None) == 0
    assert let_in(gate, 5) == 5
    assert let_in(gate, 1, credentials="guess", address="192.0.2.2") == 1
    clock.now += 1
    assert let_in(gate, 1000, credentials="guess") == throttle.STRANGERS_PER_SECOND


def test_a_good_token_that_never_came_is_no_stranger(gate):
    """After a restart, too: what floods an address of many shuts out none of them."""
    gate.expect([(hashlib.sha256(b"new").hexdigest(), False)])
    assert let_in(gate, 1000, credentials="guess") == throttle.STRANGERS_BURST
    gate.knock(HOME, "new")
    gate.failed(HOME, "new")
    with pytest.raises(TooManyRequests):
        gate.knock(HOME, "new")


def test_one_host_with_many_ipv6_addresses_is_one_address(gate):
    """A host chooses freely from its /64, so that is what is counted."""
    places = [f"2001:db8::{number:x}" for number in range(1000)]
    found = sum(let_in(gate, 1, credentials="guess", address=place) for place in places)
    assert found == throttle.STRANGERS_BURST


def test_a_token_that_was_revoked_is_a_stranger_again(gate):
    """What was good is not good for ever."""
    gate.failed(HOME, "good")
    let_in(gate, 1000, credentials="guess")
    assert let_in(gate, 1) == 0


def test_new_limits_hold_at_once(gate, clock):
    """Limits are read at each request; without any, everything is let in."""
    gate.limits = Limits(requests_per_second=1, burst=1)
    assert let_in(gate, 10) == 1
    gate.limits = None
    assert let_in(gate, 1000) == 1000


async def test_nodes_are_served_while_others_fill_their_share(gate, monkeypatch):
    """Others than nodes have so many places, and wait for one; nodes need none."""
    async with AsyncExitStack() as stack:
        for _ in range(throttle.OTHERS_AT_WORK - 1):
            await stack.enter_async_context(gate.at_work(is_node=False))
        async with gate.at_work(is_node=False):
            monkeypatch.setattr(throttle, "WAIT_SECONDS", 0.01)
            with pytest.raises(TooManyAtWork):
                async with gate.at_work(is_node=False):
                    pass
            async with gate.at_work(is_node=True):
                pass
            monkeypatch.setattr(throttle, "WAIT_SECONDS", 60)
            waiting = asyncio.ensure_future(stack.enter_async_context(gate.at_work(is_node=False)))
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting


def test_a_token_waits_so_often_at_once_and_no_more(gate):
    """One wait too many is refused; a wait that has ended makes room, and leaves nothing behind."""
    with gate.waiting("t", "a"), gate.waiting("t", "a"):
        with pytest.raises(TooManyRequests, match=r"limits\.long_polls"), gate.waiting("t", "a"):
            pass
        with gate.waiting("t", "b"), gate.waiting("u", "a"):
            pass
    assert not gate._waiting


def test_a_token_for_many_nodes_waits_for_no_more_by_making_names_up(gate):
    """All its names of one cluster together have a bound, and those of another one their own."""
    with ExitStack() as stack:
        for number in range(2 * throttle.SHARED):
            stack.enter_context(gate.waiting("t", f"rabbit@{number}", cluster="orders"))
        with pytest.raises(TooManyRequests), gate.waiting("t", "rabbit@new", cluster="orders"):
            pass
        with gate.waiting("t", "rabbit@new", cluster="billing"):
            pass
    assert not gate._waiting


def test_what_is_remembered_is_bounded(monkeypatch, clock):
    """However many addresses and tokens come, no more are kept than was said."""
    monkeypatch.setattr(throttle, "MAX_KEPT", 50)
    gate = Throttle(LIMITS, clock=clock)
    for number in range(1000):
        gate.failed(f"10.0.{number // 250}.{number % 250}", "guess")
        gate.passed(f"token {number}", is_shared=False)
        gate.knock(HOME, f"token {number}")
    assert gate.kept() == 150


def test_a_flood_of_refusals_is_a_few_lines_in_the_log(gate, clock, caplog):
    """Refusals are logged as a count, now and then, and never with what was sent."""
    for _ in range(30):
        let_in(gate, 1000)
        let_in(gate, 1000, credentials="CanaryGuess")
        clock.now += 1
    assert 1 <= len(caplog.records) <= 3
    assert "CanaryGuess" not in str([vars(record) for record in caplog.records])


@given(
    start=st.floats(0, 50),
    times=st.lists(st.floats(0, 100), max_size=20),
    rate=st.floats(0.1, 100),
)
def test_an_allowance_is_never_below_nothing_nor_above_its_burst(start, times, rate):
    """Whatever the clock says, backwards too, an allowance stays within its bounds."""
    found = Allowance(start, 0.0)
    for now in times:
        found = found.refilled(now, rate=rate, burst=50).minus(1)
        assert 0 <= found.left <= 50


def test_a_request_that_fails_otherwise_is_counted_like_one_without_a_good_token(gate, clock):
    """A stranger's is; who was good before keeps that, as an outage says nothing of its token."""
    for _ in range(5 * int(throttle.STRANGERS_BURST)):
        gate.unclear(HOME, "good")
    gate.knock(HOME, "stranger")
    for _ in range(int(throttle.STRANGERS_BURST)):
        gate.unclear(HOME, "stranger")
    with pytest.raises(TooManyRequests):
        gate.knock(HOME, "another")
    gate.knock(HOME, "good")
