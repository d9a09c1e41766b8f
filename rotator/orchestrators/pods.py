"""What a pod's object says, and which pod a node is. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rotator.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

#: Names of pods are DNS subdomains; dots are left out, or a pattern would match too much.
_POD: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_MARK: Final = "{pod}"
_LABEL: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_./]*=[-A-Za-z0-9_.]*")


@dataclass(frozen=True, slots=True)
class NodeNames:
    """How a node's name is made of its pod's: ``rabbit@{pod}.rabbit-nodes.default``."""

    pattern: str

    def __post_init__(self) -> None:
        if self.pattern.count(_MARK) != 1 or "@" not in self.pattern:
            raise ConfigurationError(
                "a pattern of node names holds {pod} once, such as rabbit@{pod}.rabbit-nodes"
            )

    def pod_of(self, node: str) -> str | None:
        """The pod's name; None for a node that is none of these."""
        before, _, after = self.pattern.partition(_MARK)
        found = re.fullmatch(f"{re.escape(before)}({_POD}){re.escape(after)}", node)
        return found[1] if found else None


def labels(selector: str) -> dict[str, str]:
    """``app=rabbitmq,tier=mq`` as a mapping; `ConfigurationError` for anything else, or nothing."""
    parts = [part.strip() for part in selector.split(",")]
    if not all(map(_LABEL.fullmatch, parts)):
        raise ConfigurationError(
            "a selector names labels that the pods have, such as app.kubernetes.io/name=rabbitmq"
        )
    return dict(part.split("=", 1) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """One pod at one moment, by the API server's clock."""

    name: str
    uid: str
    labels: Mapping[str, str]
    phase: str
    is_ready: bool
    is_going: bool
    ready_since: str  #: when its Ready condition last changed, or when it was created
    waits_for: str  #: reasons that its containers give, or an empty text


def seen(item: Mapping[str, Any]) -> PodSeen:
    """What matters of a pod's object; what is missing counts as not so."""
    meta, status = item.get("metadata") or {}, item.get("status") or {}
    conditions = status.get("conditions") or []
    containers = [
        *(status.get("initContainerStatuses") or []),
        *(status.get("containerStatuses") or []),
    ]
    waits = [((one.get("state") or {}).get("waiting") or {}).get("reason") for one in containers]
    unscheduled = [
        one.get("reason") for one in conditions if (one.get("type"), one.get("status")) == _NOWHERE
    ]
    return PodSeen(
        name=str(meta.get("name", "")),
        uid=str(meta.get("uid", "")),
        labels=meta.get("labels") or {},
        phase=str(status.get("phase", "Unknown")),
        is_ready=any((one.get("type"), one.get("status")) == _READY for one in conditions),
        is_going=meta.get("deletionTimestamp") is not None,
        ready_since=_ready_since(conditions) or str(meta.get("creationTimestamp", "")),
        waits_for=", ".join(dict.fromkeys(str(one) for one in (*unscheduled, *waits) if one)),
    )


_READY: Final = ("Ready", "True")
_NOWHERE: Final = ("PodScheduled", "False")


def _ready_since(conditions: Sequence[Mapping[str, Any]]) -> str:
    """A container that is started again in the same pod makes it unready in between."""
    times = [one.get("lastTransitionTime") for one in conditions if one.get("type") == "Ready"]
    return str(times[0] or "") if times else ""


def obstacle(pod: PodSeen, *, now: datetime, settle: timedelta) -> str:
    """Why this pod is not to be evicted now; an empty text: it may be.

    One that is not ready is on its way up, and boots with the new cookie, or it is ill, and no restart
    of ours is what it needs. One that has just started is given time to tell: its member may be on
    the new version already, and a second restart would be for nothing.
    """
    if pod.is_going:
        return f"pod {pod.name} is about to end already"
    if not pod.is_ready:
        return not_ready(pod)
    if now - _instant(pod.ready_since, now) < settle:
        return f"pod {pod.name} has just started: its member is given time to report"
    return ""


def not_ready(pod: PodSeen) -> str:
    """Why a pod is not up, as far as it says."""
    if pod.is_going:
        return f"pod {pod.name} is ending"
    if pod.is_ready:
        return ""
    why = f" ({pod.waits_for})" if pod.waits_for else ""
    return f"pod {pod.name} is not ready: {pod.phase}{why}"


def _instant(text: str, now: datetime) -> datetime:
    try:
        return now.fromisoformat(text)
    except ValueError:
        return now  # A pod without an age counts as new.
