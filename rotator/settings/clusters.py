"""Clusters: whom each consists of, and how it rotates."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from rotator.domain.ids import NODE_NAME, MasterName, NodeName
from rotator.domain.policy import (
    Adoption,
    Expectation,
    OnDrift,
    RolloutPolicy,
    RotationPolicy,
    Strategy,
)
from rotator.settings.schedules import Schedule
from rotator.settings.values import Count, Duration, Flag, PositiveDuration, Section, suggestion

#: What the API takes for a node's name; another one could never attest.


class OnLost(Section):
    """What to do about a member that fell silent."""

    action: Literal["wait", "excuse"] = "wait"
    #: wait: previous is not retired before it is back, has left, or an operator excuses it.
    after: PositiveDuration | None = None
    #: excuse: after so long. Who comes back later comes back with a cookie that is gone.

    @model_validator(mode="after")
    def _goes_together(self) -> OnLost:
        if (self.action == "excuse") != (self.after is not None):
            raise ValueError("write {action: wait}, or {action: excuse, after: 24h}")
        return self


def _expectation(value: object) -> object:
    if value == "none":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError("a count is at least 1; write `none` if nobody has to attest")
        return value
    if isinstance(value, list) and value:
        return _node_names(value)
    raise ValueError("write `none`, a count, or a list of node names")


def _node_names(names: list[object]) -> frozenset[object]:
    seen: set[object] = set()
    for position, name in enumerate(names, start=1):
        if not isinstance(name, str) or not NODE_NAME.fullmatch(name):
            raise ValueError(f"name {position} is not as Erlang writes a node's: name@host")
        if name in seen:
            raise ValueError(f"name {position} is there twice")
        seen.add(name)
    return frozenset(seen)


def _roster(value: object) -> object:
    if value == frozenset():
        return value
    if isinstance(value, list) and value:
        return _node_names(value)
    raise ValueError("write a list of node names")


def _expects_nobody(value: frozenset[NodeName], validation: ValidationInfo) -> frozenset[NodeName]:
    if value and validation.data.get("expect") is not None:
        raise ValueError("this goes with `expect: none`: whoever attests has an agent")
    return value


def _outlives_heartbeats(value: timedelta, validation: ValidationInfo) -> timedelta:
    heartbeat = validation.data.get("heartbeat")
    if heartbeat is not None and value <= 2 * heartbeat:
        raise ValueError("this is more than two heartbeats, or members get lost by chance")
    return value


class Members(Section):
    """Whom the cluster consists of."""

    expect: Annotated[frozenset[NodeName] | int | None, BeforeValidator(_expectation)]
    #: Names, a count, or none: its nodes read the secrets manager, and nobody has to attest.
    without_agent: Annotated[
        frozenset[NodeName], BeforeValidator(_roster), AfterValidator(_expects_nobody)
    ] = frozenset()
    #: With `expect: none` and `adoption: restart`: nodes that count as restarted by an
    #: orchestrator's word, as nothing proves it.
    heartbeat: PositiveDuration = timedelta(seconds=15)
    #: How often a member reports.
    node_ttl: Annotated[PositiveDuration, AfterValidator(_outlives_heartbeats)] = timedelta(
        seconds=90
    )
    #: Silence after which a member is lost; more than two heartbeats.
    ephemeral: Flag = False
    #: True: a lost member counts as left. For nodes that come and go without a word.
    on_lost: OnLost = OnLost()


def _at_least_a_second(value: timedelta) -> timedelta:
    if value < timedelta(seconds=1):
        raise ValueError("this is at least 1s: an orchestrator has to renew it in time")
    return value


def _order(value: object) -> object:
    if value in ("name", ()):
        return ()
    if isinstance(value, list) and value:
        _node_names(value)
        return tuple(value)
    raise ValueError("write `name`, or a list of node names: these come first, in this order")


class Rollout(Section):
    """How nodes are restarted, where that is how they get a new cookie."""

    strategy: Strategy = Strategy.ROLLING
    #: No more at once than may be down. stop_the_world, of nodes without an agent: all are
    #: stopped, then all are started.
    max_unavailable: Annotated[Count, Field(ge=1, le=1000)] = 1
    #: How many members may be down at once; whoever is lost, or not healthy, counts.
    order: Annotated[tuple[NodeName, ...], BeforeValidator(_order)] = ()
    #: `name`, or a list of node names that come first.
    soak: Duration = timedelta(seconds=30)
    #: How long a node must be back and healthy before the next one may go.
    claim_ttl: Annotated[PositiveDuration, AfterValidator(_at_least_a_second)] = timedelta(
        minutes=2
    )
    #: How long an orchestrator may be silent before it has lost its claim.
    restart_timeout: PositiveDuration = timedelta(minutes=10)
    #: How long a restart may take before the node is named as one that does not come back.
    max_restarts_per_hour: Annotated[Count, Field(ge=1, le=100_000)] | None = None
    #: How many restarts are handed out within an hour; without: as many as fit.
    max_attempts: Annotated[Count, Field(ge=1, le=100)] = 3
    #: How often a node is restarted for one version before the rollout stops and names it.

    def policy(self) -> RolloutPolicy:
        """As the domain takes it."""
        return RolloutPolicy(
            strategy=self.strategy,
            max_unavailable=self.max_unavailable,
            order=self.order,
            soak=self.soak,
            claim_ttl=self.claim_ttl,
            restart_timeout=self.restart_timeout,
            max_restarts_per_hour=self.max_restarts_per_hour,
            max_attempts=self.max_attempts,
        )


def _is_declared(value: MasterName, validation: ValidationInfo) -> MasterName:
    masters = (validation.context or {}).get("masters")
    if masters is not None and value not in masters:
        meant = suggestion(value, masters, otherwise="; declare it under masters")
        raise ValueError(f"there is no such master{meant}")
    return value


def _without_agent(validation: ValidationInfo) -> frozenset[NodeName]:
    members = validation.data.get("members")
    return members.without_agent if members is not None else frozenset()


def _can_be_adopted(value: Adoption, validation: ValidationInfo) -> Adoption:
    if value is not Adoption.RESTART and _without_agent(validation):
        raise ValueError("nodes in members.without_agent need adoption: restart")
    return value


def _suits_members(value: Rollout, validation: ValidationInfo) -> Rollout:
    if value.strategy is not Strategy.STOP_THE_WORLD or validation.data.get("members") is None:
        return value
    if not _without_agent(validation):
        raise ValueError(
            "strategy: stop_the_world is of nodes without an agent: name them in"
            " members.without_agent; where there are agents, rolling keeps the cluster whole"
        )
    return value


_GRACE: Final = {Adoption.HOT: timedelta(minutes=15), Adoption.RESTART: timedelta(hours=1)}
_BY_ADOPTION: Final = timedelta(-1)


def _grace(value: object, validation: ValidationInfo) -> object:
    if value is not _BY_ADOPTION:
        return value
    return _GRACE[validation.data.get("adoption", Adoption.HOT)]


def _can_be_seen(value: timedelta, validation: ValidationInfo) -> timedelta:
    members = validation.data.get("members")
    if members is not None and timedelta() < value < members.heartbeat:
        raise ValueError("this is 0 or at least a heartbeat: in less, no member can report")
    return value


class Cluster(Section):
    """One cluster and how it rotates; a change applies from the next gate."""

    members: Members
    master: Annotated[MasterName, AfterValidator(_is_declared)] = MasterName("default")
    #: Which master its cookies come from.
    schedule: Schedule | None = None
    #: When it is rotated by itself; without: only by command.
    adoption: Annotated[Adoption, AfterValidator(_can_be_adopted)] = Adoption.HOT
    #: How running nodes get a new cookie. restart: at their next start, by `rotator agent boot`.
    rollout: Annotated[Rollout, AfterValidator(_suits_members)] = Rollout()
    #: With `adoption: restart`: who restarts when, and how many at once.
    on_drift: OnDrift = OnDrift.HEAL
    #: What agents do with a running node whose own cookie is not accepted; hold: leave it alone.
    install_timeout: PositiveDuration = timedelta(minutes=2)
    #: How long to wait for members to hold the new version before it is promoted.
    grace_window: Annotated[Duration, BeforeValidator(_grace), AfterValidator(_can_be_seen)] = (
        _BY_ADOPTION
    )
    #: How long previous stays readable after the rollout; 0: until it is proven unused. Without:
    #: 15m, and with `adoption: restart` 1h, as the way back takes restarts, too.
    lock_timeout: PositiveDuration = timedelta(seconds=30)
    #: How long an emergency waits for members to shut everybody out.
    emergency_cooldown: Duration = timedelta(minutes=10)
    #: How soon after one emergency another needs force; 0: never.
    max_rotations_per_hour: Annotated[Count, Field(ge=1, le=1000)] = 4
    #: Scheduled and manual ones together; emergencies have their cool-down.

    @model_validator(mode="before")
    @classmethod
    def _means_its_schedule(cls, value: object) -> object:
        # A schedule whose lines are all comments is none that somebody has left out.
        if isinstance(value, dict) and value.get("schedule", ...) is None:
            return {**value, "schedule": {}}
        return value

    def policy(self) -> RotationPolicy:
        """As the domain takes it."""
        members = self.members
        expect: Expectation = members.expect
        return RotationPolicy(
            expect=expect,
            master=self.master,
            install_timeout=self.install_timeout,
            grace_window=self.grace_window,
            lock_timeout=self.lock_timeout,
            emergency_cooldown=self.emergency_cooldown,
            max_rotations_per_hour=self.max_rotations_per_hour,
            heartbeat=members.heartbeat,
            node_ttl=members.node_ttl,
            on_drift=self.on_drift,
            ephemeral=members.ephemeral,
            excuse_lost_after=members.on_lost.after,
            schedule=None if self.schedule is None else self.schedule.schedule(),
            adoption=self.adoption,
            without_agent=members.without_agent,
            rollout=self.rollout.policy(),
        )
