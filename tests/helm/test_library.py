"""The library chart: what is missing or wrong is said, and a package holds everything."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.support import charts
from tests.support.charts import CHART, LIBRARY, RECIPE_SETS, containers, documents, find, rendered

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("agent.image=", "agent.image is missing"),
        ("agent.cluster=", "agent.cluster is missing"),
        ("agent.node.name=", "agent.node.name is missing: what node() says, such as"),
        ("agent.serivce=https://x", "agent.serivce: there is no such value; there are image, imagePullPolicy"),
        ("agent.service=http://rotator.rotator.svc", "cookies would cross the network in the clear"),
        ("image=", "image: which one has your release?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(given: str, said: str) -> None:
    """A library has no schema, so its templates name what is missing, unknown or unsafe."""
    with charts.recipe() as chart:
        values = RECIPE_SETS["recipe-erl"]
        ran = charts.run("template", "release", chart, "--values", values, "--set", given)
    assert ran.returncode != 0
    assert said in ran.stderr


@pytest.mark.parametrize("name", sorted(RECIPE_SETS))
def test_files_are_written_before_the_node_and_kept_beside_it(name: str) -> None:
    """First the boot, then a sidecar that outlives the application's container, on one volume in memory that it only reads."""
    spec = find(documents(rendered(name)), "StatefulSet")["spec"]["template"]["spec"]
    boot, sidecar = spec["initContainers"]
    [application] = spec["containers"]
    assert boot["args"][:2] == ["agent", "boot"]
    assert "restartPolicy" not in boot
    assert (sidecar["args"][0], sidecar["restartPolicy"]) == ("agent", "Always")
    [mount] = [one for one in application["volumeMounts"] if one["name"] == "rotator-files"]
    assert mount["readOnly"] is True
    assert {one["name"] for one in application["volumeMounts"]} == {"rotator-files"}
    for volume in spec["volumes"]:
        if "emptyDir" in volume:
            assert volume["emptyDir"]["medium"] == "Memory"
    assert all("runAsUser" not in one["securityContext"] for one in containers(spec))


def test_the_library_installs_nothing() -> None:
    """It is of type library: Helm refuses to install it, and whoever includes it gets templates alone."""
    ran = charts.run("template", "release", LIBRARY)
    assert "library charts are not installable" in ran.stderr


def test_a_package_renders_the_same(tmp_path: Path) -> None:
    """What `helm package` makes of the chart holds its files, not the value sets of tests, and renders as the checkout does."""
    ran = charts.run("package", CHART, "--destination", tmp_path)
    assert ran.returncode == 0, ran.stderr
    [package] = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        names = {name.removeprefix("rotator/") for name in archive.getnames()}
    assert {"values.schema.json", "README.md", "files/rotator.rules.yaml"} <= names
    assert not {name for name in names if name.startswith("ci/")}
    assert charts.template(package, charts.SETS["monitoring"]) == rendered("monitoring")
