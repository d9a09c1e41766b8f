"""Which labels to move, and in which order. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CURRENT: Final = "AWSCURRENT"
PREVIOUS: Final = "AWSPREVIOUS"
PENDING: Final = "AWSPENDING"
#: A version that is stored and not used yet. No node's policy has it.
NEXT: Final = "ROTATOR_NEXT"
#: On ``/meta``: every label of the document is where this version says.
SETTLED: Final = "ROTATOR_SETTLED"

#: Current first; then previous, as AWS itself puts it on what an emergency revokes.
_ORDER: Final = (CURRENT, PREVIOUS, PENDING)

Labels: TypeAlias = "Mapping[str, str]"  #: label → version; a label is on one version at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Move *label* from one version to another; None: from nowhere, or to nowhere."""

    label: str
    off: str | None
    to: str | None


def after(labels: Labels, move: Move) -> Labels:
    """Where labels are after it; AWSPREVIOUS follows AWSCURRENT by itself.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html
    """
    moved = {label: version for label, version in labels.items() if label != move.label}
    if move.to is not None:
        moved[move.label] = move.to
    if move.label == CURRENT and move.off is not None:
        moved[PREVIOUS] = move.off
    return moved


def are_settled(labels: Labels, wanted: Labels) -> bool:
    """Whether each of the three labels is where it is wanted; other labels are of no concern."""
    return all(labels.get(label) == wanted.get(label) for label in _ORDER)


def missing(labels: Labels, wanted: Labels) -> Iterator[Move]:
    """What is to be done, from wherever the labels are."""
    for label in _ORDER:
        if labels.get(label) != wanted.get(label):
            move = Move(label=label, off=labels.get(label), to=wanted.get(label))
            labels = after(labels, move)
            yield move


def misplaced(labels: Labels, wanted: Labels) -> str:
    """The first label that is not where it belongs, in words; only ids of versions."""
    label = next(label for label in _ORDER if labels.get(label) != wanted.get(label))
    found, right = labels.get(label, "no version"), wanted.get(label, "none")
    return f"{label} is on {found} and belongs on {right}"
