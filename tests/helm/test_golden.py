"""What the charts render is what was last looked at; `make golden` writes it again."""

from __future__ import annotations

import pytest

from tests.support.charts import CHART, GOLDEN, RECIPE_SETS, SETS, rendered, run

NAMES = sorted({*SETS, *RECIPE_SETS})


@pytest.mark.parametrize("name", NAMES)
def test_each_value_set_renders_what_was_looked_at(name: str) -> None:
    """Nothing that is rendered changes without a line of it in the change that is reviewed."""
    before = (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")
    assert rendered(name) == before, "look at the difference, then run `make golden`"


def test_there_is_no_golden_file_of_nothing() -> None:
    """Each file belongs to a value set, and there are at least twelve."""
    assert sorted(path.stem for path in GOLDEN.iterdir()) == NAMES
    assert len(SETS) >= 12


@pytest.mark.parametrize("name", sorted(SETS))
def test_helm_finds_nothing_to_say(name: str) -> None:
    """`helm lint --strict` takes the chart with each value set."""
    ran = run("lint", "--strict", "--quiet", CHART, "--values", SETS[name])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "[WARNING]" not in ran.stdout
