"""Nodes that are nothing but reports: what is tested beside them is who restarts whom, and when.

Real nodes take new cookies by restarts in tests/acceptance/test_kubernetes_restarts.py.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

from rotator.domain.cookie import Cookie
from rotator.domain.ids import ClusterUid
from tests.support.orchestrator import OrchestratorProcess
from tests.support.service import Service, wait_for

_BEAT = 0.2


class PaperNodes:
    """Reports for each node; a file with its name in `directory` means that it was restarted."""

    def __init__(self, service: Service, cluster: str, names: Sequence[str]) -> None:
        self.service, self.cluster = service, cluster
        self.names = tuple(names)
        self.directory = service.directory / "restarted"
        self.directory.mkdir()
        self.down: set[str] = set()  #: who is silent
        self.children: list[OrchestratorProcess] = []  #: ended with the nodes
        self._uses: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._tokens = {
            name: service.token("node", nodes=name, clusters=(cluster,)) for name in names
        }

    def start(self) -> None:
        """Report from now on; returns when each has."""
        self._thread.start()
        wait_for("each has reported", lambda: len(self._uses) == len(self.names))

    def stop(self) -> None:
        """No further report, and no orchestrator."""
        for child in self.children:
            child.kill()
        self._stop.set()
        self._thread.join(60)

    def rotate(self) -> str:
        """Begin a rotation, once each node is proven on the former one; its id."""

        def is_settled() -> bool:
            found = self.service.get(f"clusters/{self.cluster}")
            return found["state"] == "stable" and not found["blockers"]

        wait_for("the nodes have settled", is_settled)
        body = {"kind": "manual", "reason": "test"}
        begun = self.service.command(f"clusters/{self.cluster}/rotations", body)
        assert begun is not None
        return str(begun["id"])

    def rollout(self) -> dict[str, Any]:
        """`GET …/rollout`."""
        return self.service.get(f"clusters/{self.cluster}/rollout")

    def restart(self, name: str) -> None:
        """It comes up with whatever is current."""
        (self.directory / name).touch()

    def _run(self) -> None:
        while not self._stop.wait(_BEAT):
            for name in self.names:
                if name in self.down:
                    continue
                try:
                    self._report(name)
                except (httpx.HTTPError, KeyError):
                    continue  # the service is away, or answers something else than orders

    def _report(self, name: str) -> None:
        path = f"clusters/{self.cluster}/cookie?node={name}"
        orders = self.service.request("GET", path, token=self._tokens[name]).json()
        cookies = {
            version["number"]: version["cookie"]
            for version in (orders["current"], orders["previous"], orders["pending"])
            if version
        }
        mark = self.directory / name
        if mark.exists() or name not in self._uses:
            self._uses[name] = orders["current"]["number"]
            mark.unlink(missing_ok=True)
        uses = self._uses[name]
        key = base64.b64decode(orders["fingerprint_key"])
        uid = ClusterUid(orders["cluster_uid"])
        prints = {n: Cookie(text).fingerprint(key, uid) for n, text in cookies.items()}
        peers = {peer: prints[uses] for peer in orders["members"] if peer != name}
        # What pairs use is the agents' business: here each is at the newest that both ends use.
        both = {p: prints[min(uses, self._uses.get(p, uses))] for p in peers}
        refused = [one if isinstance(one, int) else one["number"] for one in orders["refuse"]]
        said = {
            "generation": orders["generation"], "at": datetime.now(UTC).isoformat(),
            "read_from": "vm", "holds": {str(n): one for n, one in prints.items()},
            "uses": uses, "own": prints[uses], "file": prints[uses], "pins": both,
            "boot_pins": both, "links": {peer: {"hidden": False} for peer in peers},
            "refuses": {str(n): "read_back" for n in refused},
            "accepts": {str(uses): "read_back"}, "otp_release": "25", "agent": "1.0.0",
        }  # fmt: skip
        path = f"clusters/{self.cluster}/nodes/{name}"
        self.service.request("PUT", path, token=self._tokens[name], json=said)
