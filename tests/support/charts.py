"""Render the charts with the real helm; `python -m tests.support.charts` (`make golden`) writes what the tests compare with."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.support.kubectl import helm
from tests.support.markdown import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHART: Final = CHECKOUT / "helm" / "rotator"
LIBRARY: Final = CHECKOUT / "helm" / "rotator-agent"
RECIPE: Final = CHECKOUT / "deploy" / "recipes" / "kubernetes"
GOLDEN: Final = CHECKOUT / "tests" / "helm" / "golden"

#: Values of the chart by name, and of the recipe, which includes the library.
SETS: Final = {path.name.removesuffix("-values.yaml"): path for path in (CHART / "ci").iterdir()}
RECIPE_SETS: Final = {
    f"recipe-{path.stem}": path for path in (CHECKOUT / "tests" / "helm" / "recipe").iterdir()
}

Document = dict[str, Any]


class NoTwins(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML takes the last of two equal keys; in a manifest the first one was meant, too."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse them."""
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"twice in line {node.start_mark.line + 1}: {keys}"
        return super().construct_mapping(node, deep)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The real helm, without anybody's plugins and repositories."""
    with tempfile.TemporaryDirectory() as home:
        return subprocess.run(
            [helm(), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={"HOME": home, "PATH": "/usr/bin:/bin"},
        )


def template(chart: Path, values: Path, *more: str, release: str = "release") -> str:
    """What *chart* renders, in the namespace rotator."""
    ran = run("template", release, chart, "--namespace", "rotator", "--values", values, *more)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def refusal(values: Path, *more: str) -> str:
    """What helm says against these values."""
    ran = run("template", "release", CHART, "--values", values, *more)
    assert ran.returncode != 0, "these values were taken"
    return ran.stderr


@functools.cache
def rendered(name: str) -> str:
    """What a value set renders; each once in a run."""
    if name in SETS:
        return template(CHART, SETS[name])
    with recipe() as chart:
        return template(chart, RECIPE_SETS[name])


class recipe:  # noqa: N801 - used as a function
    """The recipe with its dependency, as its README says; nothing is left in the checkout."""

    def __enter__(self) -> Path:
        self._place = tempfile.TemporaryDirectory(prefix="recipe-")
        root = Path(self._place.name)
        chart = root / RECIPE.relative_to(CHECKOUT)
        shutil.copytree(RECIPE, chart, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
        shutil.copytree(LIBRARY, root / LIBRARY.relative_to(CHECKOUT))
        ran = run("dependency", "build", chart)
        assert ran.returncode == 0, ran.stderr
        return chart

    def __exit__(self, *_: object) -> None:
        self._place.cleanup()


def documents(text: str) -> list[Document]:
    """The objects in it; no key stands twice."""
    return [one for one in yaml.load_all(text, NoTwins) if one]


def find(found: Sequence[Document], kind: str, name: str | None = None) -> Document:
    """The only one of this kind, and name."""
    [one] = [
        each for each in found if each["kind"] == kind and name in {None, each["metadata"]["name"]}
    ]
    return one


def pods(found: Sequence[Document]) -> Iterator[tuple[str, Document, Document]]:
    """Of each object that makes pods: its kind and name, the pod's metadata, the pod's spec."""
    for each in found:
        name = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] == "Pod":
            yield name, each["metadata"], each["spec"]
        elif "template" in each.get("spec", {}):
            yield name, each["spec"]["template"]["metadata"], each["spec"]["template"]["spec"]


def containers(spec: Document) -> list[Document]:
    """All of a pod."""
    return [*spec.get("initContainers", ()), *spec["containers"]]


def main() -> int:
    """Write them again."""
    GOLDEN.mkdir(exist_ok=True)
    names = {*SETS, *RECIPE_SETS}
    for old in GOLDEN.iterdir():
        if old.stem not in names:
            old.unlink()
    for name in sorted(names):
        (GOLDEN / f"{name}.yaml").write_text(rendered(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
