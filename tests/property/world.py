"""A world of pure values in which rotations run: two stores, a clock, nodes, and crashes.

`World.step` carries out one decision of the resolver as one write, by the real functions of the
domain. What must always hold is asserted in `World.save`, `World.put` and `World.examine`.
"""

# ruff: noqa: D102 - the names say it

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

import pytest

from rotator.domain import (
    adoption,
    commands,
    departures,
    document,
    invariants,
    membership,
    orders,
    schedule_steps,
    steps,
)
from rotator.domain.actions import (
    Action,
    Discard,
    Enter,
    Excuse,
    Initialise,
    Line,
    Lock,
    OpenEpoch,
    Promote,
    Retire,
    Revoke,
    RollBack,
    Stage,
    Wait,
)
from rotator.domain.cluster import Attestation, Change, Cluster, Member, Proof, ReadFrom
from rotator.domain.commands import Request, Start
from rotator.domain.desired import desired_state
from rotator.domain.document import ClusterDocument, Stamp, StoredVersion
from rotator.domain.ids import (
    EpochNumber,
    Fence,
    Fingerprint,
    Generation,
    NodeName,
    RotationId,
    VersionNumber,
)
from rotator.domain.joining import pairs_of
from rotator.domain.liveness import Crowd, Liveness
from rotator.domain.policy import RotationPolicy
from rotator.domain.resolver import Snapshot, resolve, view
from rotator.domain.rotation import Kind, Phase, Rotation
from rotator.domain.schedule import Begin, PassOver, TakeUp
from rotator.domain.version import Origin
from rotator.domain.version import Stage as VersionStage
from rotator.errors import InvariantViolated, NodeShutOut, StaleGeneration, StoreDocumentInvalid
from rotator.testing.factories import KEY, NAME, NOW, UID, a_cookie

SECOND = timedelta(seconds=1)

#: Lines of storage.md that say "generation + 1"; no other write of the reconciler may grow it.
GROWING = frozenset(
    ["S2", "S4", "S5", "S6", "S7", "A1", "A2", "R2", "R3", "R4", "E1", "E3", "E4", "E5", "I2"]
)
_TERMINAL_LINE = {
    Phase.COMPLETED: {Line.S7, Line.E5},
    Phase.ABORTED: {Line.A2},
    Phase.ROLLED_BACK: {Line.R4},
    Phase.SUPERSEDED: {Line.E1},
}


class Crash(StrEnum):
    """When the process dies, or loses an answer."""

    BEFORE = "before"
    AFTER = "after"
    LOST = "lost"


@dataclass
class Node:
    """A BEAM node and its agent."""

    name: NodeName
    own: Fingerprint | None = None
    file: Fingerprint | None = None
    pins: dict[NodeName, Fingerprint] = field(default_factory=dict)
    boot_pins: dict[NodeName, Fingerprint] = field(default_factory=dict)
    holds: dict[VersionNumber, Fingerprint] = field(default_factory=dict)
    refuses: dict[VersionNumber, Proof] = field(default_factory=dict)
    accepts: dict[VersionNumber, Proof] = field(default_factory=dict)
    seen: Generation = Generation(0)
    locked_round: int | None = None
    foreign_links: tuple[str, ...] = ()
    is_running: bool = False
    on_the_way: Attestation | None = None  #: a report that has not arrived
    is_truthful: bool = True  #: what it is was what it reported, when it last did
    run: int = 1  #: how often its agent was started

    def used(self) -> set[Fingerprint | None]:
        """Every cookie that a handshake with this node could succeed with."""
        return {self.own, self.file, *self.pins.values(), *self.boot_pins.values()}

    def take(self, everything: Fingerprint) -> None:
        """Reset: files, every pin, own cookie."""
        self.own = self.file = everything
        self.pins = dict.fromkeys(self.pins, everything)
        self.boot_pins = dict.fromkeys(self.boot_pins, everything)


class World:
    """One cluster and everything around it."""

    def __init__(self, policy: RotationPolicy, names: tuple[str, ...] = ()) -> None:
        self.policy = policy
        self.now = NOW
        self.serving_since = NOW
        self.fence = Fence(1)
        self.cluster = Cluster(name=NAME)
        self.document: ClusterDocument | None = None
        self.epochs: set[EpochNumber] = set()
        self.last_epoch = EpochNumber(1)
        self.nodes = {NodeName(name): Node(NodeName(name)) for name in names}
        self.once: set[str] = set()
        self.facts: Counter[str] = Counter()
        self.rotations: dict[RotationId, Rotation] = {}
        self.numbers: dict[VersionNumber, Fingerprint] = {}  #: which cookie each number stood for
        self.over: set[VersionNumber] = set()
        self.lines: list[Line] = []
        self.throwaways = 0
        self.returned = 0  #: pairs that were looked at when a node came up among mixed cookies

    # --- what is seen -------------------------------------------------------------------------

    def crowd(self) -> Crowd:
        return Crowd(
            cluster=self.cluster,
            policy=self.policy,
            now=self.now,
            serving_since=self.serving_since,
        )

    def snapshot(self) -> Snapshot:
        rotation = self.cluster.rotation
        epoch = rotation.epoch if rotation else self.cluster.first_epoch
        seen = None if self.document is None else view(self.document, self.cluster)
        return Snapshot(
            crowd=self.crowd(),
            document=seen,
            epoch_is_open=epoch in self.epochs,
            fence=self.fence,
        )

    @property
    def rotation(self) -> Rotation:
        assert self.cluster.rotation is not None
        return self.cluster.rotation

    # --- writes -------------------------------------------------------------------------------

    def save(self, change: Change, line: Line | None = None) -> None:
        """One transaction of the state store."""
        before, after = self.cluster, change.cluster
        invariants.check(self.crowd(), change)
        grown = after.generation - before.generation
        if line is not None:
            assert grown == (line in GROWING), f"{line} grew the generation by {grown}"
            self.lines.append(line)
        for fact in change.facts:
            assert fact.once_key not in self.once, f"{fact.once_key} twice"
            if fact.once_key is not None:
                self.once.add(fact.once_key)
            self.facts[fact.kind] += 1
        changed = after != before
        assert changed == bool(change.facts), "every change has a fact, and no fact is idle"
        for row in change.rotations:
            if row.is_finished:
                self._examine_end(row, line)
            self.rotations[row.id] = row
        self.cluster = replace(after, revision=before.revision + changed)
        self.examine()

    def _examine_end(self, row: Rotation, line: Line | None) -> None:
        assert line in _TERMINAL_LINE[row.phase]
        if row.phase is not Phase.SUPERSEDED:
            assert self.document is not None
            assert self.document.previous is None
            assert self.document.pending is None
            assert self.document.current.number == row.target or row.phase is Phase.ABORTED

    def put(self, written: ClusterDocument, line: Line) -> None:
        """One write to the secrets manager."""
        self.lines.append(line)
        for number, fingerprint in written.fingerprints().items():
            known = self.numbers.setdefault(number, fingerprint)
            assert known == fingerprint, f"version {number} has two cookies"
        assert written.current.number not in self.over, "what is over became current"
        if self.document is not None:
            assert written.last_version >= self.document.last_version
            gone = {v.number for v in self.document.versions()}
            gone -= {v.number for v in written.versions()}
            self.over |= gone
            if line in {Line.K3, Line.KR2}:
                self._examine_retirement(gone)
        if line is Line.KE2:
            assert set(self.rotation.revokes).isdisjoint(v.number for v in written.versions())
            assert len(written.versions()) == 1
        self.document = written
        self.examine()

    def _examine_retirement(self, gone: set[VersionNumber]) -> None:
        """Invariant 3, held against what nodes really use and not against what they said."""
        for node in self.nodes.values():
            member = self.cluster.members.get(node.name)
            if member is None or not node.is_running or not node.is_truthful:
                continue
            if self.crowd().liveness(member) in {Liveness.LIVE, Liveness.UNKNOWN}:
                for number in gone:
                    assert self.numbers[number] not in node.used(), (
                        f"version {number} was retired while {node.name} uses it"
                    )

    def examine(self) -> None:
        """What holds at every instant."""
        cluster = self.cluster
        assert len(cluster.accepted()) <= 2
        unfinished = [row for row in self.rotations.values() if not row.is_finished]
        assert len(unfinished) == (cluster.rotation is not None)
        if self.document is not None and cluster.is_initialised:
            assert len(self.document.versions()) <= 3
            rotation = cluster.rotation
            if rotation is None:
                assert cluster.current is not None
                assert self.document.current.number == cluster.current.number
        desired = desired_state(self.crowd())
        served = {desired.current, desired.previous, desired.pending} - {None}
        assert served.isdisjoint(desired.refuse)
        for number in served:
            assert cluster.versions[number].stage in {
                VersionStage.CURRENT,
                VersionStage.PREVIOUS,
                VersionStage.PENDING,
            }

    # --- the reconciler -----------------------------------------------------------------------

    def stamp(self) -> Stamp:
        return Stamp(
            fence=self.fence,
            generation=self.cluster.generation,
            facts_head=self.cluster.facts_head,
            rotation=self.cluster.rotation.id if self.cluster.rotation else None,
        )

    def new_leader(self) -> None:
        self.fence = Fence(self.fence + 1)
        self.serving_since = self.now

    def step(self, crash: Crash | None = None) -> Action | None:
        """One decision and one write; a crash loses nothing but the memory of it."""
        action = resolve(self.snapshot())
        if action is None or isinstance(action, Wait):
            return action
        if crash is Crash.BEFORE:
            self.new_leader()
            return action
        self._carry_out(action, repeat=crash is Crash.LOST)
        if crash is Crash.AFTER:
            self.new_leader()
        return action

    def _carry_out(self, action: Action, *, repeat: bool) -> None:
        match action:
            case OpenEpoch(epoch=epoch, line=line):
                assert epoch not in self.epochs
                self.epochs.add(epoch)
                self.lines.append(line)
            case Initialise():
                assert self.document is None
                self.put(self._first(), Line.KI2)
            case Enter(line=line):
                crowd = self.crowd()
                if self.document is not None:
                    noted = steps.record_fingerprints(self.cluster, self.document)
                    crowd = crowd.with_cluster(noted)
                self.save(steps.enter(crowd, line), line)
            case Lock():
                self.save(steps.lock_again(self.crowd()), Line.E1)
            case Excuse(node=node):
                self.save(steps.excuse_lost(self.crowd(), node))
            case TakeUp() | PassOver() | Begin():
                self._keep_time(action)
            case _:
                self._rewrite(action, repeat=repeat)

    def _keep_time(self, action: TakeUp | PassOver | Begin) -> None:
        if isinstance(action, TakeUp):
            self.save(schedule_steps.take_up(self.crowd()), Line.T1)
            return
        if isinstance(action, PassOver):
            self.save(schedule_steps.pass_over(self.crowd(), action), Line.T2)
            return
        assert self.document is not None
        wanted = Start(
            id=RotationId(f"r{len(self.rotations) + 1}"),
            kind=Kind.SCHEDULED,
            epoch=max(self.epochs),
        )
        last = self.document.last_version
        change = schedule_steps.begin(self.crowd(), wanted, slot=action.slot, last_used=last)
        self.save(change, Line.S1)

    def _rewrite(self, action: Action, *, repeat: bool) -> None:
        assert self.document is not None
        line, written = self._written(action, self.document)
        self.put(written, line)
        if not repeat:
            return
        # A retry that reads again is refused, or changes nothing.
        try:
            _, again = self._written(action, written)
        except (StoreDocumentInvalid, InvariantViolated):
            return
        assert again == written

    def _written(self, action: Action, old: ClusterDocument) -> tuple[Line, ClusterDocument]:
        stamp = self.stamp()
        match action:
            case Stage():
                return Line.K1, document.staged(old, self._derived(), stamp)
            case Promote():
                return Line.K2, document.promoted(old, stamp)
            case Retire(line=line):
                return line, document.retired(old, stamp)
            case Discard():
                return Line.KA, document.discarded(old, self.rotation.to_version, stamp)
            case RollBack():
                return Line.KR1, document.rolled_back(old, stamp)
            case _:
                assert isinstance(action, Revoke)
                return Line.KE2, document.revoked(old, self._derived(), stamp)

    def _derived(self) -> StoredVersion:
        number, epoch = self.rotation.to_version, self.rotation.epoch
        assert epoch in self.epochs, "nothing is derived from an epoch that is not stored"
        return StoredVersion(
            number=number, cookie=a_cookie(number, epoch), epoch=epoch, origin=Origin.DERIVED
        )

    def _first(self, origin: Origin = Origin.DERIVED) -> ClusterDocument:
        epoch = EpochNumber(1) if origin is Origin.DERIVED else None
        assert EpochNumber(1) in self.epochs
        first = StoredVersion(
            number=VersionNumber(1), cookie=a_cookie(1), epoch=epoch, origin=origin
        )
        return ClusterDocument(
            cluster_uid=UID,
            last_version=VersionNumber(1),
            fingerprint_key=KEY,
            stamp=self.stamp(),
            current=first,
        )

    def run(self, limit: int = 60) -> Action | None:
        """Step until there is nothing to do just now; more than *limit* steps are a livelock."""
        for _ in range(limit):
            action = self.step()
            if action is None or isinstance(action, Wait):
                return action
        raise AssertionError("the reconciler does not come to rest")

    # --- operators ----------------------------------------------------------------------------

    def request(self) -> Request:
        return Request(by="operator", reason="because", at=self.now)

    def initialise(self, origin: Origin = Origin.DERIVED) -> None:
        change = commands.initialise(
            self.crowd(), self.request(), uid=UID, epoch=EpochNumber(1), origin=origin
        )
        self.save(change, Line.I1)

    def import_document(self) -> None:
        """What a repeated `import` request does: it alone has the cookie."""
        self.epochs.add(EpochNumber(1))
        self.put(self._first(Origin.IMPORTED), Line.KI2)

    def start(
        self, kind: Kind = Kind.MANUAL, *, force: bool = False, excludes: tuple[str, ...] = ()
    ) -> None:
        is_emergency = kind is Kind.EMERGENCY
        epoch = EpochNumber(self.last_epoch + 1) if is_emergency else max(self.epochs)
        wanted = Start(
            id=RotationId(f"r{len(self.rotations) + 1}"),
            kind=kind,
            epoch=epoch,
            force=force,
            excludes=tuple(NodeName(name) for name in excludes),
        )
        last = self.document.last_version if self.document else VersionNumber(0)
        change = commands.start(self.crowd(), self.request(), wanted, last_used=last)
        self.save(change, Line.E1 if is_emergency else Line.S1)
        self.last_epoch = max(self.last_epoch, epoch)

    def abort(self) -> None:
        change = orders.abort(self.cluster, self.rotation.id, self.request())
        self.save(change, Line.A1 if change.facts else None)

    def roll_back(self) -> None:
        change = orders.roll_back(self.cluster, self.rotation.id, self.request())
        self.save(change, Line.R1 if change.facts else None)

    def hold(self) -> None:
        self.save(orders.hold(self.cluster, self.rotation.id, self.request()))

    def release(self) -> None:
        self.save(orders.release(self.cluster, self.rotation.id, self.request()))

    def end_grace_at(self, ends_at: datetime) -> None:
        change = orders.end_grace_at(
            self.cluster, self.rotation.id, self.request(), ends_at=ends_at
        )
        self.save(change)

    def excuse(self, name: str, *, force: bool = False) -> None:
        self.save(departures.excuse(self.crowd(), NodeName(name), self.request(), force=force))

    def remove(self, name: str, *, force: bool = False) -> None:
        self.save(departures.remove(self.crowd(), NodeName(name), self.request(), force=force))

    def readmit(self, name: str) -> None:
        self.save(departures.readmit(self.cluster, NodeName(name), self.request()))

    def leave(self, name: str) -> None:
        self.save(departures.leave(self.cluster, NodeName(name), self.request()))

    def jump(self, by: timedelta) -> None:
        """The clock jumps between two passes of one leader; nobody is lost by that alone."""
        self.now += by
        self.serving_since = self.now
        change = steps.restart_window(self.crowd(), jump=by)
        if change is not None:
            self.save(change)

    # --- nodes --------------------------------------------------------------------------------

    def read_cookie(self, number: VersionNumber | None) -> Fingerprint | None:
        """What a node gets for a number: None while the document does not have it (503)."""
        if number is None or self.document is None:
            return None
        found = self.document.find(number)
        return None if found is None else found.cookie.fingerprint(KEY, UID)

    def previous(self) -> VersionNumber | None:
        """The former version while a node may still use it."""
        found = self.cluster.at_stage(VersionStage.PREVIOUS)
        return found.number if found and found.number in self.cluster.accepted() else None

    def attest(self, node: Node, said: Attestation) -> bool:
        """Send a report; whether the answer lets the node boot."""
        if self.is_shut_out(node):
            with pytest.raises(NodeShutOut):
                membership.attest(self.crowd(), node.name, said)
            return False
        taken = membership.attest(self.crowd(), node.name, said)
        if taken.change is None and said.read_from is ReadFrom.NONE:
            return taken.may_boot
        if taken.change is None:
            member = replace(self.cluster.members[node.name], last_seen=self.now)
            self.cluster = self.cluster.with_member(member)
        else:
            before = self.cluster.members.get(node.name)
            self._take(taken.change, before)
        node.is_truthful = True
        return taken.may_boot

    def _take(self, change: Change, before: Member | None) -> None:
        grown = change.cluster.generation - self.cluster.generation
        was_away = before is None or before.has_left or before.is_excused
        if before is not None and before.is_excused and not before.has_left:
            after = change.cluster.members[before.name]
            assert after.is_excused or self._comes_back(after), "whoever blocks stays excused"
        asks = any(m.asked_generation is not None for m in change.cluster.members.values())
        assert grown == 0 or was_away or asks
        if change.facts:
            self.save(change)
        else:
            invariants.check(self.crowd(), change)
            self.cluster = change.cluster

    def _comes_back(self, member: Member) -> bool:
        """Whether it boots, came for the first time, or adds no laggard to those of the rotation."""
        said, rotation = member.attestation, self.cluster.rotation
        if said is None or said.read_from is not ReadFrom.VM or rotation is None:
            return True
        if rotation.phase not in {Phase.ROLLING_OUT, Phase.ROLLING_BACK, Phase.GRACE}:
            return self.cluster.members[member.name].attestation is None
        crowd = self.crowd().with_cluster(self.cluster.with_member(member))
        return member.name not in {one.subject for one in adoption.laggards(crowd, rotation)}

    def report(self, node: Node, **lies: object) -> bool:
        """Attest what the node is, and what it lies about."""
        answer = self.attest(node, replace(self.seen(node), **lies))  # type: ignore[arg-type]
        node.is_truthful = not lies
        return answer

    def finds_no_vm(self, node: Node) -> None:
        """The agent beside a node that does not run says so."""
        seen = desired_state(self.crowd()).generation
        none = Attestation(
            generation=seen,
            at=self.now,
            read_from=ReadFrom.NONE,
            file=node.file,
            boot_pins=dict(node.boot_pins),
        )
        before = self.cluster
        was = self.crowd().of(node.name)
        self.attest(node, none)
        assert was is not Liveness.JOINING or self.cluster == before, "only a VM ends a boot"

    def sends(self, node: Node) -> None:
        """A report of this moment, that is on its way for a while."""
        node.on_the_way = self.seen(node)

    def arrives(self, node: Node) -> None:
        """It arrives, after whatever has happened meanwhile."""
        said, node.on_the_way = node.on_the_way, None
        if said is not None:
            was_truthful = node.is_truthful
            self.attest(node, said)
            node.is_truthful = was_truthful

    def seen(self, node: Node) -> Attestation:
        """What a look at the node shows."""
        return Attestation(
            generation=node.seen,
            at=self.now,
            read_from=ReadFrom.VM,
            holds=dict(node.holds),
            uses=next((n for n, fp in node.holds.items() if fp == node.own), None),
            own=node.own,
            file=node.file,
            pins=dict(node.pins),
            boot_pins=dict(node.boot_pins),
            refuses=dict(node.refuses),
            accepts=dict(node.accepts),
            locked_round=node.locked_round,
            foreign_links=node.foreign_links,
            run=str(node.run),
        )

    def is_shut_out(self, node: Node) -> bool:
        """Whether the service answers it with 403, whatever it asks."""
        member = self.cluster.members.get(node.name)
        return member is not None and member.is_shut_out

    def act(self, node: Node) -> None:
        """What an honest agent does with the desired state of this moment."""
        if self.is_shut_out(node):
            return
        desired = desired_state(self.crowd())
        current = self.read_cookie(desired.current)
        previous = self.read_cookie(desired.previous)
        if current is None or desired.current is None:
            return
        node.seen = desired.generation
        held = {desired.current, desired.previous, desired.pending} - {None}
        node.holds = {
            number: found for number in held if (found := self.read_cookie(number)) is not None
        }
        for name in desired.members:
            if name != node.name and node.own is not None:
                # Whom it knows it pins before it adopts; what it uses for him does not change.
                node.pins.setdefault(name, node.own)
                node.boot_pins.setdefault(name, node.pins[name])
        node.refuses, node.accepts = {}, {}
        is_reset = bool(desired.refuse) and desired.phase is Phase.ROLLING_OUT
        if desired.lock_round is not None:
            self._lock(node, desired.lock_round)
        elif is_reset or node.own not in {current, previous} or node.locked_round is not None:
            node.take(current)
            node.locked_round = None
        else:
            node.own = node.file = current
            self._move_pairs(node, desired.members, current)
        if desired.refuse and node.used() == {current}:
            node.refuses = dict.fromkeys(desired.refuse, Proof.HANDSHAKE)
            node.accepts = {desired.current: Proof.HANDSHAKE}

    def _lock(self, node: Node, round_: int) -> None:
        if node.locked_round != round_:
            self.throwaways += 1
            digest = hashlib.sha256(f"throwaway {self.throwaways}".encode()).hexdigest()
            node.take(Fingerprint("f1:" + digest[:32]))
            node.locked_round = round_

    def _move_pairs(self, node: Node, members: object, current: Fingerprint) -> None:
        for name in node.pins:
            peer = self.nodes.get(name)
            runs = peer is not None and peer.is_running
            if runs and peer is not None and peer.own == current:
                peer.pins[node.name] = peer.boot_pins[node.name] = current
                node.pins[name] = node.boot_pins[name] = current
            elif self.crowd().of(name) not in {
                Liveness.LIVE,
                Liveness.UNKNOWN,
                Liveness.JOINING,
                Liveness.LOST,
            }:
                node.pins[name] = node.boot_pins[name] = current

    def boot(self, node: Node) -> bool:
        """Ask to boot, and boot if that is granted."""
        node.is_running = False
        if self.is_shut_out(node):
            return self.attest(node, replace(self.seen(node), read_from=ReadFrom.BOOT))
        desired = desired_state(self.crowd())
        current = self.read_cookie(desired.current)
        node.seen = desired.generation
        node.own, node.pins = None, {}
        node.locked_round, node.foreign_links = None, ()
        if current is not None:
            self._write_anew_what_is_over(node, current)
        said = Attestation(
            generation=node.seen,
            at=self.now,
            read_from=ReadFrom.BOOT,
            own=node.file,
            file=node.file,
            boot_pins=dict(node.boot_pins),
        )
        if not self.attest(node, said) or current is None:
            self._write_anew_what_peers_use(node)
            return False
        rotation = self.cluster.rotation
        accepted = {self.read_cookie(number) for number in self.cluster.accepted()}
        if rotation is not None and rotation.has_mixed_cookies and self._is_in_step(node):
            node.own, node.pins = node.file, dict(node.boot_pins)
        else:
            pairs = pairs_of(self.cluster, node.name)
            named = {peer: self.read_cookie(number) or current for peer, number in pairs.items()}
            node.own = node.file = current
            node.pins, node.boot_pins = dict(named), dict(named)
        assert node.used() <= accepted, "it came up with what is over"
        node.is_running = True
        self._examine_pairs(node)
        return True

    def _write_anew_what_is_over(self, node: Node, current: Fingerprint) -> None:
        """Files that hold a cookie which is not accepted any more are no good to boot with."""
        accepted = {self.read_cookie(number) for number in self.cluster.accepted()}
        if node.file not in accepted:
            node.file = current
        for peer, used in node.boot_pins.items():
            if used not in accepted:
                node.boot_pins[peer] = current

    def _write_anew_what_peers_use(self, node: Node) -> None:
        """Who may not boot asks again with what its peers use by then."""
        for peer, number in pairs_of(self.cluster, node.name).items():
            cookie = self.read_cookie(number)
            if peer in node.boot_pins and cookie is not None:
                node.boot_pins[peer] = cookie

    def _is_in_step(self, node: Node) -> bool:
        """Whether its own files are good enough, as the agent sees it: each pair is as they say."""
        accepted = {self.read_cookie(number) for number in self.cluster.accepted()}
        pairs = pairs_of(self.cluster, node.name)
        said = {peer: self.read_cookie(number) for peer, number in pairs.items()}
        files = {peer: node.boot_pins.get(peer) for peer in said}
        return node.file in accepted and files == said

    def _examine_pairs(self, node: Node) -> None:
        """Invariant 4, where a node has just come up among mixed cookies: no pair is out of step."""
        rotation = self.cluster.rotation
        if rotation is None or rotation.kind is Kind.EMERGENCY or not rotation.has_mixed_cookies:
            return
        for member in self.crowd().awaited():
            peer = self.nodes.get(member.name)
            if peer is None or peer is node or not peer.is_running or not peer.is_truthful:
                continue
            self.returned += 1
            theirs, ours = peer.pins.get(node.name, peer.own), node.pins.get(peer.name, node.own)
            assert theirs == ours, f"{node.name} came up out of step with {peer.name}"

    def heartbeat(self, node: Node) -> None:
        """See, act, report; a node that does not run asks to boot first."""
        if not node.is_running:
            self.boot(node)
        if node.is_running:
            self.act(node)
            self.report(node)

    def stale_report(self, node: Node) -> bool:
        """A report that is older than the last one; whether it was refused."""
        try:
            self.report(node, generation=Generation(max(0, node.seen - 1)))
        except StaleGeneration:
            return True
        return False

    # --- rest ---------------------------------------------------------------------------------

    def settle(self, rounds: int = 120) -> None:
        """Everybody is there, honest and released, and time passes: the rotation must end."""
        if self.cluster.rotation is not None and self.rotation.is_held:
            self.release()
        for node in self.nodes.values():
            if self.is_shut_out(node):
                self.readmit(node.name)
            node.foreign_links = ()
            node.run += 1  # Who has left by mistake is back when its agent is started again.
        for _ in range(rounds):
            for node in self.nodes.values():
                self.heartbeat(node)
            action = self.run()
            if action is None:
                return self.examine_rest()
            assert isinstance(action, Wait)
            assert action.blockers, "whoever waits says for what"
            assert all(blocker.code for blocker in action.blockers)
            assert action.until is None or action.until > self.now, "a wait that is over at once"
            self.now += 15 * SECOND
        raise AssertionError(f"no end in sight: {action}")

    def examine_rest(self) -> None:
        """Invariant 5: with nothing under way the two stores say the same."""
        cluster = self.cluster
        assert self.document is not None
        assert cluster.current is not None
        assert cluster.rotation is None
        assert self.document.previous is None
        assert self.document.pending is None
        assert self.document.fingerprints() == {cluster.current.number: cluster.current.fingerprint}
        assert self.document.last_version == cluster.last_version
        ended = {VersionStage.RETIRED, VersionStage.DISCARDED, VersionStage.REVOKED}
        rest = [v for v in cluster.versions.values() if v.number != cluster.current.number]
        assert all(version.stage in ended for version in rest)
        assert all(row.is_finished for row in self.rotations.values())
