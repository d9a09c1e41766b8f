"""The agent's hands on real `erl` nodes, and its boot files in the hands of their real readers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rotator.agent.boot_files import BootFormat, render
from rotator.agent.decide import Boot
from rotator.agent.files import NodeFiles, cookie_of
from rotator.agent.node import Vm
from rotator.beam.node import Address
from rotator.cli.demo.epmd import Erlang, erlang
from rotator.cli.demo.nodes import BeamNode, write_private
from rotator.cli.demo.processes import wait_until
from rotator.domain.cookie import Cookie
from rotator.domain.ids import NodeName
from rotator.errors import NoSuchNode, WrongCookie
from tests.support.answers import HANG, desired, http, serving
from tests.support.canary import find, process
from tests.support.parts import need

pytestmark = pytest.mark.timeout(300)

CHECKOUT = Path(__file__).parents[2]
FIRST, SECOND, THIRD = (f"CANARY{n}COOKIEOFTHEAGENTTESTS" for n in range(3))
A, B = NodeName("a@127.0.0.1"), NodeName("b@127.0.0.1")


@pytest.fixture(scope="module")
def beam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Erlang]:
    """One epmd and one compiled module."""
    need("erl", "erlc", "epmd")
    with erlang(tmp_path_factory.mktemp("beam")) as made:
        yield made


@pytest.fixture
def nodes(beam: Erlang, tmp_path: Path) -> Iterator[tuple[BeamNode, BeamNode]]:
    """Two nodes with one cookie, linked."""
    ground = Erlang(tmp_path, beam.epmd_port, beam.code)
    made = (BeamNode(ground, A, cookie=FIRST), BeamNode(ground, B, cookie=FIRST))
    try:
        for node in made:
            node.start()
        for node in made:
            node.wait_up()
        assert made[0].connect(B)
        yield made
    finally:
        for node in made:
            node.kill()


def sha256_of(cookie: str) -> str:
    """As a node tells about a cookie."""
    return hashlib.sha256(cookie.encode()).hexdigest()


def vm(beam: Erlang, name: str = A) -> Vm:
    """The agent's hands."""
    return Vm(Address(name=name, host="127.0.0.1", epmd_port=beam.epmd_port))


async def test_a_vm_is_read_and_set_and_keeps_its_links(
    beam: Erlang, nodes: tuple[BeamNode, BeamNode]
) -> None:
    """Own cookie, rows and links are what the VM itself says, setting them cuts nothing, and the agent is in none of them."""
    a, b = nodes
    hands = vm(beam)
    try:
        assert not await hands.reach([Cookie(FIRST)])
        assert await hands.reach([])
        table = await hands.look()
        assert (table.own, dict(table.pins), dict(table.links)) == (Cookie(FIRST), {}, {B: False})
        await hands.pin({B: Cookie(FIRST), NodeName("it's odd@h"): Cookie("'\\\"#-+")})
        await hands.set_own(Cookie(SECOND))
        table = await hands.look()
        assert table.own == Cookie(SECOND)
        assert table.pins == {B: Cookie(FIRST), "it's odd@h": Cookie("'\\\"#-+")}
        assert table.links == {B: False}
        assert a.cookies().own == sha256_of(SECOND)
        assert b.links() >= {A}
        views = await hands.views([B, NodeName("nobody@127.0.0.1")])
        assert set(views) == {B}
        assert (views[B].own, views[B].uses_for_me) == (Cookie(FIRST), Cookie(FIRST))
    finally:
        await hands.close()


async def test_a_pair_moves_on_both_sides_and_a_silent_peer_is_no_error(
    beam: Erlang, nodes: tuple[BeamNode, BeamNode]
) -> None:
    """Both VMs read back the new cookie for each other; a peer that is gone is `False`, and has changed nothing here."""
    a, b = nodes
    hands = vm(beam)
    try:
        await hands.reach([Cookie(FIRST)])
        assert await hands.move(B, Cookie(THIRD))
        assert a.cookies().rows[B] == b.cookies().rows[A] == sha256_of(THIRD)
        await hands.cut([B])
        wait_until("the link is down", lambda: B not in a.links())
        assert await hands.link(B)
        b.kill()
        wait_until("the link is down", lambda: B not in a.links())
        assert not await hands.move(B, Cookie(FIRST))
        assert not await hands.link(B)
        assert await hands.views([B]) == {}
        assert a.cookies().rows[B] == sha256_of(THIRD)
    finally:
        await hands.close()


async def test_a_vm_is_entered_with_whatever_it_answers_to(
    beam: Erlang, nodes: tuple[BeamNode, BeamNode]
) -> None:
    """Cookies are tried in turn, none is an error of its own, and a node that restarted is met anew."""
    a, _ = nodes
    hands = vm(beam)
    try:
        with pytest.raises(WrongCookie):
            await hands.reach([Cookie(SECOND), Cookie(THIRD)])
        await hands.reach([Cookie(SECOND), Cookie(FIRST)])
        assert await hands.accepts(Cookie(FIRST))
        assert not await hands.accepts(Cookie(SECOND))
        first = await hands.about()
        assert (first.name, first.has_pins, first.is_rabbit) == (A, True, False)
        assert first.os_pid == a.pid
        assert "CANARY" not in repr(first)
        a.kill()
        async with asyncio.timeout(60):
            while True:
                try:
                    is_open = await hands.reach([Cookie(FIRST)])
                except NoSuchNode:
                    break
                if not is_open:
                    pytest.fail("a node that is gone was entered")
                await asyncio.sleep(0.05)
        a.start()
        a.wait_up()
        assert not await hands.reach([Cookie(FIRST)])
        assert (await hands.about()).os_pid != first.os_pid
    finally:
        await hands.close()


async def test_variables_are_read_by_name(beam: Erlang, nodes: tuple[BeamNode, BeamNode]) -> None:
    """The variables of the VM are read by name, and those that are not set are left out."""
    hands = vm(beam)
    try:
        await hands.reach([Cookie(FIRST)])
        found = await hands.environment(["HOME", "RELEASE_COOKIE"])
        assert found == {"HOME": Cookie(str(nodes[0].directory))}
    finally:
        await hands.close()


# --- the whole agent on one node -------------------------------------------------------------


async def test_an_agent_brings_a_node_on_and_shows_no_cookie(
    beam: Erlang, nodes: tuple[BeamNode, BeamNode], tmp_path: Path
) -> None:
    """With --verbose, over a change of the cookie, neither log nor status nor reports nor the process shows one, and memory holds none in peace."""
    a, _ = nodes
    answers = {"now": version(1, FIRST, generation=1)}

    def say(head: str) -> bytes | None:
        if head.startswith("PUT"):
            return http(200, {"generation": 1, "heartbeat_seconds": 0.5, "join": True})
        known = f"generation={answers['now']['generation']}&"
        return HANG if known in head else http(200, answers["now"])

    async with serving(say) as service:
        path = agent_yaml(a, tmp_path, port=service.port, epmd_port=beam.epmd_port)
        with (tmp_path / "agent.log").open("wb") as log:
            agent = subprocess.Popen(
                [sys.executable, "-m", "rotator", "agent", "--config", str(path), "--verbose"],
                cwd=CHECKOUT,
                stdout=log,
                stderr=log,
            )
        try:
            await until(lambda: any(body["uses"] == 1 for body in service.bodies))
            answers["now"] = version(2, SECOND, generation=2, previous=FIRST)
            service.hang_up()
            await until(lambda: any(body["uses"] == 2 for body in service.bodies))
            await until(lambda: a.cookies().own == sha256_of(SECOND))
            assert a.cookie_file.read_text() == SECOND
            shown = process(agent.pid)
            assert a.links() >= {B}
        finally:
            agent.terminate()
            assert await asyncio.to_thread(agent.wait, 60) == 0
        reports = json.dumps(service.bodies).encode()
    state = {p.name: p.read_bytes() for p in (tmp_path / "state").iterdir()}
    assert f"{A}.status.json" in state
    places = {**shown, **state, "log": (tmp_path / "agent.log").read_bytes(), "reports": reports}
    secrets = {"first": FIRST.encode(), "second": SECOND.encode(), "token": b"CANARYTOKENOFTHENODE"}
    assert find(secrets, places) == []
    assert b"own cookie changed" in places["log"]


def version(number: int, cookie: str, *, generation: int, previous: str | None = None) -> dict:
    """Desired state with B as a member without an agent."""
    before = None if previous is None else {"number": number - 1, "cookie": previous}
    return desired(
        current={"number": number, "cookie": cookie},
        previous=before,
        generation=generation,
        members={A: "live", B: "live"},
        phase="rolling_out" if previous else None,
    )


def agent_yaml(node: BeamNode, place: Path, *, port: int, epmd_port: int) -> Path:
    """Its configuration; the boot file is the node's own."""
    write_private(place / "token", "CANARYTOKENOFTHENODE")
    found = {
        "service": f"http://127.0.0.1:{port}", "cluster": "orders",
        "token_file": str(place / "token"), "state_dir": str(place / "state"),
        "nodes": [
            {
                "name": node.name, "cookie_file": str(node.cookie_file),
                "boot_file": str(node.boot_file), "epmd_port": epmd_port,
            }
        ],
    }  # fmt: skip
    path = place / "agent.yaml"
    path.write_text(yaml.safe_dump(found))
    return path


async def until(is_so: object) -> None:
    """Wait until it is."""
    assert callable(is_so)
    async with asyncio.timeout(120):
        while not is_so():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("text", "cookie"),
    [
        ("COOKIE", "COOKIE"),
        ("COOKIE\n", "COOKIE"),
        ("COOKIE\r\n \n", "COOKIE"),
        (" COOKIE", None),
        ("COOKIE \n", None),
        ("A COOKIE", None),
    ],
)
async def test_otp_reads_a_cookie_file_as_the_agent_does(
    beam: Erlang, tmp_path: Path, text: str, cookie: str | None
) -> None:
    """What the agent takes for the cookie in a file is the own cookie of a node that boots from it, white space included."""
    node = BeamNode(Erlang(tmp_path, beam.epmd_port, beam.code), "c@127.0.0.1", cookie="X")
    node.cookie_file.chmod(0o600)
    node.cookie_file.write_bytes(text.encode())
    node.cookie_file.chmod(0o400)
    files = NodeFiles(
        cookie_file=node.cookie_file, boot_file=node.boot_file, boot_format=BootFormat.ERL
    )
    node.start()
    try:
        node.wait_up()
        own = node.cookies().own
    finally:
        node.kill()
    found = files.read_cookie()
    assert found is not None
    if cookie is None:
        assert own == sha256_of(text.rstrip("\r\n"))
        assert found == cookie_of(text.rstrip("\r\n"))
    else:
        assert (own, found) == (sha256_of(cookie), Cookie(cookie))


# --- what real readers make of a boot file ---------------------------------------------------

PRINTABLE = "".join(map(chr, range(33, 127)))
ROWS = 'lists:foreach(fun(T) -> io:format("~ts~n", [T]) end, L), halt().'


def pins_of(refused: str) -> dict[str, str]:
    """Pins with every character that a format takes, in names and cookies, a letter in front."""
    letters = "".join(letter for letter in PRINTABLE if letter not in refused)
    odd = "".join(letter for letter in "!#$%&*+-./:;<=>?^_`{|}~" if letter not in refused)
    return {f"n{odd}@h": f"C{letters}", "b@h": f"C{letters[::-1]}"}


def boot(pins: dict[str, str], own: str = "OWN") -> Boot:
    """A boot file's content."""
    return Boot(own=Cookie(own), pins={NodeName(n): Cookie(c) for n, c in pins.items()})


def output(*command: str, **environment: str) -> str:
    """What a reader prints."""
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=100,
        env={**os.environ, **environment},
    ).stdout  # fmt: skip


def test_erl_reads_every_character_that_the_boot_file_takes(tmp_path: Path) -> None:
    """`erl -args_file` has exactly the pins, whatever stands in them."""
    need("erl")
    pins = pins_of("\"'#\\")
    (tmp_path / "boot").write_text(render(BootFormat.ERL, boot(pins)))
    source = '{ok, P} = {ok, [V || {setcookie, V} <- init:get_arguments()]}, L = [string:join(V, " ") || V <- P], '
    told = output("erl", "-noshell", "-args_file", str(tmp_path / "boot"), "-eval", source + ROWS)
    assert told.splitlines() == [f"{name} {cookie}" for name, cookie in pins.items()]


def test_a_shell_reads_every_character_that_the_boot_file_takes(tmp_path: Path) -> None:
    """RabbitMQ's script, which splits words and expands no names of files, gets exactly the pins behind what was set."""
    pins = pins_of("'")
    (tmp_path / "boot").write_text(render(BootFormat.RABBITMQ, boot(pins)))
    script = '. "$1"; set -f; printf "%s\\n" $RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS'
    words = [word for name, cookie in pins.items() for word in ("-setcookie", name, cookie)]
    for variable in ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "SERVER_ADDITIONAL_ERL_ARGS"):
        told = output("sh", "-c", script, "sh", str(tmp_path / "boot"), **{variable: "-kept 1"})
        assert told.splitlines() == ["-kept", "1", *words]


def test_erlang_reads_every_character_that_the_terms_take(tmp_path: Path) -> None:
    """`file:consult/1` has exactly the own cookie and the pins."""
    need("erl")
    pins = pins_of("")
    path = tmp_path / "boot"
    path.write_text(render(BootFormat.ELIXIR, boot(pins, own=PRINTABLE)))
    source = (
        f'{{ok, [{{own, O}} | P]}} = file:consult("{path}"), '
        "L = [atom_to_list(O) | [[atom_to_list(N), 32, atom_to_list(C)] || {pin, N, C} <- P]], "
    )
    told = output("erl", "-noshell", "-eval", source + ROWS)
    assert told.splitlines() == [PRINTABLE, *(f"{name} {cookie}" for name, cookie in pins.items())]
