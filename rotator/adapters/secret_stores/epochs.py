"""An epoch of a master secret as it is stored (storage.md, `masters`)."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from rotator.domain import kdf
from rotator.domain.master import MasterSecret
from rotator.errors import InputError, StoreDocumentInvalid
from rotator.ports.master_store import Epoch

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXT: Final = frozenset({"name", "profile"})


def to_json(epoch: Epoch) -> dict[str, Any]:
    """The epoch with its secret: for a secrets manager alone."""
    return {
        "secret": base64.b64encode(epoch.secret.reveal()).decode("ascii"),
        "salt": base64.b64encode(epoch.salt).decode("ascii"),
        "kdf": kdf.to_json(epoch.kdf),
        "opened_for": epoch.opened_for,
    }


def _is_plain(name: str, value: object) -> bool:
    return isinstance(value, str) if name in _TEXT else type(value) is int and value > 0


def from_json(raw: Mapping[str, Any]) -> Epoch:
    """Parse what was stored; raises `StoreDocumentInvalid`, never repeating what it read."""
    try:
        parameters, opened_for = dict(raw["kdf"]), raw["opened_for"]
        plain = all(_is_plain(name, value) for name, value in parameters.items())
        if not plain or not isinstance(opened_for, str):
            raise StoreDocumentInvalid("the epoch's parameters are not what this program writes")
        return Epoch(
            secret=MasterSecret(base64.b64decode(raw["secret"], validate=True)),
            salt=base64.b64decode(raw["salt"], validate=True),
            kdf=kdf.from_json(parameters),
            opened_for=opened_for,
        )
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, InputError):
        # `from None`: the cause may hold what was read.
        raise StoreDocumentInvalid("the epoch is not one that this program wrote") from None
