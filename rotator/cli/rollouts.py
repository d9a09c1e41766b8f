"""A rollout as a table and lines: next, under way, waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.cli.tables import Table, words

if TYPE_CHECKING:
    from rotator.cli.tables import View
    from rotator.protocol import v1

_STOPPED: Final = frozenset({"restart_failed", "not_back"})


def is_stopped(found: v1.Rollout) -> bool:
    """Whether a person has to look at a node."""
    return any(row.code in _STOPPED for row in found.waiting)


def rollout(found: v1.Rollout) -> View:
    """A row for each node that is not done, and a line for what all of them wait for."""
    view: View = [f"{found.cluster}: {_standing(found)}"]
    view += [f"note: {one}" for one in found.notes]
    rows = [(one.node, one.step, "next", one.reason) for one in found.next]
    rows += [(one.node, one.step, words(one.state), _claim(one, found)) for one in found.under_way]
    shown = {row[0] for row in rows}
    rows += [
        (row.node, "-", words(row.code), row.detail)
        for row in found.waiting
        if row.node and row.node not in shown
    ]
    if rows:
        view.append(Table(("node", "step", "is", "detail"), rows))
    waits = [row for row in found.waiting if not row.node]
    view += [f"all wait for: {words(row.code)} ({row.detail})" for row in waits]
    return view


def _claim(one: v1.Claim, found: v1.Rollout) -> str:
    said = [row for row in found.waiting if row.node == one.node and row.code != "restarting"]
    why = f": {words(said[0].code)} ({said[0].detail})" if said else ""
    return f"by {one.holder}{why}"


def _standing(found: v1.Rollout) -> str:
    if found.strategy == "hot":
        return "nodes adopt while they run, and nothing is restarted"
    if found.version is None:
        phase = f", {words(found.phase)}" if found.phase else ""
        return f"{words(found.strategy)}; nothing to restart just now{phase}"
    held = ", held" if found.is_paused else ""
    return (
        f"{words(found.strategy)}, version {found.version}: {found.restarted} of {found.members}"
        f" restarted{held}"
    )
