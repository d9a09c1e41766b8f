"""The recipes, each with the program that it is for: what a user copies is what runs here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import beam, boot_files
from tests.support.beam import Place
from tests.support.service import free_port, wait_for

RECIPES = Path(__file__).parents[2] / "deploy" / "recipes"
HOST = "127.0.0.1"
RABBITMQ = Path("/usr/lib/rabbitmq/bin")  #: without the wrapper that wants root or rabbitmq

MIX = """
defmodule App.MixProject do
  use Mix.Project
  def project, do: [app: :app, version: "1.0.0", releases: [app: [include_erts: false]]]
  def application, do: [extra_applications: [:logger]]
end
"""

RELEASE = """
    {ok, _} = application:ensure_all_started(sasl),
    Version = fun(App) ->
        application:load(App), {ok, V} = application:get_key(App, vsn), {App, V} end,
    Rel = {release, {"app", "1"}, {erts, erlang:system_info(version)},
        [Version(kernel), Version(stdlib), Version(sasl)]},
    ok = file:write_file("app.rel", io_lib:format("~p.~n", [Rel])),
    ok = systools:make_script("app", []),
    halt().
"""


@contextmanager
def place(*needs: str, user: str | None = None) -> Iterator[Place]:
    """Where one program runs: a short path that its user may enter."""
    for program in needs:
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} is not installed")
    if user is not None and os.geteuid() != 0:
        pytest.skip(f"{needs[0]} runs as {user}, so this wants root")
    with tempfile.TemporaryDirectory(prefix="recipe-") as name:
        Path(name).chmod(0o755)
        with beam.place(Path(name) / "home", user=user) as here:
            yield here


def recipe(path: str, **instead: str) -> str:
    """The recipe's file, with the places and names that a user would change."""
    text = (RECIPES / path).read_text(encoding="utf-8")
    for placeholder, value in {"app@app1.example.com": f"app@{HOST}", **instead}.items():
        text = text.replace(placeholder, value)
    return text


def pins(*names: str) -> dict[str, str]:
    """A cookie for each of these peers."""
    return {f"{name}@{HOST}": beam.cookie() for name in names}


def test_an_erlang_release_boots_with_its_pins_and_its_own_cookie() -> None:
    """A release that is started by the recipe's vm.args has the own cookie and exactly the pins, and after a restart the changed ones."""
    with place("erl", "epmd") as here:
        boot_file, log = here.directory / "boot.args", here.directory / "log"
        vm_args = here.directory / "vm.args"
        vm_args.write_text(
            recipe("erlang-release/vm.args", **{"/var/lib/rotator-agent/boot.args": str(boot_file)})
        )
        made = here.run("erl", "-noshell", "-eval", RELEASE)
        assert made.returncode == 0, made.stdout
        start = re.search(r"^ExecStart=(.*)$", recipe("erlang-release/app.service"), re.MULTILINE)
        assert start is not None
        command = (
            start[1]
            .replace("/usr/bin/erl", "erl")
            .replace("/opt/app/releases/1/start", str(here.directory / "app"))
            .replace("/opt/app/releases/1/vm.args", str(vm_args))
        )
        for peers in (pins("b", "c"), pins("b"), {}):
            own = beam.cookie()
            here.keep(here.cookie_file, own)
            here.keep(boot_file, boot_files.arguments(peers))
            node = here.start(*command.split(), log=log)
            try:
                seen = here.until_up(f"app@{HOST}", node, log)
                assert (seen.own, seen.pins) == (own, peers)
                assert own not in beam.shown(seen.pid) + beam.inherited(seen.pid)
            finally:
                beam.end(node)
        boot_file.unlink()
        assert here.start(*command.split(), log=log).wait(60) != 0


@contextmanager
def elixir() -> Iterator[tuple[Place, Path, Path]]:
    """A place, the program of a release that was made with the recipe's files, the boot file."""
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
        (project / "config" / "runtime.exs").write_text("import Config\n" + text)
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
            own = beam.cookie()
            here.keep(here.cookie_file, own)
            here.keep(boot_file, boot_files.terms(own, peers))
            node = here.start(app, "start", log=log)
            try:
                seen = here.until_up(f"app@{HOST}", node, log)
                assert (seen.own, seen.pins) == (own, peers)
                assert seen.pid == node.pid
                visible = beam.shown(seen.pid) + beam.inherited(seen.pid)
                assert [text for text in (own, *peers.values()) if text in visible] == []
                answer = here.run(app, "rpc", "IO.puts(node())")
                assert answer.stdout == f"app@{HOST}\n", answer.stderr
                assert own not in remote_shell_shows(here, app)
                decoys.add(re.findall(r"-setcookie\0(\w+)\0", beam.shown(seen.pid))[0])
                stopped = here.run(app, "stop")
                assert stopped.returncode == 0, stopped.stderr
                assert node.wait(60) == 0
            finally:
                beam.end(node)
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
        assert "--remsh" in beam.shown(int(child))
        return beam.shown(int(child)) + beam.inherited(int(child))
    finally:
        shell.stdin.close()
        beam.end(shell)


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
        beam.end(node)
    assert "is not a boot file" in log.read_text()
    assert "SECRET" not in log.read_text()


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


def test_ejabberd_boots_with_its_pins_and_its_own_cookie() -> None:
    """An ejabberd that is started by ejabberdctl has the own cookie and exactly the pins, its own commands work and show none, and a restart takes the changed ones."""
    with place("ejabberdctl", "epmd", user="ejabberd") as here:
        name, boot_file = f"ejabberd@{HOST}", here.directory / "boot.args"
        config, logs, spool = (here.directory / part for part in ("etc", "log", "spool"))
        for folder in (config, logs, spool):
            folder.mkdir()
        (config / "ejabberd.yml").write_text("hosts: [localhost]\nlisten: []\nmodules: {}\n")
        (config / "inetrc").touch()
        (config / "ejabberdctl.cfg").write_text(
            f"ERLANG_NODE={name}\nINET_DIST_INTERFACE={HOST}\n"
            'ERL_OPTIONS="-env ERL_CRASH_DUMP_BYTES 0"\n'
            + recipe(
                "ejabberd/ejabberdctl.cfg", **{"/var/lib/rotator-agent/boot.args": str(boot_file)}
            )
        )
        here.own(config, logs, spool)
        control = ("/usr/sbin/ejabberdctl", "-d", config, "-l", logs, "-s", spool)
        for peers in (pins("b", "c"), pins("b")):
            own = beam.cookie()
            here.keep(here.cookie_file, own)
            here.keep(boot_file, boot_files.arguments(peers))
            log = logs / "start.log"
            node = here.start(*control, "foreground", log=log)
            try:
                seen = here.until_up(name, node, log)
                assert (seen.own, seen.pins) == (own, peers)
                assert own not in beam.shown(seen.pid) + beam.inherited(seen.pid)
                wait_for("status", lambda: here.run(*control, "status").returncode == 0)
                assert f"'{name}' is started" in here.run(*control, "status").stdout
                here.run(*control, "stop")
                node.wait(60)
            finally:
                beam.end(node)


def settings_of_rabbitmq(here: Place, name: str) -> dict[str, str]:
    """Everything that keeps this broker on loopback and in its own place."""
    return {
        "RABBITMQ_CONF_ENV_FILE": str(here.directory / "rabbitmq-env.conf"),
        "RABBITMQ_NODENAME": name,
        "RABBITMQ_USE_LONGNAME": "true",
        "RABBITMQ_NODE_IP_ADDRESS": HOST,
        "RABBITMQ_NODE_PORT": str(free_port()),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(here.directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(here.directory / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(here.directory / "plugins"),
        "RABBITMQ_LOG": "debug",
    }


def succeeds(here: Place, *command: str | Path) -> str:
    """What it prints, if it ends well."""
    answer = here.run(*command)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_rabbitmq_boots_with_its_pins_and_its_own_cookie() -> None:
    """A broker has the own cookie, exactly the pins and the arguments that its user had set in the file or in the environment, its own commands work, and a restart takes the changed pins."""
    with place("rabbitmqctl", "epmd") as here:
        name, boot_file = f"rabbit@{HOST}", here.directory / "boot.env"
        logs = here.directory / "log"
        logs.mkdir()
        (here.directory / "rabbitmq-env.conf").write_text(
            'SERVER_ADDITIONAL_ERL_ARGS="-rabbit kept 42"\n'
            + recipe(
                "rabbitmq/rabbitmq-env.conf", **{"/var/lib/rotator-agent/boot.env": str(boot_file)}
            )
        )
        here.more |= settings_of_rabbitmq(here, name)
        prefixed = {"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-rabbit kept 43"}
        boots = (({}, "42", pins("b", "c")), (prefixed, "43", pins("b")))
        for settings, kept, peers in boots:
            here.more |= settings
            check_rabbitmq(here, name, peers, logs=logs, kept=f"kept\0{kept}\0")
        boot_file.unlink()
        server = here.start(RABBITMQ / "rabbitmq-server", log=logs / "start.log")
        assert server.wait(60) == os.EX_CONFIG


def check_rabbitmq(here: Place, name: str, peers: dict[str, str], *, logs: Path, kept: str) -> None:
    """Boot it once, look, and stop it by its own command."""
    own, log = beam.cookie(), logs / "start.log"
    here.keep(here.cookie_file, own)
    here.keep(here.directory / "boot.env", boot_files.environment(peers))
    node = here.start(RABBITMQ / "rabbitmq-server", log=log)
    try:
        seen = here.until_up(name, node, log)
        assert (seen.own, seen.pins) == (own, peers)
        assert own not in beam.shown(seen.pid) + beam.inherited(seen.pid)
        assert kept in beam.shown(seen.pid)
        succeeds(here, RABBITMQ / "rabbitmqctl", "await_startup", "--timeout", "60")
        told = succeeds(here, RABBITMQ / "rabbitmqctl", "status")
        told += beam.inherited(seen.pid)
        # At level debug RabbitMQ itself writes the own cookie into its log, so only pins.
        told += "".join(p.read_text(errors="replace") for p in logs.rglob("*") if p.is_file())
        assert [text for text in peers.values() if text in told] == []
        succeeds(here, RABBITMQ / "rabbitmqctl", "stop")
        node.wait(60)
    finally:
        beam.end(node)
