"""Stores with a meter before them: every call is timed, and what went wrong is counted by code."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from rotator.errors import RotatorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from _typeshed import DataclassInstance

    from rotator.domain.cluster import Change, Cluster
    from rotator.domain.facts import Fact
    from rotator.domain.rotation import Rotation

T = TypeVar("T")
D = TypeVar("D", bound="DataclassInstance")

SECRETS_MANAGER: Final = "secrets_manager"
STATE_STORE: Final = "state_store"


class Meter(Protocol):
    """What is told of each call."""

    def called(self, store: str, operation: str, *, seconds: float, error: str | None) -> None:
        """A call has ended."""
        ...

    def wrote(self, facts: Sequence[Fact], rotations: Sequence[Rotation] = ()) -> None:
        """These were stored."""
        ...


class _Metered:
    """Passes every method of a port on. Ports have asynchronous methods and nothing else."""

    def __init__(self, port: object, *, store: str, prefix: str, meter: Meter) -> None:
        self._port = port
        self._store = store
        self._prefix = prefix
        self._meter = meter

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the port has
        timed = self._timed(name)
        setattr(self, name, timed)  # asked for once only
        return timed

    def _timed(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._port, name)
        operation = f"{self._prefix}{name}"

        @wraps(method)
        async def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the port's
            began = time.perf_counter()
            code: str | None = None
            try:
                return await method(*args, **kwargs)
            except RotatorError as error:
                code = error.code
                raise
            except Exception:
                code = "internal"
                raise
            finally:
                seconds = time.perf_counter() - began
                self._meter.called(self._store, operation, seconds=seconds, error=code)

        return timed


class _MeteredStates(_Metered):
    """Counts what was written, too, once the store has confirmed it."""

    async def save(self, before: Cluster, change: Change, **more: Any) -> Cluster:  # noqa: ANN401 - as the port's
        """See the port."""
        saved = cast("Cluster", await self._timed("save")(before, change, **more))
        self._meter.wrote(change.facts, change.rotations)
        return saved

    async def add_fact(self, fact: Fact, **more: Any) -> None:  # noqa: ANN401 - as the port's
        """See the port."""
        await self._timed("add_fact")(fact, **more)
        self._meter.wrote((fact,))


def metered(port: T, *, store: str, prefix: str = "", meter: Meter) -> T:
    """*port*, with each call told to *meter* as *prefix* and the method's name."""
    return cast("T", _Metered(port, store=store, prefix=prefix, meter=meter))


def metered_fields(ports: D, *, store: str, meter: Meter, prefixes: Mapping[str, str]) -> D:
    """A dataclass of ports, with a meter before each field that *prefixes* names."""
    before = {
        name: metered(getattr(ports, name), store=store, prefix=prefix, meter=meter)
        for name, prefix in prefixes.items()
    }
    return replace(ports, **before)


def metered_states(states: T, *, meter: Meter) -> T:
    """`ClusterStates`, with facts and finished rotations counted."""
    return cast("T", _MeteredStates(states, store=STATE_STORE, prefix="", meter=meter))
