"""Cookie documents in AWS Secrets Manager (docs/decisions/0024-aws-two-secrets-a-cluster.md)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeVar

from rotator.adapters.secret_stores.aws.documents import Documents
from rotator.adapters.secret_stores.aws.secrets import Secret
from rotator.adapters.secret_stores.places import one_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from rotator.adapters.secret_stores.aws.connection import AwsConnection
    from rotator.domain.document import ClusterDocument
    from rotator.domain.ids import ClusterName
    from rotator.ports.cookie_store import Mark, Stored

_Result = TypeVar("_Result")
#: Seconds for which an older answer is taken for one that lags; after that it is what is there.
LAG: Final = 10.0


class AwsCookieStore:
    """A `CookieStore` in ``<prefix>/clusters/<cluster>`` and its ``/meta``.

    *mark* is the VersionId of ``/meta``. A retired version can no longer be read by its label,
    which is all that a node's policy allows; it stays stored until AWS removes it.
    """

    def __init__(self, connection: AwsConnection, *, prefix: str, kms_key: str | None) -> None:
        self._connection = connection
        self._below = f"{prefix.strip('/')}/clusters"
        self._kms_key = kms_key
        #: Which write was seen last, and when, by the monotonic clock.
        self._newest: dict[ClusterName, tuple[int, float]] = {}

    async def read(self, cluster: ClusterName) -> Stored | None:
        """The document as ``/meta`` says, wherever the labels are by now.

        What this process has just seen is not read older: AWS's answers may lag. One that stays
        older was put back by somebody, and is for the caller to judge.
        """
        at_least = self._at_least(cluster)
        found = await self._run(cluster, lambda documents: documents.read(at_least))
        if found is None:
            return None
        self._saw(cluster, found.write)
        return found.stored

    async def create(self, cluster: ClusterName, document: ClusterDocument) -> None:
        """Make both secrets; whoever makes ``/meta`` has won."""
        write = await self._run(cluster, lambda documents: documents.create(document))
        self._saw(cluster, write)

    async def replace(self, cluster: ClusterName, document: ClusterDocument, *, mark: Mark) -> None:
        """Write over exactly *mark*; the document that is there, to finish what was cut short."""
        over = str(mark)
        write = await self._run(cluster, lambda documents: documents.replace(document, over))
        self._saw(cluster, write)

    async def check(self) -> None:
        """Raise unless AWS answers, and lets this identity describe secrets below the prefix."""
        name = f"{self._below}/readiness"
        await self._connection.run(lambda ask: Secret(ask, name).labels())

    async def close(self) -> None:
        """Close the connection, which the master store may share."""
        await self._connection.close()

    async def _run(self, cluster: ClusterName, call: Callable[[Documents], _Result]) -> _Result:
        name = f"{self._below}/{one_step(cluster)}"
        return await self._connection.run(
            lambda ask: call(Documents(ask, name=name, kms_key=self._kms_key))
        )

    def _at_least(self, cluster: ClusterName) -> int:
        write, seen_at = self._newest.get(cluster, (0, 0.0))
        return write if time.monotonic() - seen_at < LAG else 0

    def _saw(self, cluster: ClusterName, write: int) -> None:
        if write >= self._at_least(cluster):
            self._newest[cluster] = write, time.monotonic()
