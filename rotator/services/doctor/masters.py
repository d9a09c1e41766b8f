"""Master secrets: whether their epochs are there, and how they are stretched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.domain.findings import Finding
from rotator.domain.ids import EpochNumber, MasterName
from rotator.domain.strength import is_weak
from rotator.domain.version import Stage
from rotator.errors import EpochMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rotator.domain.cluster import Cluster
    from rotator.domain.kdf import KdfParameters
    from rotator.ports.master_store import MasterStore

_IN_USE: Final = frozenset({Stage.PENDING, Stage.CURRENT, Stage.PREVIOUS})
Epochs = tuple[tuple[MasterName, EpochNumber], ...]


def in_use(clusters: Sequence[Cluster]) -> Epochs:
    """The epochs that cookies and fingerprint keys of these clusters come from."""
    found: set[tuple[MasterName, EpochNumber]] = set()
    for cluster in clusters:
        if cluster.master is None or not cluster.is_initialised:
            continue
        numbers = {v.epoch for v in cluster.versions.values() if v.stage in _IN_USE}
        numbers.add(cluster.first_epoch)
        found |= {(cluster.master, number) for number in numbers if number is not None}
    return tuple(sorted(found))


def configured(parameters: Mapping[MasterName, KdfParameters]) -> Iterator[Finding]:
    """Profiles that are for tests."""
    for master, kdf in sorted(parameters.items()):
        if is_weak(kdf):
            yield Finding(code="profile_weak", subject=master, detail=kdf.profile)


async def stored(
    store: MasterStore, epochs: Epochs, wanted: Mapping[MasterName, KdfParameters]
) -> list[Finding]:
    """What is wrong with the epochs in use; the secrets that are read with them are let go."""
    found: list[Finding] = []
    for master, number in epochs:
        subject = f"{master} {number}"
        try:
            epoch = await store.read(master, number)
        except EpochMissing:
            epoch = None
        if epoch is None:
            found.append(Finding(code="epoch_missing", subject=subject))
        elif is_weak(epoch.kdf):
            found.append(Finding(code="epoch_weak", subject=subject, detail=epoch.kdf.profile))
        elif wanted.get(master) not in {None, epoch.kdf}:
            detail = f"{epoch.kdf.profile}; the settings say {wanted[master].profile}"
            found.append(Finding(code="epoch_profile_old", subject=subject, detail=detail))
    return found
