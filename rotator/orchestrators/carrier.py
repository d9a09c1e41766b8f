"""One claim, from the moment it was taken: wait until the node may go, restart it once, wait for it.

Before the node is touched the service is told that it is about to be, and says whether the claim
still stands; what was looked at then is what is restarted, or nothing. So a claim that comes late,
and a copy of this program that was stopped for a while, restart nothing that was restarted since.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from rotator.errors import ClaimOver, RestartImpossible, RotatorError
from rotator.orchestrators.restarter import Go, NotNow

if TYPE_CHECKING:
    from rotator.orchestrators.restarter import Restarter
    from rotator.orchestrators.service import RolloutService
    from rotator.protocol import v1

log = logging.getLogger(__name__)

ENDED: Final = frozenset({"done", "failed", "expired", "released"})
_SHARE: Final = 3  #: of its life, after which a claim is renewed
_PAUSES: Final = (0.2, 5.0)  #: seconds between looks: the first, and the longest
_RELEASE_SECONDS: Final = 5.0  #: for the last word of a program that ends
_WAS: Final = {"restart": "restarted", "stop": "stopped", "start": "started"}


class Carrier:
    """Carries one claim; `run` returns when it is over."""

    def __init__(self, claim: v1.Claim, *, service: RolloutService, restarter: Restarter) -> None:
        self.claim = claim
        self._service = service
        self._restarter = restarter
        self._heard_at = _now()  # before the request was answered, so on the safe side
        self.is_restarting = False  #: the restart runs, whatever has become of the claim
        self._begun: Go | None = None  #: what a restart was tried of
        self._told = ""
        self._pause = _PAUSES[0]

    async def run(self) -> None:
        """To the end. What may pass is waited for; a claim that is over ends it at once.

        Cancelled before the node was touched it gives the claim back, so that nobody has to wait
        until it expires.
        """
        try:
            if await self._restarted():
                await self._until_back()
        except ClaimOver as error:
            log.warning("%s: not carried on: %s", self.claim.node, error)
        except asyncio.CancelledError:
            if not await self._is_released():
                raise

    async def _is_released(self) -> bool:
        """Whether the claim could be given back; the service refuses once it was told of a begin."""
        if self.claim.state != "claimed" or self._begun is not None:
            return False
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._say("released", detail="its orchestrator ends")
        except (RotatorError, TimeoutError):
            return False
        log.info("%s: not touched, and the claim is given back", self.claim.node)
        return True

    # --- before -----------------------------------------------------------------------------

    async def _restarted(self) -> bool:
        """Whether the node was restarted for this claim; False when the claim ended before."""
        while self.claim.state not in ENDED:
            try:
                go = await self._restarter.prepare(self.claim)
                if isinstance(go, Go) and self._begun not in {None, go}:
                    return True  # It was restarted, and the answer was lost.
                waits = await self._try(go) if isinstance(go, Go) else go
                if waits is None:
                    return True
                self._tell(waits.why)
            except ClaimOver:
                raise
            except RestartImpossible as error:
                log.error("%s: %s", self.claim.node, error)  # noqa: TRY400 - no traceback: expected
                await self._say("failed", detail=str(error))
                return False
            except RotatorError as error:
                self._tell(str(error))
            await self._wait()
            await self._renew("claimed")
        self._tell_end()
        return False

    async def _try(self, go: Go) -> NotNow | None:
        """Say that it begins, then begin; the claim must have been seen alive a moment ago."""
        await self._say("restarting")
        if self.claim.state in ENDED:
            return NotNow("the claim has ended")
        if self.claim.back_at is not None:
            return None  # Put off at the first try, and somebody else has restarted it since.
        if self._left() < self.claim.seconds_left / 2:
            return NotNow("the answer of the service was too slow to act on it")
        log.info("%s: %s, for version %d", self.claim.node, self.claim.step, self.claim.version)
        self._begun = go
        restart = asyncio.ensure_future(self._restarter.restart(self.claim, go))
        self.is_restarting = True
        try:
            while not (await asyncio.wait({restart}, timeout=self._renewal()))[0]:
                await self._renew("restarting")
        except asyncio.CancelledError:
            # Once begun it is not left half done: the end of this program waits for it.
            await asyncio.wait({restart})
            raise
        finally:
            self.is_restarting = False
        return restart.result()

    # --- after ------------------------------------------------------------------------------

    async def _until_back(self) -> None:
        """Until the service says what came of it; it alone sees whether the member is back."""
        log.info(
            "%s: %s; it is done when the service says so", self.claim.node, _WAS[self.claim.step]
        )
        while self.claim.state not in ENDED:
            await self._wait()
            why = await self._restarter.look(self.claim.node)
            if why:
                self._tell(why)
            await self._renew("done")
        self._tell_end()

    def _tell_end(self) -> None:
        ended, node = self.claim.state, self.claim.node
        if ended == "done":
            by_word = f": {self.claim.detail}" if self.claim.detail else ""
            is_down = self.claim.step == "stop"
            what = "is stopped" if is_down else f"is back on version {self.claim.version}"
            log.info("%s: %s%s", node, what, by_word)
        else:
            log.warning("%s: the claim has %s: %s", node, ended, self.claim.detail)

    # --- the claim --------------------------------------------------------------------------

    async def _renew(self, state: str) -> None:
        """In good time; a service that is away for a while is no reason to let go."""
        if state != "done" and self._left() > self.claim.seconds_left * (1 - 1 / _SHARE):
            return
        try:
            await self._say(state)
        except ClaimOver:
            if state != "restarting":
                raise
            self._tell("the claim is over; the restart that has begun goes on")
        except RotatorError as error:
            self._tell(str(error))

    def _renewal(self) -> float:
        return max(self.claim.seconds_left / _SHARE, 0.05)

    async def _say(self, state: str, *, detail: str = "") -> None:
        asked_at = _now()
        self.claim = await self._service.change(self.claim, state, detail=detail)
        self._heard_at = asked_at

    def _left(self) -> float:
        """Seconds that the claim has, by our own clock from before it was answered."""
        return self.claim.seconds_left - (_now() - self._heard_at)

    async def _wait(self) -> None:
        """Longer each time, and never so long that the claim runs out."""
        await asyncio.sleep(min(self._pause, self._renewal()))
        self._pause = min(self._pause * 1.5, _PAUSES[1])

    def _tell(self, why: str) -> None:
        """Once, until it is something else."""
        if why != self._told:
            log.info("%s: waits: %s", self.claim.node, why)
            self._told = why


def _now() -> float:
    return asyncio.get_running_loop().time()
