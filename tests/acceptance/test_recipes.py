"""The recipes, each with the program that it is for: what a user copies is what runs here."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from rotator.agent.boot_files import BootFormat
from tests.support import places
from tests.support.places import Place
from tests.support.recipes import HOST, pins, place, recipe
from tests.support.recipes import boot_file as boot_text
from tests.support.service import free_port, wait_for

# Brokers start several times each, which takes minutes on a loaded machine.
pytestmark = pytest.mark.timeout(600)

RABBITMQ = Path("/usr/lib/rabbitmq/bin")  #: without the wrapper that wants root or rabbitmq

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
            own = places.cookie()
            here.keep(here.cookie_file, own)
            here.keep(boot_file, boot_text(BootFormat.ERL, peers))
            node = here.start(*command.split(), log=log)
            try:
                seen = here.until_up(f"app@{HOST}", node, log)
                assert (seen.own, seen.pins) == (own, peers)
                assert own not in places.shown(seen.pid) + places.inherited(seen.pid)
            finally:
                places.end(node)
        boot_file.unlink()
        assert here.start(*command.split(), log=log).wait(60) != 0


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
            own = places.cookie()
            here.keep(here.cookie_file, own)
            here.keep(boot_file, boot_text(BootFormat.ERL, peers))
            log = logs / "start.log"
            node = here.start(*control, "foreground", log=log)
            try:
                seen = here.until_up(name, node, log)
                assert (seen.own, seen.pins) == (own, peers)
                assert own not in places.shown(seen.pid) + places.inherited(seen.pid)
                wait_for("status", lambda: here.run(*control, "status").returncode == 0)
                assert f"'{name}' is started" in here.run(*control, "status").stdout
                here.run(*control, "stop")
                node.wait(60)
            finally:
                places.end(node)


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
    own, log = places.cookie(), logs / "start.log"
    here.keep(here.cookie_file, own)
    here.keep(here.directory / "boot.env", boot_text(BootFormat.RABBITMQ, peers))
    node = here.start(RABBITMQ / "rabbitmq-server", log=log)
    try:
        seen = here.until_up(name, node, log)
        assert (seen.own, seen.pins) == (own, peers)
        assert own not in places.shown(seen.pid) + places.inherited(seen.pid)
        assert kept in places.shown(seen.pid)
        succeeds(here, RABBITMQ / "rabbitmqctl", "await_startup", "--timeout", "240")
        told = succeeds(here, RABBITMQ / "rabbitmqctl", "status")
        told += places.inherited(seen.pid)
        # At level debug RabbitMQ itself writes the own cookie into its log, so only pins.
        told += "".join(p.read_text(errors="replace") for p in logs.rglob("*") if p.is_file())
        assert [text for text in peers.values() if text in told] == []
        succeeds(here, RABBITMQ / "rabbitmqctl", "stop")
        node.wait(60)
    finally:
        places.end(node)
