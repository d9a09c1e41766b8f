"""The boot file's text: what the recipes' readers understand, or nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.agent.boot_files import MARK, BootFormat, parse, render
from rotator.agent.decide import Boot
from rotator.domain.cookie import Cookie
from rotator.domain.ids import NODE_NAME, NodeName
from rotator.errors import AgentFileError

PRINTABLE = "".join(map(chr, range(33, 127)))
COOKIES = st.text(PRINTABLE, min_size=1, max_size=255)
NAMES = st.from_regex(NODE_NAME, fullmatch=True)
REFUSED = {BootFormat.ERL: "\"'#\\", BootFormat.RABBITMQ: "'", BootFormat.ELIXIR: ""}


def boot(pins: dict[str, str], own: str = "OWN") -> Boot:
    """A boot file's content."""
    return Boot(own=Cookie(own), pins={NodeName(name): Cookie(text) for name, text in pins.items()})


def can_hold(kind: BootFormat, word: str) -> bool:
    """What the recipes say of this format."""
    if kind is BootFormat.ELIXIR:
        return True
    return word[0] not in "-+" and not set(word) & set(REFUSED[kind])


@pytest.mark.parametrize("kind", list(BootFormat))
@given(pins=st.dictionaries(NAMES, COOKIES, max_size=4), own=COOKIES)
def test_every_name_and_cookie_comes_back_or_is_refused(
    kind: BootFormat, pins: dict[str, str], own: str
) -> None:
    """What a format holds is read back exactly, and what it cannot hold is refused, nothing in between."""
    wanted = boot(pins, own)
    fits = all(can_hold(kind, word) for pair in pins.items() for word in pair)
    if not fits:
        with pytest.raises(AgentFileError):
            render(kind, wanted)
        return
    found = parse(kind, render(kind, wanted))
    assert found is not None
    assert found.pins == wanted.pins
    assert found.says(wanted)
    assert found.own == (wanted.own if kind is BootFormat.ELIXIR else None)


def test_the_lines_are_those_of_the_recipes() -> None:
    """Each format has exactly the syntax that deploy/recipes promises to its reader."""
    made = boot({"a@h": "CA", "b@h": "C'\\"}, "O'")
    plain = boot({"a@h": "CA", "b@h": "CB"})
    assert render(BootFormat.ERL, plain).splitlines() == [
        f"# {MARK}", "-setcookie a@h CA", "-setcookie b@h CB",
    ]  # fmt: skip
    assert render(BootFormat.RABBITMQ, plain).splitlines() == [
        f"# {MARK}",
        (
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="
            '"${RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:-${SERVER_ADDITIONAL_ERL_ARGS:-}}"'
            "' -setcookie a@h CA -setcookie b@h CB'"
        ),
    ]
    assert render(BootFormat.ELIXIR, made).splitlines() == [
        f"% {MARK}", r"{own, 'O\''}.", "{pin, 'a@h', 'CA'}.", r"{pin, 'b@h', 'C\'\\'}.",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", list(BootFormat))
def test_a_refusal_names_the_peer_and_shows_no_cookie(kind: BootFormat) -> None:
    """An error about a cookie says whose it is and what to do, without a part of it."""
    with pytest.raises(AgentFileError) as caught:
        render(BootFormat.RABBITMQ, boot({"b@h": "CANARY'COOKIE"}))
    assert "b@h" in str(caught.value)
    assert "restarting" in str(caught.value)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("kind", list(BootFormat))
@pytest.mark.parametrize("name", ["b@h\n-eval halt()", "b @h", "b@h\t", "b@h\x00", "b@hé", ""])
def test_a_name_from_the_service_adds_no_argument(kind: BootFormat, name: str) -> None:
    """A peer whose name holds white space, or more, is in no format written into a boot file."""
    with pytest.raises(AgentFileError):
        render(kind, boot({name: "C"}))


@pytest.mark.parametrize("kind", list(BootFormat))
def test_a_name_that_stands_there_twice_is_no_pin(kind: BootFormat) -> None:
    """As OTP takes it: so the file is not taken for one that says what is wanted."""
    text = render(kind, boot({"a@h": "CA", "b@h": "CB"}))
    doubled = re.sub(r"(.*)(-setcookie a@h CA|\{pin, 'a@h', 'CA'\}\.\n)", r"\1\2 \2", text)
    doubled = doubled.replace(".\n {", ".\n{")
    found = parse(kind, doubled)
    assert found is not None
    assert set(found.pins) == {"b@h"}


@pytest.mark.parametrize(
    "text",
    [
        f"% {MARK}\n{{pin, 'a@h', 'CA'}}.\n",
        f"% {MARK}\n{{own, 'A'}}.\n{{own, 'B'}}.\n",
        f"% {MARK}\n{{own, 'a b'}}.\n",
    ],
)
def test_terms_that_would_not_boot_are_no_boot_file(text: str) -> None:
    """Without exactly one own cookie an Elixir release does not start, so the file is written anew."""
    assert parse(BootFormat.ELIXIR, text) is None


@pytest.mark.parametrize("kind", list(BootFormat))
@pytest.mark.parametrize("text", ["", "-setcookie a@h X\n", f"more\n# {MARK}\n% {MARK}\n", MARK])
def test_a_file_of_somebody_else_is_not_read(kind: BootFormat, text: str) -> None:
    """Only a file that begins with the agent's own line is one of its files."""
    assert parse(kind, text) is None
