"""RabbitMQ under traffic for a long time: rotation upon rotation, and each broker killed halfway."""

from __future__ import annotations

import pytest

from tests.support.amqp import traffic
from tests.support.parts import RABBITMQ, need
from tests.support.rabbitmq_rotation import rotated_rabbitmq

ROUNDS = 10
pytestmark = pytest.mark.timeout(5400)


def test_thirty_cookies_under_traffic_lose_no_message_and_no_connection(tmp_path) -> None:
    """Twenty rotations and ten emergencies: every confirmed message arrives, no client is cut off, no broker is parted."""
    need("erl", RABBITMQ)
    with rotated_rabbitmq(tmp_path) as rabbits:
        seen = rabbits.cookies()
        with traffic(rabbits.brokers.ports) as messages:
            for _ in range(ROUNDS):
                for kind in ("manual", "manual", "emergency"):
                    messages.wait_confirmed(1000)
                    rabbits.rotate(kind)
                    seen |= rabbits.cookies()
                rabbits.tools_work()
            messages.wait_confirmed(1000)
            messages.drain(seconds=300)
            assert messages.lost() == 0
            assert messages.closed == ()
        assert len(seen) == 1 + 3 * ROUNDS


def test_each_broker_is_killed_among_mixed_cookies_and_comes_back(tmp_path) -> None:
    """Whichever broker is killed and whichever is behind: it boots with its pins, joins, and the rotation ends."""
    need("erl", RABBITMQ)
    with rotated_rabbitmq(tmp_path) as rabbits:
        pairs = [(a, b) for a in rabbits.names for b in rabbits.names if a != b]
        with traffic(rabbits.brokers.ports) as messages:
            for victim, behind in pairs:
                rabbits.kill_among_mixed_cookies(victim, behind=behind, messages=messages)
            messages.wait_confirmed(1000)
            messages.drain(seconds=300)
            assert messages.lost() == 0
        rabbits.tools_work()
