"""A cluster of three fake nodes: how it is begun, driven and looked at."""

from __future__ import annotations

import itertools
from typing import Any

from tests.support.node import FakeNode
from tests.support.service import Service, wait_for

CLUSTER = "orders"
NAMES = ["a@h", "b@h", "c@h"]
MEMBERS = {"expect": NAMES, "heartbeat": "1s", "node_ttl": "4s"}


def begin(service: Service, kind: str = "manual", **more: Any) -> str:
    """The id of a new rotation."""
    body = {"kind": kind, "reason": "test", **more}
    begun = service.command(f"clusters/{CLUSTER}/rotations", body)
    assert begun is not None
    return str(begun["id"])


def drive(service: Service, rotation: str, nodes: list[FakeNode], *phases: str) -> dict[str, Any]:
    """Let these nodes follow desired state until the rotation is in one of the phases."""
    turns = itertools.cycle(nodes)

    def ask() -> dict[str, Any] | None:
        found = service.rotation(CLUSTER, rotation)
        if found["phase"] in phases:
            return found
        next(turns).step()
        return None

    return dict(wait_for(f"{phases}", ask))


def promote(nodes: list[FakeNode]) -> None:
    """Let these nodes take a rotation to `rolling_out`, and adopt nothing there."""

    def promoted() -> bool:
        for node in nodes:
            if node.look()["phase"] == "rolling_out":
                return True
            node.obey()
            answer = node.tell()
            assert answer.is_success, answer.text
        return False

    wait_for("it is promoted", promoted)


def blockers(service: Service) -> set[tuple[str, str]]:
    """What is waited for, as code and subject."""
    found = service.get(f"clusters/{CLUSTER}")["blockers"]
    return {(blocker["code"], blocker["subject"]) for blocker in found}


def order(service: Service, rotation: str, command: str, **body: Any) -> int:
    """Give an operator's command; its status."""
    path = f"clusters/{CLUSTER}/rotations/{rotation}/{command}"
    return service.request("POST", path, json={"reason": "test", **body}).status_code


def kinds(service: Service) -> list[str]:
    """The kinds of the cluster's facts, in order."""
    facts = service.get(f"facts?cluster={CLUSTER}&limit=200", role="auditor")["facts"]
    return [fact["kind"] for fact in facts]


def shown(service: Service, name: str) -> dict[str, Any]:
    """A member as operators see it."""
    return dict(service.get(f"clusters/{CLUSTER}/nodes/{name}"))
