"""Look into AWS Secrets Manager as the service would use it; nothing is written, no cookie read."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rotator.adapters.secret_stores.aws import labels, layout, rights
from rotator.adapters.secret_stores.aws.secrets import Secret, looks
from rotator.adapters.secret_stores.examining import Reach, compare_clocks, system_clock
from rotator.adapters.secret_stores.places import one_step
from rotator.domain.findings import Finding
from rotator.errors import (
    SecretStoreError,
    StoreDeletionScheduled,
    StoreForbidden,
    StoreQuotaReached,
)
from rotator.ports.examiner import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rotator.adapters.secret_stores.aws.connection import Ask, AwsConnection
    from rotator.adapters.secret_stores.aws.labels import Labels
    from rotator.adapters.secret_stores.aws.layout import Meta
    from rotator.adapters.secret_stores.aws.rights import Attempt
    from rotator.ports.examiner import Subject

_AT_ONCE: Final = 4  #: clusters; a call's time begins before it has a thread


class AwsExaminer:
    """`ports.examiner.StoreExaminer`."""

    def __init__(
        self,
        connection: AwsConnection,
        *,
        prefix: str,
        now: Callable[[], datetime] = system_clock,
    ) -> None:
        self._connection = connection
        self._prefix = prefix.strip("/")
        self._now = now
        self._reach = Reach(self._try_to_reach)

    def checks(self, subject: Subject) -> Sequence[Check]:
        """See the port."""
        return (
            Check("secrets manager", self._reach.findings),
            Check("rights in the secrets manager", self._reach.first(self._rights, subject)),
            Check("clusters' secrets", self._reach.first(self._clusters, subject)),
            Check("credentials of AWS", self._reach.first(self._credentials, subject)),
            # A clock that is wrong is why AWS refuses every signature: looked at in any case.
            Check("clock of the secrets manager", self._clock),
        )

    async def _try_to_reach(self) -> tuple[Finding, ...]:
        name = f"{self._prefix}/clusters/readiness"
        try:
            await self._connection.run(lambda ask: Secret(ask, name).labels())
        except SecretStoreError as error:
            found = Finding(code="secrets_manager_unusable", subject=error.code, detail=str(error))
            return (found,)
        return ()

    async def _rights(self, _subject: Subject) -> Iterable[Finding]:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def tried(attempt: Attempt) -> tuple[Attempt, bool | None]:
            async with slots:
                allowed = await self._connection.run(lambda ask: rights.is_allowed(ask, attempt))
                return attempt, allowed

        found = await asyncio.gather(*map(tried, rights.attempts(self._prefix)))
        return tuple(rights.compare(found))

    async def _clusters(self, subject: Subject) -> Iterable[Finding]:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def look(cluster: str) -> Iterable[Finding]:
            name = f"{self._prefix}/clusters/{one_step(cluster)}"
            async with slots:
                return await self._connection.run(lambda ask: tuple(_about(ask, name)))

        looked = (look(cluster) for cluster in sorted(subject.initialised))
        return [one for found in await asyncio.gather(*looked) for one in found]

    async def _credentials(self, _subject: Subject) -> Iterable[Finding]:
        source, is_renewed, has_end = await self._connection.credentials()
        if is_renewed:
            return ()
        if has_end:
            detail = f"temporary credentials ({source}), which nobody renews"
            return (Finding(code="store_token_ends", detail=detail),)
        return (Finding(code="store_key_lasting", detail=f"an access key ({source})"),)

    async def _clock(self) -> Iterable[Finding]:
        return await compare_clocks(self._connection.clock, now=self._now)

    async def leave(self) -> None:
        """Nothing was made."""


def _about(ask: Ask, name: str) -> Iterator[Finding]:
    """What is wrong with the two secrets of a cluster that has versions."""
    cookies, meta = Secret(ask, name), Secret(ask, f"{name}/meta")
    try:
        for secret in (cookies, meta):
            about = secret.about()
            if about is None:
                yield Finding(code="document_missing", subject=secret.name)
                return
            if about.get("DeletedDate") is not None:
                yield Finding(code="secret_deletion_scheduled", subject=secret.name)
                return
            if about.get("RotationEnabled"):
                yield Finding(code="secret_rotated_by_aws", subject=secret.name)
        yield from _moved(cookies, meta)
        meta.require_room()
    except StoreQuotaReached as error:
        yield Finding(code="store_quota_near", subject=meta.name, detail=str(error))
    except StoreDeletionScheduled:
        yield Finding(code="secret_deletion_scheduled", subject=name)
    except StoreForbidden as error:
        yield Finding(code="rights_missing", subject=name, detail=str(error))


def _moved(cookies: Secret, meta: Secret) -> Iterator[Finding]:
    """Whether somebody else moved a label; what AWS answers may lag, so it is looked at again."""
    for is_last in looks(cookies.ask):
        value, places = meta.value(label=labels.CURRENT), cookies.labels()
        if value is None or places is None:
            continue
        said = layout.read_meta(value.text)
        # One that is not settled is being written, or was cut short: the service finishes it.
        if labels.SETTLED not in value.labels or labels.are_settled(places, said.wanted):
            return
        if is_last:
            yield _misplaced(cookies, places, said)


def _misplaced(cookies: Secret, places: Labels, said: Meta) -> Finding:
    detail = labels.misplaced(places, said.wanted)
    return Finding(code="secret_stages_moved", subject=cookies.name, detail=detail)
