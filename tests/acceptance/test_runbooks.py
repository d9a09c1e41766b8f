"""What the runbooks advise does what they say (docs/operations/runbooks.md)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.service import Service, wait_for

CLUSTER = "orders"
PLAIN = {"grace_window": "0", "members": {"expect": "none"}}
NODE = "rabbit@a"


@pytest.fixture
def service(tmp_path: Path, secret_stores: Any) -> Iterator[Service]:
    """A service whose cluster has version 2, and a copy of its state store from version 1."""
    made = Service(tmp_path, secret_stores("local", tmp_path).settings, {CLUSTER: PLAIN})
    made.start()
    made.initialise(CLUSTER)
    for role in ("admin", "operator"):
        made.token(role)
    made.token("node", nodes=NODE)
    made.stop()
    shutil.copy(made.database, tmp_path / "copy.sqlite")
    made.start()
    begin(made, "manual")
    yield made
    if not made.has_ended():
        made.stop()


def begin(service: Service, kind: str) -> dict[str, Any]:
    """Rotate, until it is completed."""
    body = {"kind": kind, "reason": "test"}
    begun = service.command(f"clusters/{CLUSTER}/rotations", body)
    assert begun is not None
    return dict(service.until_phase(CLUSTER, begun["id"], "completed"))


def current(service: Service, cluster: str = CLUSTER) -> dict[str, Any]:
    """The current version, as a node gets it."""
    token = service.token("node", nodes=NODE)
    answer = service.request("GET", f"clusters/{cluster}/cookie?node={NODE}", token=token)
    return dict(answer.json()["current"])


def restore_the_copy(service: Service) -> None:
    """Put the old state store in the place of the present one, and start on it."""
    service.stop()
    for path in service.data.glob("state.sqlite*"):
        path.unlink()
    shutil.copy(service.directory / "copy.sqlite", service.database)
    service.start()


def test_an_old_copy_of_the_state_store_freezes_the_cluster(service: Service) -> None:
    """A state store that is behind the secrets manager rotates nothing, and says so."""
    restore_the_copy(service)
    frozen = wait_for(
        "frozen",
        lambda: (found := service.get(f"clusters/{CLUSTER}"))["state"] == "frozen" and found,
    )
    assert [blocker["code"] for blocker in frozen["blockers"]] == ["state_store_behind"]
    body = {"kind": "manual", "reason": "test"}
    assert service.command(f"clusters/{CLUSTER}/rotations", body) is None


def test_an_emergency_on_an_old_copy_takes_a_number_above_all_others(service: Service) -> None:
    """A number that the document knows and the restored state store does not is not used again."""
    before = current(service)
    restore_the_copy(service)
    ended = begin(service, "emergency")
    after = current(service)
    assert before["number"] == 2
    assert ended["to_version"] == after["number"] == 3
    assert after["cookie"] != before["cookie"]


def test_a_cluster_starts_over_under_a_new_name_with_its_cookie(service: Service) -> None:
    """The running cookie can be imported under a new name, and rotates from there."""
    before = current(service)
    service.clusters = {"orders-2": PLAIN}
    service.write_config()
    service.stop()
    service.start()
    body = {"cookie": before["cookie"], "reason": "test"}
    service.command("clusters/orders-2/import", body, role="admin")
    service.until_stable("orders-2")
    assert current(service, "orders-2") == {**before, "number": 1}
    assert service.get(f"clusters/{CLUSTER}")["state"] == "undeclared"
    assert current(service) == before
