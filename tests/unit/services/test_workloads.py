from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from rotator.errors import NotAuthenticated
from rotator.ports.workloads import Workload
from rotator.services.workloads import Identity, Workloads

if TYPE_CHECKING:
    from rotator.ports.workloads import WorkloadReviewer

NOW = datetime(2026, 11, 25, tzinfo=UTC)
SUBJECT = "system:serviceaccount:shop:beam"
GOOD = Workload(namespace="shop", account="beam", pod="app-0")
BEAM = Identity(
    namespace="shop", account="beam", role="node", clusters=("orders",), nodes="rabbit@{pod}"
)


def a_token(number: int = 0, **claims: Any) -> str:
    """What a pod shows; each number is another."""
    said = {"aud": "rotator", "exp": NOW.timestamp() + 60, "sub": SUBJECT, "n": number, **claims}
    text = base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()
    return f"e30.{text}.x"


class Reviewer:
    """A platform that knows some tokens, and may be away."""

    def __init__(self, *known: str) -> None:
        self.known, self.asked, self.error = set(known), 0, None

    async def review(self, token: str) -> Workload | None:
        """One of the known, or none."""
        self.asked += 1
        if self.error is not None:
            raise self.error
        return GOOD if token in self.known else None

    async def close(self) -> None:
        """Nothing is held."""


def workloads(reviewer: WorkloadReviewer, **options: Any) -> Workloads:
    """Over this platform."""
    return Workloads(reviewer, audience="rotator", identities=(BEAM,), **options)


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": []},
        {"sub": {}},
        {"sub": None},
        {"aud": {}},
        {"aud": [[]]},
        {"exp": "soon"},
        {"exp": float("nan")},
        {"exp": -(10**400)},
    ],
)
async def test_what_a_token_says_of_itself_may_be_anything(claims: dict[str, Any]) -> None:
    """It is refused like any other that is no good, and nobody is asked."""
    reviewer = Reviewer()
    with pytest.raises(NotAuthenticated):
        await workloads(reviewer).authenticate(a_token(**claims), now=NOW)
    assert reviewer.asked == 0
