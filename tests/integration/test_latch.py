"""What the agent lays into a VM, run by a real emulator whose answers and deeds are looked at."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

from rotator.agent import latch
from tests.support.parts import need

#: `Lay` starts a latch as the agent does; what it calls goes through `Handler`, where one is given.
_BEFORE: Final = """
    {ok, Bytes} = file:read_file("latch"),
    {ok, Tokens, _} = erl_scan:string(binary_to_list(Bytes)),
    {ok, Exprs} = erl_parse:parse_exprs(Tokens),
    Lay = fun(Handler, Life) ->
        Known = [{'Word', <<"word">>}, {'Rows', [member@h, tool@h]}, {'Running', [member@h]},
                 {'Agent', agent@h}, {'CutsHidden', true}, {'Life', Life}],
        Made = spawn_monitor(fun() -> erl_eval:exprs(Exprs, Known, none, Handler) end),
        fun Wait() -> case whereis(rotator_latch) =:= element(1, Made) of
            true -> ok;
            false -> receive after 1 -> Wait() end
        end end(),
        Made
    end,
"""
_AFTER: Final = ", halt()."

_IN_ORDER: Final = """
    Me = self(),
    Tell = fun(What) -> Me ! {did, What}, true end,
    Handler = {value, fun
        ({erlang, set_cookie}, Args) -> Tell({set_cookie, Args});
        ({erlang, disconnect_node}, [Node]) -> Tell({cut, Node});
        ({erlang, exit}, [Process, kill]) when Process =/= undefined -> Tell({hang_up, Process});
        ({erlang, nodes}, [connected]) -> [member@h, stranger@h, agent@h];
        ({erlang, nodes}, [hidden]) -> [agent@h, member@h];
        ({ets, tab2list}, [sys_dist]) ->
            [{connection, a, 1, pending, first, x, y, z}, {connection, b, 1, up, second, x, y, z},
             odd, {connection, c, 1, up_pending, x, y, third, z}];
        ({Module, Function}, Args) -> apply(Module, Function, Args)
    end},
    {Latch, Monitor} = Lay(Handler, 60000),
    Latch ! {rotator_latch, <<"of another emergency">>},
    Latch ! {rotator_cookie, <<"COOKIE">>},
    Latch ! {rotator_latch, <<"word">>},
    Deeds = fun Next() -> receive
        {did, What} -> [What | Next()];
        {'DOWN', Monitor, process, _, Reason} -> [Reason]
    end end(),
    [io:format("~w~n", [Deed]) || Deed <- Deeds]
"""

_ENDS: Final = """
    [begin
        {Latch, Monitor} = Lay(none, 10),
        [Latch ! {rotator_cookie, <<"COOKIE">>} || IsTold],
        receive {'DOWN', Monitor, process, _, Reason} -> io:format("~w~n", [Reason]) end
    end || IsTold <- [true, false]]
"""

_HIDES: Final = """
    {Latch, _} = Lay(none, 60000),
    Latch ! {rotator_cookie, <<"COOKIE">>},
    fun Wait() -> case process_info(Latch, message_queue_len) of
        {_, 0} -> ok;
        _ -> receive after 1 -> Wait() end
    end end(),
    Latch ! {rotator_cookie, <<"COOKIE">>},
    {backtrace, Own} = process_info(self(), backtrace),
    io:format("~w~n", [Own =/= <<>>]),
    [io:format("~w~n", [process_info(Latch, What)]) || What <- [backtrace, dictionary, messages]]
"""

_LAST_ONE_STAYS: Final = """
    {_, Monitor} = Lay(none, 60000),
    {Second, _} = Lay(none, 60000),
    receive {'DOWN', Monitor, process, _, Reason} -> io:format("~w~n", [Reason]) end,
    io:format("~w~n", [whereis(rotator_latch) =:= Second])
"""


def told(script: str, place: Path) -> list[str]:
    """What an emulator of its own says, line by line."""
    need("erl")
    (place / "latch").write_text(latch.CODE, encoding="ascii")
    evaluated = _BEFORE + script + _AFTER
    ended = subprocess.run(
        ["erl", "-noshell", "-noinput", "-eval", evaluated],
        cwd=place, check=True, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    return ended.stdout.split("\n")[:-1]


def test_strangers_are_cut_between_the_rows_and_the_own_cookie(tmp_path: Path) -> None:
    """Rows, strangers, own cookie, handshakes under way, who came meanwhile: in this order alone."""
    assert told(_IN_ORDER, tmp_path) == [
        "{set_cookie,[member@h,'COOKIE']}",
        "{set_cookie,[tool@h,'COOKIE']}",
        "{cut,stranger@h}",
        "{cut,member@h}",  # somebody hidden, under a member's name
        "{set_cookie,['COOKIE']}",
        "{hang_up,first}",
        "{hang_up,third}",
        "{cut,stranger@h}",
        "{cut,member@h}",
        "normal",
    ]


def test_a_latch_without_its_word_ends_by_itself(tmp_path: Path) -> None:
    """Whether it was told a cookie or its agent died before that: it outlives nobody for long."""
    assert told(_ENDS, tmp_path) == ["normal", "normal"]


def test_nobody_can_look_into_a_latch(tmp_path: Path) -> None:
    """Neither its stack nor its mailbox is shown, to whoever asks within the VM."""
    shown = ["true", "{backtrace,<<>>}", "{dictionary,[]}", "{messages,[]}"]
    assert told(_HIDES, tmp_path) == shown


def test_a_latch_that_is_laid_over_ends_the_one_before(tmp_path: Path) -> None:
    """A VM holds one at most, the newest."""
    assert told(_LAST_ONE_STAYS, tmp_path) == ["killed", "true"]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No crash dump of an emulator that fails is left anywhere."""
    monkeypatch.setenv("ERL_CRASH_DUMP_SECONDS", "0")
