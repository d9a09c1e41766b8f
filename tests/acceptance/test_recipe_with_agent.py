"""The recipe of plain Erlang with the real agent and the real service, from the first boot on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.test_recipes import RELEASE
from tests.support import places
from tests.support.agent_process import AgentProcess
from tests.support.places import Place
from tests.support.recipes import HOST, place, recipe
from tests.support.service import Service, wait_for

pytestmark = pytest.mark.timeout(600)

CLUSTER = "orders"
LINKS = """
    [Node] = init:get_plain_arguments(),
    Linked = erpc:call(list_to_atom(Node), erlang, nodes, [], 20000),
    io:format("~s~n", [lists:join(" ", [atom_to_list(N) || N <- Linked])]),
    halt().
"""


@dataclass
class Release:
    """One host as the recipe sets it up: a HOME, the unit's two commands, an agent."""

    here: Place
    name: str
    service: Service
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        directory = self.here.directory
        self.boot_file, self.log = directory / "boot.args", directory / "log"
        self.vm_args = directory / "vm.args"
        there = {"/var/lib/rotator-agent/boot.args": str(self.boot_file)}
        self.vm_args.write_text(
            recipe("erlang-release/vm.args", **{"app@app1.example.com": self.name, **there})
        )
        made = self.here.run("erl", "-noshell", "-eval", RELEASE)
        assert made.returncode == 0, made.stdout
        row = {
            "name": self.name,
            "cookie_file": self.here.cookie_file,
            "boot_file": self.boot_file,
            "epmd_port": self.here.epmd_port,
        }
        program = (str(Path(sys.executable).with_name("rotator")),)
        self.agent = AgentProcess(self.service, CLUSTER, directory / "agent", row, program=program)

    def command(self, directive: str) -> list[str]:
        """The unit's command, with the places of this host."""
        unit = recipe("erlang-release/app.service")
        found = re.search(rf"^{directive}=(.*)$", unit, re.MULTILINE)
        assert found is not None
        instead = {
            "/opt/rotator/bin/rotator": self.agent.program[0],
            "/etc/rotator/agent.yaml": str(self.agent.config),
            "/usr/bin/erl": "erl",
            "/opt/app/releases/1/start": str(self.here.directory / "app"),
            "/opt/app/releases/1/vm.args": str(self.vm_args),
        }
        return [instead.get(word, word) for word in found[1].split()]

    def start(self) -> places.Seen:
        """As systemd does it: `ExecStartPre`, and if that ends well `ExecStart`."""
        prepared = self.here.run(*self.command("ExecStartPre"))
        assert prepared.returncode == 0, prepared.stderr
        self.process = self.here.start(*self.command("ExecStart"), log=self.log)
        return self.here.until_up(self.name, self.process, self.log)

    def stop(self) -> None:
        """Its end, as systemd makes it."""
        if self.process is not None:
            places.end(self.process)
            self.process = None

    def links(self) -> set[str]:
        """Whom the VM is linked to, visible nodes alone."""
        asked = self.here.run(
            *("erl", "-noshell", "-hidden", "-name", f"links-{places.cookie()[:8]}@{HOST}"),
            *("-eval", LINKS, "-extra", self.name),
        )
        return set(asked.stdout.split())


@contextmanager
def two_releases(directory: Path) -> Iterator[tuple[Service, Release, Release]]:
    """Two hosts that share an epmd, and a service that has made version 1."""
    with place("erl", "epmd") as first:
        second = Place(first.directory.with_name("second"), first.epmd_port)
        second.directory.mkdir()
        names = [f"app1@{HOST}", f"app2@{HOST}"]
        members = {"expect": names, "heartbeat": "1s"}
        store = {"kind": "local", "directory": str(directory / "secrets")}
        service = Service(directory, store, {CLUSTER: {"grace_window": "0", "members": members}})
        service.start()
        releases: list[Release] = []
        try:
            service.initialise(CLUSTER)
            releases = [
                Release(here, name, service)
                for here, name in zip((first, second), names, strict=True)
            ]
            yield service, releases[0], releases[1]
        finally:
            for release in releases:
                release.agent.stop()
                release.stop()
            service.stop()


def test_a_release_boots_is_rotated_and_restarts_by_the_recipe(tmp_path: Path) -> None:
    """From no file at all to a linked pair, a new cookie while both run, and a restart that is linked again, with nothing left to mend but how the host shows arguments."""
    with two_releases(tmp_path) as (service, one, two):
        first = [release.start() for release in (one, two)]
        assert first[0].own == first[1].own
        for release in (one, two):
            release.agent.start()
        wait_for("the agents link them", lambda: one.links() == {two.name}, seconds=90)

        body = {"kind": "manual", "reason": "test"}
        begun = service.command(f"clusters/{CLUSTER}/rotations", body)
        assert begun is not None
        service.until_phase(CLUSTER, begun["id"], "completed")
        assert one.links() == {two.name}
        rotated = one.here.look(one.name)
        assert rotated is not None
        assert rotated.own != first[0].own
        assert rotated.pid == first[0].pid

        one.stop()
        again = one.start()
        assert (again.own, again.pins) == (rotated.own, {two.name: rotated.own})
        assert first[0].own not in places.shown(again.pid) + places.inherited(again.pid)
        wait_for("they are linked again", lambda: one.links() == {two.name}, seconds=90)

        def findings() -> list[str]:
            status = one.agent.status()
            return status["trouble"] if status["state"] == "in step" else []

        (finding,) = wait_for("the agent has looked at it", findings)
        assert "can read the cookies in the VM's arguments" in finding
