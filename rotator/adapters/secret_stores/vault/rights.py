"""What the service's token must be able to do, and what it must not. Values only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.domain.findings import Finding
from rotator.domain.ids import MasterName

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from rotator.ports.examiner import Subject

DOCUMENT: Final = frozenset({"create", "read", "update"})
EPOCH: Final = frozenset({"create", "read"})  #: no update: nobody writes over a master secret
NOTHING: Final[frozenset[str]] = frozenset()
ROOT: Final = "root"
_DENIED: Final = "deny"
_SHOWN: Final = 3

#: Doors that a stolen service token must not open: an excerpt, since a policy cannot be listed.
_ELSEWHERE: Final = (
    "sys/policies/acl/rotator-doctor",
    "sys/mounts/rotator-doctor",
    "sys/auth/rotator-doctor",
    "sys/seal",
    "sys/raw/rotator-doctor",
    "sys/storage/raft/snapshot",
    "auth/token/create",
    "auth/token/create-orphan",
    "auth/approle/role/rotator-doctor",
)


def wanted(subject: Subject, *, mount: str, prefix: str) -> dict[str, frozenset[str]]:
    """Each path that is asked about, with exactly what the service may do there."""
    paths: dict[str, frozenset[str]] = {}
    for cluster in subject.clusters:
        place = f"{prefix}/clusters/{cluster}"
        paths[f"{mount}/data/{place}"] = DOCUMENT
        paths[f"{mount}/metadata/{place}"] = DOCUMENT
        for action in ("delete", "undelete", "destroy"):
            paths[f"{mount}/{action}/{place}"] = NOTHING
    for master in sorted({master for master, _ in subject.epochs} or {MasterName("default")}):
        newest = max((number for name, number in subject.epochs if name == master), default=0)
        for number in {newest, newest + 1} - {0}:
            place = f"{prefix}/masters/{master}/{number}"
            paths[f"{mount}/data/{place}"] = EPOCH
            paths[f"{mount}/metadata/{place}"] = NOTHING
            paths[f"{mount}/destroy/{place}"] = NOTHING
    return paths | dict.fromkeys(_elsewhere(mount, prefix), NOTHING)


def _elsewhere(mount: str, prefix: str) -> Iterator[str]:
    yield f"{mount}/data/{prefix}-rotator-doctor/elsewhere"
    yield f"{mount}/data/rotator-doctor"
    yield f"{mount}/metadata/{prefix}/clusters"
    yield f"{mount}/metadata/{prefix}/masters"
    yield f"{mount}/config"
    yield from _ELSEWHERE


def compare(
    paths: Mapping[str, frozenset[str]], found: Mapping[str, Collection[str]]
) -> Iterator[Finding]:
    """Rights that are missing, and those that are too many; a root token is another's finding."""
    may = {path: frozenset(found.get(path, ())) - {_DENIED} for path in paths}
    if any(ROOT in rights for rights in may.values()):
        return
    missing = {path: paths[path] - may[path] for path in paths}
    too_many = {path: may[path] - paths[path] for path in paths}
    yield from _told("rights_missing", "lacks", missing)
    yield from _told("rights_too_wide", "may", too_many)


def _told(code: str, verb: str, by_path: Mapping[str, Iterable[str]]) -> Iterator[Finding]:
    """One finding for each set of rights, with a few of its paths: there may be a thousand."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for path, rights in by_path.items():
        if rights:
            alike.setdefault(tuple(sorted(rights)), []).append(path)
    for rights, paths in alike.items():
        more = len(paths) - _SHOWN
        subject = ", ".join(paths[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        yield Finding(code=code, subject=subject, detail=f"{verb} {', '.join(rights)}")
