"""`rotator doctor` beside a Kubernetes API that says who pods are."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from rotator import diagnosis
from tests.support.kubernetes.cluster import fake_kubernetes

IDENTITY = {
    "service_account": "default/beam", "role": "node", "clusters": ["orders"],
    "nodes": "rabbit@{pod}.app",
}  # fmt: skip


def told(directory: Path, **kubernetes: Any) -> list[tuple[str, str]]:
    """What it says of Kubernetes: subject and detail."""
    store = {"kind": "local", "directory": str(directory / "secrets")}
    settings = {
        "data_dir": str(directory / "data"), "secret_store": store,
        "masters": {"default": {}}, "clusters": {"orders": {"members": {"expect": "none"}}},
        "kubernetes": {"identities": [IDENTITY], **kubernetes},
    }  # fmt: skip
    config = directory / "rotator.yaml"
    config.write_text(yaml.safe_dump(settings))
    report = asyncio.run(
        diagnosis.diagnose(config, now=lambda: datetime.now(UTC), on_progress=lambda _one: None)
    )
    assert "Kubernetes" in {check.name for check in report.checks}
    return [
        (one.subject, one.detail) for one in report.findings if one.code == "kubernetes_unusable"
    ]


def test_where_no_token_can_be_reviewed_it_says_why(tmp_path: Path) -> None:
    """Without the right, and without an answer; it finds nothing where a review works."""
    with fake_kubernetes(tmp_path) as kubernetes:
        kubernetes.reviewer("rotator")
        kubernetes.account("stranger")
        token_file = tmp_path / "kube.token"
        token_file.touch(mode=0o600)
        place = {
            "api": kubernetes.address, "ca_cert": str(kubernetes.ca), "token_file": str(token_file),
        }  # fmt: skip
        token_file.write_text(kubernetes.token("rotator"))
        assert told(tmp_path, **place) == []
        token_file.write_text(kubernetes.token("stranger"))
        ((subject, detail),) = told(tmp_path, **place)
        assert subject == "identity_away"
        assert "tokenreviews" in detail
        assert token_file.read_text() not in detail
    ((_, detail),) = told(tmp_path, **place)
    assert "cannot be reached" in detail


def test_outside_of_a_pod_it_asks_for_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service would not start there, and this says why beforehand."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    ((_, detail),) = told(tmp_path)
    assert "this is no pod" in detail
