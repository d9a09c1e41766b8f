"""Restarts a node by a program of the operator's: systemd, Ansible, Nomad, a script."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rotator.errors import ConfigurationError, RestartImpossible
from rotator.orchestrators.restarter import Go, NotNow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from rotator.protocol.v1 import Claim

log = logging.getLogger(__name__)

#: The program says: not now, ask again (sysexits.h, EX_TEMPFAIL).
TRY_AGAIN: Final = 75
_GRACE_SECONDS: Final = 10.0
#: What is the orchestrator's alone: the program gets the rest of the environment.
_KEPT: Final = frozenset({"ROTATOR_TOKEN", "ROTATOR_TOKEN_FILE"})


class CommandRestarter:
    """A `Restarter` that runs one program for each restart; or one for a stop, one for a start."""

    steps = frozenset({"restart", "stop", "start"})

    def __init__(
        self,
        program: Sequence[str],
        *,
        cluster: str,
        timeout: timedelta,
        environment: Mapping[str, str],
    ) -> None:
        if not program:
            raise ConfigurationError("name the program that restarts a node")
        self._program = tuple(program)
        self._cluster = cluster
        self._seconds = timeout.total_seconds()
        self._environment = {k: v for k, v in environment.items() if k not in _KEPT}

    def handles(self, node: str) -> bool:  # noqa: ARG002 - of the promise
        """Any: the program knows."""
        return True

    async def prepare(self, claim: Claim) -> Go | NotNow:
        """One claim, one run."""
        return Go(claim.id)

    async def restart(self, claim: Claim, go: Go) -> NotNow | None:  # noqa: ARG002 - of the promise
        """Run it to its end: 0 is done, 75 is "not now", anything else has failed."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._program,
                stdin=asyncio.subprocess.DEVNULL,
                env={**self._environment, **self._said(claim)},
                start_new_session=True,  # so that it can be ended with all that it has started
            )
        except OSError as error:
            name = self._program[0]
            raise RestartImpossible(f"{name} cannot be run: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._seconds):
                code = await process.wait()
        except TimeoutError:
            await _end(process)
            raise RestartImpossible(f"the program took longer than {self._seconds:g} s") from None
        return self._judged(code)

    async def look(self, node: str) -> str:  # noqa: ARG002 - of the promise
        """Nothing is known but what the service sees."""
        return ""

    def _judged(self, code: int) -> NotNow | None:
        if code == TRY_AGAIN:
            return NotNow(f"the program says: not now (exit code {TRY_AGAIN})")
        if code:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise RestartImpossible(f"the program {how}")
        return None

    def _said(self, claim: Claim) -> dict[str, str]:
        """No secret: whoever can see the program's environment may know all of it."""
        return {
            "ROTATOR_CLUSTER": self._cluster,
            "ROTATOR_NODE": claim.node,
            "ROTATOR_CLAIM": claim.id,
            "ROTATOR_VERSION": str(claim.version),
            "ROTATOR_ROTATION": claim.rotation,
            "ROTATOR_STEP": claim.step,
        }


async def _end(process: asyncio.subprocess.Process) -> None:
    """It and all that it has started: SIGTERM, then SIGKILL."""
    for number, seconds in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, _GRACE_SECONDS)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await process.wait()
                return
