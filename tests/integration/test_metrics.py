from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rotator.adapters.telemetry.catalogue import CATALOGUE
from tests.support import openbao
from tests.support.service import Service, wait_for

CLUSTER = "orders"
PLAIN = {"grace_window": "0", "members": {"expect": "none"}}
NODE = "rabbit@a"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[openbao.OpenBao]:
    """An OpenBao of this test's own, which it may seal."""
    made = openbao.start_dev()
    yield made
    made.stop()


@pytest.fixture
def service(tmp_path: Path, server: openbao.OpenBao) -> Iterator[Service]:
    """A service with an initialised cluster, on a real OpenBao."""
    token_file = tmp_path / "vault.token"
    token_file.touch(mode=0o600)
    token_file.write_text(server.token("root"))
    auth = {"method": "token", "token_file": str(token_file)}
    store = {"kind": "vault", "address": server.address, "auth": auth}
    made = Service(tmp_path, store, {CLUSTER: PLAIN})
    made.start()
    made.initialise(CLUSTER)
    yield made
    if not made.has_ended():
        made.stop()


def text_of(service: Service) -> str:
    """One scrape."""
    url = f"http://127.0.0.1:{service.health_port}/metrics"
    answer = httpx.get(url, timeout=30, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


def scraped(service: Service) -> dict[tuple[str, frozenset[Any]], float]:
    """Every series of one scrape."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text_of(service))
        for sample in family.samples
    }


def of(series: dict[Any, float], name: str, **labels: str) -> float | None:
    """The value of one series."""
    return series.get((name, frozenset(labels.items())))


def test_a_rotation_shows_in_the_metrics_of_a_real_service(service: Service) -> None:
    """What happened is counted and what is stands there, with names that are all documented."""
    begun = service.command(f"clusters/{CLUSTER}/rotations", {"kind": "manual", "reason": "test"})
    assert begun is not None
    service.until_phase(CLUSTER, begun["id"], "completed")

    def version_2() -> Any:
        found = scraped(service)
        return of(found, "rotator_cluster_version", cluster=CLUSTER) == 2 and found

    series = wait_for("version 2 is scraped", version_2)
    assert of(series, "rotator_leader") == 1
    assert of(series, "rotator_lease_fence") == 1
    assert of(series, "rotator_cluster_state", cluster=CLUSTER, state="stable") == 1
    ended = {"kind": "manual", "outcome": "completed"}
    assert of(series, "rotator_rotations_finished_total", **ended) == 1
    assert of(series, "rotator_facts_total", kind="VersionPromoted") == 1
    assert (of(series, "rotator_reconciler_passes_total", outcome="ok") or 0) > 0
    call = {"store": "secrets_manager", "operation": "document_replace"}
    assert (of(series, "rotator_store_operation_seconds_count", **call) or 0) >= 3
    assert (of(series, "process_resident_memory_bytes") or 0) > 0
    route = "/v1/clusters/{cluster}/rotations/{rotation}"
    routes = {
        dict(labels)["route"] for name, labels in series if name == "rotator_http_requests_total"
    }
    assert any(route.rsplit("/", 1)[0] in one for one in routes), routes
    assert not any(CLUSTER in one or begun["id"] in one for one in routes)
    known = {metric.name for metric in CATALOGUE}
    stems = {name for name, _ in series if name.startswith("rotator_")}
    for stem in stems:
        plain = stem.removesuffix("_created").removesuffix("_bucket")
        plain = plain.removesuffix("_count").removesuffix("_sum")
        assert {plain, f"{plain}_total"} & known, stem


def test_a_scrape_shows_no_secret(service: Service) -> None:
    """Neither cookie nor token is in what everybody who reaches the port may read."""
    token = service.token("node", nodes=NODE)
    answer = service.request("GET", f"clusters/{CLUSTER}/cookie?node={NODE}", token=token)
    cookie = answer.json()["current"]["cookie"]
    service.request("GET", f"clusters/{CLUSTER}/cookie?node={cookie}@x", token=token)
    service.request("GET", f"{cookie}", token=token)
    text = text_of(service)
    assert "rotator_cluster_version" in text
    assert cookie not in text
    assert token not in text
    assert NODE not in text


def test_a_scrape_asks_no_secrets_manager(service: Service, server: openbao.OpenBao) -> None:
    """Sealed or gone, the secrets manager costs a scrape nothing, and its errors are counted."""
    server.seal()

    def counted() -> Any:
        service.is_ready()  # asks, where the reconciler would half a minute later
        found = scraped(service)
        errors = [
            labels
            for name, labels in found
            if name == "rotator_store_errors_total"
            if ("code", "store_sealed") in labels
        ]
        return errors and found

    wait_for("the error is counted", counted, seconds=90)
    server.stop()
    series = scraped(service)
    assert of(series, "rotator_cluster_version", cluster=CLUSTER) == 1
    assert of(series, "rotator_state_store_readable") == 1


def is_open(connection: socket.socket) -> bool:
    """Whether the other side has kept it; reads what it has sent."""
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return True
    except ConnectionError:
        pass
    return False


def test_the_health_port_takes_no_files_of_the_api(service: Service) -> None:
    """Each newcomer is answered, few connections stay although each goes on asking, and the API is served."""
    asked = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as stack:
        made: list[socket.socket] = []
        for _ in range(40):
            one = socket.create_connection(("127.0.0.1", service.health_port), timeout=60)
            made.append(stack.enter_context(one))
            one.sendall(asked)
            assert one.recv(12) == b"HTTP/1.1 200"
        wait_for("all but a few have gone", lambda: sum(map(is_open, made)) <= 16)
        assert is_open(made[-1])
        assert service.get(f"clusters/{CLUSTER}")["state"] == "stable"


def test_a_long_poll_is_counted_while_it_waits(service: Service) -> None:
    """Open long polls are a figure that goes back to zero when they have ended."""
    token = service.token("node", nodes=NODE)
    generation = service.get(f"clusters/{CLUSTER}")["generation"]
    query = f"clusters/{CLUSTER}/cookie?node={NODE}&generation={generation}&wait=60s"
    url = f"http://127.0.0.1:{service.port}/v1/{query}"
    with socket.create_connection(("127.0.0.1", service.port)) as poll:
        head = f"GET {url.split(str(service.port), 1)[1]} HTTP/1.1\r\nHost: x\r\n"
        poll.sendall(f"{head}Authorization: Bearer {token}\r\n\r\n".encode())
        wait_for("it waits", lambda: of(scraped(service), "rotator_long_polls_open") == 1)
    wait_for("it has ended", lambda: of(scraped(service), "rotator_long_polls_open") == 0)
