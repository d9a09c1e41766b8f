"""What differs between two readings of rotator.yaml, by name and never by value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rotator.settings.sections import Settings

#: What takes effect while serving; everything else is opened once, at the start.
RELOADED: Final = frozenset({"clusters", "masters", "limits", "log"})
#: Their entries have names of the operator's: a whole one comes or goes.
_NAMED: Final = ("clusters", "masters")


@dataclass(frozen=True, slots=True)
class Differences:
    """Dotted names of settings, in order: ``clusters.orders.grace_window``."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

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
        """The clusters with a change of their own."""
        found = [name.split(".", 2)[1] for name in self.names if name.startswith("clusters.")]
        return tuple(dict.fromkeys(found))


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
    return Differences(tuple(added), tuple(removed), tuple(sorted(_differing(old, new, ()))))


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
