"""How the agent is started: beside a node that it knows already, and by which words."""

from __future__ import annotations

import pytest
import yaml

from rotator.agent.main import main
from rotator.cli.demo.epmd import erlang
from rotator.cli.demo.mesh import mesh
from tests.support.agent_process import AgentProcess
from tests.support.parts import need
from tests.support.service import Service, free_port, wait_for

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
                assert agent.status()["state"] == "agent stopped"
            assert agent.output().count("the agent stopped") == 3
            assert "refuse" not in agent.output()
        finally:
            agent.stop()
            service.stop()


@pytest.fixture
def two_nodes(tmp_path) -> str:
    """A settings file with two nodes, and a service that nobody has started."""
    rows = [
        {
            "name": f"{name}@host",
            "cookie_file": str(tmp_path / f"{name}.cookie"),
            "boot_file": str(tmp_path / f"{name}.args"),
        }
        for name in ("a", "b")
    ]
    settings = {
        "service": f"http://127.0.0.1:{free_port()}",
        "cluster": "orders",
        "token_file": str(tmp_path / "token"),
        "state_dir": str(tmp_path / "state"),
        "nodes": rows,
    }
    (tmp_path / "token").write_text("rot_x_y")
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(settings))
    return str(tmp_path / "agent.yaml")


def test_boot_takes_one_node_of_several_and_says_so(two_nodes: str, capsys) -> None:
    """To boot is to tell that the VM is down, which is true of the node alone that is about to start."""
    assert main(["boot", "--config", two_nodes]) == 2
    assert "name the node" in capsys.readouterr().err


def test_the_node_may_stand_before_or_behind_the_options(two_nodes: str, capsys) -> None:
    """Both orders are understood: here nothing answers and there is nothing to boot with, which is 6."""
    for words in (
        ["boot", "a@host", "--config", two_nodes],
        ["boot", "--config", two_nodes, "a@host"],
    ):
        assert main([*words, "--timeout", "0"]) == 6
        assert "no files to boot a@host with" in capsys.readouterr().err
