"""Messages through a quorum queue at full speed: what was confirmed has to arrive.

Each publisher and each consumer is a thread with a connection of its own. A message whose
confirmation does not come is sent again under the same number, so only a confirmed message that
nobody receives is lost.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel

from rotator.cli.demo.processes import wait_until

QUEUE = "traffic"
_PREFETCH = 200


@dataclass
class Traffic:
    """Publishers and consumers on the brokers that listen on *ports*; made by `traffic`."""

    ports: Sequence[int]
    _confirmed: set[int] = field(default_factory=set, repr=False)
    _received: set[int] = field(default_factory=set, repr=False)
    _closed: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)
    _no_more: threading.Event = field(default_factory=threading.Event, repr=False)
    _end: threading.Event = field(default_factory=threading.Event, repr=False)
    _publishers: list[threading.Thread] = field(default_factory=list, repr=False)
    _consumers: list[threading.Thread] = field(default_factory=list, repr=False)

    @property
    def confirmed(self) -> int:
        """How many messages the brokers have confirmed."""
        return len(self._confirmed)

    @property
    def received(self) -> int:
        """How many different messages have arrived."""
        return len(self._received)

    @property
    def closed(self) -> tuple[str, ...]:
        """Each connection that was closed by something else than the end, as the error's class."""
        return tuple(self._closed)

    def lost(self) -> int:
        """Confirmed and never received; it has a meaning after `drain`."""
        return len(self._confirmed - self._received)

    def wait_confirmed(self, more: int, *, seconds: float = 120) -> None:
        """Until *more* messages are confirmed from now on."""
        target = self.confirmed + more
        wait_until(f"{more} messages", lambda: self.confirmed >= target, seconds=seconds)

    def drain(self, *, seconds: float = 60) -> None:
        """Publish no more, and wait until everything that was confirmed has arrived, or give up."""
        self._no_more.set()
        for thread in self._publishers:
            thread.join(seconds)
        wait_until("the messages arrive", lambda: not self.lost(), seconds=seconds)

    def start(self) -> None:
        """Declare the queue; then one publisher and one consumer for each broker."""
        with pika.BlockingConnection(_where(self.ports[0])) as connection:
            connection.channel().queue_declare(
                QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
            )
        for place in range(len(self.ports)):
            for job, among in ((self._publish, self._publishers), (self._consume, self._consumers)):
                thread = threading.Thread(target=job, args=(place,), daemon=True)
                among.append(thread)
                thread.start()

    def stop(self) -> None:
        """End every thread and connection, drained or not."""
        self._no_more.set()
        self._end.set()
        for thread in (*self._publishers, *self._consumers):
            thread.join(60)

    def _publish(self, place: int) -> None:
        number = next(self._numbers)

        def publish(channel: BlockingChannel) -> None:
            nonlocal number
            channel.confirm_delivery()
            while not self._no_more.is_set():
                body, properties = str(number).encode(), pika.BasicProperties(delivery_mode=2)
                channel.basic_publish("", QUEUE, body, properties, mandatory=True)
                self._confirmed.add(number)
                number = next(self._numbers)

        self._on_channels(publish, place, until=self._no_more)

    def _consume(self, place: int) -> None:
        def consume(channel: BlockingChannel) -> None:
            channel.basic_qos(prefetch_count=_PREFETCH)
            for method, _, body in channel.consume(QUEUE, inactivity_timeout=0.2):
                if method is not None:
                    self._received.add(int(body))
                    channel.basic_ack(method.delivery_tag)
                if self._end.is_set():
                    break

        self._on_channels(consume, place, until=self._end)

    def _on_channels(
        self, work: Callable[[BlockingChannel], None], place: int, *, until: threading.Event
    ) -> None:
        """Do *work* on a channel; after a failure go on with another one, on the next broker."""
        for port in itertools.islice(itertools.cycle(self.ports), place, None):
            if until.is_set():
                return
            try:
                connection = pika.BlockingConnection(_where(port))
            except pika.exceptions.AMQPError:
                until.wait(0.1)  # that broker is down; it lost no connection of ours
                continue
            try:
                work(connection.channel())
            except pika.exceptions.AMQPError as error:
                self._closed.append(type(error).__name__)
            finally:
                with suppress(pika.exceptions.AMQPError):
                    connection.close()


def _where(port: int) -> pika.ConnectionParameters:
    return pika.ConnectionParameters(
        "127.0.0.1", port, heartbeat=60, blocked_connection_timeout=60, socket_timeout=10
    )


@contextmanager
def traffic(ports: Sequence[int]) -> Iterator[Traffic]:
    """Traffic that runs when this returns, and is stopped at the end."""
    made = Traffic(ports)
    try:
        made.start()
        yield made
    finally:
        made.stop()
