"""RabbitMQ under traffic: its cookie changes three times, and nobody who uses it can tell."""

from __future__ import annotations

import pytest

from tests.support.amqp import traffic
from tests.support.parts import RABBITMQ, need
from tests.support.rabbitmq_rotation import RotatedRabbits, rotated_rabbitmq

# Two minutes on an idle machine, most of it boots and a member that has to be lost; brokers boot slowly on a loaded one.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def rabbits(tmp_path_factory):
    """Three brokers, a service on a real OpenBao, three agents."""
    need("erl", RABBITMQ)
    with rotated_rabbitmq(tmp_path_factory.mktemp("rotates")) as made:
        yield made


def test_two_rotations_and_an_emergency_lose_no_message_and_no_connection(
    rabbits: RotatedRabbits,
) -> None:
    """Every confirmed message arrives, no client is cut off, no broker is parted, rabbitmqctl works before and after."""
    rabbits.tools_work()
    known = rabbits.cookies()
    with traffic(rabbits.brokers.ports) as messages:
        for kind in ("manual", "manual", "emergency"):
            messages.wait_confirmed(200)
            rabbits.rotate(kind)
            (fresh,) = rabbits.cookies()
            assert fresh not in known
            known.add(fresh)
        messages.wait_confirmed(200)
        messages.drain()
        assert messages.lost() == 0
        assert messages.closed == ()
    rabbits.tools_work()
    (last,) = rabbits.cookies()
    for name in rabbits.names:
        peers = tuple(peer for peer in rabbits.names if peer != name)
        assert set(rabbits.pins(name, peers)) == {last}


def test_a_broker_killed_among_mixed_cookies_comes_back_with_its_pins(
    rabbits: RotatedRabbits,
) -> None:
    """One agent is dead, so the rotation stays halfway: a broker that adopted is killed, boots with what each pair uses, and runs again."""
    _, victim, behind = rabbits.names
    with traffic(rabbits.brokers.ports) as messages:
        messages.wait_confirmed(200)
        rabbits.kill_among_mixed_cookies(victim, behind=behind, messages=messages)
        messages.wait_confirmed(200)
        messages.drain()
        assert messages.lost() == 0
    rabbits.tools_work()


def test_a_connected_rabbitmqctl_outlives_a_rotation_and_is_cut_by_an_emergency(
    rabbits: RotatedRabbits,
) -> None:
    """It is a hidden node with a random name: a rotation leaves it alone, and an emergency takes it for a stranger."""
    name = rabbits.names[0]
    with rabbits.tool_that_stays(name) as tool:
        rabbits.rotate()
        assert tool.answer() == (0, "done")
    with rabbits.tool_that_stays(name) as tool:
        rabbits.rotate("emergency")
        assert tool.answer()[0] != 0
    rabbits.tools_work()
