"""What would undo the work is named, with how to mend it and without any cookie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rotator.agent.boot_files import BootFormat
from rotator.agent.decide import Boot
from rotator.agent.files import NodeFiles
from rotator.agent.node import About
from rotator.agent.preflight import Surroundings, findings
from rotator.agent.settings import NodeSettings
from rotator.domain.cookie import Cookie
from tests.support.agents import ALIEN, ME, NEW, B

OWN, PIN = ("setcookie", ("CANARYARG",)), ("setcookie", ("b@h", "CANARYPIN"))


def found(
    place: Path,
    *arguments: tuple[str, tuple[str, ...]],
    kind: BootFormat = BootFormat.ERL,
    **changes: Any,
) -> str:
    """Every finding of a node with these arguments, one a line."""
    files = NodeFiles(cookie_file=place / "c", boot_file=place / "b", boot_format=kind)
    files.write_cookie(Cookie("C"))
    of_the_vm = {
        "name": ME, "otp_release": "25", "has_pins": True, "is_rabbit": False, "is_hidden": False,
        "os_pid": 1,
        **changes.pop("about", {}),
    }  # fmt: skip
    about = About(arguments=arguments, **of_the_vm)
    boot = changes.pop("boot", Boot(pins={B: NEW}))
    is_alone = changes.pop("own_pid_namespace", False)
    told = findings(
        NodeSettings(name=ME, files=files, own_pid_namespace=is_alone), Surroundings(about=about, **changes),
        boot=boot, ours=frozenset({NEW}),
    )  # fmt: skip
    assert "CANARY" not in "".join(told)
    return "\n".join(told)


def test_a_node_that_is_set_up_as_the_recipe_says_has_no_finding(tmp_path: Path) -> None:
    """Pins out of the boot file, no own cookie in sight, /proc hidden."""
    good = {"hides_arguments": True, "began_after_boot_file": True}
    assert found(tmp_path, PIN, ("noinput", ()), **good) == ""
    assert found(tmp_path, kind=BootFormat.ELIXIR, began_after_boot_file=True) == ""
    assert found(tmp_path, began_after_boot_file=False) == ""
    assert found(tmp_path, PIN, began_after_boot_file=True, own_pid_namespace=True) == ""


@pytest.mark.parametrize(
    ("arguments", "changes", "said"),
    [
        ([OWN], {}, "a restart brings that one back"),
        ([OWN, OWN], {}, "two -setcookie"),
        ([PIN], {}, "hidepid=2"),
        ([], {"began_after_boot_file": True}, "did not start with"),
        ([], {"about": {"name": "other@h"}}, "calls itself other@h"),
        ([], {"about": {"has_pins": False, "otp_release": "23"}}, "OTP 23 is older"),
        ([], {"environment": {"RELEASE_COOKIE": NEW}}, "RELEASE_COOKIE in the VM's environment"),
    ],
)
def test_what_would_undo_the_work_is_named(
    tmp_path: Path, arguments: list[Any], changes: dict[str, Any], said: str
) -> None:
    """Each finding says where it is and what to do."""
    assert said in found(tmp_path, *arguments, **changes)


def test_a_decoy_in_the_environment_is_no_finding(tmp_path: Path) -> None:
    """Only a version of ours would be brought back by it."""
    assert found(tmp_path, environment={"RELEASE_COOKIE": ALIEN}) == ""


def test_a_boot_without_pins_is_no_finding(tmp_path: Path) -> None:
    """An empty boot file leaves nothing to see in the arguments."""
    assert found(tmp_path, began_after_boot_file=True, boot=Boot(pins={})) == ""
    assert found(tmp_path, began_after_boot_file=True, boot=None) == ""


def test_arguments_are_not_in_a_repr(tmp_path: Path) -> None:
    """A log line with what was found shows no cookie out of them."""
    about = About(
        name=ME,
        otp_release="25",
        arguments=[OWN],
        has_pins=True,
        is_rabbit=False,
        is_hidden=False,
        os_pid=1,
    )
    assert "CANARY" not in repr(Surroundings(about=about, environment={"X": NEW}))
