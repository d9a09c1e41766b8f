"""The slow, memory-hard step between a master secret and the keys derived from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rotator.ports.master_store import Epoch


class KeyStretcher(Protocol):
    """Stretches an epoch's secret."""

    async def stretch(self, epoch: Epoch) -> bytes:
        """32 bytes, a pure function of secret, salt and parameters; may take seconds.

        Does not block the event loop. Raises `InputError` for parameters it does not know.
        """
        ...
