"""What examiners of secrets managers have in common: one try to reach it, and its clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from rotator.services.doctor import clocks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from rotator.domain.findings import Finding
    from rotator.ports.examiner import Subject

_TO_THE_SECOND: Final = timedelta(
    seconds=1
)  #: a ``Date`` header is as exact as that (RFC 9110, 5.6.7)


class Reach:
    """Whether a store can be used: tried once, however many checks depend on it."""

    def __init__(self, attempt: Callable[[], Awaitable[tuple[Finding, ...]]]) -> None:
        self._attempt = attempt
        self._tried: asyncio.Future[tuple[Finding, ...]] | None = None

    @property
    def was_tried(self) -> bool:
        """Whether anybody has asked."""
        return self._tried is not None

    async def findings(self) -> tuple[Finding, ...]:
        """Why it cannot be used; nothing where it can."""
        if self._tried is None:
            self._tried = asyncio.ensure_future(self._attempt())
        return await asyncio.shield(self._tried)

    def first(
        self, look: Callable[[Subject], Awaitable[Iterable[Finding]]], subject: Subject
    ) -> Callable[[], Awaitable[Iterable[Finding]]]:
        """Look only where the store can be used: why it cannot be is said once."""

        async def run() -> Iterable[Finding]:
            return () if await self.findings() else await look(subject)

        return run


def system_clock() -> datetime:
    """The machine's own clock, which is what is examined."""
    return datetime.now(UTC)  # noqa: TID251 - this is about the machine's clock itself


async def compare_clocks(
    ask: Callable[[], Awaitable[datetime | None]], *, now: Callable[[], datetime]
) -> Sequence[Finding]:
    """Our clock beside the one that *ask* tells of (None: it tells nothing), to within the wait."""
    before = now()
    theirs = await ask()
    waited = now() - before
    if theirs is None:
        return ()
    doubt = waited / 2 + _TO_THE_SECOND
    found = clocks.compare("secrets manager", ours=before + waited / 2, theirs=theirs, doubt=doubt)
    return tuple(found)
