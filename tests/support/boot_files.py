"""The boot file in its three formats, as the agent beside a node writes it."""

from __future__ import annotations

from collections.abc import Mapping


def arguments(pins: Mapping[str, str]) -> str:
    """`erl`: a file for ``erl -args_file``; empty without pins."""
    return "".join(f"-setcookie {peer} {cookie}\n" for peer, cookie in pins.items())


def environment(pins: Mapping[str, str]) -> str:
    """`rabbitmq`: shell; what the user has set is kept in front, with or without the prefix."""
    added = "".join(f" -setcookie {peer} {cookie}" for peer, cookie in pins.items())
    name = "SERVER_ADDITIONAL_ERL_ARGS"
    return f"RABBITMQ_{name}=\"${{RABBITMQ_{name}:-${{{name}:-}}}}\"'{added}'\n"


def terms(own: str, pins: Mapping[str, str]) -> str:
    """`elixir`: Erlang terms with the own cookie, too."""
    rows = [f"{{own, {atom(own)}}}."]
    rows += [f"{{pin, {atom(peer)}, {atom(cookie)}}}." for peer, cookie in pins.items()]
    return "\n".join(rows) + "\n"


def atom(text: str) -> str:
    """A quoted atom."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
