"""What the charts tell the programs is what the programs take."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING, Any

import pytest
import typer
import yaml

from rotator import settings
from rotator.agent import main as agent
from rotator.agent import settings as agent_settings
from rotator.cli.app import build
from tests.support.charts import (
    CHART,
    RECIPE_SETS,
    SETS,
    containers,
    documents,
    find,
    pods,
    rendered,
)
from tests.support.markdown import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path


def files(name: str) -> dict[str, str]:
    """Each rotator.yaml or agent.yaml by the name of its ConfigMap."""
    return {
        one["metadata"]["name"]: text
        for one in documents(rendered(name))
        if one["kind"] == "ConfigMap"
        for file, text in one["data"].items()
        if file in {"rotator.yaml", "agent.yaml"}
    }


@pytest.mark.parametrize("name", sorted(SETS))
def test_the_service_takes_each_file_that_is_rendered(name: str, tmp_path: Path) -> None:
    """What the schema of values lets through, the service's own settings take as well."""
    found = files(name)
    assert found
    for text in found.values():
        (tmp_path / "rotator.yaml").write_text(text, encoding="utf-8")
        read = settings.load(tmp_path / "rotator.yaml")
        assert read.listen.port == 8400
        assert read.clusters


@pytest.mark.parametrize("name", sorted(RECIPE_SETS))
def test_the_agent_takes_each_file_that_is_rendered(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One agent.yaml for all pods, and each pod's agent reads its own name in it."""
    [(_, text)] = files(name).items()
    (tmp_path / "agent.yaml").write_text(text, encoding="utf-8")
    for pod in ("orders-0", "orders-11"):
        monkeypatch.setenv("POD_NAME", pod)
        monkeypatch.setenv("POD_NAMESPACE", "rotator")
        monkeypatch.setenv("POD_IP", "10.0.0.7")
        [node] = agent_settings.load(tmp_path / "agent.yaml").nodes
        assert node.own_pid_namespace
        wanted = "@10.0.0.7" if name == "recipe-elixir" else f"@{pod}.orders-nodes.rotator.svc.cluster.local"  # fmt: skip
        assert node.name.endswith(wanted)


def paths(found: Any) -> set[str]:
    """Every absolute path that stands anywhere in it."""
    if isinstance(found, dict):
        return {path for each in found.values() for path in paths(each)}
    if isinstance(found, list):
        return {path for each in found for path in paths(each)}
    return {found} if isinstance(found, str) and found.startswith("/") else set()


@pytest.mark.parametrize("name", sorted({*SETS, *RECIPE_SETS}))
def test_each_path_of_a_file_is_mounted(name: str) -> None:
    """Whatever rotator.yaml or agent.yaml names by path lies in a volume of the container that reads it."""
    found = documents(rendered(name))
    for where, _, spec in pods(found):
        maps = {
            one["name"]: one["configMap"]["name"]
            for one in spec.get("volumes", ())
            if "configMap" in one
        }
        for container in containers(spec):
            mounts = container.get("volumeMounts", ())
            for mount in mounts:
                if mount["mountPath"] not in {
                    "/etc/rotator/rotator.yaml",
                    "/etc/rotator/agent.yaml",
                }:
                    continue
                data = find(found, "ConfigMap", maps[mount["name"]])["data"]
                text = yaml.safe_load(data[mount["subPath"]])
                others = [one["mountPath"] for one in mounts if one is not mount]
                if container["name"] == "migrate":  # it opens no secrets manager and no port
                    text = text["state_store"]
                lost = {path for path in paths(text) if not path.startswith(tuple(others))}
                assert lost == set(), where


@pytest.mark.parametrize("name", sorted({*SETS, *RECIPE_SETS}))
def test_each_command_is_one_of_the_program(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No container is started with a command or an option that does not exist."""
    ours = 0
    for where, _, spec in pods(documents(rendered(name))):
        for container in containers(spec):
            if "/rotator@" not in container["image"] or "command" in container:
                continue
            ours += 1
            arguments = container["args"]
            if arguments[0] == "agent":
                agent.parser().parse_intermixed_args(arguments[1:])
                continue
            with pytest.raises(SystemExit) as ended:
                # Parsed as it stands; that its file, or a pod, is not there is the first complaint.
                typer.main.get_command(build(arguments[0]))(arguments)
            told = capsys.readouterr().err
            assert ended.value.code != 0, where
            first = (
                "this is no pod" if arguments[0] == "orchestrate" else "/etc/rotator/rotator.yaml"
            )
            assert first in told, where
    assert ours


def test_what_the_chart_has_from_elsewhere_is_the_same() -> None:
    """Alerts, dashboard, schema of `config`, table of values and version cannot drift: `make chart` writes them."""
    place = CHECKOUT / "helm" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate", place)
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    stale = [path.name for path, text in generate.parts().items() if path.read_text() != text]
    assert stale == []


def test_each_value_is_explained() -> None:
    """Each value that may be set, down to where Kubernetes or rotator.yaml take over, has its line in the README."""
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `([A-Za-z_.]+)` \|", readme, re.MULTILINE))
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    below = {
        "resources", "orchestrator.resources", "podSecurityContext", "securityContext", "livenessProbe", "readinessProbe", "startupProbe",
        "nodeSelector", "strategy", "config.state_store", "config.log",
        "metrics.grafanaDashboard.labels", "networkPolicy.clients", "networkPolicy.metricsFrom", "networkPolicy.dns",
    }  # fmt: skip
    assert set(leaves(yaml.safe_load(text), "", below)) <= explained


def leaves(values: dict[str, Any], path: str, below: set[str]) -> list[str]:
    """The full name of each value."""
    found: list[str] = []
    for key, value in values.items():
        name = f"{path}{key}"
        is_inner = isinstance(value, dict) and value and name not in below
        found += leaves(value, f"{name}.", below) if is_inner else [name]
    return found


def test_alerts_are_rendered_whole() -> None:
    """A rule of the operator's has the groups that promtool has tested, each word."""
    source = yaml.safe_load((CHECKOUT / "deploy/alerts/rotator.rules.yaml").read_text())
    assert find(documents(rendered("monitoring")), "PrometheusRule")["spec"] == source
