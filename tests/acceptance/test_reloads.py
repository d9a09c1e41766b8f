"""SIGHUP: what changes while serving, what is refused, and that a rotation goes on meanwhile."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import local_place
from tests.support.service import Service, wait_for

CLUSTER = "orders"
TAKEN = "configuration read again"
REFUSED = "configuration not taken; the former one stays"


def plain(**more: Any) -> dict[str, Any]:
    """A cluster without members; one of its own at each call, for YAML would write an alias."""
    return {"grace_window": "0", "members": {"expect": "none"}, **more}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service with one cluster that has version 1, and a log of JSON."""
    made = Service(
        tmp_path,
        local_place(tmp_path).settings,
        {CLUSTER: plain()},
        more={"log": {"format": "json"}},
    )
    made.start()
    made.initialise(CLUSTER)
    yield made
    if not made.has_ended():
        made.stop()


def lines(service: Service, event: str) -> list[dict[str, Any]]:
    """What the log says of this kind."""
    rows = (
        row for row in service.output().splitlines() if row.startswith("{") and row.endswith("}")
    )
    return [line for line in map(json.loads, rows) if line["event"] == event]


def reload(service: Service, said: str, *, write: bool = True) -> dict[str, Any]:
    """SIGHUP; what the log says of it."""
    assert service.process is not None
    before = len(lines(service, said))
    if write:
        service.write_config()
    service.process.send_signal(signal.SIGHUP)
    found: list[dict[str, Any]] = wait_for(
        said, lambda: len(now := lines(service, said)) > before and now
    )
    return found[-1]


def told(service: Service, cluster: str | None = None) -> list[dict[str, Any]]:
    """The facts about reloads: of a cluster, or of the service; oldest first."""
    where = f"facts?cluster={cluster}&limit=500" if cluster else "facts?limit=500"
    facts = service.get(where, role="auditor")["facts"]
    found = [one for one in facts if one["kind"] == "ConfigurationReloaded"]
    return [one for one in found if one["cluster"] == cluster]


def rotate(service: Service) -> dict[str, Any]:
    """Begin a manual rotation."""
    body = {"kind": "manual", "reason": "test"}
    answer = service.request("POST", f"clusters/{CLUSTER}/rotations", json=body)
    return {"status": answer.status_code, **answer.json()}


def test_clusters_come_and_go_without_a_restart(service: Service) -> None:
    """After SIGHUP a new cluster can be initialised; one taken out is frozen, served and named."""
    service.clusters = {"invoices": plain()}
    said = reload(service, TAKEN)
    assert (said["added"], said["removed"]) == (["clusters.invoices"], ["clusters.orders"])
    assert service.get(f"clusters/{CLUSTER}")["state"] == "undeclared"
    [fact] = told(service)
    assert fact["details"]["added"] == ["clusters.invoices"]
    assert fact["details"]["removed"] == ["clusters.orders"]
    service.initialise("invoices")
    assert rotate(service)["status"] == 409
    token = service.token("node", nodes="n@h")
    served = service.request("GET", f"clusters/{CLUSTER}/cookie?node=n@h", token=token)
    assert served.json()["current"]["number"] == 1
    service.clusters = {"invoices": plain(), CLUSTER: plain()}
    reload(service, TAKEN)
    service.until_phase(CLUSTER, rotate(service)["id"], "completed")


def test_a_rotation_goes_on_while_its_policy_changes(service: Service) -> None:
    """A window that has begun keeps its end; the next rotation has the one of the file."""
    service.clusters = {CLUSTER: plain(grace_window="1h")}
    said = reload(service, TAKEN)
    assert said["changed"] == [f"clusters.{CLUSTER}.grace_window"]
    [fact] = told(service, CLUSTER)
    assert (fact["by"], fact["reason"]) == ("configuration", "SIGHUP")
    replica = fact["details"].pop("replica")
    assert replica.endswith(f":{service.port}")
    assert fact["details"] == {"changed": ["grace_window"]}
    assert told(service) == []
    begun = service.until_phase(CLUSTER, rotate(service)["id"], "grace")
    service.clusters = {CLUSTER: plain(grace_window="0")}
    for _ in range(5):
        reload(service, TAKEN)
    assert len(told(service, CLUSTER)) == 2  # a reload that changes nothing is no fact
    still = service.rotation(CLUSTER, begun["id"])
    assert (still["phase"], still["ends_at"]) == ("grace", begun["ends_at"])
    service.command(f"clusters/{CLUSTER}/rotations/{begun['id']}/end-grace", {"reason": "test"})
    service.until_phase(CLUSTER, begun["id"], "completed")
    service.until_phase(CLUSTER, rotate(service)["id"], "completed")
    assert service.until_stable(CLUSTER)["current"] == 3


def test_limits_and_the_log_change_without_a_restart(service: Service) -> None:
    """New limits hold from the next request on, and a reload that changes nothing says so."""
    service.more = {
        "log": {"format": "json", "level": "debug"},
        "limits": {"requests_per_second": 1, "burst": 1},
    }
    said = reload(service, TAKEN)
    assert said["changed"] == ["limits.burst", "limits.requests_per_second", "log.level"]
    [fact] = told(service)
    assert fact["details"]["changed"] == said["changed"]
    assert told(service, CLUSTER) == []
    answers = [service.request("GET", "clusters").status_code for _ in range(20)]
    assert {200, 429} == set(answers)
    again = reload(service, TAKEN)
    assert (again["added"], again["removed"], again["changed"]) == ([], [], [])


def test_a_file_with_a_mistake_is_refused_by_line_and_column(service: Service) -> None:
    """After SIGHUP with a typo the former configuration stays in force, as a whole."""
    service.clusters = {CLUSTER: plain(grace_windw="1h"), "invoices": plain()}
    service.write_config()
    rows = service.config.read_text().splitlines()
    line = next(n for n, row in enumerate(rows, 1) if "grace_windw" in row)
    said = reload(service, REFUSED, write=False)
    assert f"rotator.yaml:{line}:5: clusters.{CLUSTER}: unknown setting" in said["reason"]
    service.config.unlink()
    assert "cannot be read" in reload(service, REFUSED, write=False)["reason"]
    assert service.request("GET", "clusters/invoices").status_code == 404
    service.until_phase(CLUSTER, rotate(service)["id"], "completed")


def test_a_setting_that_takes_a_restart_is_named_and_nothing_is_taken(service: Service) -> None:
    """A setting that would not take effect is refused by name, and with it all of the file."""
    port = service.port
    service.port = service.health_port + 1
    service.clusters = {CLUSTER: plain(), "invoices": plain()}
    said = reload(service, REFUSED)
    service.port = port
    assert told(service) == told(service, CLUSTER) == []  # nothing was changed
    assert said["reason"].startswith("listen.port: this takes a restart")
    assert service.request("GET", "clusters/invoices").status_code == 404
    assert TAKEN not in service.output()
