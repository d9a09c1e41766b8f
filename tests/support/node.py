"""A node as the service sees one: it reads desired state, and tells what it does.

No BEAM is behind it: the agent beside a real node is a later part. It follows api.md to the
letter, and its misdeeds are methods.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from rotator.domain.cookie import Cookie
from tests.support.service import Service

THROWAWAY = "THROWAWAYOFALOCKROUND"


@dataclass
class FakeNode:
    """One member; `own` is the cookie that its VM answers to."""

    service: Service
    cluster: str
    name: str
    own: str = ""
    pins: dict[str, str] = field(default_factory=dict)  #: peer → cookie
    desired: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.token = self.service.token("node", nodes=self.name, clusters=(self.cluster,))

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One call with the node's own token."""
        return self.service.request(
            method, f"clusters/{self.cluster}/{path}", token=self.token, **options
        )

    def look(self) -> dict[str, Any]:
        """Read desired state."""
        answer = self.ask("GET", f"cookie?node={self.name}")
        assert answer.status_code == httpx.codes.OK, answer.text
        self.desired = answer.json()
        return self.desired

    def obey(self) -> None:
        """Do what desired state says: adopt, lock, reset."""
        if self.desired["lock"]:
            self.own = THROWAWAY
        elif self.desired["adopt"] is not None:
            self.own = self.desired["current"]["cookie"]

    def fingerprint(self, cookie: str) -> str:
        """As the agent computes it, from what it read back."""
        key = base64.b64decode(self.desired["fingerprint_key"])
        return Cookie(cookie).fingerprint(key, self.desired["cluster_uid"])

    def report(self, **changes: Any) -> dict[str, Any]:
        """A truthful attestation, but for *changes*."""
        known = [
            self.desired[slot] for slot in ("current", "previous", "pending") if self.desired[slot]
        ]
        uses = next((v["number"] for v in known if v["cookie"] == self.own), None)
        refused = [v["number"] if isinstance(v, dict) else v for v in self.desired["refuse"]]
        mine = self.fingerprint(self.own)
        return {
            "generation": self.desired["generation"],
            "at": datetime.now(UTC).isoformat(),
            "read_from": "vm",
            "holds": {str(v["number"]): self.fingerprint(v["cookie"]) for v in known},
            "uses": uses,
            "own": mine,
            "file": mine,
            "pins": {peer: self.fingerprint(cookie) for peer, cookie in self.pins.items()},
            "boot_pins": {},
            "refuses": {str(number): "handshake" for number in refused},
            "accepts": {str(uses): "handshake"} if uses else {},
            "locked_round": self.desired["lock"]["round"] if self.desired["lock"] else None,
            "foreign_links": [],
            "otp_release": "25",
            "agent": "fake",
            **changes,
        }

    def tell(self, **changes: Any) -> httpx.Response:
        """Attest."""
        return self.ask("PUT", f"nodes/{self.name}", json=self.report(**changes))

    def step(self) -> None:
        """What a good node does at every change: look, obey, attest."""
        self.look()
        self.obey()
        answer = self.tell()
        assert answer.status_code == httpx.codes.OK, answer.text
