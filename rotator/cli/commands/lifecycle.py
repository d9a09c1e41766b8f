"""Beginnings of a cluster, and what can be done to a rotation that is under way."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from rotator.cli import durations, output, tables
from rotator.cli.arguments import (
    INTERVENE,
    ROTATE,
    ClusterArgument,
    NeededReasonOption,
    ReasonOption,
    RotationOption,
    TimeoutOption,
    WaitOption,
    YesOption,
    required_reason,
    timeout_of,
)
from rotator.cli.commands.rotate import conclude
from rotator.cli.failure import ExitCode, Failure, Misuse, Refused
from rotator.cli.session import Session, command
from rotator.protocol import v1

if TYPE_CHECKING:
    from datetime import timedelta

    from rotator.cli.client import Answer

_MAX_COOKIE: Final = 255
#: What Erlang makes by itself: 20 capital letters, of which fewer than 8 differ once in millions.
_GOOD_LENGTH: Final = 20
_GOOD_DISTINCT: Final = 8


def init(
    session: Session,
    *,
    cluster: ClusterArgument,
    reason: ReasonOption = "",
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
) -> ExitCode:
    """Make version 1 of a declared cluster that has no cookie yet."""
    limit = timeout_of(timeout, wait=wait)
    asked = v1.Reason(reason=reason)
    answer = session.api.post(v1.Cluster, "clusters", cluster, "init", body=asked)
    if wait:
        answer = _until_initialised(session, cluster, limit)
    session.out.show(answer.document, tables.cluster(answer.value, session.api.now))
    return ExitCode.OK


def _until_initialised(
    session: Session, cluster: str, limit: timedelta | None
) -> Answer[v1.Cluster]:
    from rotator.cli import watch  # noqa: PLC0415 - brings the client with it

    last: list[Answer[v1.Cluster]] = []
    said: set[str] = set()

    def look() -> tuple[bool, object]:
        last[:] = [session.api.get(v1.Cluster, "clusters", cluster)]
        found = last[0].value
        for line in map(tables.blocker, found.blockers):
            if line not in said:
                said.add(line)
                output.say(f"waits for {line}")
        return found.current is not None and found.state != "initialising", found

    _require_reading(session, cluster)
    watch.until(
        look,
        timeout=limit,
        what=f"{cluster} has no version 1 yet",
        hint=f"it goes on; `rotator status {cluster}` says what it waits for",
        goes_on=f"version 1 of {cluster} is made without us",
    )
    return last[0]


def _require_reading(session: Session, cluster: str) -> None:
    """An admin's token makes a cluster's first version, and may not be one that sees clusters."""
    try:
        session.api.get(v1.Cluster, "clusters", cluster)
    except Refused as refused:
        if refused.code is not ExitCode.NOT_ALLOWED:
            raise
        raise Failure(
            f"version 1 of {cluster} is being made, but this token may not see how far it is",
            code=ExitCode.NOT_ALLOWED,
            hint=f"`rotator status {cluster}` with a token of an operator or an auditor shows it",
        ) from None


def import_(
    session: Session, cluster: ClusterArgument, *, extra: bool, reason: ReasonOption = ""
) -> ExitCode:
    """Take the cookie that a cluster runs with as its version 1; it is read from standard input.

    The next rotation replaces it with a derived one. Repeating it with the same cookie is harmless.
    """
    if extra:
        raise Misuse(
            "the cookie is read from standard input and is never an argument",
            hint="what was given is in this shell's history and was in the process list:"
            " rotate the cookie soon after the import",
        )
    cookie = _read_cookie()
    output.warn(_weaknesses(cookie))
    asked = v1.Import(cookie=cookie, reason=reason)
    answer = session.api.post(v1.Cluster, "clusters", cluster, "import", body=asked)
    session.out.show(answer.document, tables.cluster(answer.value, session.api.now))
    return ExitCode.OK


def _weaknesses(cookie: str) -> list[str]:
    """What speaks against a cookie, without a word of it."""
    if len(cookie) >= _GOOD_LENGTH and len(set(cookie)) >= _GOOD_DISTINCT:
        return []
    few = f"fewer than {_GOOD_LENGTH} characters, or fewer than {_GOOD_DISTINCT} different ones"
    return [f"this cookie can be guessed: it has {few}; rotate it soon after the import"]


def _read_cookie() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("Cookie (not shown): ")
    raw = sys.stdin.buffer.read(_MAX_COOKIE + 3)
    cookie = raw.removesuffix(b"\n").removesuffix(b"\r")
    if not cookie:
        raise Misuse(
            "standard input holds no cookie", hint="rotator import CLUSTER < .erlang.cookie"
        )
    try:
        return cookie.decode("ascii")
    except UnicodeDecodeError:
        raise Misuse("what standard input holds is no cookie: it is not ASCII") from None


def under_way(session: Session, cluster: str) -> v1.Rotation:
    """The rotation under way; a conflict if there is none."""
    found = session.api.get(v1.Cluster, "clusters", cluster).value.rotation
    if found is None or found.finished_at is not None:
        raise Failure(
            f"no rotation of {cluster} is under way",
            code=ExitCode.CONFLICT,
            hint=f"`rotator rotations {cluster}` lists those that have ended",
        )
    return found


def _intervene(
    session: Session, cluster: str, rotation: str | None, *, verb: str, body: object
) -> Answer[v1.Rotation]:
    found = rotation or under_way(session, cluster).id
    return session.api.post(v1.Rotation, "clusters", cluster, "rotations", found, verb, body=body)


def hold(
    session: Session,
    *,
    cluster: ClusterArgument,
    rotation: RotationOption = None,
    reason: ReasonOption = "",
) -> ExitCode:
    """Let the rotation pass no gate until it is released; its windows go on running."""
    asked = v1.Reason(reason=reason)
    answer = _intervene(session, cluster, rotation, verb="hold", body=asked)
    return conclude(session, answer, wait=False, limit=None)


def release(
    session: Session,
    *,
    cluster: ClusterArgument,
    rotation: RotationOption = None,
    reason: ReasonOption = "",
    yes: YesOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
) -> ExitCode:
    """Let a rotation that is held go on; on a terminal it asks if the grace window is over."""
    limit = timeout_of(timeout, wait=wait)
    found = _known(session, cluster, rotation)
    if _is_grace_over(session, found):
        output.warn([_GRACE_IS_OVER])
        if sys.stdin.isatty() and sys.stderr.isatty():
            session.confirm(f"{cluster} loses its way back to the previous version.", yes=yes)
    asked = v1.Reason(reason=reason)
    answer = _intervene(session, cluster, found.id, verb="release", body=asked)
    return conclude(session, answer, wait=wait, limit=limit)


_GRACE_IS_OVER: Final = (
    "the grace window is over: the former version is retired as soon as every member has proven it;"
    " `rollback` first if you need the way back"
)


def _known(session: Session, cluster: str, rotation: str | None) -> v1.Rotation:
    if rotation is None:
        return under_way(session, cluster)
    return session.api.get(v1.Rotation, "clusters", cluster, "rotations", rotation).value


def _is_grace_over(session: Session, found: v1.Rotation) -> bool:
    if found.phase != "grace" or not found.held or found.ends_at is None:
        return False
    return durations.instant(found.ends_at) <= session.api.now


def abort(
    session: Session,
    *,
    cluster: ClusterArgument,
    rotation: RotationOption = None,
    reason: ReasonOption = "",
    yes: YesOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
) -> ExitCode:
    """Give a rotation up before its version is promoted; the number is never used again."""
    limit = timeout_of(timeout, wait=wait)
    session.confirm(f"The rotation of {cluster} is aborted.", yes=yes)
    asked = v1.Reason(reason=reason)
    answer = _intervene(session, cluster, rotation, verb="abort", body=asked)
    return conclude(session, answer, wait=wait, limit=limit, wanted="aborted")


def rollback(
    session: Session,
    *,
    cluster: ClusterArgument,
    rotation: RotationOption = None,
    reason: NeededReasonOption = "",
    yes: YesOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
) -> ExitCode:
    """Go back to the former version, which is current again; possible until it is retired."""
    limit = timeout_of(timeout, wait=wait)
    required_reason(reason)
    session.confirm(f"{cluster} goes back to its former version.", yes=yes)
    asked = v1.Reason(reason=reason)
    answer = _intervene(session, cluster, rotation, verb="rollback", body=asked)
    return conclude(session, answer, wait=wait, limit=limit, wanted="rolled_back")


def extend_grace(
    session: Session,
    *,
    cluster: ClusterArgument,
    by: Annotated[
        str, typer.Argument(metavar="TIME", help="How much longer, such as 90s, 10m or 2h.")
    ],
    rotation: RotationOption = None,
    reason: ReasonOption = "",
) -> ExitCode:
    """Keep previous readable, and the way back open, for longer."""
    seconds = durations.parse(by).total_seconds()
    if not seconds:
        raise Misuse("extend it by more than nothing", hint="`rotator end-grace` ends it")
    asked = v1.ExtendGrace(seconds=seconds, reason=reason)
    answer = _intervene(session, cluster, rotation, verb="extend-grace", body=asked)
    return conclude(session, answer, wait=False, limit=None)


def end_grace(
    session: Session,
    *,
    cluster: ClusterArgument,
    rotation: RotationOption = None,
    reason: ReasonOption = "",
    yes: YesOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
) -> ExitCode:
    """End the grace window now: previous is retired as soon as nobody uses it."""
    limit = timeout_of(timeout, wait=wait)
    session.confirm(f"{cluster} loses its way back to the previous version.", yes=yes)
    asked = v1.Reason(reason=reason)
    answer = _intervene(session, cluster, rotation, verb="end-grace", body=asked)
    return conclude(session, answer, wait=wait, limit=limit)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    command(app, "init", "rotator init orders --wait", panel=ROTATE)(init)
    command(
        app,
        "import",
        "rotator import orders < /var/lib/rabbitmq/.erlang.cookie",
        panel=ROTATE,
        takes_anything=True,
    )(import_)
    command(app, "abort", 'rotator abort orders --reason "wrong day" --wait', panel=INTERVENE)(
        abort
    )
    command(
        app,
        "rollback",
        'rotator rollback orders --reason "one node cannot connect" --wait',
        panel=INTERVENE,
    )(rollback)
    command(
        app,
        "hold",
        "rotator hold orders",
        'rotator hold orders --reason "deployment"',
        panel=INTERVENE,
    )(hold)
    command(app, "release", "rotator release orders --wait", panel=INTERVENE)(release)
    command(app, "extend-grace", "rotator extend-grace orders 2h", panel=INTERVENE)(extend_grace)
    command(app, "end-grace", "rotator end-grace orders --yes --wait", panel=INTERVENE)(end_grace)
