"""The recipe for Elixir releases, with a release that was made by it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rotator.agent.boot_files import BootFormat
from tests.support import places
from tests.support.places import Place
from tests.support.recipes import HOST, pins, place, recipe
from tests.support.recipes import boot_file as boot_text
from tests.support.service import wait_for

DECOY = r"-setcookie\0(\w+)\0"  #: as it stands in the arguments

MIX = """
defmodule App.MixProject do
  use Mix.Project
  def project, do: [app: :app, version: "1.0.0", releases: [app: [include_erts: false]]]
  def application, do: [extra_applications: [:logger]]
end
"""


@contextmanager
def elixir(*, before: str = "") -> Iterator[tuple[Place, Path, Path]]:
    """A place, the program of a release that was made with the recipe's files, the boot file.

    *before* is Elixir that `runtime.exs` runs before the recipe's lines.
    """
    with place("mix", "epmd") as here:
        project, boot_file = here.directory / "app", here.directory / "boot.terms"
        for folder in ("lib", "rel", "config"):
            (project / folder).mkdir(parents=True)
        (project / "mix.exs").write_text(MIX)
        (project / "lib" / "app.ex").write_text("defmodule App do\nend\n")
        text = recipe(
            "elixir-release/env.sh.eex", **{"/var/lib/rotator-agent/boot.terms": str(boot_file)}
        )
        (project / "rel" / "env.sh.eex").write_text(text)
        text = recipe("elixir-release/remote.vm.args.eex")
        (project / "rel" / "remote.vm.args.eex").write_text(text)
        text = recipe("elixir-release/runtime.exs")
        (project / "config" / "runtime.exs").write_text(f"import Config\n{before}\n{text}")
        here.more["MIX_ENV"] = "prod"
        command = f"cd {project} && exec mix release --quiet"
        made = here.run("sh", "-c", command)
        assert made.returncode == 0, made.stdout + made.stderr
        yield here, project / "_build/prod/rel/app/bin/app", boot_file


def test_an_elixir_release_shows_no_cookie_to_anybody() -> None:
    """An Elixir release has the own cookie and exactly the pins, none of them in its arguments or environment, also after a restart with others."""
    with elixir() as (here, app, boot_file):
        log, decoys = here.directory / "log", set()
        for peers in (pins("b", "c"), {"it's\\@h": "-'\"#\\$`+", **pins("b")}):
            own = places.cookie()
            here.keep(here.cookie_file, own)
            here.keep(boot_file, boot_text(BootFormat.ELIXIR, peers, own=own))
            node = here.start(app, "start", log=log)
            try:
                seen = here.until_up(f"app@{HOST}", node, log)
                assert (seen.own, seen.pins) == (own, peers)
                assert seen.pid == node.pid
                visible = places.shown(seen.pid) + places.inherited(seen.pid)
                assert [text for text in (own, *peers.values()) if text in visible] == []
                answer = here.run(app, "rpc", "IO.puts(node())")
                assert answer.stdout == f"app@{HOST}\n", answer.stderr
                assert own not in remote_shell_shows(here, app)
                decoys.add(re.findall(DECOY, places.shown(seen.pid))[0])
                stopped = here.run(app, "stop")
                assert stopped.returncode == 0, stopped.stderr
                assert node.wait(60) == 0
            finally:
                places.end(node)
        assert len(decoys) == 2


def remote_shell_shows(here: Place, app: Path) -> str:
    """What `bin/app remote` has in its arguments and environment, once it is connected."""
    inside, log = f"inside app@{HOST}", here.directory / "remote.log"
    with log.open("wb") as output:
        shell = subprocess.Popen(
            ["script", "-qefc", f"exec {app} remote", "/dev/null"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**here.environment, "TERM": "xterm"},
            start_new_session=True,
        )
    assert shell.stdin is not None
    try:
        wait_for("a prompt", lambda: f"iex(app@{HOST})" in log.read_text(errors="replace"))
        shell.stdin.write(b'IO.puts("inside " <> to_string(node()))\n')
        shell.stdin.flush()
        wait_for("the remote shell answers", lambda: inside in log.read_text(errors="replace"))
        (child,) = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()
        assert "--remsh" in places.shown(int(child))
        return places.shown(int(child)) + places.inherited(int(child))
    finally:
        shell.stdin.close()
        places.end(shell)


@pytest.mark.parametrize(
    "damage",
    [
        "{own, 'SECRET1'}.\n{pin, 'b@h', 'SECRET2'}",
        "{own, 'SECRET1'}.\n{own, 'SECRET2'}.\n",
        "{pin, 'b@h', 'SECRET1'}.\n",
        "{own, 'SECRET1'}.\n{pin, 'SECRET2'}.\n",
        '{own, "SECRET1"}.\n',
    ],
)
def test_an_elixir_release_without_a_whole_boot_file_does_not_start(
    damage: str, damaged: tuple[Place, Path, Path]
) -> None:
    """A boot file that does not fit stops the boot, and what is in it is printed nowhere."""
    here, app, boot_file = damaged
    log = here.directory / "log"
    log.unlink(missing_ok=True)
    here.keep(boot_file, damage)
    node = here.start(app, "start", log=log)
    try:
        assert node.wait(60) != 0
    finally:
        places.end(node)
    assert "is not a boot file" in log.read_text()
    assert "SECRET" not in log.read_text()


WAIT = """
Enum.find(Stream.repeatedly(fn -> Process.sleep(20) end), fn _ ->
  File.exists?(System.fetch_env!("GO"))
end)
"""

INTRUDE = """
    [Node, Go] = init:get_plain_arguments(),
    Ping = fun Ping() -> net_adm:ping(list_to_atom(Node)) =:= pong orelse Ping() end,
    Ping(), ok = file:write_file(Go, "").
"""


def test_an_elixir_release_does_not_boot_with_somebody_who_used_the_decoy() -> None:
    """Whoever reads the decoy in the process list and is connected when cookies are set has a node that ends."""
    with elixir(before=WAIT) as (here, app, boot_file):
        log, go = here.directory / "log", here.directory / "go"
        here.more |= {"GO": str(go), "ERL_CRASH_DUMP_BYTES": "0"}
        here.keep(boot_file, boot_text(BootFormat.ELIXIR, pins("b"), own=places.cookie()))
        node = here.start(app, "start", log=log)
        intruder = None
        try:
            decoy = wait_for("the decoy", lambda: re.findall(DECOY, places.shown(node.pid)))[0]
            name = f"intruder@{HOST}"
            intruder = here.start(
                *("erl", "-noshell", "-hidden", "-name", name, "-setcookie", decoy),
                *("-eval", INTRUDE, "-extra", f"app@{HOST}", go),
                log=here.directory / "intruder.log",
            )
            assert node.wait(60) != 0
            assert "somebody connected with the decoy cookie" in log.read_text()
        finally:
            places.end(node)
            if intruder is not None:
                places.end(intruder)


def test_a_remote_command_without_a_cookie_file_makes_none(
    damaged: tuple[Place, Path, Path],
) -> None:
    """Who cannot read the cookie file is told so, and Erlang does not get to invent a cookie."""
    here, app, _ = damaged
    answer = here.run(app, "rpc", "1")
    assert answer.returncode == 1
    assert "cannot read" in answer.stderr
    assert not here.cookie_file.exists()


@pytest.fixture(scope="module")
def damaged() -> Iterator[tuple[Place, Path, Path]]:
    """One release for all boot files that are damaged."""
    with elixir() as made:
        made[0].more["ERL_CRASH_DUMP_BYTES"] = "0"
        yield made
