"""Calls of boto3, off the event loop, bounded in time, at a pace below AWS's quota."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import boto3
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError

from rotator import failpoints
from rotator.adapters.secret_stores.aws.refusals import named
from rotator.adapters.secret_stores.deadline import Deadline
from rotator.errors import (
    SecretStoreError,
    StoreLoginFailed,
    StoreTokenExpired,
    StoreUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from mypy_boto3_secretsmanager.client import SecretsManagerClient

# At DEBUG botocore logs whole requests, secrets included.
for _name in ("boto3", "botocore"):
    logging.getLogger(_name).setLevel(logging.INFO)

_Result = TypeVar("_Result")
_THREADS: Final = 8
#: AWS: 50 a second for PutSecretValue, UpdateSecretVersionStage and their like together
#: (https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html).
WRITES_PER_SECOND: Final = 40
_CONNECT_SECONDS: Final = 3.0
_NOBODY: Final = "rotator-doctor/clock"  #: no secret; asked about for the date of the answer


class Ask:
    """The requests of one call of a store: each one named, paced, and begun in time."""

    def __init__(self, connection: AwsConnection, deadline: Deadline) -> None:
        self._connection = connection
        self.deadline = deadline

    def read(self, operation: str, /, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - boto3's
        """The answer; raises a `SecretStoreError` by name."""
        return self._connection.ask(operation, parameters, self.deadline)

    def write(self, point: str, operation: str, /, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401
        """The same for a write, which is a failpoint of the name *point*."""
        self._connection.pace.wait(self.deadline)
        try:
            failpoints.hit(point, "before")
            answer = self._connection.ask(operation, parameters, self.deadline)
            failpoints.hit(point, "after")
            failpoints.hit(point, "lost")
        except failpoints.AnswerLost as lost:
            raise StoreUnreachable(str(lost)) from None
        return answer

    def pause(self, seconds: float) -> None:
        """Wait in this thread; raises `StoreUnreachable` when the time is over."""
        time.sleep(min(seconds, self.deadline.remaining()))  # noqa: TID251 - a thread of its own


class Pace:
    """At most so many a second, for all threads together."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second
        self._lock = threading.Lock()
        self._next_at = 0.0

    def wait(self, deadline: Deadline) -> None:
        """Wait for a turn; raises `StoreUnreachable` when the time is over before it comes."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next_at)
            if turn - now > deadline.remaining():
                raise deadline.missed()
            self._next_at = turn + self._gap
        time.sleep(turn - now)  # noqa: TID251 - a thread of its own


class AwsConnection:
    """Eight threads and one client, made at the first request and anew when credentials expired.

    *timeout* bounds a call as a whole: after it no further request is begun, though one that is
    on its way may still take effect.
    """

    def __init__(
        self,
        *,
        region: str,
        endpoint: str | None = None,
        timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        self._region = region
        self._endpoint = endpoint
        self._timeout = timeout
        self._lock = threading.Lock()
        self._client: SecretsManagerClient | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="aws")
        self.pace = Pace(WRITES_PER_SECOND)

    async def run(self, call: Callable[[Ask], _Result]) -> _Result:
        """Run *call* in a thread; raises what it raises, or `StoreUnreachable` in time."""
        deadline = Deadline(self._timeout)
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await asyncio.get_running_loop().run_in_executor(
                    self._threads, call, Ask(self, deadline)
                )
        except TimeoutError:
            raise deadline.missed() from None

    def ask(self, operation: str, parameters: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        """One request; after expired credentials once more with those that are there by then."""
        client = self._current(deadline)
        try:
            return _asked(client, operation, parameters)
        except StoreTokenExpired:
            # What was refused for that was not done.
            client = self._current(deadline, instead_of=client)
        return _asked(client, operation, parameters)

    async def clock(self) -> datetime | None:
        """AWS's clock, to the second, by the Date of whatever it answers; None if it does not.

        A refusal has a Date, too: that of a signature is what a wrong clock leads to.
        """
        return await self.run(lambda ask: self._dated(ask.deadline))

    def _dated(self, deadline: Deadline) -> datetime | None:
        with suppress(SecretStoreError, BotoCoreError):
            client = self._current(deadline)
            answer: Mapping[str, Any]
            try:
                answer = client.describe_secret(SecretId=_NOBODY)
            except ClientError as error:
                answer = error.response
            said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
            with suppress(ValueError):
                return parsedate_to_datetime(said) if said else None
        return None

    async def credentials(self) -> tuple[str, bool, bool]:
        """Where the default chain finds them, whether it renews them, and whether they end."""
        return await self.run(lambda _ask: _described())

    def _current(
        self, deadline: Deadline, *, instead_of: SecretsManagerClient | None = None
    ) -> SecretsManagerClient:
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise deadline.missed()
        try:
            if self._client is None or self._client is instead_of:
                self._client = self._made()
            deadline.remaining()
            return self._client
        finally:
            self._lock.release()

    def _made(self) -> SecretsManagerClient:
        seconds = self._timeout.total_seconds()
        failure: SecretStoreError
        try:
            return boto3.session.Session().client(
                "secretsmanager",
                region_name=self._region,
                endpoint_url=self._endpoint,
                config=Config(
                    connect_timeout=min(seconds, _CONNECT_SECONDS),
                    read_timeout=seconds,
                    # Whoever asked reads back and decides; nothing is repeated behind his back.
                    retries={"total_max_attempts": 1, "mode": "standard"},
                    max_pool_connections=_THREADS,
                ),
            )
        except Exception as error:  # noqa: BLE001 - boto3 raises ValueError and more
            failure = named(error, operation="a client", secret="")
        raise failure

    async def close(self) -> None:
        """Give back threads and connections; a request on its way ends by its own timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()


def _described() -> tuple[str, bool, bool]:
    found = boto3.session.Session().get_credentials()
    if found is None:
        raise StoreLoginFailed("boto3 finds no AWS credentials; see docs/how-to/aws.md")
    return found.method, isinstance(found, RefreshableCredentials), bool(found.token)


def _asked(
    client: SecretsManagerClient, operation: str, parameters: dict[str, Any]
) -> dict[str, Any]:
    failure: SecretStoreError
    try:
        answer: dict[str, Any] = getattr(client, operation)(**parameters)
    except Exception as error:  # noqa: BLE001 - some hold the request, and with it a cookie
        name = "".join(word.title() for word in operation.split("_"))
        failure = named(
            error, operation=name, secret=str(parameters.get("SecretId") or parameters.get("Name"))
        )
    else:
        return answer
    # Out here there is no context to chain.
    raise failure
