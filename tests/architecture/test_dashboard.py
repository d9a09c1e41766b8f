"""The dashboard of deploy/grafana shows what is there."""

from __future__ import annotations

import json
import re
from typing import Any

from rotator.adapters.telemetry.catalogue import CATALOGUE
from tests.support.markdown import CHECKOUT


def dashboard() -> dict[str, Any]:
    """As Grafana imports it."""
    path = CHECKOUT / "deploy" / "grafana" / "rotator.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_every_panel_asks_for_metrics_and_labels_that_the_code_has() -> None:
    """No panel stays empty because of a name that nobody writes."""
    by_name = {metric.name: metric for metric in CATALOGUE}
    expressions = [one["expr"] for panel in dashboard()["panels"] for one in panel["targets"]]
    assert expressions
    for expression in expressions:
        used = re.findall(r"\b(rotator_\w+?)(?:_bucket)?\{([^}]*)\}", expression)
        assert used, expression
        for name, matchers in used:
            labels = {*by_name[name].labels, "job", "le"}
            assert set(re.findall(r"(\w+)[=!]~?\"", matchers)) <= labels
        assert set(re.findall(r"\brotator_\w+", expression)) <= {
            name + end for name in by_name for end in ("", "_bucket")
        }


def test_panels_have_names_of_their_own() -> None:
    """Ids and titles are unique, so that an import replaces and does not double."""
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
