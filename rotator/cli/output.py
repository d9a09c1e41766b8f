"""The only place that turns values and errors into text on the terminal.

Its rules:

1. Standard output holds the result and nothing else: a table for people, or with ``-o json`` or
   ``-o yaml`` one document for programs (``--watch``: one per change).
2. Everything else (progress, warnings, questions, errors) goes to standard error.
3. An error is a sentence beginning with ``error:`` and, where something can be done about it, a
   second one that says what. Never a traceback, never a local variable.
4. Text from outside is printed as text: no markup, no control characters.
5. No token and no cookie passes through here, but a new token on its way to standard output.
6. Colour and live views are for terminals; NO_COLOR is respected.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TextIO

from rotator.cli.failure import Failure, Interrupted, Refused, TimedOut, Unintelligible, Unreachable
from rotator.cli.tables import Table, View

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from rotator.protocol import v1

_PIPE_WIDTH: Final = 240


class Format(StrEnum):
    """What standard output holds."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class Output:
    """Prints results in one format."""

    def __init__(self, form: Format) -> None:
        self.form = form

    @property
    def is_table(self) -> bool:
        """Whether a person reads it."""
        return self.form is Format.TABLE

    def show(self, document: object, view: View) -> None:
        """The result: *document* for programs, *view* for people."""
        if self.form is Format.JSON:
            print(json.dumps(document, indent=2, ensure_ascii=False))
        elif self.form is Format.YAML:
            print(_yaml(document), end="")
        else:
            self.lay_out(view)
        sys.stdout.flush()

    def show_change(self, document: object) -> None:
        """One of several documents: a line of JSON, or a document of a YAML stream."""
        if self.form is Format.JSON:
            print(json.dumps(document, ensure_ascii=False), flush=True)
        else:
            print(f"---\n{_yaml(document)}", end="", flush=True)

    def lay_out(self, view: View) -> None:
        """A view on standard output."""
        for part in view:
            if isinstance(part, str):
                print(clean(part))
            else:
                console(sys.stdout).print(renderable(part))


def _yaml(document: object) -> str:
    import yaml  # noqa: PLC0415 - only who wants YAML waits for it

    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def console(file: TextIO) -> Console:
    """Rich, on a terminal as wide as it is, in a pipe so wide that no table is cut."""
    from rich.console import Console  # noqa: PLC0415 - only who prints tables waits for it

    width = None if file.isatty() else _PIPE_WIDTH
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


def renderable(part: Table | str) -> Any:  # noqa: ANN401 - whatever rich can print
    """A part of a view as rich prints it."""
    from rich.table import Table as RichTable  # noqa: PLC0415 - only who prints tables
    from rich.text import Text  # noqa: PLC0415 - only who prints tables

    if isinstance(part, str):
        return Text(clean(part))
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    for name in part.columns:
        table.add_column(name.upper(), overflow="fold")
    for row in part.rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    return table


def clean(text: str) -> str:
    """Text without control characters, which could move the cursor or colour a lie."""
    return "".join(char if char.isprintable() else " " for char in text)


def say(*lines: str) -> None:
    """Progress and remarks for the person in front, on standard error."""
    for line in lines:
        print(clean(line), file=sys.stderr, flush=True)


def warn(texts: Iterable[str]) -> None:
    """Warnings of the service."""
    say(*(f"warning: {text}" for text in texts))


def report(failure: Failure) -> None:
    """An error as one or two sentences, on standard error."""
    what, hint = explain(failure)
    first, *others = what.splitlines() or [""]
    say(first if isinstance(failure, Interrupted) else f"error: {first}", *others)
    if hint:
        say(f"  {hint}")


def report_bug(error: BaseException) -> None:
    """What nobody foresaw: where it happened; the message might quote something secret."""
    trace, where = error.__traceback__, "?"
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_globals.get("__name__", "").startswith("rotator"):
            where = f"{frame.f_globals['__name__']}:{trace.tb_lineno}"
        trace = trace.tb_next
    say(
        f"error: unexpected {type(error).__name__} at {where}",
        "  that is a bug of this program; please report it with this line and the command",
    )


def explain(failure: Failure) -> tuple[str, str]:
    """What went wrong, and what to do next (or nothing)."""
    match failure:
        case Refused():
            return _problem(failure.problem, failure.asked)
        case Unreachable():
            return _UNREACHABLE.get(failure.why, _NO_CONNECTION).format(failure.address), _hint(
                failure
            )
        case Unintelligible():
            return (
                f"{failure.address} gave an answer that is not understood here ({failure.why})",
                "is that the service's API, and are both of about the same release?",
            )
        case TimedOut():
            return f"timed out: {failure}", failure.hint
        case Interrupted():
            return f"interrupted; {failure}", ""
        case _:
            return str(failure), failure.hint


_NO_CONNECTION: Final = "no connection to {}"
_UNREACHABLE: Final = {
    "refused": "nothing listens at {}",
    "timeout": "no answer from {} in time",
    "certificate": "the certificate of {} is not trusted",
    "tls": "{} does not speak TLS as it should",
    "broken off": "the connection to {} broke off before the answer was there",
}


def _hint(failure: Unreachable) -> str:
    if failure.why == "certificate":
        return "name the authority that signed it with --cacert or ROTATOR_CACERT"
    if failure.why in {"timeout", "broken off"}:
        return "a command may have been carried out all the same; look with `rotator status`"
    return "is the service running? set its address with --addr or ROTATOR_ADDR"


#: What to do about a problem, by its code.
_NEXT: Final = {
    "not_authenticated": "give a valid token with --token-file, ROTATOR_TOKEN_FILE or"
    " ROTATOR_TOKEN; it may be expired or revoked",
    "not_allowed": "ask with a token of a role that may, and with this cluster in its scope",
    "not_found": "`rotator status` lists what this token may see",
    "rotation_underway": "follow it with `rotator status --watch`",
    "cooling_down": "add --force if a second emergency is meant",
    "member_is_live": "add --force if nobody shall wait for it all the same",
    "already_initialised": "replace its cookie with `rotator rotate`",
    "already_done": "revoke it (`rotator token list`) and make another one",
    "shut_out": "`rotator readmit` lets a node join again that was excluded or removed",
    "frozen": "`rotator status CLUSTER` says what does not agree",
}


def _named(path: str) -> str:
    """``clusters/orders/nodes/rabbit@a`` as ``node rabbit@a of cluster orders``."""
    parts = path.split("/")
    pairs = zip(parts[::2], parts[1::2], strict=False)
    return " of ".join(reversed([f"{kind.removesuffix('s')} {name}" for kind, name in pairs]))


def _problem(problem: v1.Problem, asked: str) -> tuple[str, str]:
    what = (problem.detail or problem.title or problem.code.replace("_", " ")).rstrip(".")
    what = what if what[1:2].isupper() else what[:1].lower() + what[1:]
    if problem.code == "not_found":
        what = f"there is no {_named(asked)}, or not within this token's scope"
    hint = _NEXT.get(problem.code, "")
    if problem.code == "rotation_underway" and problem.rotation and problem.rotation not in what:
        what = f"{what} (rotation {problem.rotation})"
    if problem.status >= 500 and problem.request_id:  # noqa: PLR2004 - a server's error
        hint = f"the service's log has more under request {problem.request_id}"
    return what, hint
