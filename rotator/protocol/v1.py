"""Version 1 of the wire contract, as frozen dataclasses.

Instants are RFC 3339 in UTC; durations are seconds; a cookie stands in `NodeVersion` alone.
Commands refuse unknown fields; attestations, and clients reading answers, ignore them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MAX_WAIT_SECONDS = 300


# --- what a node gets ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeVersion:
    """A version with its cookie; `cookie` is shown by nothing but the answer to the node."""

    number: int
    cookie: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """An emergency: make a throwaway, shut everybody out."""

    round: int
    emergency: str = ""  #: its rotation's id: the rounds of another one have the same numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """Desired state of one node: ``GET /v1/clusters/{cluster}/cookie?node=…``."""

    cluster: str
    cluster_uid: str | None
    fingerprint_key: str | None = field(repr=False)  #: base64
    generation: int
    phase: str | None
    adoption: (
        str  #: hot, or restart: a running node keeps its own cookie, its next start takes current
    )
    adopt: int | None
    join: bool
    current: NodeVersion | None
    previous: NodeVersion | None
    pending: NodeVersion | None
    refuse: list[NodeVersion | int]  #: of an emergency: numbers only
    lock: Lock | None
    members: dict[str, str]
    pairs: dict[str, int]
    on_drift: str = "heal"  #: or ``hold``: leave a node alone whose own cookie is not accepted


# --- what a node tells --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A distribution link of the node."""

    hidden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """``PUT /v1/clusters/{cluster}/nodes/{node}``: evidence, and the heartbeat."""

    generation: int
    at: str
    read_from: str
    holds: dict[str, str] = field(default_factory=dict)
    uses: int | None = None
    own: str | None = None
    file: str | None = None
    pins: dict[str, str] = field(default_factory=dict)
    boot_pins: dict[str, str] = field(default_factory=dict)
    refuses: dict[str, str] = field(default_factory=dict)
    accepts: dict[str, str] = field(default_factory=dict)
    locked_round: int | None = None
    foreign_links: list[str] = field(default_factory=list)
    links: dict[str, Link] = field(default_factory=dict)
    otp_release: str = ""
    agent: str = ""
    run: str = ""  #: another one each time that the agent is started
    preflight: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """The answer to an attestation."""

    generation: int
    heartbeat_seconds: float
    join: bool
    on_drift: str = "heal"  #: as in `Desired`, so that a change is known within a heartbeat
    adoption: str = "hot"  #: the same


# --- what orchestrators see and ask for ---------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to restart one node, for as long as it lasts.

    ``claimed`` → ``restarting`` → ``done``, by the service alone, once the member is back, healthy and
    soaked; or ``failed``, by who holds it; or ``expired``: nobody has renewed it in time, or there is
    nothing to restart any more; or ``released``: given back before the node was touched. A claim
    whose member is back (`back_at`) needs no renewal. Of a node without an agent the holder's
    ``done`` is believed, and `detail` says so.
    """

    id: str
    node: str
    version: int  #: that the node shall come up with
    rotation: str
    state: str  #: claimed, restarting, done, failed, expired or released
    token: int  #: fencing token: grows with every claim of the cluster; goes with every change
    holder: str
    claimed_at: str
    expires_at: str  #: by the service's clock; act well before, and renew after a third of the time
    seconds_left: float  #: until then, for who has another clock
    back_at: str | None = None  #: since when the member is back, healthy and on `version`
    ended_at: str | None = None
    detail: str = ""  #: why it failed or expired; by whose word it is done
    step: str = "restart"  #: what is to be done: restart; of ``stop_the_world`` stop or start


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStep:
    """A node that may be claimed now."""

    node: str
    version: int
    reason: str
    step: str = "restart"  #: restart; of ``stop_the_world`` stop or start


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutWait:
    """What a node, or with `node` empty the whole rollout, waits for: one blocker's code."""

    node: str
    code: str
    detail: str
    since: str | None  #: None: it is so by the clock, or has just begun


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """``GET /v1/clusters/{cluster}/rollout``: what may restart next, and why not."""

    cluster: str
    revision: int  #: for ``?revision=``; grows with every change of the cluster
    strategy: str  #: rolling, stop_the_world; ``hot``: nodes adopt while they run, none is claimed
    rotation: str | None  #: the one under way, …
    phase: str | None  #: … also while there is nothing to restart yet, or any more
    version: int | None  #: that nodes shall come up with; None: nothing is rolled out just now
    is_paused: bool  #: the rotation is held, and nothing is handed out
    max_unavailable: int
    next: list[RolloutStep]  #: in order; no more than may be down at once
    under_way: list[Claim]  #: neither done, failed nor expired
    waiting: list[RolloutWait]
    unavailable: list[str]  #: who counts against `max_unavailable` just now
    restarted: int  #: members that use `version` already, or are said to …
    members: int  #: … of these
    without_agent: list[str] = field(default_factory=list)  #: whose restarts nothing proves
    notes: list[str] = field(default_factory=list)  #: what these restarts mean for the cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeClaims:
    """``POST …/rollout/claims``."""

    max: int = 1
    nodes: list[str] | None = None  #: only among these; None: any
    holder: str = ""  #: a name for people; empty: the token's id


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The answer to it; none when nothing may restart now."""

    claims: list[Claim]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeClaim:
    """``PUT …/rollout/claims/{id}``: renews it, says how far it is, or gives it up.

    ``done`` asks whether it is: the answer's `state` says so; of a node without an agent it is
    believed. ``released`` gives a claim back that is not begun, and is no attempt. 409 ``claim_lost`` when the claim is over
    or the token is another one: then the node is not to be touched any more.
    """

    state: str  #: claimed (renews), restarting, done, failed or released
    token: int
    detail: str = ""  #: of failed: why


# --- what operators see -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version without its cookie."""

    number: int
    stage: str
    origin: str
    epoch: int | None
    created_at: str
    fingerprint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """What is waited for, and since when."""

    code: str
    subject: str
    detail: str
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One audit record."""

    position: int
    cluster: str | None
    seq: int
    kind: str
    at: str
    by: str
    reason: str
    rotation: str | None
    version: int | None
    details: dict[str, Any]
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """One attempt to replace a cluster's current version."""

    id: str
    cluster: str
    kind: str
    phase: str
    from_version: int
    to_version: int
    epoch: int
    reason: str
    by: str
    started_at: str
    entered_at: str
    ends_at: str | None
    finished_at: str | None
    held: bool
    abort_requested: bool
    rollback: bool
    lock_round: int
    may_have_been_read: list[str]
    revokes: list[int]
    supersedes: str | None
    excludes: list[str]
    emergency_id: str | None
    facts: list[Fact] | None = None  #: given for a single rotation
    warnings: list[str] = field(default_factory=list)  #: in the answer to its start


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """How many members there are, and how far they are."""

    members: int
    live: int
    lost: int
    excused: int
    on_current: int  #: proven to use current for themselves and for every pair
    expects: str  #: ``none``, a number, or the names
    foreign_links: int = 0  #: members linked to names that are no live member
    findings: int = 0  #: members whose agent has found something that stands in the way
    #: Members whom the configuration expects by name, and who left in good order: nobody waits.
    left: list[str] = field(default_factory=list)
    #: Members that left in good order and have reported within `node_ttl` that their VM runs.
    left_but_heard: list[str] = field(default_factory=list)
    #: Nodes that nobody attests for: restarted by the word of an orchestrator.
    without_agent: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledRun:
    """The last rotation that the schedule has begun."""

    slot: str  #: the instant of the cron expression that it is for
    at: str
    rotation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """The last slot that no rotation began for."""

    slot: str
    at: str
    why: str  #: fresh, window_closed or paused
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a cluster is rotated by itself."""

    cron: str
    timezone: str
    jitter_seconds: float
    window_seconds: float | None  #: None: a rotation may begin and go on at any time
    spacing_seconds: float
    next_runs: list[str]  #: when the next rotations begin; none while it is paused
    overdue_since: str | None  #: current is older than the schedule wants
    paused_at: str | None = None
    paused_by: str = ""
    pause_reason: str = ""
    last_run: ScheduledRun | None = None
    last_passed_over: PassedOver | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Master:
    """The master secret that a cluster's next version comes from: its newest epoch."""

    name: str
    epoch: int
    opened_at: str
    imported: bool  #: only a person renews it
    next_due: str | None  #: None: it is renewed by command alone
    overdue_since: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """``GET /v1/clusters/{cluster}``."""

    name: str
    uid: str | None
    state: str  #: uninitialised, initialising, stable, rotating, frozen or undeclared
    generation: int
    current: int | None
    versions: list[Version]  #: newest first
    rotation: Rotation | None
    adoption: Adoption
    blockers: list[Blocker]
    next_due: str | None  #: when the next scheduled rotation begins
    current_since: str | None
    schedule: Schedule | None = None  #: None: it is rotated by command alone
    master: Master | None = None  #: None: no epoch is open yet
    #: What a rotation means for running nodes, said before one begins.
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """``GET /v1/clusters``: those in the caller's scope, by name."""

    clusters: list[Cluster]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node as the service knows it."""

    name: str
    liveness: str
    joined_at: str
    last_seen: str
    uses: int | None
    unknown_cookie: bool
    holds: list[int]
    pins: dict[str, int | None]
    links: dict[str, Link]
    refuses: dict[str, str]
    locked_round: int | None
    foreign_links: list[str]
    read_from: str | None
    generation: int | None
    otp_release: str
    agent: str
    preflight: list[str]
    retired_cookie: bool = False  #: `uses` is retired, discarded or revoked
    silent_peers: list[str] = field(default_factory=list)  #: lost members that it is linked to
    shut_out: bool = False  #: nothing that it says counts, until it is readmitted


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """``GET /v1/clusters/{cluster}/nodes``."""

    nodes: list[Member]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """The answer to ``DELETE …/nodes/{node}``."""

    cluster: str
    node: str
    revoked_tokens: list[str]  #: ids
    covering_tokens: list[str]  #: ids of tokens that still cover it: patterns, or out of scope
    covering_accounts: list[str] = field(default_factory=list)  #: ``namespace/name``, Kubernetes


@dataclass(frozen=True, slots=True, kw_only=True)
class Readmitted:
    """The answer to ``POST …/nodes/{node}/readmit``."""

    cluster: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotations:
    """A page of rotations, newest first; `next` is the cursor of the page after, or None."""

    rotations: list[Rotation]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A page of facts; `next` is the cursor (``after``) of the page after, or None."""

    facts: list[Fact]
    next: int | None


# --- what operators ask for ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRotation:
    """``POST /v1/clusters/{cluster}/rotations``."""

    kind: str = "manual"  #: manual or emergency
    reason: str = ""  #: an emergency needs one
    dry_run: bool = False
    exclude: list[str] = field(default_factory=list)  #: emergency: nodes whose tokens are revoked
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The answer to a dry run: what a rotation would do now. Nothing was written."""

    cluster: str
    kind: str
    from_version: int
    to_version: int
    phases: list[str]
    awaits: list[str]  #: members that gates would wait for
    blockers: list[Blocker]  #: what would hold it up
    conflict: str | None  #: why it would be refused, or None
    grace_seconds: float
    warnings: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Hold, release, abort, roll back, excuse, remove, leave, init."""

    reason: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendGrace:
    """``POST …/extend-grace``."""

    seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """``POST /v1/clusters/{cluster}/import``: the one route that takes a cookie."""

    cookie: str = field(repr=False)
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergency:
    """``POST /v1/emergency``."""

    clusters: list[str]  #: names, or ["*"]: all in the caller's scope
    reason: str
    exclude: list[str] = field(default_factory=list)
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmergencyRow:
    """One cluster of an emergency: its rotation, or the error."""

    cluster: str
    rotation: str | None = None
    phase: str | None = None
    error: str | None = None  #: a problem's code
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmergencyReport:
    """The answer to an emergency, and ``GET /v1/emergencies/{id}``."""

    id: str
    at: str
    by: str
    reason: str
    clusters: list[EmergencyRow]
    warnings: list[str] = field(default_factory=list)  #: in the answer to its start


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateToken:
    """``POST /v1/tokens``."""

    role: str  #: node, orchestrator, operator, auditor or admin
    clusters: list[str]  #: names, or ["*"]
    nodes: str = ""  #: role node: a node's name, or a pattern with ``*``
    note: str = ""
    expires_in_seconds: float = 90 * 86400.0  #: at most 90 days


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token as listed; `token` itself is given once, when it is made."""

    id: str
    role: str
    clusters: list[str]
    nodes: str
    note: str
    created_at: str
    created_by: str
    expires_at: str
    revoked_at: str | None
    last_used_at: str | None
    token: str | None = field(default=None, repr=False)
    warnings: list[str] = field(default_factory=list)  #: when it is made


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """``GET /v1/tokens``, newest first."""

    tokens: list[Token]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error: ``application/problem+json`` (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    rotation: str | None = None  #: of `rotation_underway`
