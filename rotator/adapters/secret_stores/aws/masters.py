"""Master secrets in AWS Secrets Manager: one secret for each epoch."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from rotator.adapters.secret_stores import epochs
from rotator.adapters.secret_stores.aws import layout
from rotator.adapters.secret_stores.aws.refusals import Exists
from rotator.adapters.secret_stores.aws.secrets import Secret, looks
from rotator.adapters.secret_stores.places import one_step
from rotator.errors import StoreBusy, StoreDocumentInvalid

if TYPE_CHECKING:
    from rotator.adapters.secret_stores.aws.connection import Ask, AwsConnection
    from rotator.adapters.secret_stores.aws.secrets import Value
    from rotator.domain.ids import EpochNumber, MasterName
    from rotator.ports.master_store import Epoch


class AwsMasterStore:
    """A `MasterStore` at ``<prefix>/masters/<name>/<epoch>``.

    An epoch is one version of its secret, whose id is a function of the name: nothing that
    somebody puts there later is ever taken for it.
    """

    def __init__(self, connection: AwsConnection, *, prefix: str, kms_key: str | None) -> None:
        self._connection = connection
        self._below = f"{prefix.strip('/')}/masters"
        self._kms_key = kms_key

    async def read(self, master: MasterName, epoch: EpochNumber) -> Epoch | None:
        """The epoch."""
        name = self._name(master, epoch)
        return await self._connection.run(lambda ask: _present(Secret(ask, name)))

    async def create(self, master: MasterName, epoch: EpochNumber, value: Epoch) -> Epoch:
        """Write the epoch unless it is there; returns what is there, once AWS shows it."""
        name, text = self._name(master, epoch), json.dumps(epochs.to_json(value), sort_keys=True)

        def once(ask: Ask) -> Epoch:
            secret = Secret(ask, name)
            with suppress(Exists):
                secret.create(
                    "AwsCreateEpoch", version=_version(name), text=text, kms_key=self._kms_key
                )
            for is_last in looks(ask):
                written = secret.value(version=_version(name))
                if written is not None:
                    return _parsed(secret, written)
                if is_last and secret.labels() is not None:
                    raise _foreign(secret)
            raise StoreBusy(f"{name!r} was written and is not visible yet")

        return await self._connection.run(once)

    def _name(self, master: MasterName, epoch: EpochNumber) -> str:
        return f"{self._below}/{one_step(master)}/{int(epoch)}"


def _version(name: str) -> str:
    return layout.token("epoch", name)


def _present(secret: Secret) -> Epoch | None:
    for is_last in looks(secret.ask):
        value = secret.value(version=_version(secret.name))
        if value is not None:
            return _parsed(secret, value)
        if secret.labels() is None:
            return None
        if is_last:
            raise _foreign(secret)
    raise AssertionError  # pragma: no cover - the last look returns or raises


def _foreign(secret: Secret) -> StoreDocumentInvalid:
    return StoreDocumentInvalid(f"{secret.name!r} has no version that this program wrote")


def _parsed(secret: Secret, value: Value) -> Epoch:
    with suppress(ValueError, RecursionError):
        raw = json.loads(value.text)
        return epochs.from_json(raw)
    raise StoreDocumentInvalid(f"{secret.name!r} is not an epoch that this program wrote")
