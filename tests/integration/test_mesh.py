"""Real BEAM nodes do what the design builds on, and the harness sees what happens to them."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

import pytest

from rotator.cli.demo.epmd import Erlang, erlang
from rotator.cli.demo.intruder import Intruder, intruder
from rotator.cli.demo.mesh import Mesh, mesh
from rotator.cli.demo.nodes import BeamNode, write_private
from rotator.cli.demo.processes import wait_until
from tests.support.canary import find, process
from tests.support.parts import need

# Seconds on an idle machine; a loaded one may take its time.
pytestmark = pytest.mark.timeout(300)

A, B, C, D = (f"n{number}@127.0.0.1" for number in range(1, 5))


@pytest.fixture(scope="module")
def beam(tmp_path_factory):
    """One epmd and one compiled module for every mesh; names differ by their prefix."""
    need("erl", "erlc", "epmd")
    with erlang(tmp_path_factory.mktemp("beam")) as made:
        yield made


@pytest.fixture
def ground(beam: Erlang, tmp_path: Path) -> Erlang:
    """The same epmd, with a directory of the test's own."""
    return Erlang(tmp_path, beam.epmd_port, beam.code)


def sha256(cookie: str) -> str:
    """As a node tells about a cookie."""
    return hashlib.sha256(cookie.encode()).hexdigest()


def cookie_file(directory: Path, cookie: str) -> Path:
    """A file for `set_cookie` and `pin`."""
    path = directory / f"cookie-{secrets.token_hex(4)}"
    write_private(path, cookie)
    return path


def wait_for_calls(made: Mesh, more: int = 50) -> None:
    """Until *more* calls were made from now on."""
    before = made.calls()
    wait_until(f"{more} more calls", lambda: made.calls() >= before + more)


def relink(node: BeamNode, peer: str) -> bool:
    """Cut the link to *peer*, then try once to make it anew."""
    assert node.cut(peer)
    wait_until("the link is down", lambda: peer not in node.links())
    return node.connect(peer)


def close(node: BeamNode, peers: tuple[str, ...], file: Path) -> None:
    """One cookie for all of *peers* and for itself, whatever they use."""
    for peer in peers:
        node.pin(peer, file)
    node.set_cookie(file)


def close_round(made: Mesh, him: Intruder) -> bool:
    """A throwaway for each member, and a cut; whether he had no link all the while."""
    before = him.intrusion()
    for node in made.nodes.values():
        throwaway = cookie_file(node.directory, secrets.token_hex(20))
        close(node, (*made.names, him.name), throwaway)
    were_in = [node.cut(him.name) for node in made.nodes.values()]
    after = him.intrusion()
    return not (any(were_in) or before.links or after.links or before.entered != after.entered)


def test_a_mesh_is_whole_and_calls_run_without_a_failure(ground: Erlang) -> None:
    """Four nodes have twelve links, their calls succeed, and nothing is lost by watching."""
    with mesh(ground, 4) as made:
        assert made.links() == made.full == 12
        made.call(pause_ms=5)
        wait_for_calls(made, 200)
        assert made.failed() == 0
        assert made.lost() == 0
        assert made.links() == 12


def test_no_node_has_its_cookie_in_arguments_or_environment(ground: Erlang) -> None:
    """What `ps` shows of a node and of its children holds no cookie."""
    cookie = secrets.token_hex(20)
    with mesh(ground, 2, cookie=cookie) as made:
        assert {node.cookies().own for node in made.nodes.values()} == {sha256(cookie)}
        for node in made.nodes.values():
            assert node.pid is not None
            assert find({"cookie": cookie.encode()}, process(node.pid)) == []
            assert node.cookie_file.stat().st_mode & 0o777 == 0o400


def test_a_control_socket_answers_nobody_without_the_key(ground: Erlang) -> None:
    """Another user of the host cannot make a node take a cookie of his choice."""
    import socket

    with mesh(ground, 1) as made:
        before = made[A].cookies()
        port = int((made[A].directory / "control.port").read_text())
        planted = cookie_file(ground.directory, "planted")
        with socket.create_connection(("127.0.0.1", port), 30) as stranger:
            stranger.sendall(f"guess set_cookie {planted}\n".encode())
            assert stranger.recv(100) == b""
        assert made[A].cookies() == before


def test_a_killed_node_is_a_lost_link_for_each_of_the_others(ground: Erlang) -> None:
    """Nobody expected it: three nodes lose one link each, and name whom they lost."""
    with mesh(ground, 4) as made:
        made[D].kill()
        wait_until("three links are lost", lambda: made.lost() >= 3)
        assert made.lost() == 3
        assert {name: [loss.node for loss in lost] for name, lost in made.losses().items()} == {
            name: [D] for name in (A, B, C)
        }
        assert made.links() == made.full == 6


def test_a_call_to_a_node_that_went_away_has_failed(ground: Erlang) -> None:
    """A peer without a link counts as a failed call, and the failure names it."""
    with mesh(ground, 3) as made:
        made.call(pause_ms=5)
        made[C].kill()
        wait_until("a call fails", lambda: made.failed() >= 1)
        failures = [event for counts in made.counts().values() for event in counts.failures]
        assert {event.node for event in failures} == {C}


def test_a_loss_that_was_announced_is_not_counted(ground: Erlang) -> None:
    """A member killed by the harness loses nothing and fails nothing, and counts again when back."""
    with mesh(ground, 4) as made:
        made.call(pause_ms=5)
        made.kill(D)
        wait_until("the others saw it", lambda: all(D not in made[n].links() for n in (A, B, C)))
        wait_for_calls(made)
        assert (made.lost(), made.failed()) == (0, 0)
        made.restart(D)
        assert made.links() == 12
        wait_for_calls(made)
        assert (made.lost(), made.failed()) == (0, 0)
        made[D].kill()
        wait_until("three links are lost", lambda: made.lost() >= 3)


def test_a_loss_between_two_looks_is_counted(ground: Erlang) -> None:
    """A link that is back before anyone looks was lost all the same."""
    with mesh(ground, 2) as made:
        assert relink(made[A], B)
        assert made.links() == 2
        wait_until("both ends counted it", lambda: made.lost() >= 2)


def test_a_node_ends_with_whoever_started_it(ground: Erlang) -> None:
    """No node is left over when its harness dies: the end of its input is its end."""
    node = BeamNode(ground, A, cookie="C0OKIE")
    node.start()
    try:
        node.wait_up()
        assert node._process is not None
        assert node._process.stdin is not None
        node._process.stdin.close()
        wait_until("it ends", lambda: not node.is_alive)
    finally:
        node.kill()


def test_an_intruder_comes_back_while_his_cookie_is_good(ground: Erlang) -> None:
    """Cut from every member, he is in again at once: to cut is not enough."""
    with (
        mesh(ground, 3, cookie="KNOWN") as made,
        intruder(ground, made.names, cookie="KNOWN") as him,
    ):
        assert made[A].hidden_links() == {him.name}
        for node in made.nodes.values():
            assert node.cut(him.name)
        # Asked of the members: he may be back before he notices that he was cut.
        wait_until(
            "he is back everywhere",
            lambda: all(him.name in node.hidden_links() for node in made.nodes.values()),
        )
        assert (made.links(), made.lost()) == (6, 0)


def test_a_connected_intruder_reads_the_new_cookie_through_one_late_member(ground: Erlang) -> None:
    """While one member still takes the old cookie, the new one of all the others is his."""
    with (
        mesh(ground, 3, cookie="KNOWN") as made,
        intruder(ground, made.names, cookie="KNOWN") as him,
    ):
        new = cookie_file(ground.directory, "NEW")
        for name in (A, B):
            made[name].set_cookie(new)
            made[name].cut(him.name)
        wait_until("he has read it", lambda: sha256("NEW") in him.intrusion().cookies)
        wait_until("he is in again", lambda: him.intrusion().links >= set(made.names))


def test_an_intruder_stays_out_of_members_that_are_all_closed_before_he_is_cut(
    ground: Erlang,
) -> None:
    """Throwaways first and then a new cookie that he never saw: not one of his attempts succeeds."""
    with (
        mesh(ground, 3, cookie="KNOWN") as made,
        intruder(ground, made.names, cookie="KNOWN") as him,
    ):
        made.call(pause_ms=5)
        clean = 0
        while clean < 2:
            clean = clean + 1 if close_round(made, him) else 0
        final = cookie_file(ground.directory, "FINAL")
        for node in made.nodes.values():
            close(node, (*made.names, him.name), final)
        entered = him.intrusion().entered
        wait_for_calls(made, 300)
        found = him.intrusion()
        assert found.links == frozenset()
        assert found.entered == entered
        assert sha256("FINAL") not in found.cookies
        assert (made.links(), made.lost(), made.failed()) == (6, 0, 0)


def test_a_new_own_cookie_keeps_every_link_and_new_links_need_it(ground: Erlang) -> None:
    """The cookie is checked when a link is made: nothing is lost, and a stranger is refused."""
    with mesh(ground, 3, cookie="OLD") as made:
        made.call(pause_ms=5)
        late = BeamNode(ground, "late@127.0.0.1", cookie="OLD", is_hidden=True)
        try:
            late.start()
            late.wait_up()
            for node in made.nodes.values():
                node.set_cookie(cookie_file(ground.directory, "NEW"))
            wait_for_calls(made)
            assert (made.links(), made.lost(), made.failed()) == (6, 0, 0)
            assert not late.connect(A)
            late.set_cookie(cookie_file(ground.directory, "NEW"))
            assert late.connect(A)
        finally:
            late.kill()


def test_a_link_is_made_when_both_ends_use_the_same_cookie_for_each_other(ground: Erlang) -> None:
    """A pin beats the own cookie on either end; two pins crosswise fit nobody."""
    with mesh(ground, 2, cookie="OLD") as made:
        old, new = (cookie_file(ground.directory, text) for text in ("OLD", "NEW"))
        made[A].set_cookie(new)
        assert not relink(made[A], B)
        made[A].pin(B, old)
        assert made[A].connect(B)
        assert made[A].cookies().own == sha256("NEW")
        assert made[A].cookies().rows == {B: sha256("OLD")}
        made[B].pin(A, new)
        assert not relink(made[B], A)
        assert not made[A].connect(B)
        made[A].pin(B, new)
        assert made[B].connect(A)


@pytest.mark.parametrize("by", [A, B])
def test_a_mixed_pair_that_is_pinned_on_both_ends_links_from_either_end(
    ground: Erlang, by: str
) -> None:
    """Direction does not matter for which cookie a pair uses."""
    with mesh(ground, 2, cookie="OLD") as made:
        old, new = (cookie_file(ground.directory, text) for text in ("OLD", "NEW"))
        made[A].pin(B, old)
        made[A].set_cookie(new)
        made[B].pin(A, old)
        assert relink(made[by], B if by == A else A)


def test_a_node_that_boots_with_pins_into_a_mixed_mesh_leaves_it_whole(ground: Erlang) -> None:
    """Half have adopted, one is killed and boots with a pin for everyone: all links are back."""
    with mesh(ground, 4, cookie="OLD") as made:
        made.call(pause_ms=5)
        old, new = (cookie_file(ground.directory, text) for text in ("OLD", "NEW"))
        for name in (A, B):
            for peer in made.names:
                if peer != name:
                    made[name].pin(peer, old)
            made[name].set_cookie(new)
        write_private(made[A].boot_file, "".join(f"-setcookie {peer} OLD\n" for peer in (B, C, D)))
        write_private(made[A].cookie_file, "NEW", mode=0o400)
        made.kill(A)
        made.restart(A)
        wait_for_calls(made)
        assert (made.links(), made.lost(), made.failed()) == (12, 0, 0)
        assert made[A].cookies().own == sha256("NEW")
        assert made[A].cookies().rows == dict.fromkeys((B, C, D), sha256("OLD"))


def test_a_node_that_boots_without_pins_into_a_mixed_mesh_stays_out(ground: Erlang) -> None:
    """The right own cookie is not enough: members that pin another one for it refuse it."""
    with mesh(ground, 3, cookie="OLD") as made:
        old, new = (cookie_file(ground.directory, text) for text in ("OLD", "NEW"))
        for name in (A, B):
            for peer in made.names:
                if peer != name:
                    made[name].pin(peer, old)
            made[name].set_cookie(new)
        write_private(made[A].cookie_file, "NEW", mode=0o400)
        made.kill(A)
        made.restart(A, connect=False)
        assert not made[A].connect(B)
        assert not made[A].connect(C)
        assert made[A].links() == frozenset()
