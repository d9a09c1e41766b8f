"""An emulator of AWS Secrets Manager (moto), as far as the demonstration asks it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from rotator.cli.demo.processes import DemoFailed, free_port, running, until_answers

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION: Final = "eu-central-1"
#: All that a node's policy lets it ask for (deploy/policies/aws-node.json).
_LABELS: Final = ("AWSCURRENT", "AWSPREVIOUS", "AWSPENDING")
_NOBODY: Final = f"AWS4-HMAC-SHA256 Credential=demo/20260101/{REGION}/secretsmanager/aws4_request"
#: For the service: the emulator takes any credentials, and no real ones reach it.
CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "demo",
    "AWS_SECRET_ACCESS_KEY": "demo",
    "AWS_SESSION_TOKEN": "",
}


@dataclass(frozen=True, slots=True)
class Emulator:
    """It checks no policies: a node's rights are kept here by asking for no more than they give."""

    address: str
    client: httpx.Client

    def by_label(self, secret: str) -> dict[int, str]:
        """By version, the cookies that a node may read: by the three labels, and in no other way."""
        found = (self._value(secret, VersionStage=label) for label in _LABELS)
        return {value["number"]: value["cookie"] for value in found if value}

    def by_version(self, secret: str) -> dict[int, str]:
        """Every cookie that is stored, whether it has a label or not."""
        answer = self._call("ListSecretVersionIds", SecretId=secret, IncludeDeprecated=True)
        if answer is None:
            raise DemoFailed(f"{secret} is gone")
        found = (
            self._value(secret, VersionId=version["VersionId"]) for version in answer["Versions"]
        )
        return {value["number"]: value["cookie"] for value in found if value}

    def _value(self, secret: str, **which: str) -> dict[str, Any] | None:
        answer = self._call("GetSecretValue", SecretId=secret, **which)
        return None if answer is None else dict(json.loads(answer["SecretString"]))

    def _call(self, operation: str, **body: Any) -> dict[str, Any] | None:  # noqa: ANN401 - JSON
        headers = {
            "Authorization": _NOBODY,
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"secretsmanager.{operation}",
        }
        try:
            answer = self.client.post(self.address, headers=headers, content=json.dumps(body))
        except httpx.HTTPError as error:
            raise DemoFailed(f"the emulator: {operation}: {type(error).__name__}") from None
        if answer.is_success:
            return dict(answer.json())
        if "ResourceNotFound" in answer.text:
            return None
        raise DemoFailed(f"the emulator: {operation}: {answer.status_code}")


@contextmanager
def open_emulator(directory: Path) -> Iterator[Emulator]:
    """`moto_server`, ready; it is stopped at the end."""
    binary = shutil.which("moto_server", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if binary is None:
        raise DemoFailed(
            "there is no `moto_server` program; install the package moto[server]"
            " (the extra `test` brings it), or choose another --store"
        )
    port, log = free_port(), directory / "moto.log"
    address = f"http://127.0.0.1:{port}"
    with running([binary, "-H", "127.0.0.1", "-p", str(port)], log, HOME=str(directory)) as child:
        until_answers(f"{address}/moto-api/data.json", child, log)
        with httpx.Client(timeout=30, trust_env=False) as client:
            yield Emulator(address, client)
