"""The boot file's text in its three formats (deploy/recipes). Pure.

What a format cannot hold is refused before a byte is written: a boot file that its reader
misunderstands is worse than none.
"""

from __future__ import annotations

import re
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from rotator.agent.decide import Boot
from rotator.domain.cookie import Cookie
from rotator.domain.ids import NodeName
from rotator.errors import AgentFileError, InvalidCookie

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The first line of a boot file of ours; another non-empty file is never written over.
MARK: Final = "written by rotator agent: do not edit"
_WORD: Final = re.compile(r"[!-~]+")


class BootFormat(StrEnum):
    """Who reads the boot file."""

    ERL = "erl"  #: ``erl -args_file``
    RABBITMQ = "rabbitmq"  #: sourced by RabbitMQ's environment file
    ELIXIR = "elixir"  #: Erlang terms, read by a snippet in ``runtime.exs``


#: Characters that each reader takes for something else; `erl` takes a word in front of which
#: stands - or + for a flag, too.
_REFUSED: Final = {BootFormat.ERL: "\"'#\\", BootFormat.RABBITMQ: "'", BootFormat.ELIXIR: ""}

_ARGUMENT: Final = re.compile(r"-setcookie ([^\s']+) ([^\s']+)")
_RABBIT: Final = "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"
_ATOM: Final = r"'((?:[^'\\]|\\.)*)'"
_OWN: Final = re.compile(rf"^\{{own, {_ATOM}\}}\.$", re.MULTILINE)
_PIN: Final = re.compile(rf"^\{{pin, {_ATOM}, {_ATOM}\}}\.$", re.MULTILINE)


def render(kind: BootFormat, boot: Boot) -> str:
    """The whole file; raises `AgentFileError` for what this format cannot hold."""
    for peer, cookie in boot.pins.items():
        _check(kind, peer, f"the node name {peer!r}")
        _check(kind, cookie.reveal(), f"the cookie for {peer}")
    return "\n".join((_first_line(kind), *_lines(kind, boot))) + "\n"


def is_ours(kind: BootFormat, text: str) -> bool:
    """Whether an agent wrote it."""
    return text.partition("\n")[0] == _first_line(kind)


def parse(kind: BootFormat, text: str) -> Boot | None:
    """What a node boots with; None for a file that is not ours, or is damaged."""
    if not is_ours(kind, text):
        return None
    try:
        if kind is BootFormat.ELIXIR:
            # Without exactly one own cookie the recipe's snippet does not boot.
            owns = [Cookie(_unquoted(found)) for found in _OWN.findall(text)]
            rows = [(_unquoted(peer), _unquoted(found)) for peer, found in _PIN.findall(text)]
            return Boot(own=owns[0], pins=_pins(rows)) if len(owns) == 1 else None
        return Boot(pins=_pins(_ARGUMENT.findall(text)))
    except InvalidCookie:
        return None


def _first_line(kind: BootFormat) -> str:
    return f"{'%' if kind is BootFormat.ELIXIR else '#'} {MARK}"


def _lines(kind: BootFormat, boot: Boot) -> list[str]:
    pins = [(peer, cookie.reveal()) for peer, cookie in boot.pins.items()]
    if kind is BootFormat.ELIXIR:
        own = [] if boot.own is None else [f"{{own, {_atom(boot.own.reveal())}}}."]
        return own + [f"{{pin, {_atom(peer)}, {_atom(cookie)}}}." for peer, cookie in pins]
    arguments = [f"-setcookie {peer} {cookie}" for peer, cookie in pins]
    if kind is BootFormat.ERL:
        return arguments
    # What the user has set stays in front, with or without the prefix, as RabbitMQ looks it up.
    kept = f"${{{_RABBIT}:-${{{_RABBIT.removeprefix('RABBITMQ_')}:-}}}}"
    added = "".join(f" {argument}" for argument in arguments)
    return [f"{_RABBIT}=\"{kept}\"'{added}'"]


def _check(kind: BootFormat, word: str, what: str) -> None:
    refused = _REFUSED[kind]
    is_flag = kind is not BootFormat.ELIXIR and word[:1] in {"-", "+"}
    if _WORD.fullmatch(word) is None or is_flag or any(letter in refused for letter in word):
        raise AgentFileError(
            f"{what} cannot stand in a boot file of the format {kind}: no white space,"
            f" none of {' '.join(refused) or 'the control characters'}"
            f"{'' if kind is BootFormat.ELIXIR else ', and no - or + in front'};"
            " rotate once by restarting with the new cookie"
        )


def _pins(rows: Iterable[tuple[str, str]]) -> Mapping[NodeName, Cookie]:
    """A name that stands there twice has no pin at all (OTP)."""
    found = list(rows)
    times = Counter(peer for peer, _ in found)
    return {NodeName(peer): Cookie(text) for peer, text in found if times[peer] == 1}


def _atom(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
