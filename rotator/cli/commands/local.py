"""Commands on the server itself, with its settings: the right to its files is the right."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rotator.cli import output
from rotator.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rotator.services.doctor.runner import Checked, Report
    from rotator.verification import Outcome


def serve(config: Path) -> None:
    """Run the service until it is told to end."""
    from rotator import bootstrap, settings  # noqa: PLC0415 - server parts load only here

    bootstrap.serve(lambda: settings.load(config))


def migrate(config: Path) -> None:
    """Bring the state store's schema to this program's version."""
    from rotator import bootstrap, settings  # noqa: PLC0415 - server parts load only here

    asyncio.run(bootstrap.migrate(settings.load(config)))


def create_token(
    config: Path,
    *,
    role: str,
    clusters: tuple[str, ...],
    nodes: str,
    note: str,
    expires_in: timedelta,
) -> str:
    """A new API token, made in the state store directly. It is shown once."""
    from rotator import bootstrap, settings  # noqa: PLC0415 - server parts load only here

    loaded = settings.load(config)
    undeclared = sorted(set(clusters) - {"*"} - set(loaded.clusters))
    output.warn(f"no cluster {name} is declared" for name in undeclared)

    async def make() -> str:
        async with bootstrap.local_tokens(loaded) as tokens:
            _, text = await tokens.create(
                role=role,
                clusters=clusters,
                nodes=nodes,
                note=note,
                by="local",
                expires_in=expires_in,
            )
            return text

    return asyncio.run(make())


def renew_master(config: Path, name: str, *, is_imported: bool) -> int:
    """Open the next epoch of a master; an imported secret comes from standard input."""
    from rotator import bootstrap, settings  # noqa: PLC0415 - server parts load only here
    from rotator.domain.ids import MasterName  # noqa: PLC0415 - server parts load only here
    from rotator.domain.master import MasterSecret  # noqa: PLC0415 - server parts load only here

    loaded = settings.load(config)
    if name not in loaded.masters:
        raise NotFound(f"there is no master {name}; declared are: {', '.join(loaded.masters)}")
    secret = MasterSecret.parse(sys.stdin.read(4096)) if is_imported else None
    return asyncio.run(bootstrap.renew_master(loaded, MasterName(name), secret=secret))


def diagnose(config: Path, *, on_progress: Callable[[Checked], None]) -> Report:
    """Examine the service that the file describes."""
    from rotator import diagnosis  # noqa: PLC0415 - server parts load only here

    return asyncio.run(diagnosis.diagnose(config, now=_now, on_progress=on_progress))


def verify_facts(config: Path, *, is_anchored: bool) -> Outcome:
    """Follow every chain of facts in the state store that the file describes."""
    from rotator import settings, verification  # noqa: PLC0415 - server parts load only here

    return asyncio.run(verification.verify(settings.load(config), is_anchored=is_anchored))


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - a command has no other clock than the machine's
