"""A small HTTP server that gives canned answers of the wire contract, and remembers the questions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rotator.protocol import v1

BEGAN = "2026-11-23T06:45:00Z"
NOW = "Mon, 23 Nov 2026 07:00:00 GMT"  #: of every answer
ROTATION = "019aaf000000-aabbccddeeff"


@dataclass(frozen=True)
class Asked:
    """One question."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Says:
    """One answer; without a status the connection is dropped."""

    body: Any = None
    status: int | None = 200
    headers: dict[str, str] = field(default_factory=dict)


def problem(status: int, code: str, detail: str = "Said by the stub.", **more: Any) -> Says:
    """A problem document."""
    said = v1.Problem(
        type=f"/problems/{code}",
        title=code,
        status=status,
        code=code,
        detail=detail,
        request_id="req-1",
        **more,
    )
    headers = {"content-type": "application/problem+json"}
    return Says({k: v for k, v in asdict(said).items() if v is not None}, status, headers)


class Stub:
    """Answers by method and path: each in turn, the last one again and again."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: dict[tuple[str, str], list[Says | Callable[[Asked], Says]]] = {}
        stub = self

        class Serves(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def _serve(self) -> None:
                stub.serve(self)

            do_GET = do_POST = do_DELETE = do_PUT = _serve  # noqa: N815 - http.server's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Serves)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def on(self, method: str, path: str, *answers: Any) -> None:
        """What it says; a dataclass stands for itself with status 200."""
        said = [one if isinstance(one, Says) or callable(one) else Says(one) for one in answers]
        self._answers[method, f"/v1/{path}"] = said

    def questions(self, method: str, path: str) -> list[Asked]:
        """Those that were asked so."""
        return [a for a in self.asked if (a.method, a.path) == (method, f"/v1/{path}")]

    def serve(self, exchange: BaseHTTPRequestHandler) -> None:
        """One question."""
        path, _, query = exchange.path.partition("?")
        length = int(exchange.headers.get("content-length", "0"))
        asked = Asked(
            method=exchange.command,
            path=path,
            query=query,
            headers={name.lower(): value for name, value in exchange.headers.items()},
            body=exchange.rfile.read(length).decode(),
        )
        self.asked.append(asked)
        answer = self._next(asked)
        if answer.status is None:
            exchange.close_connection = True
            return
        body = answer.body
        if hasattr(body, "__dataclass_fields__"):
            body = asdict(body)
        text = body if isinstance(body, str) else json.dumps(body)
        exchange.send_response_only(answer.status)
        for name, value in {"date": NOW, **answer.headers}.items():
            exchange.send_header(name, value)
        exchange.send_header("content-length", str(len(text.encode())))
        exchange.end_headers()
        exchange.wfile.write(text.encode())

    def _next(self, asked: Asked) -> Says:
        answers = self._answers.get((asked.method, asked.path))
        if not answers:
            return problem(404, "not_found")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer(asked) if callable(answer) else answer


def at(second: float) -> str:
    """An instant so many seconds after the rotation began."""
    return f"2026-11-23T06:45:{second:06.3f}Z"


COURSE = (
    ("RotationStarted", "staged", 0.0),
    ("VersionStaged", "installing", 0.1),
    ("PromotionStarted", "promoting", 0.2),
    ("VersionPromoted", "rolling_out", 0.3),
    ("GraceStarted", "grace", 0.4),
    ("RetirementStarted", "retiring", 30.4),
    ("RotationCompleted", "completed", 30.5),
)
LAST_FACT = {
    "aborted": ("RotationAborted", "aborted", 0.2),
    "rolled_back": ("RotationRolledBack", "rolled_back", 9.0),
    "superseded": ("RotationSuperseded", "superseded", 9.0),
}


def fact(kind: str, second: float = 0.0, position: int = 1) -> v1.Fact:
    """A fact of the rotation."""
    return v1.Fact(
        position=position,
        cluster="orders",
        seq=position,
        kind=kind,
        at=at(second),
        by="token:op",
        reason="",
        rotation=ROTATION,
        version=2,
        details={},
        hash="00",
    )


def rotation(phase: str = "staged", **more: Any) -> v1.Rotation:
    """A manual rotation of `orders` from 1 to 2 that is in *phase*, with its facts until then."""
    course = list(COURSE[: [step[1] for step in COURSE].index(phase) + 1]) if (
        phase not in LAST_FACT
    ) else [COURSE[0], LAST_FACT[phase]]  # fmt: skip
    facts = [fact(kind, second, n) for n, (kind, _, second) in enumerate(course, 1)]
    finished = phase in {"completed", *LAST_FACT}
    made = v1.Rotation(
        id=ROTATION,
        cluster="orders",
        kind="manual",
        phase=phase,
        from_version=1,
        to_version=2,
        epoch=1,
        reason="",
        by="token:op",
        started_at=BEGAN,
        entered_at=facts[-1].at,
        ends_at=None,
        finished_at=facts[-1].at if finished else None,
        held=False,
        abort_requested=False,
        rollback=False,
        lock_round=0,
        may_have_been_read=[],
        revokes=[],
        supersedes=None,
        excludes=[],
        emergency_id=None,
        facts=facts,
    )
    return replace(made, **more)


def blocker(code: str = "laggard", subject: str = "rabbit@b", detail: str = "") -> v1.Blocker:
    """Something that is waited for."""
    return v1.Blocker(code=code, subject=subject, detail=detail, since=at(1))


def cluster(name: str = "orders", **more: Any) -> v1.Cluster:
    """A stable cluster that expects nobody."""
    version = v1.Version(
        number=1,
        stage="current",
        origin="derived",
        epoch=1,
        created_at=BEGAN,
        fingerprint="f1:0123456789abcdef0123456789abcdef",
    )
    made = v1.Cluster(
        name=name,
        uid="00" * 16,
        state="stable",
        generation=1,
        current=1,
        versions=[version],
        rotation=None,
        adoption=v1.Adoption(members=0, live=0, lost=0, excused=0, on_current=0, expects="none"),
        blockers=[],
        next_due=None,
        current_since=BEGAN,
    )
    return replace(made, **more)


def member(name: str = "rabbit@a", **more: Any) -> v1.Member:
    """A live member on version 1."""
    made = v1.Member(
        name=name,
        liveness="live",
        joined_at=BEGAN,
        last_seen=BEGAN,
        uses=1,
        unknown_cookie=False,
        holds=[1],
        pins={"rabbit@b": 1},
        links={"rabbit@b": v1.Link()},
        refuses={},
        locked_round=None,
        foreign_links=[],
        read_from="vm",
        generation=1,
        otp_release="25",
        agent="1.0.0",
        preflight=[],
    )
    return replace(made, **more)


def plan(**more: Any) -> v1.Plan:
    """What a rotation of `orders` would do."""
    made = v1.Plan(
        cluster="orders",
        kind="manual",
        from_version=1,
        to_version=2,
        phases=["staged", "completed"],
        awaits=[],
        blockers=[],
        conflict=None,
        grace_seconds=900.0,
        warnings=[],
    )
    return replace(made, **more)


def token(**more: Any) -> v1.Token:
    """A token as it is listed."""
    made = v1.Token(
        id="abcdefghijkl",
        role="operator",
        clusters=["*"],
        nodes="",
        note="",
        created_at=BEGAN,
        created_by="local",
        expires_at="2027-02-21T06:45:00Z",
        revoked_at=None,
        last_used_at=None,
    )
    return replace(made, **more)
