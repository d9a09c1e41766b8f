"""Look into the local store without its lock: reading makes no file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rotator.adapters.secret_stores.local.files import SealedFiles
from rotator.adapters.secret_stores.places import one_step
from rotator.domain.findings import Finding
from rotator.errors import SecretStoreError, StoreDocumentInvalid
from rotator.ports.examiner import Check

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rotator.ports.examiner import Subject


class LocalExaminer:
    """`ports.examiner.StoreExaminer`: whether key and documents can be read."""

    def __init__(self, directory: Path) -> None:
        self._files = SealedFiles(directory)

    def checks(self, subject: Subject) -> Sequence[Check]:
        """See the port."""

        async def readable() -> tuple[Finding, ...]:
            return await asyncio.to_thread(self._readable, subject)

        return (Check("secrets manager", readable),)

    def _readable(self, subject: Subject) -> tuple[Finding, ...]:
        try:
            self._files.check()
            for cluster in sorted(subject.initialised):
                if self._files.read(f"clusters/{one_step(cluster)}") is None:
                    raise StoreDocumentInvalid(f"the document of {cluster} is gone")
        except SecretStoreError as error:
            found = Finding(code="secrets_manager_unusable", subject=error.code, detail=str(error))
            return (found,)
        return ()

    async def leave(self) -> None:
        """Nothing was made."""
