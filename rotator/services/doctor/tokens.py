"""API tokens that end soon, and those that reach too far."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rotator.domain.findings import Finding
from rotator.services.tokens import ANY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rotator.ports.records import Records
    from rotator.ports.state_store import TokenRow

SOON: Final = timedelta(days=7)
#: Who has not used a token for so long does not miss it.
_IN_USE: Final = timedelta(days=7)


def look(records: Records) -> Iterator[Finding]:
    """What is wrong with the tokens that are valid now. They are named by their ids."""
    now = records.now
    valid = [one for one in records.tokens if one.revoked_at is None and one.expires_at > now]
    for token in valid:
        is_used = token.last_used_at is not None and now - token.last_used_at <= _IN_USE
        if is_used and token.expires_at - now <= SOON:
            detail = f"{_described(token)}, ends {token.expires_at:%Y-%m-%d %H:%M} UTC"
            yield Finding(code="token_expires", subject=token.id, detail=detail)
        if token.role == "node" and (ANY in token.nodes or ANY in token.clusters):
            yield Finding(code="token_too_wide", subject=token.id, detail=_described(token))
    if not any(token.role == "operator" for token in valid):
        yield Finding(code="nobody_may_act")


def _described(token: TokenRow) -> str:
    nodes = f" {token.nodes}" if token.nodes else ""
    return f"{token.role}{nodes} of {', '.join(token.clusters)}"
