"""The two files that a node boots from: whole, private, and in the right hands."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rotator.agent import files, locks
from rotator.agent.boot_files import BootFormat
from rotator.agent.decide import Boot
from rotator.agent.files import NodeFiles, cookie_of, oddities
from rotator.domain.cookie import Cookie
from rotator.domain.ids import NodeName
from rotator.errors import AgentFileError

CHECKOUT = Path(__file__).parents[3]
NOBODY = 65534
BOOT = Boot(own=Cookie("OWN"), pins={NodeName("b@h"): Cookie("PINNED")})

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="wants root")


def node_files(place: Path, kind: BootFormat = BootFormat.ERL) -> NodeFiles:
    """Both files in one directory."""
    return NodeFiles(cookie_file=place / "cookie", boot_file=place / "boot", boot_format=kind)


def mode(path: Path) -> int:
    """Its permissions."""
    return stat.S_IMODE(path.lstat().st_mode)


@contextmanager
def nobody() -> Iterator[Path]:
    """The rest runs as nobody; a directory of root's that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="files-") as name:
        Path(name).chmod(0o755)
        os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


# --- what is written ------------------------------------------------------------------------


def test_both_files_are_private_and_read_back(tmp_path: Path) -> None:
    """The files have mode 0400, hold what was given, and leave nothing else behind."""
    made = node_files(tmp_path)
    assert (made.read_cookie(), made.read_boot()) == (None, None)
    for text in ("FIRST", "SECOND"):
        made.write_cookie(Cookie(text))
        made.write_boot(BOOT)
        assert made.read_cookie() == Cookie(text)
        assert made.read_boot() == Boot(pins=BOOT.pins)
    assert (mode(made.cookie_file), mode(made.boot_file)) == (0o400, 0o400)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boot", "cookie"]


def test_a_boot_file_of_somebody_else_is_never_written_over(tmp_path: Path) -> None:
    """What the agent has not begun stays byte for byte, and an empty file counts as nobody's."""
    made = node_files(tmp_path)
    made.boot_file.write_text("-setcookie mine FOREIGN\n")
    with pytest.raises(AgentFileError, match="not ours") as caught:
        made.write_boot(BOOT)
    assert made.boot_file.read_text() == "-setcookie mine FOREIGN\n"
    assert "FOREIGN" not in str(caught.value)
    made.boot_file.write_text("\n")
    made.write_boot(BOOT)
    assert made.read_boot() == Boot(pins=BOOT.pins)


def test_what_a_format_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    """A refused boot file changes nothing on the disk."""
    made = node_files(tmp_path)
    made.write_boot(BOOT)
    before = made.boot_file.read_bytes()
    with pytest.raises(AgentFileError):
        made.write_boot(Boot(pins={NodeName("b@h"): Cookie("it's")}))
    assert made.boot_file.read_bytes() == before


@as_root
def test_the_owner_stays(tmp_path: Path) -> None:
    """An agent of root's leaves the file to the node's user, who alone may read it."""
    made = node_files(tmp_path)
    made.write_cookie(Cookie("OLD"))
    os.chown(made.cookie_file, 12345, 23456)
    made.write_cookie(Cookie("NEW"))
    found = made.cookie_file.stat()
    assert (found.st_uid, found.st_gid, mode(made.cookie_file)) == (12345, 23456, 0o400)
    assert made.read_cookie() == Cookie("NEW")


@as_root
def test_a_new_file_belongs_to_whom_the_directory_belongs(tmp_path: Path) -> None:
    """Where there is no file yet, the node's home says who its user is."""
    os.chown(tmp_path, 12345, 23456)
    made = node_files(tmp_path)
    made.write_cookie(Cookie("NEW"))
    assert (made.cookie_file.stat().st_uid, made.cookie_file.stat().st_gid) == (12345, 23456)


def test_a_link_is_replaced_and_what_it_names_is_untouched(tmp_path: Path) -> None:
    """A cookie file that is a link becomes a file, said beforehand, and its former target keeps its content and mode."""
    target, made = tmp_path / "target", node_files(tmp_path)
    target.write_text("TARGET")
    target.chmod(0o640)
    made.cookie_file.symlink_to(target)
    assert any("is a link" in line for line in oddities(made.cookie_file))
    made.write_cookie(Cookie("NEW"))
    assert not made.cookie_file.is_symlink()
    assert made.read_cookie() == Cookie("NEW")
    assert (target.read_text(), mode(target)) == ("TARGET", 0o640)


def test_a_link_to_nowhere_is_replaced(tmp_path: Path) -> None:
    """A dangling link is no reason not to write, and creates no file at its end."""
    made = node_files(tmp_path)
    made.cookie_file.symlink_to(tmp_path / "nowhere")
    made.write_cookie(Cookie("NEW"))
    assert made.read_cookie() == Cookie("NEW")
    assert not (tmp_path / "nowhere").exists()


@as_root
def test_the_owner_of_what_a_link_names_gets_nothing(tmp_path: Path) -> None:
    """A link of the node's user to a file of root's does not make the cookie file root's."""
    (tmp_path / "roots").touch()
    made = node_files(tmp_path)
    made.cookie_file.symlink_to(tmp_path / "roots")
    os.chown(made.cookie_file, 12345, 23456, follow_symlinks=False)
    made.write_cookie(Cookie("NEW"))
    assert made.cookie_file.stat().st_uid == 12345


def test_what_lies_in_the_way_of_the_new_file_is_not_written_through(tmp_path: Path) -> None:
    """A link under the temporary name, planted or left over, is removed and its target untouched."""
    made, victim = node_files(tmp_path), tmp_path / "victim"
    victim.write_text("VICTIM")
    (tmp_path / ".cookie.rotator-new").symlink_to(victim)
    made.write_cookie(Cookie("NEW"))
    assert (made.read_cookie(), victim.read_text()) == (Cookie("NEW"), "VICTIM")


# --- what cannot be written -----------------------------------------------------------------


@as_root
def test_a_directory_without_write_permission_changes_nothing() -> None:
    """The error says which file, and the old one is whole."""
    with nobody() as place:
        made = node_files(place)
        with pytest.raises(AgentFileError, match=r"cookie cannot be written: Permission denied"):
            made.write_cookie(Cookie("CANARY"))
        assert list(place.iterdir()) == []


@as_root
def test_a_file_that_would_change_hands_is_left_alone() -> None:
    """An agent that may not give the file to its owner replaces nothing and leaves no cookie behind."""
    with nobody() as place:
        os.seteuid(0)
        made = node_files(place)
        made.write_cookie(Cookie("OLD"))
        place.chmod(0o777)
        os.seteuid(NOBODY)
        with pytest.raises(AgentFileError, match="not permitted"):
            made.write_cookie(Cookie("NEW"))
        assert [path.name for path in place.iterdir()] == ["cookie"]
        os.seteuid(0)
        assert made.read_cookie() == Cookie("OLD")


FULL = """
import resource, sys
from pathlib import Path
from rotator.agent import files
from rotator.errors import AgentFileError
path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    files.replace(path, "CANARY" * 100, mode=0o400)
except AgentFileError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_old_file_and_no_half_of_the_new(tmp_path: Path) -> None:
    """When a write comes to its limit the old file stays, and nothing of the new one lies around."""
    path = tmp_path / "cookie"
    path.write_text("OLD")
    ended = python(FULL, str(path))
    assert "cannot be written" in ended.stdout
    assert "CANARY" not in ended.stdout + ended.stderr
    assert path.read_text() == "OLD"
    assert [found.name for found in tmp_path.iterdir()] == ["cookie"]


def test_a_place_that_is_none_is_an_error_that_names_it(tmp_path: Path) -> None:
    """A directory in the file's place, a file in the directory's, and no directory are refused by name."""
    (tmp_path / "cookie").mkdir()
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file", tmp_path / "none"):
        with pytest.raises(AgentFileError, match="cookie cannot be"):
            node_files(place).write_cookie(Cookie("NEW"))
    with pytest.raises(AgentFileError, match="cookie cannot be read"):
        node_files(tmp_path).read_cookie()


# --- deaths ---------------------------------------------------------------------------------

#: Dies by SIGKILL before the n-th line of files.py, for every n until the write comes to its end.
DYING = """
import json, os, signal, sys
from pathlib import Path
from rotator.agent import files, locks
place, (old, new) = Path(sys.argv[1]), ("OLD" * 9, "NEW" * 9)
path, seen, number = place / "cookie", [], 0
while True:
    number += 1
    files.replace(path, old, mode=0o400)
    child = os.fork()
    if not child:
        left = number
        def trace(frame, event, _):
            global left
            if frame.f_code.co_filename not in (files.__file__, locks.__file__):
                return None
            left -= event == "line"
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace
        sys.settrace(trace)
        files.replace(path, new, mode=0o400)
        sys.settrace(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    seen.append([path.read_text(), path.stat().st_mode & 0o777])
    if not status:
        break
files.replace(path, old, mode=0o400)
print(json.dumps({"seen": seen, "left": sorted(p.name for p in place.iterdir())}))
"""


def test_a_death_between_any_two_lines_leaves_a_whole_file(tmp_path: Path) -> None:
    """Wherever the writer is killed there is the old file or the new one, 0400, and the next write cleans up."""
    ended = python(DYING, str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    texts = [text for text, _ in found["seen"]]
    assert len(texts) > 40
    assert set(texts) == {"OLD" * 9, "NEW" * 9}
    assert {bits for _, bits in found["seen"]} == {0o400}
    assert found["left"] == ["cookie"]


WRITING = """
import sys, time
from pathlib import Path
from rotator.agent import files
path, letter = Path(sys.argv[1]), sys.argv[2]
for number in range(int(sys.argv[3])):
    files.replace(path, letter * 20000, mode=0o400)
    time.sleep(0.001)  # so that the other one gets its turn, however slow the disk is
"""


def test_two_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    """`agent boot` and the agent that stays may write at the same time, and neither fails or mixes them."""
    path = tmp_path / "cookie"
    path.write_text("a" * 20000)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITING, str(path), letter, "60"], cwd=CHECKOUT)
        for letter in "ab"
    ]
    mixed = 0
    while any(writer.poll() is None for writer in writers):
        text = path.read_text()
        mixed += len(text) != 20000 or len(set(text)) != 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert mixed == 0
    assert [found.name for found in tmp_path.iterdir()] == ["cookie"]


@as_root
def test_nobody_else_can_hold_the_agent_up() -> None:
    """Another user who locks the directory, which everybody may read, stops no write."""
    with tempfile.TemporaryDirectory(prefix="files-") as name:
        place = Path(name)
        place.chmod(0o755)
        source = "import fcntl, os, sys, time; os.setuid(65534)\n"
        source += "fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)\n"
        source += "print('locked', flush=True); time.sleep(600)"
        stranger = subprocess.Popen(
            [sys.executable, "-c", source, name], stdout=subprocess.PIPE, text=True
        )
        try:
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == "locked\n"
            node_files(place).write_cookie(Cookie("NEW"))
            assert node_files(place).read_cookie() == Cookie("NEW")
        finally:
            stranger.kill()
            stranger.communicate()


def test_a_lock_that_is_never_given_back_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that hangs is waited for a while, then named by its lock; the file stays as it was."""
    monkeypatch.setattr(locks, "_PATIENCE", 0.05)
    made = node_files(tmp_path)
    made.write_cookie(Cookie("OLD"))
    with locks.alone_at(made.cookie_file, owner=(os.geteuid(), os.getegid())):
        assert mode(tmp_path / ".cookie.rotator-lock") == 0o600
        with pytest.raises(AgentFileError, match=r"another process holds .*rotator-lock"):
            made.write_cookie(Cookie("NEW"))
        assert made.read_cookie() == Cookie("OLD")
    made.write_cookie(Cookie("NEW"))
    assert [path.name for path in tmp_path.iterdir()] == ["cookie"]


def test_a_lock_left_by_a_run_that_was_killed_is_no_obstacle(tmp_path: Path) -> None:
    """It is taken over and goes; a link in its place is never followed."""
    made, victim = node_files(tmp_path), tmp_path / "victim"
    lock = tmp_path / ".cookie.rotator-lock"
    lock.touch(mode=0o600)
    made.write_cookie(Cookie("NEW"))
    assert not lock.exists()
    lock.symlink_to(victim)
    with pytest.raises(AgentFileError, match="cookie cannot be written"):
        made.write_cookie(Cookie("NEWER"))
    assert made.read_cookie() == Cookie("NEW")
    assert not victim.exists()


def python(source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process of its own."""
    return subprocess.run(
        [sys.executable, "-c", source, *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


# --- what is read ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cookie"),
    [("A", "A"), ("A\n", "A"), ("A\r\n \n", "A"), ("", None), ("\n", None)],
)
def test_a_cookie_file_is_read_as_otp_reads_it(
    tmp_path: Path, text: str, cookie: str | None
) -> None:
    """Line ends behind the cookie do not belong to it, and a file with nothing else holds none."""
    made = node_files(tmp_path)
    made.cookie_file.write_bytes(text.encode())
    assert made.read_cookie() == (Cookie(cookie) if cookie else None)


@pytest.mark.parametrize("text", ["A B", " A", "A \n", "Aé", "A\nB", "\x00", "A" * 300])
def test_a_cookie_that_is_not_ours_is_another_one(tmp_path: Path, text: str) -> None:
    """What no cookie of ours can be is neither taken for one of ours nor shown."""
    made = node_files(tmp_path)
    made.cookie_file.write_bytes(text.encode())
    found = made.read_cookie()
    assert found not in {None, Cookie("A")}
    assert found == cookie_of(text) or text.endswith("\n")
    assert cookie_of(text) != cookie_of(text + "x")


def test_a_stand_in_is_never_written(tmp_path: Path) -> None:
    """What stands for a cookie that cannot be held gets into no file, and the error says what to do."""
    made, odd = node_files(tmp_path), cookie_of("CANARY with spaces")
    made.write_cookie(Cookie("OLD"))
    made.write_boot(BOOT)
    before = [made.cookie_file.read_bytes(), made.boot_file.read_bytes()]
    for write in (
        lambda: made.write_cookie(odd),
        lambda: made.write_boot(Boot(own=odd, pins={})),
        lambda: made.write_boot(Boot(own=Cookie("OWN"), pins={NodeName("c@h"): odd})),
    ):
        with pytest.raises(AgentFileError, match=r"cookie .*set_cookie.*restart") as caught:
            write()
        assert "CANARY" not in str(caught.value)
        assert odd.reveal() not in str(caught.value)
    assert [made.cookie_file.read_bytes(), made.boot_file.read_bytes()] == before


def test_a_huge_or_broken_file_is_bounded(tmp_path: Path) -> None:
    """A file that is larger than any of this kind is an error and not read into memory."""
    made = node_files(tmp_path)
    with made.cookie_file.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(AgentFileError, match="larger"):
        made.read_cookie()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_what_is_no_file_hangs_nobody(tmp_path: Path, kind: str) -> None:
    """A named pipe, a device or a directory under a file's name, or behind a link, is an error that names it."""
    made, place = node_files(tmp_path), tmp_path / "odd"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    else:
        place.mkdir()
    made.cookie_file.symlink_to(place)
    made.boot_file.symlink_to(place)
    reads = (made.read_cookie, made.read_boot, lambda: made.write_boot(BOOT))
    for read, name in zip(reads, ("cookie", "boot", "boot"), strict=True):
        with pytest.raises(AgentFileError, match=rf"{name} cannot be read: .*(file|directory)"):
            read()


def test_a_link_is_read_through(tmp_path: Path) -> None:
    """A cookie file that is a link to a file is read as the node reads it."""
    made = node_files(tmp_path)
    (tmp_path / "real").write_text("LINKED")
    made.cookie_file.symlink_to(tmp_path / "real")
    assert made.read_cookie() == Cookie("LINKED")


def test_oddities_say_what_would_undo_the_work(tmp_path: Path) -> None:
    """A file that others can read, or that is not there, is named; a good one is not."""
    made = node_files(tmp_path)
    assert "No such file" in oddities(made.cookie_file)[0]
    files.replace(made.cookie_file, "C", mode=0o400)
    assert oddities(made.cookie_file) == []
    made.cookie_file.chmod(0o444)
    assert any("read by others" in line for line in oddities(made.cookie_file))


@as_root
def test_root_may_keep_the_files_of_another_user(tmp_path: Path) -> None:
    """An agent that runs as root does not complain of the node's own user."""
    made = node_files(tmp_path)
    made.write_cookie(Cookie("C"))
    os.chown(made.cookie_file, 12345, -1)
    assert oddities(made.cookie_file) == []


@as_root
def test_a_token_of_roots_may_be_given_by_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Kubernetes mounts for a pod's group is no finding, unless others can read it or it can be written."""
    token = tmp_path / "node.token"
    token.write_text("CANARYTOKEN")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    for mode, is_found in ((0o440, False), (0o640, False), (0o644, True), (0o660, True)):
        token.chmod(mode)
        assert bool(files.token_oddities(token)) is is_found


def test_a_token_that_others_can_read_is_a_finding(tmp_path: Path) -> None:
    """It is worth the cookie; one that is not there is told by whoever reads it."""
    token = tmp_path / "node.token"
    assert files.token_oddities(token) == []
    token.write_text("CANARYTOKEN")
    for mode, said in ((0o400, []), (0o600, []), (0o640, [token]), (0o644, [token])):
        token.chmod(mode)
        told = files.token_oddities(token)
        assert told == [f"{path} can be read by others: chmod 0400" for path in said]
