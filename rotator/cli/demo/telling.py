"""What people see: each phase as it begins, and what was shown at the end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from rotator.cli.demo.flags import kept, promised

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rotator.cli.demo.course import Line

#: Each promise, so that `yes` is good.
_SHOWN: Final = {
    "links_lost": "no link between nodes was lost",
    "calls_failed": "no call between nodes failed",
    "previous_readable_during_grace": "previous stays readable during grace",
    "previous_readable_after": "it is not readable after that",
    "revoked_readable_after": "after the emergency, the leaked cookie is not readable",
    "still_stored": "no former cookie is stored any more",
    "retired_cookie_refused": "every node refuses every former cookie",
    "current_cookie_accepted": "every node accepts the current one",
    "intruder_evicted": "the intruder is out, and the new cookie is none of his",
}
_STAYS_STORED: Final = "former cookies stay stored on AWS, out of a node's reach"


def say(text: str) -> None:
    """One line on standard error: standard output is the report's."""
    print(text, file=sys.stderr, flush=True)


def show(lines: Iterable[Line]) -> None:
    """A rotation's news: phases stand out, what nodes do is set in."""
    for line in lines:
        say(f"  {line.at:6.2f} s  {'' if line.is_phase else '    '}{line.text}")


def yes(value: bool | None) -> str:
    """The answer in words; `None` is a question that was not put."""
    return {True: "yes", False: "no", None: "not tried"}[value]


def as_text(report: Mapping[str, Any]) -> str:
    """The report, for people."""
    rows = [
        f"  {r['kind']:<10} version {r['from_version']} -> {r['to_version']}  {r['phase']}"
        f" in {r['seconds']:.2f} s"
        for r in report["rotations"]
    ]
    answers, texts = kept(report), dict(_SHOWN)
    if promised(report["store"])["still_stored"]:
        texts["still_stored"] = _STAYS_STORED
    width = max(map(len, texts.values()))
    shown = [f"  {text:<{width}}  {yes(answers[name])}" for name, text in texts.items()]
    return "\n".join(["", "rotations", *rows, "", "what was shown", *shown])
