"""For each alert: figures of a service that is well, and of one that is not.

Series are written as `promtool test rules` takes them, one value a minute.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

HOUR: Final = 60  #: minutes
DAY: Final = 24 * HOUR
_JOB: Final = 'job="rotator"'
_CLUSTER: Final = f'{_JOB},cluster="orders"'
_WELL: Final = "0x200"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series that bring an alert about, and those that do not; when each is looked at, in minutes."""

    bad: dict[str, str]
    good: dict[str, str]
    fires_at: int
    labels: dict[str, str] = field(default_factory=dict)  #: besides job and severity
    quiet_at: int | None = None  #: when the bad series do not fire yet; None: not looked at

    @property
    def alert_labels(self) -> dict[str, str]:
        """What the alert carries."""
        return {"job": "rotator", **self.labels}


def _of_cluster(
    metric: str, *, bad: str, good: str, fires_at: int, quiet_at: int | None = None, more: str = ""
) -> Case:
    series = f"{metric}{{{_CLUSTER}{more}}}"
    return Case(
        bad={series: bad},
        good={series: good},
        fires_at=fires_at,
        quiet_at=quiet_at,
        labels={"cluster": "orders"},
    )


_LEADER: Final = f"rotator_leader{{{_JOB},instance="
_ERRORS: Final = (
    f'rotator_store_errors_total{{{_JOB},store="secrets_manager",operation="document_read",code='
)
_PASSES: Final = f'rotator_reconciler_passes_total{{{_JOB},instance="a",outcome='
_FACTS: Final = f"rotator_facts_total{{{_JOB},kind="
_BLOCKED: Final = f"rotator_cluster_blocker_seconds{{{_CLUSTER},code="
_PHASE_AGE: Final = f"rotator_cluster_rotation_phase_seconds{{{_CLUSTER}}}"
_PHASE: Final = f"rotator_cluster_rotation_phase{{{_CLUSTER},phase="
_SLOW: Final = f'rotator_store_operation_seconds_bucket{{{_JOB},store="secrets_manager",operation="document_read",le='
_AGE: Final = f"rotator_cluster_rotation_seconds{{{_CLUSTER}}}"
_EMERGENCY: Final = f"rotator_cluster_emergency{{{_CLUSTER}}}"

CASES: Final[dict[str, Case]] = {
    "RotatorDown": Case(
        bad={f'up{{{_JOB},instance="a"}}': "1 1 0x10"},
        good={f'up{{{_JOB},instance="a"}}': "1x10"},
        fires_at=5,
        quiet_at=2,
        labels={"instance": "a"},
    ),
    "RotatorNoLeader": Case(
        bad={f'{_LEADER}"a"}}': "1 0x10", f'{_LEADER}"b"}}': "0x10"},
        good={f'{_LEADER}"a"}}': "1 0x10", f'{_LEADER}"b"}}': "0 1x10"},
        fires_at=4,
        quiet_at=2,
    ),
    "RotatorTwoLeaders": Case(
        bad={f'{_LEADER}"a"}}': "1x10", f'{_LEADER}"b"}}': "1x10"},
        good={f'{_LEADER}"a"}}': "1x10", f'{_LEADER}"b"}}': "1 0x10"},
        fires_at=3,
        quiet_at=1,
    ),
    "RotatorStateStoreUnreadable": Case(
        bad={f'rotator_state_store_readable{{{_JOB},instance="a"}}': "1 0x10"},
        good={f'rotator_state_store_readable{{{_JOB},instance="a"}}': "1x10"},
        fires_at=4,
        quiet_at=2,
        labels={"instance": "a"},
    ),
    "RotatorSecretsManagerFailing": Case(
        bad={f'{_ERRORS}"store_sealed"}}': "_ 1+1x30"},
        good={
            f'{_ERRORS}"store_sealed"}}': "_x5 1x25",
            f'{_ERRORS}"store_conflict"}}': "_ 5+5x30",
        },
        fires_at=20,
        quiet_at=3,
        labels={"code": "store_sealed"},
    ),
    "RotatorSecretsManagerSlow": Case(
        # As on AWS, where a call may take 10 s.
        bad={
            f'{_SLOW}"2.5"}}': "_ 0x40",
            f'{_SLOW}"5.0"}}': "_ 0x40",
            f'{_SLOW}"10.0"}}': "_ 6+6x40",
            f'{_SLOW}"+Inf"}}': "_ 6+6x40",
        },
        good={f'{_SLOW}"{bound}"}}': "_ 6+6x40" for bound in ("2.5", "5.0", "10.0", "+Inf")},
        fires_at=25,
        quiet_at=5,
    ),
    "RotatorReconcilerBroken": Case(
        bad={f'{_PASSES}"ok"}}': "0+2x30", f'{_PASSES}"internal"}}': "0 0 0 1x30"},
        good={f'{_PASSES}"ok"}}': "0+2x30", f'{_PASSES}"store_sealed"}}': "_ 1+1x30"},
        fires_at=10,
        quiet_at=2,
        labels={"outcome": "internal"},
    ),
    "RotatorReconcilerStalled": Case(
        bad={f'{_PASSES}"ok"}}': "5x40", f'{_LEADER}"a"}}': "1x40"},
        good={f'{_PASSES}"ok"}}': "5x40", f'{_LEADER}"a"}}': "0x40"},
        fires_at=20,
        quiet_at=3,
        labels={"instance": "a"},
    ),
    "RotatorManyRefusals": Case(
        bad={
            f'rotator_http_requests_total{{{_JOB},method="GET",route="/v1/x",status="401"}}': "_ 120+120x40"
        },
        good={
            f'rotator_http_requests_total{{{_JOB},method="GET",route="/v1/x",status="401"}}': "_ 6+6x40",
            f'rotator_http_requests_total{{{_JOB},method="GET",route="/v1/x",status="200"}}': "_ 6000+6000x40",
        },
        fires_at=25,
        quiet_at=5,
    ),
    "RotatorClusterFrozen": _of_cluster(
        "rotator_cluster_state",
        bad="1x10",
        good="_x10",
        fires_at=5,
        quiet_at=1,
        more=',state="frozen"',
    ),
    "RotatorClusterBlocked": Case(
        bad={f'{_BLOCKED}"laggard"}}': "0+60x30"},
        good={
            f'{_BLOCKED}"{code}"}}': "0+60x30"
            for code in ("grace_window", "held", "outside_window")
        },
        fires_at=20,
        quiet_at=10,
        labels={"cluster": "orders", "code": "laggard"},
    ),
    "RotatorRotationStuck": Case(
        bad={_PHASE_AGE: "0+60x90", f'{_PHASE}"rolling_out"}}': "1x90"},
        good={
            # A grace window of an hour, then the window of the schedule is over.
            _PHASE_AGE: "0+60x90",
            f'{_PHASE}"grace"}}': "1x65 _x30",
            f'{_PHASE}"retiring"}}': "_x65 1x30",
            f'rotator_cluster_blockers{{{_CLUSTER},code="outside_window"}}': "_x65 1x30",
        },
        fires_at=70,
        quiet_at=30,
        labels={"cluster": "orders"},
    ),
    "RotatorVersionOld": _of_cluster(
        "rotator_cluster_version_age_seconds", bad="8640001x5", good="8639999x5", fires_at=1
    ),
    "RotatorOverdue": _of_cluster(
        "rotator_cluster_overdue_seconds", bad="0 901x5", good="0 60 900x5", fires_at=2
    ),
    "RotatorEmergency": _of_cluster(
        "rotator_cluster_emergency", bad="0 0 1x5", good=_WELL, fires_at=3, quiet_at=1
    ),
    "RotatorEmergencyStuck": Case(
        bad={_AGE: "0+60x10", _EMERGENCY: "1x10"},
        good={_AGE: "0+60x10", _EMERGENCY: "0x10"},
        fires_at=6,
        quiet_at=4,
        labels={"cluster": "orders"},
    ),
    "RotatorCookieMayHaveBeenRead": Case(
        bad={f'{_FACTS}"CookieMayHaveBeenRead"}}': "0 0 0 1x60"},
        good={
            f'{_FACTS}"CookieMayHaveBeenRead"}}': "0x60",
            f'{_FACTS}"EmergencyStarted"}}': "0 1x60",
        },
        fires_at=10,
        quiet_at=2,
    ),
    "RotatorMemberLost": _of_cluster(
        "rotator_cluster_members",
        bad="0 1x40",
        good=_WELL,
        fires_at=20,
        quiet_at=10,
        more=',liveness="lost"',
    ),
    "RotatorLaggards": _of_cluster(
        "rotator_cluster_laggards", bad="0 2x60", good="0 2x10 0x60", fires_at=40, quiet_at=20
    ),
    "RotatorUnknownCookie": Case(
        bad={
            f"rotator_cluster_unknown_cookies{{{_CLUSTER}}}": "0x20",
            f"rotator_cluster_retired_cookies{{{_CLUSTER}}}": "0 1x20",
        },
        good={
            f"rotator_cluster_unknown_cookies{{{_CLUSTER}}}": "0 1 0x20",
            f"rotator_cluster_retired_cookies{{{_CLUSTER}}}": "0x20",
        },
        fires_at=10,
        quiet_at=3,
        labels={"cluster": "orders"},
    ),
    "RotatorForeignLink": _of_cluster(
        "rotator_cluster_foreign_links", bad="1x30", good="0 1 0 1 0x30", fires_at=15, quiet_at=5
    ),
    "RotatorFindings": _of_cluster(
        "rotator_cluster_findings", bad="1x90", good=_WELL, fires_at=70, quiet_at=30
    ),
    "RotatorFalseReport": Case(
        bad={f'{_FACTS}"WrongFingerprintRefused"}}': "0 0 1x60"},
        good={f'{_FACTS}"WrongFingerprintRefused"}}': "3x60"},
        fires_at=10,
        quiet_at=1,
    ),
}
