"""The image: it is not built here, so its recipe is held to what can be said of it without."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.charts import containers, documents, find, rendered
from tests.support.checkov import findings
from tests.support.dockerfile import stages
from tests.support.markdown import CHECKOUT

DOCKERFILE = CHECKOUT / "deploy" / "Dockerfile"
BUILD, FINAL = stages(DOCKERFILE)


def test_hadolint_finds_nothing_to_say() -> None:
    """The linter of Dockerfiles is content, without one exception."""
    program = Path(sys.executable).parent / "hadolint"
    ran = subprocess.run([program, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


#: What checkov finds in the Dockerfile, and why it stays.
EXPLAINED = {
    "CKV_DOCKER_2": "Kubernetes asks its own probes, compose.yaml has its check; the agent of the same image has no port",
    "CKV_DOCKER_7": "the tag stands in the argument that it takes for none",
}  # fmt: skip


@pytest.mark.timeout(400)
def test_checkov_finds_nothing_that_is_not_explained() -> None:
    """Each finding has a reason here, and each reason a finding."""
    assert {check for check, _ in findings("dockerfile")} == set(EXPLAINED)


def test_every_package_is_pinned_by_hash_or_already_there() -> None:
    """No line of the build lets pip fetch what has no hash, or resolve anything."""
    lines = [part for run in BUILD.all("RUN") for part in run.split(" && ") if " pip " in part]
    assert len(lines) == 4
    for line in lines:
        assert "--no-deps" in line
        assert "--require-hashes" in line or "--no-index" in line


def test_nothing_comes_from_the_network_but_packages() -> None:
    """There is no ADD, no download, and nothing is installed by the system's package manager."""
    for stage in (BUILD, FINAL):
        assert stage.all("ADD") == []
        for run in stage.all("RUN"):
            assert not re.search(r"\b(curl|wget|apt-get|apk|git)\b|://", run)


def test_bases_are_tagged_and_equal() -> None:
    """Both stages have one base with a tag that says its Python and its Debian."""
    assert BUILD.base == FINAL.base
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", BUILD.base)


def test_the_process_is_nobody_who_could_change_it() -> None:
    """The image runs as a user by number, above 10000, who owns nothing but the directory of its data."""
    assert FINAL.all("USER") == ["10001:10001"]
    assert all("--chown" not in line for line in FINAL.all("COPY"))
    [install] = FINAL.all("RUN")
    assert install.split()[-1] == "/var/lib/rotator"


def test_each_file_that_is_copied_is_there_and_let_in() -> None:
    """What COPY names exists, and .dockerignore leaves it, and nothing else, in the context."""
    copied = {path for line in BUILD.all("COPY") for path in line.split()[:-1]}
    for path in copied:
        assert (CHECKOUT / path).exists(), path
    ignored = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text(encoding="utf-8")
    lines = [line for line in ignored.splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line[0] == "!"} == copied
    [last] = FINAL.all("COPY")
    assert last == "--from=build /opt/rotator /opt/rotator"


def test_chart_and_image_agree() -> None:
    """User, ports, program and paths of the chart are those of the image."""
    pod = find(documents(rendered("sqlite-vault")), "StatefulSet")["spec"]["template"]["spec"]
    assert str(pod["securityContext"]["runAsUser"]) == FINAL.all("USER")[0].partition(":")[0]
    [container] = containers(pod)
    ports = {str(one["containerPort"]) for one in container["ports"]}
    assert ports == set(FINAL.all("EXPOSE")[0].split())
    assert "command" not in container
    assert json.loads(FINAL.all("CMD")[0]) == container["args"]
    [program] = json.loads(FINAL.all("ENTRYPOINT")[0])
    test_pod = find(documents(rendered("sqlite-vault")), "Pod")["spec"]["containers"][0]
    assert Path(test_pod["command"][0]).parent == Path(program).parent
    data = [one["mountPath"] for one in container["volumeMounts"] if one["name"] == "data"]
    assert data == FINAL.all("WORKDIR")
