"""A rotation goes on when its members have proven it, and names whom it waits for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.members import CLUSTER, MEMBERS, NAMES, begin, blockers, drive, order
from tests.support.node import FakeNode
from tests.support.service import Service, wait_for


@pytest.fixture
def service(tmp_path: Path, secret_stores: Any) -> Iterator[Service]:
    """A cluster that expects three nodes, with version 1."""
    place = secret_stores("vault", tmp_path)
    cluster = {"grace_window": "0", "install_timeout": "60s", "members": MEMBERS}
    made = Service(tmp_path, place.settings, {CLUSTER: cluster})
    made.start()
    made.initialise(CLUSTER)
    yield made
    made.stop()


@pytest.fixture
def nodes(service: Service) -> list[FakeNode]:
    """Three nodes that use version 1."""
    made = [FakeNode(service, CLUSTER, name) for name in NAMES]
    for node in made:
        node.step()
    return made


def test_a_rotation_completes_when_every_member_has_proven_it(
    service: Service, nodes: list[FakeNode]
) -> None:
    """Three truthful members take a rotation through every phase, each seen in desired state."""
    rotation = begin(service)
    done = drive(service, rotation, nodes, "completed")
    kinds = [fact["kind"] for fact in done["facts"]]
    assert kinds == [
        "RotationStarted",
        "VersionStaged",
        "PromotionStarted",
        "VersionPromoted",
        "GraceStarted",
        "RetirementStarted",
        "RotationCompleted",
    ]
    (completed,) = (fact for fact in done["facts"] if fact["kind"] == "RotationCompleted")
    assert completed["details"]["proof"] == {name: {"1": "handshake"} for name in NAMES}
    shown = service.get(f"clusters/{CLUSTER}/nodes")["nodes"]
    assert {node["name"]: node["uses"] for node in shown} == dict.fromkeys(NAMES, 2)


def test_a_laggard_blocks_by_name_since_when_and_nothing_is_retired(
    service: Service, nodes: list[FakeNode]
) -> None:
    """One member that does not adopt keeps previous alive, and the status names it."""
    *good, laggard = nodes
    rotation = begin(service)
    drive(service, rotation, nodes, "rolling_out")
    former = laggard.own

    def only_the_laggard() -> bool:
        for node in good:
            node.step()
        laggard.look()
        laggard.own = former
        laggard.tell()
        return blockers(service) == {("laggard", laggard.name)}

    wait_for("the laggard is named", only_the_laggard)
    assert laggard.desired["previous"]["number"] == 1
    assert laggard.desired["previous"]["cookie"] == former
    assert service.rotation(CLUSTER, rotation)["phase"] == "rolling_out"
    drive(service, rotation, nodes, "completed")


def test_a_lost_member_keeps_previous_until_it_is_excused(
    service: Service, nodes: list[FakeNode]
) -> None:
    """Silence does not stop the rollout, but nothing is retired before an operator says so."""
    *good, silent = nodes
    rotation = begin(service)
    drive(service, rotation, nodes, "rolling_out")

    def lost() -> bool:
        for node in good:
            node.step()
        return blockers(service) == {("lost_member", silent.name)}

    wait_for("the lost member is named", lost)
    assert service.rotation(CLUSTER, rotation)["phase"] == "grace"
    path = f"clusters/{CLUSTER}/nodes/{silent.name}/excuse"
    assert service.request("POST", path, json={}).status_code >= 400, "a reason is needed"
    assert service.request("POST", path, json={"reason": "gone"}).status_code == 200
    drive(service, rotation, good, "completed")


def test_a_member_that_falls_back_in_grace_blocks_retirement_by_name(
    service: Service, nodes: list[FakeNode]
) -> None:
    """Evidence that is withdrawn counts: the way back stays open."""
    service.clusters[CLUSTER]["grace_window"] = "10m"
    service.write_config()
    service.stop()
    service.start()
    first, *others = nodes
    former = first.own
    rotation = begin(service)
    drive(service, rotation, nodes, "grace")
    first.look()
    first.own = former
    first.tell()
    assert order(service, rotation, "end-grace") == 200

    def only_it_is_named() -> bool:
        for node in others:
            node.step()
        first.look()
        first.tell()
        return blockers(service) == {("laggard", first.name)}

    wait_for("it is named", only_it_is_named)
    assert service.rotation(CLUSTER, rotation)["phase"] == "grace"
    drive(service, rotation, nodes, "completed")


def test_hold_abort_and_roll_back_follow_the_table(service: Service, nodes: list[FakeNode]) -> None:
    """A held rotation passes no gate; abort ends it before promotion, roll back after it."""
    rotation = begin(service)
    assert order(service, rotation, "hold") == 200
    drive(service, rotation, nodes, "staged", "installing")
    assert order(service, rotation, "rollback") == 409
    assert order(service, rotation, "abort") == 202
    aborted = drive(service, rotation, nodes, "aborted")
    assert aborted["to_version"] == 2
    rotation = begin(service)
    drive(service, rotation, nodes, "rolling_out")
    assert order(service, rotation, "abort") == 409
    assert order(service, rotation, "rollback") == 202
    back = drive(service, rotation, nodes, "rolled_back")
    assert back["to_version"] == 3
    stages = {v["number"]: v["stage"] for v in service.get(f"clusters/{CLUSTER}")["versions"]}
    assert stages == {1: "current", 2: "discarded", 3: "retired"}


def test_a_lie_is_refused_and_is_a_fact(service: Service, nodes: list[FakeNode]) -> None:
    """A fingerprint that is not that of the version it names changes nothing."""
    liar = nodes[0]
    answer = liar.tell(uses=1, own="f1:" + "0" * 32)
    assert answer.status_code == 409
    assert answer.json()["code"] == "wrong_fingerprint"
    answer = liar.tell(generation=0)
    assert answer.json()["code"] == "stale_generation"
    facts = service.get(f"facts?cluster={CLUSTER}&limit=200", role="auditor")["facts"]
    kinds = {fact["kind"] for fact in facts}
    assert {"WrongFingerprintRefused", "StaleGenerationRefused"} <= kinds


def test_an_unknown_cookie_blocks_promotion_by_name_and_never_an_emergency(
    service: Service, nodes: list[FakeNode]
) -> None:
    """A node that answers to a cookie of its own holds a rotation up until an emergency resets it."""
    stranger = nodes[0]
    rotation = begin(service)

    def named() -> bool:
        for node in nodes[1:]:
            node.step()
        stranger.look()
        stranger.own = "SETBYHAND"
        stranger.tell()
        return ("unknown_cookie", stranger.name) in blockers(service)

    wait_for("it is named", named)
    assert service.rotation(CLUSTER, rotation)["phase"] == "installing"
    emergency = begin(service, "emergency")
    done = drive(service, emergency, nodes, "completed")
    assert done["revokes"] == [1, 2]
    assert service.rotation(CLUSTER, rotation)["phase"] == "superseded"


def _with_patience(service: Service, nodes: list[FakeNode], **settings: object) -> None:
    """Nobody gets lost while this goes on, and these settings hold."""
    service.clusters[CLUSTER] |= {"members": {**MEMBERS, "node_ttl": "60s"}, **settings}
    service.write_config()
    service.stop()
    service.start()
    for node in nodes:
        node.step()


def test_no_node_gets_the_new_cookie_before_a_clean_round_of_locking(
    service: Service, nodes: list[FakeNode]
) -> None:
    """A foreign link makes another round; the new version is handed out after a clean one only."""
    _with_patience(service, nodes)
    emergency = begin(service, "emergency")
    for node in nodes:
        node.look()
        assert node.desired["lock"] == {"round": 1, "emergency": emergency}
        assert node.desired["adopt"] is None
        assert node.desired["current"]["number"] == 1
        node.obey()
        node.tell(foreign_links=["intruder@h"] if node is nodes[0] else [])
    wait_for("the second round", lambda: service.rotation(CLUSTER, emergency)["lock_round"] == 2)
    done = drive(service, emergency, nodes, "completed")
    assert done["may_have_been_read"] == []
    assert nodes[0].desired["current"]["number"] == 2
    assert nodes[0].desired["previous"] is None


def test_after_lock_timeout_the_unlocked_are_named_as_a_fact(
    service: Service, nodes: list[FakeNode]
) -> None:
    """An emergency does not wait for ever: who did not lock is named, may have been read."""
    _with_patience(service, nodes, lock_timeout="1s")
    *good, silent = nodes
    emergency = begin(service, "emergency")
    done = drive(service, emergency, good, "rolling_out")
    assert done["may_have_been_read"] == [silent.name]
    kinds = [fact["kind"] for fact in done["facts"]]
    assert "CookieMayHaveBeenRead" in kinds


def test_a_node_that_wants_to_boot_waits_while_cookies_are_mixed(
    service: Service, nodes: list[FakeNode]
) -> None:
    """A joiner is told to boot before and after, not in between."""
    joiner = FakeNode(service, CLUSTER, "d@h")

    def may_boot() -> bool:
        joiner.look()
        joiner.own = joiner.desired["current"]["cookie"]
        return bool(joiner.tell(read_from="boot", accepts={}).json()["join"])

    assert may_boot()
    joiner.step()
    assert joiner.ask("POST", f"nodes/{joiner.name}/leave", json={}).status_code == 200
    rotation = begin(service)
    drive(service, rotation, nodes, "rolling_out")
    assert not may_boot()
    drive(service, rotation, nodes, "completed")
    assert may_boot()
