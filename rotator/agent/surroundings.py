"""Look up what surrounds a node: its arguments, environment, files and process. Once a VM."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rotator.agent import preflight
from rotator.agent.preflight import COOKIE_VARIABLES, Surroundings
from rotator.errors import BeamError

if TYPE_CHECKING:
    from rotator.agent.decide import Seen
    from rotator.agent.node import Vm
    from rotator.agent.orders import Orders
    from rotator.agent.settings import NodeSettings

_MOUNTS: Final = Path("/proc/mounts")


class Surveyor:
    """Findings of preflight, looked up when a VM is met and judged at every look."""

    def __init__(self, vm: Vm, settings: NodeSettings) -> None:
        self._vm = vm
        self._settings = settings
        self._found: Surroundings | None = None
        self.otp_release = ""

    def forget(self) -> None:
        """Another VM."""
        self._found = None

    async def findings(self, orders: Orders, seen: Seen) -> tuple[str, ...]:
        """What would undo the work; nothing can be said while the VM is away."""
        if seen.own is None:
            return ()
        try:
            found = self._found or await self._look_up()
        except BeamError:
            return ()
        self._found = found
        ours = frozenset(orders.cookies.values())
        return preflight.findings(self._settings, found, boot=seen.boot, ours=ours)

    async def _look_up(self) -> Surroundings:
        about = await self._vm.about()
        self.otp_release = about.otp_release
        return Surroundings(
            about=about,
            environment=await self._vm.environment(COOKIE_VARIABLES),
            hides_arguments=await asyncio.to_thread(_hides_arguments),
            began_after_boot_file=self._began_after_boot_file(about.os_pid),
        )

    def _began_after_boot_file(self, os_pid: int) -> bool:
        with suppress(OSError):
            began = Path(f"/proc/{os_pid}").stat().st_ctime
            return self._settings.files.boot_file.stat().st_mtime < began
        return False


def _hides_arguments() -> bool:
    """Whether /proc is mounted so that a process shows its arguments to its own user alone."""
    with suppress(OSError):
        rows = _MOUNTS.read_text(encoding="utf-8").splitlines()
        options = [row.split()[3] for row in rows if row.split()[1:3] == ["/proc", "proc"]]
        return any("hidepid=" in option and "hidepid=0" not in option for option in options)
    return False
