"""Several services on one PostgreSQL and one secrets manager, each a real process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support import postgres
from tests.support.service import Service, wait_for

LEASE = "2s"  #: what tests wait for when a leader dies without a word


@dataclass
class Replicas:
    """All of them; the first token that is made serves for each."""

    services: list[Service]
    database: postgres.Database

    def __post_init__(self) -> None:
        for service in self.services:
            service.tokens = self.services[0].tokens

    def holder(self) -> tuple[int, str | None]:
        """The newest fencing token, and who has the lease, as the database says."""
        rows = self.database.ask("SELECT fence, holder FROM lease")
        return rows[0] if rows else (0, None)

    def says(self, service: Service) -> dict[str, Any] | None:
        """What its readiness says, if it answers."""
        try:
            url = f"http://127.0.0.1:{service.health_port}/readyz"
            found: dict[str, Any] = httpx.get(url, timeout=2, trust_env=False).json()
        except httpx.HTTPError:
            return None
        return found

    def leads(self, service: Service) -> bool:
        """Whether it says so itself."""
        return bool((self.says(service) or {}).get("leads"))

    def leader(self) -> Service:
        """The one that leads, as soon as one does and the lease says the same."""

        def ask() -> Service | None:
            _, holder = self.holder()
            named = [one for one in self.services if str(holder).endswith(f":{one.port}")]
            return next((one for one in named if not one.has_ended() and self.leads(one)), None)

        found = wait_for("one replica leads", ask)
        assert isinstance(found, Service)
        return found

    def followers(self) -> list[Service]:
        """The others."""
        leader = self.leader()
        return [one for one in self.services if one is not leader]


def is_stopped(service: Service) -> bool:
    """Whether SIGSTOP holds the process."""
    if service.process is None or service.has_ended():
        return False
    with suppress(OSError):
        status = Path(f"/proc/{service.process.pid}/stat").read_text()
        return status.rpartition(")")[2].split()[0] == "T"
    return False


def wake(service: Service) -> None:
    """SIGCONT."""
    assert service.process is not None
    os.kill(service.process.pid, signal.SIGCONT)


@contextmanager
def replicas(
    directory: Path,
    secret_store: dict[str, Any],
    clusters: dict[str, Any],
    *failpoints: str,
    count: int = 3,
    lease: str = LEASE,
) -> Iterator[Replicas]:
    """That many, ready; killed at the end."""
    database = postgres.new_database()
    more = {
        "state_store": {**database.settings, "lease": lease},
        "log": {"level": "debug", "format": "json"},
    }
    services = []
    clusters = json.loads(json.dumps(clusters))  # YAML would write what is shared as an alias
    for number in range(count):
        place = directory / f"replica{number}"
        place.mkdir()
        services.append(Service(place, secret_store, clusters, more))
    made = Replicas(services, database)
    try:
        for service in services:
            service.start(*failpoints, wait=False)
        for service in services:
            wait_for("a replica is ready", lambda one=service: one.has_ended() or one.is_ready())
            assert not service.has_ended(), service.output()[-3000:]
        yield made
    finally:
        for service in services:
            service.kill()
        postgres.drop(database)
