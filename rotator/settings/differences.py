"""What differs between two readings of rotator.yaml, by name and never by value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rotator.settings.sections import Settings

#: What takes effect while serving; everything else is opened once, at the start.
RELOADED: Final = frozenset({"clusters", "masters", "limits", "log"})
_CLUSTERS: Final = "clusters."
#: Their entries have names of the operator's: a whole one comes or goes.
_NAMED: Final = ("clusters", "masters")


@dataclass(frozen=True, slots=True)
class Differences:
    """Dotted names of settings, in order: ``clusters.orders.grace_window``."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    #: Of each cluster that stays, what changed, without its name (which may have dots in it).
    by_cluster: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.added, *self.removed, *self.changed)

    @property
    def for_restart(self) -> tuple[str, ...]:
        """Those that take effect at a start alone."""
        return tuple(name for name in self.names if name.partition(".")[0] not in RELOADED)

    @property
    def clusters(self) -> tuple[str, ...]:
        """The clusters with a change of their own, or that come or go."""
        whole = [*self.added, *self.removed]
        found = [name.removeprefix(_CLUSTERS) for name in whole if name.startswith(_CLUSTERS)]
        return (*found, *self.by_cluster)

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """What changed and is no cluster's."""
        return tuple(name for name in self.changed if not name.startswith(_CLUSTERS))


def differences(before: Settings, after: Settings) -> Differences:
    """What *after* has otherwise than *before*, defaults filled in."""
    old, new = before.model_dump(), after.model_dump()
    added, removed = [], []
    for section in _NAMED:
        added += [f"{section}.{name}" for name in sorted(new[section].keys() - old[section].keys())]
        removed += [
            f"{section}.{name}" for name in sorted(old[section].keys() - new[section].keys())
        ]
        for name in old[section].keys() ^ new[section].keys():
            old[section].pop(name, None)
            new[section].pop(name, None)
    by_cluster = {
        name: tuple(_differing(old["clusters"][name], new["clusters"][name], ()))
        for name in sorted(new["clusters"])
    }
    return Differences(
        added=tuple(added),
        removed=tuple(removed),
        changed=tuple(sorted(_differing(old, new, ()))),
        by_cluster={name: changed for name, changed in by_cluster.items() if changed},
    )


def _differing(
    old: Mapping[str, Any], new: Mapping[str, Any], place: tuple[str, ...]
) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        was, is_now = old.get(name), new.get(name)
        inner = (*place, name)
        if isinstance(was, dict) and isinstance(is_now, dict):
            yield from _differing(was, is_now, inner)
        elif was != is_now:
            yield ".".join(inner)
