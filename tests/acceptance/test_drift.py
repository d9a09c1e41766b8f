"""What members are is shown as what it is: late, back, adrift, or linked to strangers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.members import (
    CLUSTER,
    MEMBERS,
    NAMES,
    begin,
    blockers,
    drive,
    kinds,
    order,
    promote,
    shown,
)
from tests.support.node import FakeNode
from tests.support.service import Service, wait_for

PATIENT = {**MEMBERS, "node_ttl": "60s"}


@pytest.fixture
def service(tmp_path: Path, secret_stores: Any) -> Iterator[Service]:
    """A cluster that expects three nodes, with version 1."""
    place = secret_stores("vault", tmp_path)
    cluster = {"grace_window": "0", "install_timeout": "60s", "members": PATIENT}
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


def ask(node: FakeNode, **changes: Any) -> bool:
    """Whether the node, which does not run, may boot."""
    node.look()
    node.own = node.own or node.desired["current"]["cookie"]
    answer = node.tell(read_from="boot", accepts={}, **changes)
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["join"])


def set_on_drift(service: Service, on_drift: str) -> None:
    """Configure it, and start anew with that."""
    service.clusters[CLUSTER]["on_drift"] = on_drift
    service.write_config()
    service.stop()
    service.start()


@pytest.mark.parametrize(
    ("phase", "may"),
    [
        ("installing", True),
        ("rolling_out", False),
        ("rolling_back", False),
        ("grace", True),
        ("retiring", True),
        ("locking", False),
    ],
)
def test_a_late_joiner_comes_in_whatever_the_phase_and_then_counts(
    service: Service, nodes: list[FakeNode], phase: str, may: bool
) -> None:
    """It boots at once or as soon as cookies are not mixed, and ends up where all the others do."""
    rotation = begin(service, "emergency" if phase == "locking" else "manual")
    drive(service, rotation, nodes, "rolling_out" if phase == "rolling_back" else phase)
    end = "completed"
    if phase == "rolling_back":
        assert order(service, rotation, "rollback") == 202
        end = "rolled_back"
    joiner = FakeNode(service, CLUSTER, "d@h")
    is_in = ask(joiner)
    assert is_in is may
    assert shown(service, joiner.name)["liveness"] == "joining"
    nodes[0].look()
    assert nodes[0].desired["members"][joiner.name] == "joining"

    def ended() -> bool:
        nonlocal is_in
        for node in nodes:
            node.step()
        joiner.own = joiner.own if is_in else ""
        is_in = is_in or ask(joiner)
        if is_in:
            joiner.step()
        return bool(service.rotation(CLUSTER, rotation)["phase"] == end) and is_in

    wait_for("it has ended, and the joiner is in", ended)
    wait_for("all are told", lambda: blockers(service) == set())
    found = service.get(f"clusters/{CLUSTER}")
    assert shown(service, joiner.name)["uses"] == found["current"]
    assert kinds(service).count("UnknownCookieSeen") == 0


def test_a_member_restarts_in_the_middle_of_a_rollout_when_it_is_in_step(
    service: Service, nodes: list[FakeNode]
) -> None:
    """Once its peers have shown their rows it may boot, and nothing is retired before it runs."""
    first, second, back = nodes
    rotation = begin(service)
    promote(nodes)
    for node in nodes:
        node.look()
    old = back.fingerprint(back.own)
    second.obey()
    rows = {first.name: old, back.name: old}
    second.tell(pins=rows, boot_pins=rows)
    first.tell()
    here = {"boot_pins": {first.name: old, second.name: old}}
    assert not ask(back, **here), "its peers have not reported since"
    for node, pins in ((first, {}), (second, rows)):
        node.look()
        node.tell(pins=pins, boot_pins=pins)
    other = {"boot_pins": {**here["boot_pins"], second.name: second.fingerprint(second.own)}}
    assert not ask(back, **other), "its boot file has another cookie for a peer"
    assert ask(back, **here)
    for node in (first, second):
        node.step()
    wait_for("it is waited for", lambda: blockers(service) == {("laggard", back.name)})
    assert service.rotation(CLUSTER, rotation)["phase"] == "rolling_out"
    drive(service, rotation, nodes, "completed")


def test_a_node_that_returns_with_a_retired_cookie_is_named_blocks_and_is_healed(
    service: Service, nodes: list[FakeNode]
) -> None:
    """It is no stranger: what it uses is known, and the next version is not promoted beside it."""
    stale = nodes[0]
    retired = stale.own
    drive(service, begin(service), nodes, "completed")
    stale.look()
    stale.own = retired
    lag = {"uses": 1, "accepts": {}}
    assert stale.tell(**lag).status_code == 200
    named = {("retired_cookie", stale.name)}
    wait_for("it is named", lambda: blockers(service) == named)
    member = shown(service, stale.name)
    assert (member["uses"], member["retired_cookie"], member["unknown_cookie"]) == (1, True, False)
    rotation = begin(service)

    def waits_for_it_alone() -> bool:
        for node in nodes[1:]:
            node.step()
        stale.look()
        stale.tell(**lag)
        return blockers(service) == named

    wait_for("nothing else is waited for", waits_for_it_alone)
    assert service.rotation(CLUSTER, rotation)["phase"] == "installing"
    drive(service, rotation, nodes, "completed")
    found = kinds(service)
    assert (found.count("RetiredCookieSeen"), found.count("DriftHealed")) == (1, 1)
    assert "UnknownCookieSeen" not in found


def test_a_retired_cookie_never_stops_an_emergency(service: Service, nodes: list[FakeNode]) -> None:
    """Everybody is locked and reset, whatever they used before."""
    stale = nodes[0]
    retired = stale.own
    drive(service, begin(service), nodes, "completed")
    stale.look()
    stale.own = retired
    stale.tell(uses=1, accepts={})
    emergency = begin(service, "emergency")
    drive(service, emergency, nodes, "completed")
    wait_for("nothing is named", lambda: blockers(service) == set())


@pytest.mark.parametrize("on_drift", ["heal", "hold"])
def test_an_unknown_cookie_is_shown_until_it_is_gone_and_told_once(
    service: Service, nodes: list[FakeNode], on_drift: str
) -> None:
    """Nodes are told what to do about it; until it is done it has a name, and blocks promotion."""
    set_on_drift(service, on_drift)
    stranger = nodes[0]
    assert stranger.look()["on_drift"] == on_drift
    stranger.own = "SETBYHANDANDUNKNOWNTOALL"
    assert stranger.tell().json()["on_drift"] == on_drift
    named = {("unknown_cookie", stranger.name)}
    wait_for("it is named while nothing is under way", lambda: blockers(service) == named)
    stranger.tell(pins={"b@h": stranger.fingerprint(stranger.own)})
    stranger.tell(read_from="none", own=None, file=None)
    stranger.tell()
    wait_for("it is named still", lambda: blockers(service) == named)
    rotation = begin(service)

    def waits_for_it_alone() -> bool:
        for node in nodes[1:]:
            node.step()
        stranger.look()
        stranger.tell()
        return blockers(service) == named

    wait_for("nothing else is waited for", waits_for_it_alone)
    assert service.rotation(CLUSTER, rotation)["phase"] == "installing"
    assert "DriftHealed" not in kinds(service)
    drive(service, rotation, nodes, "completed")
    found = kinds(service)
    assert (found.count("UnknownCookieSeen"), found.count("DriftHealed")) == (1, 1)


def test_a_pin_under_an_unknown_name_keeps_the_rollout_open_until_it_is_overwritten(
    service: Service, nodes: list[FakeNode]
) -> None:
    """It goes on accepting the former cookie under that name, so the member is named with it."""
    keeper, *_ = nodes
    keeper.pins = {"gone@h": keeper.own}
    rotation = begin(service)
    promote(nodes)

    def only_the_row_is_left() -> bool:
        for node in nodes:
            node.step()
        return blockers(service) == {("laggard", keeper.name)}

    wait_for("the keeper is named", only_the_row_is_left)
    (blocker,) = service.get(f"clusters/{CLUSTER}")["blockers"]
    assert blocker["detail"] == "its rows for gone@h are not at version 2"
    assert service.rotation(CLUSTER, rotation)["phase"] == "rolling_out"
    assert keeper.desired["previous"]["number"] == 1
    keeper.pins = {"gone@h": keeper.own}
    drive(service, rotation, nodes, "completed")


def test_foreign_links_are_shown_and_told_once_an_hour(
    service: Service, nodes: list[FakeNode]
) -> None:
    """A tool that links up under a new name at each call does not fill the database."""
    node = nodes[0]
    for number in range(5):
        tool = f"rabbitmqcli-{number}@h"
        node.look()
        node.tell(foreign_links=[tool], links={tool: {"hidden": True}})
        assert shown(service, node.name)["foreign_links"] == [tool]
    assert service.get(f"clusters/{CLUSTER}")["adoption"]["foreign_links"] == 1
    node.tell()
    assert service.get(f"clusters/{CLUSTER}")["adoption"]["foreign_links"] == 0
    assert kinds(service).count("ForeignLinkSeen") == 1


def test_desired_members_are_named_as_what_they_are(
    service: Service, nodes: list[FakeNode]
) -> None:
    """Joining, live, lost and excused are there for nodes to pin; who has left is not."""
    service.clusters[CLUSTER]["members"] = MEMBERS
    service.write_config()
    service.stop()
    service.start()
    looker, leaver, silent = nodes
    assert looker.look()["members"] == dict.fromkeys(NAMES, "unknown")
    leaver.step()
    assert leaver.ask("POST", f"nodes/{leaver.name}/leave", json={}).status_code == 200

    def lost() -> bool:
        looker.step()
        return bool(looker.look()["members"][silent.name] == "lost")

    wait_for("the silent one is lost", lost)
    assert leaver.name not in looker.desired["members"]
    assert looker.desired["members"][looker.name] == "live"
    late = FakeNode(service, CLUSTER, "d@h")
    ask(late)
    assert looker.look()["members"][late.name] == "joining"
    path = f"clusters/{CLUSTER}/nodes/{silent.name}/excuse"
    assert service.request("POST", path, json={"reason": "gone"}).status_code == 200
    assert looker.look()["members"][silent.name] == "excused"
