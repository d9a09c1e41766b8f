"""What every kind of database gives to the state store; the differences between them end here."""

from __future__ import annotations

import asyncio
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol, TypeVar

from rotator.errors import DatabaseTooNew

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

P = ParamSpec("P")
T = TypeVar("T")

HEAD: Final = "0001"  #: the newest migration that this program knows
KNOWN: Final = (HEAD,)

#: What a transaction can be about, besides `about(cluster)` and the like. Whoever adds a fact
#: takes its turn, so that positions become visible in order: a reader's cursor passes none over.
FACTS: Final = "facts"
RECEIPTS: Final = "receipts"
TOKENS: Final = "tokens"


def about(cluster: str) -> str:
    """What a transaction that changes a cluster is about."""
    return f"cluster {cluster}"


class Database(Protocol):
    """Where transactions run.

    All three ways raise `StateUnavailable`, also where the outcome of a write is unknown, and
    `InvariantViolated` where a constraint of the schema forbids it.
    """

    def transaction(self, *subjects: str) -> AbstractAsyncContextManager[AsyncConnection]:
        """All or nothing, in turn with every other writer about one of these subjects.

        Each statement sees what was committed before it. Only inside what is `undisturbed`.
        """
        ...

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """One consistent view for several statements that read; waits for no writer."""
        ...

    def glance(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """For one statement that reads, which is a consistent view by itself."""
        ...

    async def tell(self, connection: AsyncConnection, news: str) -> None:
        """Tell the other replicas when, and only if, this transaction commits."""
        ...

    async def now(self) -> datetime:
        """The clock that windows and leases end by, UTC."""
        ...

    async def prepare(self) -> None:
        """Be ready, with the schema of this program's version; raises `DatabaseTooNew`."""
        ...

    async def migrate(self) -> None:
        """Bring the schema to this program's version; safe where several do at once."""
        ...

    async def close(self) -> None:
        """Give back what is open."""
        ...


def is_current(found: str | None) -> bool:
    """Whether the schema is this program's; raises `DatabaseTooNew`."""
    if found is not None and found not in KNOWN:
        raise DatabaseTooNew(
            f"the database is at schema {found}, which this version of the program"
            f" does not know (it knows {HEAD}); upgrade the program"
        )
    return found == HEAD


def undisturbed(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Let *work* come to its end when its caller is cancelled.

    A cancelled statement would take its connection with it, and leave a transaction open that
    nobody else can write beside.
    """

    @wraps(work)
    async def finish(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.shield(begun(work(*args, **kwargs)))

    return finish


def begun(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """*work* as a task that is kept until its end, whether somebody waits for it or not."""
    task = asyncio.get_running_loop().create_task(work)
    _running.add(task)
    task.add_done_callback(_forget)
    return task


_running: Final[set[asyncio.Task[Any]]] = set()


def _forget(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # where the caller is gone, nobody wants to know
