"""An emergency over many clusters at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rotator.domain.rotation import Kind
from rotator.errors import RotatorError
from rotator.ports.state_store import EmergencyRow

if TYPE_CHECKING:
    from rotator.domain.ids import ClusterName, NodeName
    from rotator.ports.state_store import ClusterStates, Emergencies
    from rotator.services.commands import Commands

_AT_ONCE: Final = 16  #: clusters of one emergency


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetEmergency:
    """What is asked for."""

    id: str
    clusters: tuple[ClusterName, ...]
    by: str
    reason: str
    exclude: tuple[NodeName, ...]
    force: bool


class Fleet:
    """Begins the emergencies of many clusters, with one new epoch per master."""

    def __init__(
        self, *, commands: Commands, states: ClusterStates, emergencies: Emergencies
    ) -> None:
        self._commands = commands
        self._states = states
        self._emergencies = emergencies

    async def emergency(self, wanted: FleetEmergency) -> EmergencyRow:
        """A row for each cluster: its rotation, or the error.

        Repeating it with the same id goes on where it was interrupted.
        """
        slots = asyncio.Semaphore(_AT_ONCE)

        async def begin(name: ClusterName) -> dict[str, str]:
            async with slots:
                return await self._begin(name, wanted)

        rows = await asyncio.gather(*map(begin, wanted.clusters))
        row = EmergencyRow(
            id=wanted.id,
            at=await self._states.now(),
            by=wanted.by,
            reason=wanted.reason,
            rows=tuple(rows),
        )
        await self._emergencies.add(row)
        return row

    async def _begin(self, name: ClusterName, wanted: FleetEmergency) -> dict[str, str]:
        begun = await self._states.rotations(name, emergency_id=wanted.id, limit=1)
        if begun:
            return {"cluster": name, "rotation": begun[0].id}
        try:
            rotation = await self._commands.start(
                name,
                kind=Kind.EMERGENCY,
                by=wanted.by,
                reason=wanted.reason,
                exclude=wanted.exclude,
                force=wanted.force,
                emergency_id=wanted.id,
            )
        except RotatorError as error:
            return {"cluster": name, "error": error.code, "detail": str(error)}
        return {"cluster": name, "rotation": rotation.id}
