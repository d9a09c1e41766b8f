"""compose.yaml: no container engine is here, so its parts are run, and the rest is held to its specification."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import compose_spec
import pytest
import yaml

from rotator import settings
from rotator.cli.demo.processes import free_port
from tests.support.dockerfile import stages
from tests.support.markdown import CHECKOUT
from tests.support.service import Service, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = CHECKOUT / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]


def test_it_is_a_compose_file() -> None:
    """A parser of the Compose specification takes it, and everything that it refers to is there."""
    options = compose_spec.PyOptions()
    options.apply_merge = True
    parsed = options.from_yaml(TEXT)
    parsed.validate()
    assert set(parsed.service_names()) == set(SERVICES)


def test_what_is_wrong_in_one_is_found() -> None:
    """That parser refuses a secret that nobody declares."""
    broken = TEXT.replace("secrets: [secret-id]", "secrets: [nobody]")
    with pytest.raises(ValueError, match="nobody"):
        compose_spec.PyCompose.from_yaml(broken.replace("<<: *hardened\n", "\n")).validate()


def test_no_secret_is_in_an_environment_and_no_port_is_for_others() -> None:
    """Secrets are files, and what is published is there for this machine alone."""
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            assert key.endswith("_FILE") or value == "rotator", name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        assert not service.get("privileged", False), name
        assert service.get("cap_drop") == ["ALL"] or name == "postgres", name


def test_images_say_their_version() -> None:
    """Each names a tag, none of them `latest`; ours is built of this checkout."""
    for service in SERVICES.values():
        assert re.search(r":[0-9a-z.-]+$", service["image"])
        assert not service["image"].endswith(":latest")
    built = SERVICES["migrate"]["build"]
    assert (DEPLOY / built["context"] / built["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def test_each_file_that_is_mounted_is_there() -> None:
    """Whatever a container sees of this checkout exists."""
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists(), source


def test_the_service_takes_its_file() -> None:
    """rotator.yaml is valid, and its paths are those of the secrets that are mounted."""
    read = settings.load(DEPLOY / "compose" / "rotator.yaml")
    assert read.listen.plain_http
    text = (DEPLOY / "compose" / "rotator.yaml").read_text(encoding="utf-8")
    for name in SERVICES["rotator"]["secrets"]:
        assert f"/run/secrets/{name}" in text
    _, final = stages(DEPLOY / "Dockerfile")
    assert str(read.data_dir) == final.all("WORKDIR")[0]


def test_secrets_are_made_once_and_others_cannot_read_them(tmp_path: Path) -> None:
    """The script makes random secrets in a directory of the user's, and never another one in place of one."""
    for _ in range(2):
        subprocess.run(["sh", DEPLOY / "compose" / "secrets.sh"], cwd=tmp_path, check=True)
        found = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
        assert set(found) == {Path(one["file"]).name for one in COMPOSE["secrets"].values()}
        assert {len(text) for text in found.values()} == {64}
        if _ == 0:
            first = found
    assert found == first
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


@pytest.fixture
def openbao(tmp_path: Path) -> Iterator[str]:
    """The script of compose.yaml on a real OpenBao; its address."""
    subprocess.run(["sh", DEPLOY / "compose" / "secrets.sh"], cwd=tmp_path, check=True)
    listen = f"127.0.0.1:{free_port()}"
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "OPENBAO_LISTEN": listen,
        "POLICIES": str(DEPLOY / "policies"),
        "SECRETS": str(tmp_path / "secrets"),
        "READY": str(tmp_path / "ready"),
    }
    with (tmp_path / "openbao.log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", DEPLOY / "compose" / "openbao.sh"], env=environment, stdout=log, stderr=log
        )
    try:
        wait_for("OpenBao is set up", lambda: _is_set_up(process, tmp_path), seconds=120)
        yield f"http://{listen}"
    finally:
        process.terminate()
        process.wait(30)


def _is_set_up(process: subprocess.Popen[bytes], place: Path) -> bool:
    assert process.poll() is None, (place / "openbao.log").read_text()
    return (place / "ready").exists()


@pytest.mark.timeout(400)
def test_the_service_logs_in_where_the_script_has_set_it_up(openbao: str, tmp_path: Path) -> None:
    """With what compose.yaml sets up, the service is ready, makes a cookie and rotates."""
    told = yaml.safe_load((DEPLOY / "compose" / "rotator.yaml").read_text(encoding="utf-8"))
    store = told["secret_store"]
    store["address"] = openbao
    store["auth"]["secret_id_file"] = str(tmp_path / "secrets" / "secret-id")
    clusters = {"orders": {**told["clusters"]["orders"], "grace_window": "0"}}
    service = Service(tmp_path, secret_store=store, clusters=clusters)
    service.start()
    try:
        assert service.is_ready(), service.output()
        service.initialise("orders")
        begun = service.command("clusters/orders/rotations", {"kind": "manual", "reason": "test"})
        assert begun is not None
        service.until_phase("orders", begun["id"], "completed")
    finally:
        service.stop()
    secret = (tmp_path / "secrets" / "secret-id").read_text()
    assert secret not in service.output()
    assert secret not in (tmp_path / "openbao.log").read_text()
