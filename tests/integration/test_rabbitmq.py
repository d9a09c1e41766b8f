"""A real RabbitMQ cluster, which cookies are to change under: it stands, carries and comes back."""

from __future__ import annotations

import pytest

from rotator.cli.demo.epmd import erlang
from tests.support.amqp import traffic
from tests.support.canary import find, process
from tests.support.parts import RABBITMQ, need
from tests.support.rabbitmq import RabbitCluster, rabbitmq

# Three brokers boot in 15 s on an idle machine, and a boot may happen twice.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Three brokers on loopback."""
    need("erl", RABBITMQ)
    with erlang(tmp_path_factory.mktemp("rabbitmq")) as beam, rabbitmq(beam) as brokers:
        yield brokers


def test_confirmed_messages_arrive(cluster: RabbitCluster) -> None:
    """Two thousand messages are confirmed by a quorum queue, and each is received."""
    assert cluster.running() == set(cluster.names)
    with traffic(cluster.ports) as messages:
        messages.wait_confirmed(2000)
        messages.drain()
        assert messages.confirmed >= 2000
        assert messages.lost() == 0
        assert messages.closed == ()
    assert all(not seen for seen in cluster.partitions().values())


def test_a_killed_broker_comes_back_and_loses_no_confirmed_message(cluster: RabbitCluster) -> None:
    """Killed under traffic and started with another environment file, it is a member again."""
    victim = cluster[cluster.names[-1]]
    with traffic(cluster.ports) as messages:
        messages.wait_confirmed(200)
        victim.kill()
        messages.wait_confirmed(200)
        victim.environment_file.write_text(
            'SERVER_ADDITIONAL_ERL_ARGS="-setcookie nobody@localhost PINNED"\n'
        )
        cluster.restart(victim.name)
        messages.wait_confirmed(200)
        messages.drain()
        assert messages.lost() == 0
        assert messages.closed  # whoever was connected to the victim
    assert victim.ctl("eval", "erlang:get_cookie('nobody@localhost').").strip() == "'PINNED'"
    assert all(not seen for seen in cluster.partitions().values())


def test_no_broker_has_the_cookie_in_its_arguments(cluster: RabbitCluster) -> None:
    """What everyone on the host can read of a broker does not hold its cookie."""
    for node in cluster.nodes.values():
        cookie = node.cookie_file.read_bytes()
        assert find({"cookie": cookie}, process(node.pid)) == []
