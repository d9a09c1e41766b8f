from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from rotator.adapters.telemetry.catalogue import CATALOGUE
from rotator.adapters.telemetry.metrics import Metrics
from rotator.domain.facts import FactKind
from tests.support.alert_cases import CASES, Case
from tests.support.markdown import CHECKOUT, anchors
from tests.support.parts import need

RULES = CHECKOUT / "deploy" / "alerts" / "rotator.rules.yaml"
BUCKETS = ("_bucket", "_count", "_sum")


def rules() -> dict[str, dict[str, Any]]:
    """Every alert by its name."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def filled(text: str, labels: dict[str, str]) -> str:
    """An annotation with its labels put in, as Prometheus would."""
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], text)


def group(series: dict[str, str], looks: list[dict[str, Any]]) -> dict[str, Any]:
    """A test of promtool: these series, and what is expected when."""
    given = [{"series": name, "values": values} for name, values in series.items()]
    return {"interval": "1m", "input_series": given, "alert_rule_test": looks}


def checks_of(name: str, rule: dict[str, Any], case: Case) -> list[dict[str, Any]]:
    """It fires for the bad series and not before it should; for the good ones it never does."""
    quiet = [] if case.quiet_at is None else [case.quiet_at]
    fires = {
        "exp_labels": {**case.alert_labels, **rule["labels"]},
        "exp_annotations": {
            key: filled(text, case.alert_labels) for key, text in rule["annotations"].items()
        },
    }
    bad = [{"eval_time": f"{at}m", "alertname": name, "exp_alerts": []} for at in quiet]
    bad.append({"eval_time": f"{case.fires_at}m", "alertname": name, "exp_alerts": [fires]})
    good = [
        {"eval_time": f"{at}m", "alertname": name, "exp_alerts": []}
        for at in (*quiet, case.fires_at)
    ]
    return [group(case.bad, bad), group(case.good, good)]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What promtool says; the test is skipped, or fails in CI, where it is missing."""
    beside = CHECKOUT / ".venv" / "bin"
    path = f"{beside}{os.pathsep}{os.environ['PATH']}"
    if not (beside / "promtool").exists():
        need("promtool", by="make promtool")
    return subprocess.run(
        ["promtool", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
        timeout=100,
    )


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    """Each rule is silent for a service that is well, and names the one that is not."""
    written = rules()
    assert set(CASES) == set(written)
    cases = [one for name, case in CASES.items() for one in checks_of(name, written[name], case)]
    planned = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump(planned), encoding="utf-8")
    ran = promtool("test", "rules", str(file))
    assert ran.returncode == 0, ran.stdout + ran.stderr


def started(series: str) -> bool:
    """Whether the program has this series before anything has happened."""
    name, _, rest = series.partition("{")
    labels = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    for added in ("job", "instance"):
        labels.pop(added, None)
    text = generate_latest(Metrics()._registry).decode()
    families = text_string_to_metric_families(text)
    return any(
        one.name == name and one.labels == labels for family in families for one in family.samples
    )


def counted(series: str) -> bool:
    """Whether the series only grows."""
    kinds = {metric.name: metric.kind for metric in CATALOGUE}
    name = series.partition("{")[0].removesuffix("_bucket")
    return kinds.get(name, "gauge") != "gauge"


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_figures_of_an_alert_begin_as_the_program_begins_them(name: str) -> None:
    """A counter that is not there before its first event hides that event from `increase()`."""
    case = CASES[name]
    for series, values in [*case.bad.items(), *case.good.items()]:
        if counted(series):
            assert started(series) != values.startswith("_"), series


def test_a_rule_that_never_fires_is_noticed(tmp_path: Path) -> None:
    """The tests of the alerts fail for a rule whose threshold nobody reaches."""
    broken = RULES.read_text(encoding="utf-8").replace("100 * 86400", "1000 * 86400")
    (tmp_path / "rules.yaml").write_text(broken, encoding="utf-8")
    name = "RotatorVersionOld"
    cases = checks_of(name, rules()[name], CASES[name])
    planned = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": cases}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(planned), encoding="utf-8")
    ran = promtool("test", "rules", str(tmp_path / "tests.yaml"))
    assert ran.returncode != 0
    assert name in ran.stdout + ran.stderr


def metrics_in(expression: str) -> set[str]:
    """The names of metrics in an expression."""
    return set(re.findall(r"\brotator_\w+", expression))


def known_names() -> set[str]:
    """Each name that a series of ours can have."""
    names = {metric.name for metric in CATALOGUE}
    histograms = {metric.name for metric in CATALOGUE if metric.kind == "histogram"}
    return names | {name + end for name in histograms for end in BUCKETS}


@pytest.mark.parametrize("name", sorted(CASES))
def test_an_alert_goes_by_metrics_that_the_code_has(name: str) -> None:
    """No alert waits for a metric, a label or a kind of fact that nobody writes."""
    expression = rules()[name]["expr"]
    found = metrics_in(expression)
    assert found <= known_names()
    assert found or name == "RotatorDown"
    kinds = set(re.findall(r'kind="(\w+)"', expression))
    assert kinds <= {kind.value for kind in FactKind}
    labels = {label for metric in CATALOGUE for label in metric.labels} | {"job", "le"}
    assert set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression)) <= labels
    for metric in CATALOGUE:
        for used in re.findall(rf"\b{metric.name}(?:_bucket)?\{{([^}}]*)\}}", expression):
            assert set(re.findall(r"(\w+)[=!]", used)) <= {*metric.labels, "le"}


def test_every_alert_has_its_section_in_the_runbooks() -> None:
    """Whoever is woken by an alert finds what it means and what to do, and no section is left over."""
    page = CHECKOUT / "docs" / "operations" / "alerts.md"
    text = page.read_text(encoding="utf-8")
    for name, rule in rules().items():
        path, _, fragment = rule["annotations"]["runbook_url"].partition("#")
        assert CHECKOUT / path == page
        assert fragment == name.lower()
        assert fragment in anchors(text)
        assert set(rule["labels"]) == {"severity"}
        assert rule["annotations"]["summary"]
    sections = set(re.findall(r"^## `?(Rotator\w+)`?$", text, re.MULTILINE))
    assert sections == set(rules())
