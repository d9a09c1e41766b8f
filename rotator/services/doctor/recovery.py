"""Whether a lost secrets manager could be rebuilt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.domain.facts import FactKind
from rotator.domain.findings import Finding
from rotator.services.doctor import masters

if TYPE_CHECKING:
    from rotator.ports.records import Records

EXPORTED: Final = "MasterExported"
#: After one of these a recovery file lacks something that cookies come from.
ADDING: Final = (
    FactKind.EPOCH_OPENED.value,
    FactKind.CLUSTER_INITIALISED.value,
    FactKind.VERSIONS_REVOKED.value,
)
KINDS: Final = (EXPORTED, *ADDING)


def look(records: Records) -> tuple[Finding, ...]:
    """A finding if there is something to lose and no recovery file that holds all of it."""
    if not any(cluster.is_initialised for cluster in records.clusters):
        return ()
    exported = records.newest_facts.get(EXPORTED)
    if exported is None:
        return (Finding(code="never_exported"),)
    later = [kind for kind in ADDING if records.newest_facts.get(kind, exported) > exported]
    lacking = _lacking(records)
    if not later and not lacking:
        return ()
    why = [f"since then: {', '.join(later)}"] if later else []
    why += [f"it lacks: {', '.join(lacking)}"] if lacking else []
    detail = f"of {exported:%Y-%m-%d}; {'; '.join(why)}"
    return (Finding(code="export_outdated", detail=detail),)


def _lacking(records: Records) -> list[str]:
    """Epochs in use that the last file does not hold, whatever facts say: they may be of an old copy."""
    named = records.newest_details.get(EXPORTED, {}).get("epochs")
    if not isinstance(named, list):
        return []
    used = (f"{master}/{number}" for master, number in masters.in_use(records.clusters))
    return [epoch for epoch in used if epoch not in named]
