"""Settings that can be used and are risky."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rotator.domain.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What of rotator.yaml and the environment carries a risk."""

    is_local_store: bool = False
    is_plain_http: bool = False
    is_reachable: bool = False  #: from beyond this machine
    has_failpoints: bool = False
    blind: tuple[str, ...] = ()  #: clusters that expect nobody


def look(setup: Setup) -> Iterator[Finding]:
    """One finding for each risk."""
    if setup.has_failpoints:
        yield Finding(code="failpoints_armed")
    if setup.is_plain_http:
        yield Finding(code="plain_http", subject="listen.plain_http")
    if setup.is_reachable:
        yield Finding(code="health_port_open", subject="listen.health_port")
    if setup.is_local_store:
        yield Finding(code="local_store", subject="secret_store")
    for name in setup.blind:
        yield Finding(code="nobody_expected", subject=name)
