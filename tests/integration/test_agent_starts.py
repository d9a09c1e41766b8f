"""An agent that starts beside a node that it knows already."""

from __future__ import annotations

import pytest

from rotator.cli.demo.epmd import erlang
from rotator.cli.demo.mesh import mesh
from tests.support.agent_process import AgentProcess
from tests.support.parts import need
from tests.support.service import Service, wait_for

pytestmark = pytest.mark.timeout(300)


def test_an_agent_that_starts_again_reports_once_it_has_orders(tmp_path) -> None:
    """Its first report is of the generation that it was told, so none of its reports is refused as too old."""
    need("erl", "erlc", "epmd")
    with erlang(tmp_path) as beam, mesh(beam, 1) as nodes:
        (node,) = nodes.nodes.values()
        settings = {"grace_window": "0", "members": {"expect": [node.name], "heartbeat": "1s"}}
        store = {"kind": "local", "directory": str(tmp_path / "secrets")}
        service = Service(tmp_path, store, {"orders": settings})
        service.start()
        row = {
            "name": node.name,
            "cookie_file": node.cookie_file,
            "boot_file": node.boot_file,
            "epmd_port": beam.epmd_port,
        }
        agent = AgentProcess(service, "orders", node.directory / "agent", row)

        def last_seen() -> str:
            found = service.get("clusters/orders/nodes")["nodes"]
            return str(found[0]["last_seen"]) if found else ""

        try:
            body = {"cookie": node.cookie_file.read_text(), "reason": "test"}
            service.command("clusters/orders/import", body, role="admin")
            service.until_stable("orders")
            for _ in range(3):
                before = last_seen()
                agent.start()
                wait_for("it reports", lambda before=before: last_seen() > before)
                agent.stop()
            assert "refuse" not in agent.output()
        finally:
            agent.stop()
            service.stop()
