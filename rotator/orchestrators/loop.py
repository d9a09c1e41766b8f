"""Take claims as they may be taken, and carry each to its end."""

from __future__ import annotations

import asyncio
import logging
import traceback
import uuid
from typing import TYPE_CHECKING, Final

from rotator.errors import RolloutAway, RotatorError
from rotator.orchestrators.carrier import Carrier

if TYPE_CHECKING:
    from rotator.orchestrators.restarter import Restarter
    from rotator.orchestrators.service import RolloutService
    from rotator.protocol import v1

log = logging.getLogger(__name__)

_WAIT_SECONDS: Final = 30
_PAUSES: Final = (0.5, 10.0)
#: Phases of a rotation after which there will be something to restart.
_BEFORE: Final = frozenset({"staged", "installing", "promoting", "rolling_back"})


class Orchestrator:
    """One program, one cluster. Any number of them may run: the claims are the lock."""

    def __init__(self, *, service: RolloutService, restarter: Restarter, holder: str) -> None:
        self._service = service
        self._restarter = restarter
        self._holder = holder
        self._carriers: dict[Carrier, asyncio.Task[None]] = {}
        self._revision: int | None = None
        self._last: v1.Rollout | None = None
        self._told: dict[str, str] = {}
        self._pause = _PAUSES[0]

    async def run(self, *, once: bool = False) -> None:
        """Until cancelled, or with *once* until nothing is left to restart.

        Cancelled, it takes no further claim, and finishes no more than a restart that has begun.
        """
        try:
            while True:
                try:
                    found = await self._service.rollout(revision=self._revision, wait=self._wait())
                    self._pause = _PAUSES[0]
                    self._note("service", "")
                    if found is not None:
                        self._revision, self._last = found.revision, found
                        await self._act(found)
                    if once and self._is_over():
                        return
                except RotatorError as error:
                    self._note("service", str(error))
                    self._revision = None
                await asyncio.sleep(self._pause)
                if self._revision is None:
                    self._pause = min(self._pause * 2, _PAUSES[1])
        finally:
            await self._stop()

    def _is_over(self) -> bool:
        """Whether nothing is left to restart, and no rotation is on its way to where there is."""
        return not self._under_way() and self._last is not None and is_over(self._last)

    def _under_way(self) -> bool:
        """Whether a claim is carried just now."""
        self._carriers = {one: task for one, task in self._carriers.items() if not task.done()}
        return bool(self._carriers)

    def _wait(self) -> int:
        """Seconds that a poll may wait: not long where claims of ours end without news."""
        return 1 if self._under_way() else _WAIT_SECONDS

    async def _act(self, found: v1.Rollout) -> None:
        for waiting in found.waiting:
            self._note(f"{waiting.node}/{waiting.code}", waiting.detail)
        ours = [step.node for step in found.next if self._is_ours(step)]
        for step in found.next:
            if step.node not in ours:
                self._note(step.node, _why_not_ours(step))
        if beyond := self._beyond(found):
            free = [node for node in ours if node not in beyond]
            ours = free[: max(len(found.next) - len(beyond), 0)]
            self._revision = None  # that a program ends changes nothing at the service: look again
        if not ours:
            return
        for claim in await self._take(ours):
            carrier = Carrier(claim, service=self._service, restarter=self._restarter)
            log.info("%s: claimed", claim.node)
            self._carriers[carrier] = asyncio.create_task(_carried(carrier))

    def _beyond(self, found: v1.Rollout) -> set[str]:
        """Nodes on which a restart of ours still runs whose claim the service has seen the end of.

        It sees that a node is back, and not what its program has still to do there.
        """
        known = {claim.id for claim in found.under_way}
        self._under_way()
        return {
            one.claim.node
            for one in self._carriers
            if one.is_restarting and one.claim.id not in known
        }

    def _is_ours(self, step: v1.RolloutStep) -> bool:
        is_fit = not _is_like_an_option(step.node)
        return is_fit and step.step in self._restarter.steps and self._restarter.handles(step.node)

    async def _take(self, nodes: list[str]) -> list[v1.Claim]:
        """Asked again under the same key when the answer was lost: a claim is not left lying."""
        key = str(uuid.uuid4())
        try:
            return await self._service.take(nodes, holder=self._holder, key=key)
        except RolloutAway:
            return await self._service.take(nodes, holder=self._holder, key=key)

    def _note(self, what: str, why: str) -> None:
        """Each thing once, until it is another."""
        if self._told.get(what, "") == why:
            return
        self._told[what] = why
        if why:
            log.info("%s: %s", what.partition("/")[0] or "rollout", why)
        elif what == "service":
            log.info("the service answers again")

    async def _stop(self) -> None:
        for task in self._carriers.values():
            task.cancel()
        ended = await asyncio.gather(*self._carriers.values(), return_exceptions=True)
        if left := sum(isinstance(one, asyncio.CancelledError) for one in ended):
            log.info("%d claims are left to the service: it sees what comes of them", left)


def _is_like_an_option(node: str) -> bool:
    """Whether a program such as ssh would take the name, or its host, for an option of its own."""
    return any(part.startswith("-") for part in node.split("@", 1))


def _why_not_ours(step: v1.RolloutStep) -> str:
    if _is_like_an_option(step.node):
        return "its name or host begins with -, which programs take for an option: it is left alone"
    return f"is not one of this orchestrator's nodes, or it cannot {step.step} one"


def is_over(found: v1.Rollout) -> bool:
    """Whether there is nothing to restart as things stand, and nothing is about to be."""
    if found.next or found.under_way or (found.version is None and found.phase in _BEFORE):
        return False
    return found.version is None or found.restarted >= found.members


async def _carried(carrier: Carrier) -> None:
    """A defect ends one claim, never the program."""
    try:
        await carrier.run()
    except RotatorError as error:
        log.warning("%s: not carried on: %s", carrier.claim.node, error)
    except Exception as error:  # noqa: BLE001 - the outermost place of one claim
        # Where it happened, and never what it says: a message may hold anything.
        frames = "".join(traceback.format_tb(error.__traceback__)[-4:])
        name = type(error).__name__
        log.error("%s: unexpected %s\n%s", carrier.claim.node, name, frames)  # noqa: TRY400
