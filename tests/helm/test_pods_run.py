"""What the charts render runs: each container as a process of this machine, with real Erlang nodes."""

from __future__ import annotations

import ssl
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from rotator.cli.demo.processes import free_port
from tests.support import charts
from tests.support.beam import need_erl, start_epmd
from tests.support.certificates import Authority
from tests.support.pod_runner import PodRunner
from tests.support.postgres import empty_database
from tests.support.service import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.beam import Program

PODS = ("orders-0", "orders-1")
VAULT = {
    "kind": "vault",
    "address": "https://vault:8200",
    "auth": {"method": "kubernetes", "role": "rotator"},
}
VALUES: dict[str, Any] = {
    "image": {"repository": "rotator"},
    "tls": {"existingSecret": "rotator-tls"},
    "config": {
        "secret_store": {"kind": "local"},
        "masters": {"default": {"profile": "cheapest-argon2id"}},
        "clusters": {
            "orders": {
                "members": {
                    "expect": [f"{pod}@127.0.0.1" for pod in PODS],
                    "heartbeat": "1s",
                    "node_ttl": "60s",
                },
                "grace_window": "0",
            }
        },
    },
}


@dataclass
class Release:
    """The service's pod, and what leads to it."""

    pod: PodRunner
    authority: Authority
    port: int
    health_port: int

    def health(self, probe: str) -> int:
        """What a probe of the manifest is answered."""
        path = self.pod.container("rotator")[probe]["httpGet"]["path"]
        url = f"http://127.0.0.1:{self.health_port}{path}"
        return httpx.get(url, timeout=10, trust_env=False).status_code

    def is_up(self) -> bool:
        """Whether it may get requests."""
        assert self.pod.running[0].poll() is None, self.pod.log("rotator")
        try:
            return self.health("readinessProbe") == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def token(self, role: str, *more: str) -> str:
        """As NOTES.txt says: `kubectl exec` of this command."""
        return self.rotator(
            "token", "create", "--local", "--config", str(self.pod.volume("config") / "rotator.yaml"),
            "--role", role, "--cluster", "*", *more,
        ).strip()  # fmt: skip

    def rotator(self, *words: str, token: Path | None = None) -> str:
        """The command line, from outside of the pod."""
        where = [
            "--addr",
            f"https://127.0.0.1:{self.port}",
            "--cacert",
            str(self.authority.certificate),
        ]
        ran = subprocess.run(
            [sys.executable, "-m", "rotator", *words, *(["--token-file", str(token), *where] if token else [])],
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Release]:
    """The service of the chart, on loopback, with TLS."""
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(VALUES))
    found = charts.documents(charts.template(charts.CHART, tmp_path / "values.yaml"))
    spec = charts.find(found, "StatefulSet")["spec"]["template"]["spec"]
    port, health_port = free_port(), free_port()
    changes = {"8400": str(port), "8401": str(health_port), "0.0.0.0": "127.0.0.1"}
    pod = PodRunner(found, spec, tmp_path / "rotator-0", "rotator-0", changes)
    authority = Authority(tmp_path, "authority")
    signed = authority.sign("service", address="127.0.0.1")
    tls = pod.volume("tls")
    (tls / "tls.crt").write_bytes(signed.certificate.read_bytes())
    (tls / "tls.key").write_bytes(signed.key.read_bytes())
    pod.start("rotator")
    try:
        yield Release(pod, authority, port, health_port)
    finally:
        pod.stop()


@pytest.fixture
def epmd() -> Iterator[Program]:
    """A port mapper for the nodes."""
    need_erl()
    program = start_epmd(free_port())
    try:
        yield program
    finally:
        program.stop()


@pytest.mark.timeout(300)
def test_the_pod_of_the_service_does_what_the_chart_says(release: Release) -> None:
    """The service starts with what is rendered, answers each probe, and passes the test of the chart."""
    wait_for("the service is ready", release.is_up)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert release.health(probe) == httpx.codes.OK, probe
    assert (release.pod.volume("data") / "state.sqlite").exists()

    test_pod = charts.find(release.pod.found, "Pod")["spec"]["containers"][0]
    url = f"http://127.0.0.1:{release.health_port}/readyz"
    assert test_pod["args"][-1].endswith(":8401/readyz")
    ran = subprocess.run(
        [sys.executable, "-c", test_pod["args"][0], url],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


@pytest.fixture
def operator(release: Release, tmp_path: Path) -> Path:
    """The cluster has its first cookie; the file of an operator's token."""
    wait_for("the service is ready", release.is_up)
    tokens = {role: tmp_path / f"{role}.token" for role in ("admin", "operator")}
    for role, file in tokens.items():
        file.write_text(release.token(role))
    release.rotator("init", "orders", "--wait", token=tokens["admin"])
    return tokens["operator"]


@pytest.fixture
def pods(
    release: Release, operator: Path, epmd: Program, tmp_path: Path
) -> Iterator[list[PodRunner]]:
    """Two pods of the recipe, started as a kubelet would."""
    found = [_recipe_pod(name, release, tmp_path, epmd_port=_port_of(epmd)) for name in PODS]
    try:
        for pod in found:
            boot = pod.start("rotator-boot")
            assert boot.wait(90) == 0, pod.log("rotator-boot")
            pod.start("rotator-agent")
            _start_application(pod, epmd)
        yield found
    finally:
        for pod in found:
            pod.stop()


def _start_application(pod: PodRunner, epmd: Program) -> None:
    pod.start("orders", ERL_EPMD_PORT=_port_of(epmd), ERL_EPMD_ADDRESS="127.0.0.1")


@pytest.mark.timeout(300)
def test_nodes_of_the_recipe_rotate_and_come_back_with_their_files(
    release: Release, operator: Path, pods: list[PodRunner], epmd: Program
) -> None:
    """Two pods boot, rotate while they run, and an application's container that restarts alone is in step."""
    wait_for("both are linked", lambda: _links(release, operator) == [1, 1])
    first = _cookie(pods[0])
    release.rotator("rotate", "orders", "--wait", "--timeout", "80s", token=operator)
    second = _cookie(pods[0])
    assert second != first

    # The application's container alone: no init container runs, and the sidecar has kept the files.
    [application] = [one for one in pods[0].running if "-args_file" in one.args]  # type: ignore[operator]
    application.kill()
    application.wait()
    wait_for("the other one sees it go", lambda: _links(release, operator)[1:] == [0])
    _start_application(pods[0], epmd)
    wait_for("both are linked again", lambda: _links(release, operator) == [1, 1])
    assert {_cookie(pod) for pod in pods} == {second}
    logs = "".join(
        pod.log(one) for pod in pods for one in ("rotator-boot", "rotator-agent", "orders")
    )
    assert first not in logs
    assert second not in logs


@pytest.mark.timeout(300)
def test_the_job_migrates_postgresql(tmp_path: Path) -> None:
    """The hook's container makes the tables, and run again it changes nothing."""
    database = empty_database()
    state = {
        "config": {**VALUES["config"], "state_store": database.settings, "secret_store": VAULT}
    }
    (tmp_path / "values.yaml").write_text(yaml.safe_dump({**VALUES, **state}))
    found = charts.documents(charts.template(charts.CHART, tmp_path / "values.yaml"))
    spec = charts.find(found, "Job")["spec"]["template"]["spec"]
    job = PodRunner(found, spec, tmp_path / "job", "job", {})
    for _ in range(2):
        process = job.start("migrate")
        assert process.wait(90) == 0, job.log("migrate")
    assert job.log("migrate").count("the database is at this program's schema") == 2
    assert database.ask("SELECT count(*) FROM clusters") == [(0,)]


def _cookie(pod: PodRunner) -> str:
    """What its cookie file holds; only its user may read it."""
    file = pod.volume("rotator-files") / ".erlang.cookie"
    assert file.stat().st_mode & 0o777 == 0o400
    return file.read_text()


def _port_of(epmd: Program) -> str:
    arguments = list(epmd.process.args)  # type: ignore[call-overload]
    return str(arguments[arguments.index("-port") + 1])


def _recipe_pod(name: str, release: Release, place: Path, *, epmd_port: str) -> PodRunner:
    values = {
        "image": "orders",
        "agent": {
            "image": "rotator",
            "service": f"https://127.0.0.1:{release.port}",
            "token": {"existingSecret": "node-token"},
            "ca": {"existingConfigMap": "", "existingSecret": "rotator-ca"},
            "node": {"epmd_port": int(epmd_port)},
        },
    }
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values))
    with charts.recipe() as chart:
        found = charts.documents(charts.template(chart, path))
    spec = charts.find(found, "StatefulSet")["spec"]["template"]["spec"]
    domain = "orders-nodes.{space}.svc.cluster.local"
    changes = {
        f"orders@$(POD_NAME).{domain.format(space='$(POD_NAMESPACE)')}": "$(POD_NAME)@127.0.0.1",
        f"orders@{name}.{domain.format(space='rotator')}": f"{name}@127.0.0.1",
        "9100": str(free_port()),
    }
    pod = PodRunner(found, spec, place / name, name, changes)
    token = pod.volume("rotator-token") / "token"
    token.write_text(release.token("node", "--node", f"{name}@127.0.0.1"))
    token.chmod(0o400)
    (pod.volume("rotator-ca") / "ca.crt").write_bytes(release.authority.certificate.read_bytes())
    return pod


def _links(release: Release, token: Path) -> list[int]:
    """How many members each member is linked to, as they have told; empty until each is live."""
    answer = httpx.get(
        f"https://127.0.0.1:{release.port}/v1/clusters/orders/nodes",
        headers={"Authorization": f"Bearer {token.read_text()}"},
        verify=ssl.create_default_context(cafile=release.authority.certificate),
        timeout=30,
        trust_env=False,
    )
    members = sorted(answer.json()["nodes"], key=lambda one: one["name"])
    if [one["liveness"] for one in members] != ["live", "live"]:
        return []
    names = {one["name"] for one in members}
    return [len(names & set(one["links"] or ())) for one in members]
