"""What the agent did to a node can be read in its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from rotator.agent.boot_files import BootFormat
from rotator.agent.decide import Cut
from rotator.agent.files import NodeFiles
from rotator.agent.hands import Hands
from rotator.agent.node import Vm
from rotator.agent.settings import NodeSettings
from rotator.beam.node import Address
from rotator.domain.ids import NodeName
from rotator.errors import BeamError
from tests.support.agents import ME
from tests.support.openbao import free_port


async def logged(place: Path, names: list[str], caplog: pytest.LogCaptureFixture) -> str:
    """The line about these links, of a node that is down."""
    files = NodeFiles(cookie_file=place / "c", boot_file=place / "b", boot_format=BootFormat.ERL)
    vm = Vm(Address(name=ME, host="127.0.0.1", port=free_port()))
    with pytest.raises(BeamError):
        await Hands(vm, NodeSettings(name=ME, files=files)).take(Cut(tuple(map(NodeName, names))))
    [line] = [r.getMessage() for r in caplog.records if "cut foreign" in r.getMessage()]
    return line


async def test_links_that_are_cut_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who was linked is the first question after an emergency; a name can forge no line."""
    line = await logged(tmp_path, ["spy@h", "a\n2026 ERROR\x1b[31m@h"], caplog)
    assert line == f"{ME}: cut foreign links: 2 (spy@h, a?2026 ERROR?[31m@h)"


async def test_no_more_than_ten_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of many links there is the count, and the first ten."""
    line = await logged(tmp_path, [f"spy{n}@h" for n in range(200)], caplog)
    assert "200 (spy0@h," in line
    assert line.endswith("spy9@h, …)")
