"""As `tables`, for what surrounds the clusters: members, facts, tokens, emergencies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from rotator.cli.durations import age, instant
from rotator.cli.tables import Table, View, maybe, when, words, yes

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.protocol import v1

_WIDEST: Final = 40  #: of one value among a fact's details
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def members(found: v1.Members, now: datetime) -> View:
    """The nodes of a cluster, a row each."""
    if not found.nodes:
        return ["no member has attested yet"]
    rows = [
        (
            one.name,
            one.liveness,
            _uses(one),
            ", ".join(map(str, one.holds)) or "-",
            _links(one),
            age(one.last_seen, now),
            maybe(one.otp_release),
            maybe(one.agent),
            str(len(one.preflight)) if one.preflight else "-",
        )
        for one in found.nodes
    ]
    columns = ("node", "liveness", "uses", "holds", "links", "seen", "otp", "agent", "findings")
    said = [f"! {one.name}: {finding}" for one in found.nodes for finding in one.preflight]
    return [Table(columns, rows), *said]


def _uses(found: v1.Member) -> str:
    if found.unknown_cookie:
        return "unknown cookie"
    return f"{maybe(found.uses)} (retired)" if found.retired_cookie else maybe(found.uses)


def _links(found: v1.Member) -> str:
    foreign = len(found.foreign_links)
    return f"{len(found.links)} ({foreign} foreign)" if foreign else str(len(found.links))


def member(found: v1.Member, now: datetime) -> View:
    """One node."""
    uses = "a cookie that is not known here" if found.unknown_cookie else _uses(found)
    view: View = [
        f"{found.name}: {found.liveness}, seen {age(found.last_seen, now)} ago",
        f"uses version: {uses}; holds: {', '.join(map(str, found.holds)) or '-'}",
        f"joined {when(found.joined_at)}; read from {maybe(found.read_from)}",
        f"otp {maybe(found.otp_release)}, agent {maybe(found.agent)}",
    ]
    if found.shut_out:
        view.append("shut out: it is refused, whatever it shows, until `rotator readmit`")
    if found.foreign_links:
        view.append(f"foreign links: {', '.join(found.foreign_links)}")
    if found.silent_peers:
        view.append(f"linked, agent silent: {', '.join(found.silent_peers)}")
    view += [f"preflight: {one}" for one in found.preflight]
    peers = sorted(found.pins.keys() | found.links.keys())
    rows = [
        (peer, maybe(found.pins.get(peer)), yes(peer in found.links), _hidden(found, peer))
        for peer in peers
    ]
    return [*view, Table(("peer", "pinned to", "linked", "hidden"), rows)] if rows else view


def _hidden(found: v1.Member, peer: str) -> str:
    return yes(found.links[peer].hidden) if peer in found.links else "-"


def removed(found: v1.Removed) -> View:
    """What went with a node."""
    view: View = [f"{found.node} is removed from {found.cluster}"]
    if found.revoked_tokens:
        view.append(f"revoked tokens: {', '.join(found.revoked_tokens)}")
    if found.covering_tokens:
        view.append(f"still covered by the tokens: {', '.join(found.covering_tokens)}")
    if found.covering_accounts:
        accounts = ", ".join(found.covering_accounts)
        view.append(f"spoken for by pods of the Kubernetes service accounts: {accounts}")
    view.append("it is refused, whatever it shows, until `rotator readmit`")
    return view


def _details(found: dict[str, Any]) -> str:
    """What stands in a row; empty values and the rest of long ones are left to ``-o json``."""
    shown = {name: _short(value) for name, value in found.items()}
    return " ".join(f"{name}={value}" for name, value in shown.items() if value)


def _short(value: Any) -> str:  # noqa: ANN401 - JSON
    if value is None or value in ("", [], {}):
        return ""
    if isinstance(value, dict):
        return f"({len(value)})"
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if _INSTANT.fullmatch(text):
        return when(text)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def facts(found: v1.Facts, *, is_newest: bool) -> View:
    """Facts, a row each, the newest last; with *is_newest* they come newest first."""
    if not found.facts:
        return ["no facts"]
    rows = [
        (
            str(one.position),
            when(one.at),
            maybe(one.cluster),
            one.kind,
            maybe(one.version),
            one.by,
            " ".join(filter(None, (one.reason, _details(one.details)))) or "-",
        )
        for one in sorted(found.facts, key=lambda fact: fact.position)
    ]
    view: View = [Table(("#", "at", "cluster", "fact", "version", "by", "why"), rows)]
    if found.next is not None and not is_newest:
        view.append(f"more: --after {found.next}")
    return view


def _token_state(found: v1.Token, now: datetime) -> str:
    if found.revoked_at:
        return "revoked"
    return "expired" if instant(found.expires_at) <= now else "valid"


def tokens(found: v1.Tokens, now: datetime) -> View:
    """Tokens without their secrets, a row each."""
    if not found.tokens:
        return ["no token"]
    rows = [
        (
            one.id,
            one.role,
            ", ".join(one.clusters),
            maybe(one.nodes),
            _token_state(one, now),
            when(one.expires_at),
            "never" if one.last_used_at is None else f"{age(one.last_used_at, now)} ago",
            maybe(one.note),
        )
        for one in found.tokens
    ]
    return [Table(("id", "role", "clusters", "nodes", "state", "expires", "used", "note"), rows)]


def emergency(found: v1.EmergencyReport) -> View:
    """An emergency over several clusters."""
    rows = [
        (
            one.cluster,
            maybe(one.rotation),
            words(one.phase or "-"),
            "-" if one.error is None else one.detail or words(one.error),
        )
        for one in found.clusters
    ]
    return [f"emergency {found.id}", Table(("cluster", "rotation", "phase", "error"), rows)]
