"""Every route of a real process under generated requests: no 5xx, no echo, answers as documented.

`make soak` gives more examples, of another seed at each run; ROTATOR_FUZZ_EXAMPLES says how many.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.generation import GenerationMode

from rotator.api import openapi
from rotator.api.app import ROUTES, build
from rotator.api.auth import Role
from tests.acceptance.conftest import local_place
from tests.support import postgres
from tests.support.api import NODE, attestation
from tests.support.canary import find
from tests.support.service import Service

EXAMPLES = int(os.environ.get("ROTATOR_FUZZ_EXAMPLES", "0"))
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
#: Ends when the process does; tests/integration/test_api_sockets.py reads it.
ENDLESS = "/v1/facts/stream"
FUZZED = [route for route in ROUTES if route.path != ENDLESS]
REVEALS = {"/v1/clusters/{cluster}/cookie"}
#: A shorter text is in an answer by chance.
LONG = 8


@dataclass
class Target:
    """The process, and what is there to be named."""

    service: Service
    schema: Any
    names: dict[str, str] = field(default_factory=dict)
    session: requests.Session = field(default_factory=requests.Session)

    def token(self, role: str) -> str:
        """For a pattern of nodes: `remove` revokes those of exactly one."""
        return self.service.token(role, nodes="rabbit@*" if role == "node" else "")

    def cookies(self) -> set[str]:
        """Those that nodes can have just now."""
        found: set[str] = set()
        for cluster in ("orders", "billing"):
            path = f"clusters/{cluster}/cookie?node={NODE}"
            answer = self.service.request("GET", path, token=self.token("node"))
            if answer.status_code == 200:
                said = answer.json()
                versions = (said[name] for name in ("current", "previous", "pending"))
                found |= {version["cookie"] for version in versions if version}
        return found


@pytest.fixture(scope="module")
def database() -> Iterator[postgres.Database]:
    """A PostgreSQL database of this module's own."""
    made = postgres.new_database()
    yield made
    postgres.drop(made)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """On SQLite."""
    yield from _target(tmp_path_factory.mktemp("fuzz"), {})


@pytest.fixture(scope="module")
def target_on_postgresql(
    tmp_path_factory: pytest.TempPathFactory, database: postgres.Database
) -> Iterator[Target]:
    """On PostgreSQL."""
    yield from _target(tmp_path_factory.mktemp("fuzz"), {"state_store": database.settings})


def _target(directory: Path, more: dict[str, Any]) -> Iterator[Target]:
    """A process with a cluster, a member, a rotation in its window, an emergency and a token."""
    cluster = {
        "grace_window": "1h",
        "emergency_cooldown": "0",
        "max_rotations_per_hour": 1000,
        "lock_timeout": "1s",
        "install_timeout": "1s",
    }
    service = Service(
        directory,
        local_place(directory).settings,
        {name: {**cluster, "members": {"expect": "none"}} for name in ("orders", "billing")},
        more={"limits": {"requests_per_second": 100_000, "burst": 1_000_000}, **more},
    )
    service.start()
    schema = schemathesis.openapi.from_dict(openapi.document(build(ROUTES)))
    schema.config.base_url = f"http://127.0.0.1:{service.port}"
    made = Target(service, schema)
    made.session.trust_env = False
    for name in ("orders", "billing"):
        service.initialise(name)
    report = {"token": made.token("node"), "json": attestation()}
    assert service.request("PUT", f"clusters/orders/nodes/{NODE}", **report).status_code == 200
    begun = service.command("clusters/orders/rotations", {"kind": "manual", "reason": "fuzz"})
    leaked = service.command("emergency", {"clusters": ["billing"], "reason": "fuzz"})
    wanted = {"role": "auditor", "clusters": ["orders"]}
    spare = service.command("tokens", wanted, role="admin")
    assert begun
    assert leaked
    assert spare
    made.names = {
        "cluster": "orders",
        "node": NODE,
        "rotation": begun["id"],
        "emergency": leaked["id"],
        "token": spare["id"],
    }
    yield made
    output = service.output()
    service.stop()
    assert "unhandled" not in output
    assert "Traceback" not in output
    tokens = {role: text.encode() for role, text in service.tokens.items()}
    assert find(tokens, {"log": output.encode()}) == []


def _texts(body: Any) -> Iterator[str]:
    """Every string of a body, names of fields too: a secret may stand in either."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, dict):
        for name, value in body.items():
            yield str(name)
            yield from _texts(value)
    elif isinstance(body, list):
        for value in body:
            yield from _texts(value)


def _strategy(operation: Any, names: dict[str, str]) -> st.SearchStrategy[Any]:
    """Good and bad requests, about what is there and about what is not."""
    in_path = {one.name for one in operation.path_parameters}
    real = {name: value for name, value in names.items() if name in in_path}
    made = [
        operation.as_strategy(generation_mode=mode, path_parameters=paths)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        for paths in ([real, None] if real else [None])
        if operation.body or operation.query or (in_path and mode is GenerationMode.POSITIVE)
    ]
    return st.one_of(*made) if made else operation.as_strategy()


@pytest.mark.parametrize("route", FUZZED, ids=lambda route: f"{route.method} {route.path}")
def test_no_request_breaks_the_service_or_is_echoed(target: Target, route: Any) -> None:
    """Whatever is sent, the answer is one of the contract, and an error repeats nothing of it."""
    _fuzz(target, route, examples=EXAMPLES or 12)


@pytest.mark.parametrize("route", FUZZED, ids=lambda route: f"{route.method} {route.path}")
def test_nor_where_postgresql_is_the_state_store(target_on_postgresql: Target, route: Any) -> None:
    """It refuses what SQLite takes: a few requests, and those that are known to be refused."""
    _fuzz(target_on_postgresql, route, examples=EXAMPLES or 2)
    _send_unprintable(target_on_postgresql, route)


def _send_unprintable(target: Target, route: Any) -> None:
    """A NUL in each parameter of the path, and in the query: never 503."""
    operation = target.schema[route.path][route.method]
    if Role.PUBLIC in route.roles:
        return
    headers = {"Authorization": f"Bearer {target.token(str(route.roles[0]))}"}
    sent = [(route.path, name, {422}) for name in ("before", "cluster", "rotation", "any")]
    names = {one.name: "none" for one in operation.path_parameters}
    sent += [(route.path.replace(f"{{{name}}}", "%00"), "", {403, 404}) for name in names]
    for path, query, wanted in sent:
        where = path.format_map(names | target.names) + (f"?{query}=%00" if query else "")
        answer = target.session.request(
            route.method, f"{target.schema.config.base_url}{where}", headers=headers, json={}
        )
        assert answer.status_code in wanted, (route.method, where, answer.text)


def _fuzz(target: Target, route: Any, *, examples: int) -> None:
    operation = target.schema[route.path][route.method]
    role = str(route.roles[0])
    token = "" if role == "public" else target.token(role)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    cookies = target.cookies()
    seen: list[bytes] = []

    @settings(
        max_examples=examples,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=_strategy(operation, target.names))
    def fuzz(case: Any) -> None:
        answer = case.call(headers=headers, session=target.session, timeout=60)
        # A node that names a generation which nobody gave out freezes its cluster: that is meant.
        is_frozen = answer.status_code == 503 and '"changing"' in answer.text
        checks = CHECKS[1:] if is_frozen else CHECKS
        case.validate_response(answer, checks=checks, headers=headers)
        seen.append(answer.content + str(answer.headers).encode())
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"]
            sent = {text for text in _texts(case.body) if len(text) >= LONG}
            known = route.takes.__dataclass_fields__.keys() if route.takes else ()
            assert not [text for text in sent - set(known) if text in answer.text]

    fuzz()
    secrets = {"token": token.encode()} if token else {}
    if route.path not in REVEALS:
        secrets |= {f"cookie {n}": c.encode() for n, c in enumerate(cookies | target.cookies())}
    assert find(secrets, {"answers": b"\n".join(seen)}) == []
