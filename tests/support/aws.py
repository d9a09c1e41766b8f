"""AWS Secrets Manager for tests: the moto emulator behind rules that it does not hold to itself.

The emulator answers over HTTP on loopback, as ``moto_server`` does, and what it is asked passes
`aws_rules`, the caller's IAM policy, and the faults that a test has planted.
"""

from __future__ import annotations

import atexit
import copy
import functools
import json
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rotator.cli.demo.processes import free_port
from tests.support import aws_iam
from tests.support import aws_rules as rules

REGION = "eu-central-1"
ACCOUNT = "123456789012"
POLICIES = Path(__file__).parents[2] / "deploy" / "policies"
ROOT = "AKIDROOT"
WRITES = frozenset({"CreateSecret", "PutSecretValue", "UpdateSecretVersionStage"})
#: Nothing here ever does it to a secret that is there: then it fails loudly.
MUST_NOT = frozenset({"DeleteSecret", "RestoreSecret", "UpdateSecret"})


@dataclass(frozen=True)
class Call:
    """One request, without what it brings."""

    operation: str
    name: str
    label: str | None
    by: str


@dataclass
class Fault:
    """What goes wrong, for requests that match; `times` of them."""

    operation: str
    code: str = ""  #: AWS's error code; empty: the answer is lost after the request was done
    message: str = "planted"
    status: int = 400
    times: int = 1
    skip: int = 0  #: so many matching requests pass first
    name: str = ""  #: a part of the secret's name


@dataclass
class Aws:
    """A running emulator. Moto keeps secrets for the whole process: give each test a prefix."""

    port: int = 0
    calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    policies: dict[str, dict[str, Any] | None] = field(default_factory=lambda: {ROOT: None})
    expired: set[str] = field(default_factory=set)
    lag: int = 0  #: so many reads after a write see what was before it
    _former: dict[str, Any] = field(default_factory=dict)
    _stale: dict[str, int] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def address(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def secrets(self) -> Any:
        """Moto's own secrets."""
        from moto.secretsmanager.models import secretsmanager_backends

        return secretsmanager_backends[ACCOUNT][REGION].secrets

    def below(self, prefix: str) -> dict[str, Any]:
        """Moto's own secrets below a prefix, by name."""
        found = dict.items(self.secrets)
        return {name: secret for name, secret in found if name.startswith(f"{prefix}/")}

    def identity(self, name: str, prefix: str) -> str:
        """An access key whose holder has the shipped policy ``aws-<name>.json`` for this prefix."""
        text = (POLICIES / f"aws-{name}.json").read_text(encoding="utf-8")
        text = text.replace("erlang-cookies", prefix).replace("REGION", REGION)
        key = f"AKID{len(self.policies)}{prefix}"
        self.policies[key] = json.loads(text.replace("ACCOUNT", ACCOUNT))
        return key

    def client(self, key: str = ROOT) -> Any:
        """A boto3 client with this access key."""
        return _session().client(
            "secretsmanager",
            region_name=REGION,
            endpoint_url=self.address,
            aws_access_key_id=key,
            aws_secret_access_key="secret",
        )

    def environment(self, key: str = ROOT) -> dict[str, str]:
        """For a process that finds its credentials by the default chain."""
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "secret"}

    def labels(self, name: str) -> dict[str, str]:
        """Where the labels of a secret are in truth."""
        with self.lock:
            return rules.stages(self.secrets[name]) if name in self.secrets else {}

    def readable(self, name: str) -> dict[str, Any]:
        """Label → value, for the three labels that a node may ask for."""
        with self.lock:
            secret = self.secrets[name]
            return {
                label: json.loads(secret.versions[version]["secret_string"])
                for label, version in rules.stages(secret).items()
                if label in {"AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"}
            }

    def puts(self, name: str) -> int:
        """How many versions of a secret were made."""
        with self.lock:
            return len(self.secrets[name].versions)

    @contextmanager
    def fault(self, operation: str, code: str = "", **how: Any) -> Iterator[Fault]:
        """Plant a fault, and take it out again."""
        planted = Fault(operation, code, **how)
        self.faults.append(planted)
        try:
            yield planted
        finally:
            self.faults.remove(planted)

    def answer_with(self, former: Any, *, times: int) -> None:
        """The next so many reads of a secret see it as it was when this copy was taken."""
        with self.lock:
            self._former[former.name], self._stale[former.name] = former, times

    def answer(
        self, app: Any, environ: dict[str, Any], start: Callable[..., Any]
    ) -> Iterable[bytes]:
        """One request over WSGI."""
        operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        asked = json.loads(body or b"{}")
        with self.lock:
            try:
                answer = self._done(app, environ, operation, asked)
            except rules.Refused as refused:
                said = {"__type": refused.code, "message": refused.message}
                return _say(start, said, refused.status)
            if answer is None:
                with suppress(OSError):
                    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                return _say(start, {}, 500)
            return _say(start, answer, 200)

    def _done(
        self, app: Any, environ: dict[str, Any], operation: str, asked: dict[str, Any]
    ) -> dict[str, Any] | None:
        name = asked.get("SecretId") or asked.get("Name") or ""
        key = _key(environ)
        self.calls.append(Call(operation, name, asked.get("VersionStage"), key))
        fault = self._fault(operation, name)
        if fault is not None and fault.code:
            raise rules.Refused(fault.code, fault.message, fault.status)
        self._check_identity(key, operation, name, asked)
        if operation in WRITES:
            self._remember(name)
            answer = self._written(app, environ, operation, asked)
        else:
            answer = self._read(name, operation, asked)
        return None if fault is not None else answer

    def _fault(self, operation: str, name: str) -> Fault | None:
        for fault in self.faults:
            if fault.operation in {operation, "*"} and fault.name in name and fault.times > 0:
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def _check_identity(self, key: str, operation: str, name: str, asked: dict[str, Any]) -> None:
        if key in self.expired:
            raise rules.Refused("ExpiredTokenException")
        if key not in self.policies:
            raise rules.Refused("UnrecognizedClientException")
        policy = self.policies[key]
        secret = self._secret(name)
        arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}"
        where = secret.arn if secret is not None else f"{arn}-AbCdEf"
        action = f"secretsmanager:{operation}"
        if policy is None or aws_iam.is_allowed(policy, action=action, resource=where, asked=asked):
            return
        said = f"not authorized to perform: {action}"
        raise rules.Refused("AccessDeniedException", said)

    def _secret(self, name: str) -> Any:
        return dict.get(self.secrets, name)

    def _remember(self, name: str) -> None:
        if self.lag:
            self._former[name] = copy.deepcopy(self._secret(name))
            self._stale[name] = self.lag

    def _read(self, name: str, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        secret = self._secret(name)
        if self._stale.get(name, 0) > 0:
            self._stale[name] -= 1
            secret = self._former[name]
        if operation == "DescribeSecret":
            return rules.described(secret)
        if operation == "ListSecretVersionIds":
            return rules.listed(secret, asked)
        if operation == "ListSecrets":
            return {"SecretList": []}
        if operation in MUST_NOT:
            rules.check_found(secret)
        if operation != "GetSecretValue":
            raise NotImplementedError(operation)
        rules.check_value(secret, asked)
        version = asked.get("VersionId") or rules.stages(secret)[asked["VersionStage"]]
        about = secret.versions[version]
        return {
            "ARN": secret.arn,
            "Name": secret.name,
            "VersionId": version,
            "SecretString": about["secret_string"],
            "VersionStages": list(about["version_stages"]),
        }

    def _written(
        self, app: Any, environ: dict[str, Any], operation: str, asked: dict[str, Any]
    ) -> dict[str, Any]:
        name = asked.get("SecretId") or asked["Name"]
        secret = self._secret(name)
        before = {} if secret is None else rules.stages(secret)
        if operation == "UpdateSecretVersionStage":
            rules.set_stages(secret, rules.labels_after_move(secret, asked))
            return {"ARN": secret.arn, "Name": secret.name}
        check = rules.check_create if operation == "CreateSecret" else rules.check_put
        if check(secret, asked):
            _emulated(app, environ, asked)
            secret = self._secret(name)
            has_value = "SecretString" in asked
            rules.set_stages(secret, rules.labels_after_put(before, asked) if has_value else {})
        return {"ARN": secret.arn, "Name": name, "VersionId": asked["ClientRequestToken"]}


def _key(environ: dict[str, Any]) -> str:
    found = re.search(r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    return found.group(1) if found else ""


def _emulated(app: Any, environ: dict[str, Any], asked: dict[str, Any]) -> None:
    """What moto itself does with it; anything but success is a rule that is missing here."""
    import io

    body = json.dumps(asked).encode()
    inner = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    said: list[str] = []
    content = b"".join(app(inner, lambda status, _headers, *_more: said.append(status)))
    assert said[0].startswith("200"), (said, content)


def _say(start: Callable[..., Any], answer: dict[str, Any], status: int) -> list[bytes]:
    content = json.dumps(answer).encode()
    kind = ("Content-Type", "application/x-amz-json-1.1")
    start(f"{status} said", [kind, ("Content-Length", str(len(content)))])
    return [content]


def start() -> Aws:
    """An emulator on a port of its own, in a thread of this process."""
    from moto.moto_server.werkzeug_app import create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_arguments: Any) -> None:  # type: ignore[override]
            """Nothing is printed."""

    made = Aws(port=free_port())
    app = create_backend_app("secretsmanager")
    server = make_server(
        "127.0.0.1",
        made.port,
        lambda environ, start: made.answer(app, environ, start),  # type: ignore[arg-type]
        threaded=True,
        request_handler=Quiet,
    )
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    atexit.register(server.shutdown)
    return made


@functools.cache
def _session() -> Any:
    import boto3

    return boto3.session.Session()


@functools.cache
def shared() -> Aws:
    """One for each test process; give every test a prefix of its own."""
    return start()
