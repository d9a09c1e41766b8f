"""RabbitMQ takes its new cookie by restarts: its queue keeps its majority, and what was confirmed arrives."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.amqp import QUEUE, traffic
from tests.support.parts import RABBITMQ, need
from tests.support.quorum import Quorum, watching_quorum
from tests.support.rabbitmq_restarts import Hosts, hosts
from tests.support.rabbitmq_rotation import RotatedRabbits, rotated_rabbitmq
from tests.support.service import wait_for

# Two minutes on an idle machine, most of it boots; brokers boot slowly on a loaded one.
pytestmark = pytest.mark.timeout(1800)

full = pytest.mark.skipif(
    os.environ.get("ROTATOR_TESTS") != "full", reason="with ROTATOR_TESTS=full"
)
MOMENT = 0.01  #: how likely it is at each look that the next one dies: after some seconds
ROLLOUT = {"max_unavailable": 1, "soak": "0", "claim_ttl": "20s", "restart_timeout": "10m"}


@pytest.fixture(scope="module")
def rabbits(tmp_path_factory):
    """Three brokers that take a new cookie when they start, a service on a real OpenBao, three agents."""
    need("erl", RABBITMQ)
    directory = tmp_path_factory.mktemp("restarts")
    with rotated_rabbitmq(directory, adoption="restart", rollout=ROLLOUT) as made:
        yield made


def is_completed(rabbits: RotatedRabbits, rotation: str) -> Callable[[], bool]:
    """A question: whether it is."""
    return lambda: rabbits.phase(rotation) == "completed"


def assert_on(rabbits: RotatedRabbits, cookie: str) -> None:
    """Every file, every VM and every pair is at *cookie*, and nobody is parted."""
    rabbits.tools_work()
    assert rabbits.cookies() == {cookie}
    for name in rabbits.names:
        peers = tuple(peer for peer in rabbits.names if peer != name)
        assert set(rabbits.pins(name, (name, *peers))) == {cookie}


@full
def test_brokers_are_restarted_one_at_a_time_and_the_queue_keeps_its_majority(
    rabbits: RotatedRabbits,
) -> None:
    """Each once, by the recipe's program; all the while messages are confirmed, and each of these arrives."""
    (before,) = rabbits.cookies()
    pids = {name: broker.pid for name, broker in rabbits.brokers.nodes.items()}
    brokers = tuple(rabbits.brokers.nodes.values())
    with (
        traffic(rabbits.brokers.ports) as messages,
        watching_quorum(brokers, QUEUE) as quorum,
        hosts(rabbits, messages) as ground,
    ):
        messages.wait_confirmed(200)
        rotation = rabbits.start("manual")
        rabbits.until(rotation, "rolling_out")
        assert rabbits.cookies() == {before}
        assert {name: broker.pid for name, broker in rabbits.brokers.nodes.items()} == pids
        orchestrator = ground.orchestrator("--once")
        orchestrator.start()
        ground.serve(is_completed(rabbits, rotation))
        assert orchestrator.wait() == 0, orchestrator.output()
        messages.wait_confirmed(200)
        quorum.wait_look()
        messages.drain()
        assert messages.lost() == 0
        assert quorum.lost == []
        # Each was seen to go, so the watch would have seen two that go together.
        assert set(quorum.away) == set(rabbits.names)
        assert ground.restarted == sorted(rabbits.names)
        assert not pids.items() & {n: b.pid for n, b in rabbits.brokers.nodes.items()}.items()
        last = {name: what for name, what in ground.did() if "quorum_critical" not in what}
        assert {what.split()[2] for what in last.values()} == {"await_startup"}
    (fresh,) = rabbits.cookies()
    assert fresh != before
    assert_on(rabbits, fresh)
    for name in rabbits.names:
        assert f"{name}: is back on version" in orchestrator.output()
    for secret in (before, fresh, orchestrator.token_file.read_text()):
        assert secret not in orchestrator.output()


@full
@pytest.mark.parametrize("seed", range(3))
def test_whoever_dies_the_queue_keeps_its_majority(rabbits: RotatedRabbits, seed: int) -> None:
    """Orchestrators, the service and a broker at random moments: no broker is restarted twice, nothing is lost."""
    chance = random.Random(seed)
    brokers = tuple(rabbits.brokers.nodes.values())
    with (
        traffic(rabbits.brokers.ports) as messages,
        watching_quorum(brokers, QUEUE) as quorum,
        hosts(rabbits, messages) as ground,
    ):
        messages.wait_confirmed(200)
        for _ in range(2):
            ground.orchestrator().start()
        rotation = rabbits.start("manual")
        over = is_completed(rabbits, rotation)
        died, crashed = strike(ground, quorum, chance=chance, over=over)
        ground.serve(over)
        messages.wait_confirmed(200)
        quorum.wait_look()
        messages.drain()
        assert messages.lost() == 0
        assert quorum.lost == []
        restarted = Counter(ground.restarted)
        assert set(restarted.values()) == {1}, restarted
        assert restarted.keys() | crashed == set(rabbits.names)
        print(f"seed {seed}: {dict(died)}, {messages.confirmed} messages, {quorum.looks} looks")
    (fresh,) = rabbits.cookies()
    assert_on(rabbits, fresh)


def strike(
    ground: Hosts, quorum: Quorum, *, chance: random.Random, over: Callable[[], bool]
) -> tuple[Counter[str], set[str]]:
    """Whoever it hits, until the rotation is over; how often, and which brokers died by themselves.

    A broker dies only once, and while all are up: what two at a time do to a majority is known.
    """
    rabbits, died, crashed = ground.rabbits, Counter[str](), set[str]()
    victims = ["orchestrator", "service", "broker"]
    chance.shuffle(victims)
    while not over():
        victim = victims.pop() if victims else chance.choice(("orchestrator", "service"))
        ground.serve(lambda: over() or chance.random() < MOMENT)
        if victim == "service":
            rabbits.service.kill()
            rabbits.service.start()
        elif victim == "orchestrator":
            copy = chance.choice(ground.orchestrators)
            copy.kill()
            copy.start()
        else:
            quorum.wait_whole()
            if ground.asks():
                victims.append(victim)
                continue
            name = chance.choice(rabbits.names)
            rabbits.brokers[name].kill()
            crashed.add(name)
            ground.start(name)
            quorum.wait_whole()  # whoever was about to be restarted just then is next
        died[victim] += 1
    return died, crashed


@full
def test_the_watch_sees_a_majority_that_is_lost(rabbits: RotatedRabbits) -> None:
    """Planted: two brokers are killed at once."""
    with traffic(rabbits.brokers.ports) as messages:
        messages.wait_confirmed(1)
    pair = rabbits.names[:2]
    with watching_quorum(tuple(rabbits.brokers.nodes.values()), QUEUE) as quorum:
        quorum.wait_whole()
        for name in pair:
            rabbits.brokers[name].kill()
        wait_for("it is seen", lambda: quorum.lost, seconds=120)
        for name in pair:
            rabbits.brokers[name].start()
        for name in pair:
            rabbits.brokers[name].wait_up()
        quorum.wait_whole()
    rabbits.brokers.wait_whole()
