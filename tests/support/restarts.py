"""A small orchestrator: claims over HTTP, restarts real nodes, and lets the service judge."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import httpx

from tests.support.fleet import CLUSTER, LONG, Fleet
from tests.support.service import wait_for

_PATH = f"clusters/{CLUSTER}/rollout"
_PAUSE = 0.1


def waits(fleet: Fleet) -> dict[str, str]:
    """What the rollout waits for: node, or empty, and code."""
    found = fleet.service.get(_PATH, role="orchestrator")["waiting"]
    return {wait["node"]: wait["code"] for wait in found}


def configure(fleet: Fleet, **rollout: Any) -> None:
    """Other settings of the rollout, from now on: the file is read again."""
    cluster = fleet.service.clusters[CLUSTER]
    cluster["rollout"] = {**cluster["rollout"], **rollout}
    said = "configuration read again"
    before = fleet.service.output().count(said)
    fleet.service.write_config()
    assert fleet.service.process is not None
    fleet.service.process.send_signal(signal.SIGHUP)
    wait_for(said, lambda: fleet.service.output().count(said) > before, seconds=LONG)


@dataclass
class Orchestrator:
    """Claims as many as it may, restarts them at once, and waits until the service says done."""

    fleet: Fleet
    holder: str = "test"
    most: int = 1
    restarted: list[str] = field(default_factory=list)  #: in order, each as often as it was
    most_at_once: int = 0  #: under claim, as the service told between steps
    most_together: int = 0  #: claimed in one step
    _lock: Lock = field(default_factory=Lock)

    def look(self) -> dict[str, Any]:
        """`GET …/rollout`."""
        return self.fleet.service.get(_PATH, role="orchestrator")

    def claim(self) -> list[dict[str, Any]]:
        """Claims on what may restart now."""
        body = {"max": self.most, "holder": self.holder}
        answer = self.fleet.service.request(
            "POST", f"{_PATH}/claims", role="orchestrator", json=body
        )
        assert answer.is_success, answer.text
        return list(answer.json()["claims"])

    def first_claim(self) -> dict[str, Any]:
        """One claim, once there is one: members have to report in the new phase before."""
        found: list[dict[str, Any]] = wait_for("something is claimed", self.claim, seconds=LONG)
        return found[0]

    def say(self, claim: dict[str, Any], state: str) -> httpx.Response:
        """`PUT …/rollout/claims/{id}`."""
        path, body = f"{_PATH}/claims/{claim['id']}", {"state": state, "token": claim["token"]}
        return self.fleet.service.request("PUT", path, role="orchestrator", json=body)

    def stop(self, claim: dict[str, Any]) -> str:
        """Say that it begins, and end its node; the node's name."""
        name = str(claim["node"])
        begun = self.say(claim, "restarting")
        assert begun.is_success, begun.text
        with self._lock:
            self.restarted.append(name)
            self.fleet.kill_node(name)
        return name

    def restart(self, claim: dict[str, Any]) -> None:
        """Restart its node as a service manager does, and wait until the claim is done."""
        name = self.stop(claim)
        self.fleet.start_node(name)
        wait_for(
            f"the restart of {name} is done: {self.look()}",
            lambda: self.say(claim, "done").json().get("state") == "done",
            seconds=LONG,
        )

    def step(self) -> list[str]:
        """Restart what may be restarted now; the names."""
        claims = self.claim()
        self.most_together = max(self.most_together, len(claims))
        with ThreadPoolExecutor(max(1, len(claims))) as pool:
            list(pool.map(self.restart, claims))
        for claim in claims:
            self.fleet.readmit(claim["node"])
        return [claim["node"] for claim in claims]

    def run_step(self) -> list[str]:
        """The first step that restarts something."""
        return list(wait_for("something may restart", self.step, seconds=LONG))

    def run(self, rotation: str) -> None:
        """Until no node has to be restarted for this rotation any more."""
        ends_at = time.monotonic() + LONG * len(self.fleet.names)
        while time.monotonic() < ends_at:
            found = self.look()
            self.most_at_once = max(self.most_at_once, len(found["under_way"]))
            if found["rotation"] not in {rotation, None} or self._is_over(rotation):
                return
            if not self.step():
                time.sleep(_PAUSE)
        raise AssertionError(f"the rollout does not end: {self.look()}")

    def _is_over(self, rotation: str) -> bool:
        phase = self.fleet.service.rotation(CLUSTER, rotation)["phase"]
        return phase in {"grace", "retiring", "completed", "rolled_back"}
