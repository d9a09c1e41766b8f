from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.adapters.derivation import PROFILES
from rotator.domain.cluster import Blocker, Standing
from rotator.domain.findings import Finding
from rotator.domain.ids import ClusterName, EpochNumber, MasterName
from rotator.domain.version import Stage
from rotator.errors import EpochMissing, StoreSealed
from rotator.ports.examiner import Check
from rotator.ports.master_store import Epoch
from rotator.ports.records import Records
from rotator.ports.state_store import TokenRow
from rotator.services.doctor import (
    clocks,
    clusters,
    configuration,
    files,
    losses,
    masters,
    recovery,
    tokens,
)
from rotator.services.doctor.configuration import Setup
from rotator.services.doctor.files import File, Kept
from rotator.services.doctor.runner import Checked, Outcome, examine
from rotator.services.keyring import generate
from rotator.testing.factories import NOW, a_cluster, a_document, a_member, an_attestation
from rotator.testing.memory import MemoryCookieStore, MemoryMasterStore

DEFAULT = MasterName("default")
FIRST = EpochNumber(1)
DAY = timedelta(days=1)


def codes(findings):
    """The codes of what was found."""
    return [one.code for one in findings]


# --- clocks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "doubt", "code"),
    [
        (0, 0, None),
        (29, 0, None),
        (-29, 0, None),
        (31, 0, "clock_skew"),
        (-31, 0, "clock_skew"),
        (31, 5, None),
        (301, 0, "clock_far_off"),
        (-86400, 0, "clock_far_off"),
    ],
)
def test_clocks_are_compared_within_what_is_known(seconds, doubt, code):
    """Half a minute is a warning, five minutes are an error, a slow answer is neither."""
    theirs = NOW + timedelta(seconds=seconds)
    found = clocks.compare("x", ours=NOW, theirs=theirs, doubt=timedelta(seconds=doubt))
    assert codes(found) == ([code] if code else [])
    if code:
        assert ("ahead" if seconds > 0 else "behind") in found[0].detail


# --- clusters -----------------------------------------------------------------------------


def look_at(cluster, *, declared=True):
    """What is found about one cluster."""
    records = Records(clusters=(cluster,), now=NOW)
    return list(clusters.look(records, {cluster.name} if declared else set()))


def waiting(code, subject="", *, minutes):
    """A blocker that has stood for so long."""
    since = NOW - timedelta(minutes=minutes)
    return Standing(blocker=Blocker(code=code, subject=subject), since=since)


def test_a_cluster_that_is_well_is_no_finding():
    """Initialised, declared, and with nothing that blocks."""
    assert look_at(a_cluster(members=[a_member("rabbit@a", an_attestation())])) == []


def test_a_cluster_taken_out_of_the_file_is_named():
    """It is served and never rotated, so somebody should know."""
    assert codes(look_at(a_cluster(), declared=False)) == ["cluster_undeclared"]


def test_a_cluster_without_a_version_is_named():
    """Declared and not initialised: nothing will rotate it."""
    bare = a_cluster(uid=None, is_initialised=False, versions={})
    assert codes(look_at(bare)) == ["cluster_uninitialised"]
    records = Records(now=NOW)
    assert codes(clusters.look(records, {"new"})) == ["cluster_uninitialised"]


def test_a_frozen_cluster_is_an_error_with_its_code():
    """The code leads to the runbook, and the freeze is not a wait besides."""
    frozen = a_cluster(blockers=(waiting("foreign_writer", "frozen", minutes=60),))
    [found] = look_at(frozen)
    assert (found.code, found.detail) == ("cluster_frozen", "foreign_writer")


def test_a_frozen_cluster_is_not_to_be_initialised():
    """A lost state store knows no version of it, and `init` would be the wrong thing to do."""
    standing = waiting("state_store_lost", "frozen", minutes=60)
    frozen = a_cluster(uid=None, is_initialised=False, versions={}, blockers=(standing,))
    assert codes(look_at(frozen)) == ["cluster_frozen"]


@pytest.mark.parametrize(
    ("standing", "found"),
    [
        (waiting("laggard", "rabbit@a", minutes=11), ["cluster_waits"]),
        (waiting("laggard", "rabbit@a", minutes=9), []),
        (waiting("held", minutes=600), []),
        (waiting("grace_window", minutes=600), []),
        (waiting("outside_window", minutes=600), []),
    ],
)
def test_what_a_cluster_waits_for_is_named_when_it_takes_long(standing, found):
    """A wait that somebody wants, or that has just begun, is none to report."""
    assert codes(look_at(a_cluster(blockers=(standing,)))) == found


def test_what_agents_found_is_passed_on():
    """Of members that are there, each finding with its node; of those that left or are excused none."""
    said = an_attestation(preflight=("the cookie file is 0644",))
    there = a_member("rabbit@a", said)
    left = a_member("rabbit@b", said, has_left=True)
    excused = a_member("rabbit@c", said, is_excused=True)
    silent = a_member("rabbit@d")
    [found] = look_at(a_cluster(members=[there, left, excused, silent]))
    assert found.code == "member_finding"
    assert found.subject.endswith("rabbit@a")
    assert found.detail == "the cookie file is 0644"


# --- tokens -------------------------------------------------------------------------------


def a_token(role="operator", **changes):
    """A token that is in use and good for another month."""
    row = TokenRow(
        id="abcdefghijkl",
        digest="0" * 64,
        role=role,
        clusters=("*",) if role != "node" else ("orders",),
        nodes="" if role != "node" else "rabbit@a",
        note="",
        created_at=NOW - DAY,
        created_by="local",
        expires_at=NOW + 30 * DAY,
        last_used_at=NOW,
    )
    return replace(row, **changes)


@pytest.mark.parametrize(
    ("token", "found"),
    [
        (a_token(), []),
        (a_token("node"), []),
        (a_token(expires_at=NOW + 6 * DAY), ["token_expires"]),
        (a_token(expires_at=NOW + 6 * DAY, last_used_at=None), []),
        (a_token(expires_at=NOW + 6 * DAY, last_used_at=NOW - 8 * DAY), []),
        (a_token("node", nodes="rabbit@*"), ["token_too_wide"]),
        (a_token("node", clusters=("*",)), ["token_too_wide"]),
        (a_token("node", nodes="rabbit@*", revoked_at=NOW - DAY), []),
        (a_token("node", nodes="*", expires_at=NOW - DAY), []),
    ],
)
def test_tokens_that_end_or_reach_too_far_are_named(token, found):
    """Valid ones alone, by their ids; one that nobody uses may end in peace."""
    records = Records(tokens=(a_token(id="other"), token), now=NOW)
    assert codes(tokens.look(records)) == found
    assert all(one.subject == token.id for one in tokens.look(records))


@pytest.mark.parametrize(
    "rows", [(), (a_token("auditor"),), (a_token(revoked_at=NOW),), (a_token(expires_at=NOW),)]
)
def test_nobody_who_could_begin_an_emergency_is_a_finding(rows):
    """Without a valid operator's token an emergency would begin with making one."""
    assert codes(tokens.look(Records(tokens=rows, now=NOW))) == ["nobody_may_act"]


# --- masters ------------------------------------------------------------------------------


def an_epoch(profile):
    """An epoch with a random secret."""
    return Epoch(secret=generate(), salt=b"s" * 16, kdf=PROFILES[profile], opened_for="first")


async def test_an_epoch_that_is_there_and_strong_is_no_finding():
    """The recommended profile, stored and configured."""
    store = MemoryMasterStore()
    await store.create(DEFAULT, FIRST, an_epoch("rfc9106-low-memory"))
    wanted = {DEFAULT: PROFILES["rfc9106-low-memory"]}
    assert await masters.stored(store, ((DEFAULT, FIRST),), wanted) == []
    assert list(masters.configured(wanted)) == []


@pytest.mark.parametrize(
    ("profile", "code"),
    [("cheapest-argon2id", "epoch_weak"), ("owasp-scrypt", "epoch_profile_old")],
)
async def test_an_epoch_that_is_weak_or_old_is_named(profile, code):
    """By what it was stretched with when it was made."""
    store = MemoryMasterStore()
    await store.create(DEFAULT, FIRST, an_epoch(profile))
    wanted = {DEFAULT: PROFILES["rfc9106-low-memory"]}
    [found] = await masters.stored(store, ((DEFAULT, FIRST),), wanted)
    assert found.code == code
    assert found.subject == "default 1"
    assert profile in found.detail


class Deleted(MemoryMasterStore):
    """A store whose epochs were deleted."""

    async def read(self, master, epoch):
        """Gone."""
        raise EpochMissing


@pytest.mark.parametrize("store", [MemoryMasterStore(), Deleted()])
async def test_an_epoch_that_is_gone_is_an_error(store):
    """Never written or deleted, it is missed."""
    assert codes(await masters.stored(store, ((DEFAULT, FIRST),), {})) == ["epoch_missing"]


def test_a_profile_for_tests_is_named_in_the_settings():
    """Before a master is made with it."""
    wanted = {DEFAULT: PROFILES["cheapest-scrypt"]}
    assert codes(masters.configured(wanted)) == ["profile_weak"]


def test_epochs_in_use_are_those_of_versions_that_are_kept():
    """Those of current, previous and pending, and the first; not of retired ones or of no cluster."""
    cluster = a_cluster(
        stages={3: Stage.RETIRED, 11: Stage.PREVIOUS, 12: Stage.CURRENT},
    )
    versions = dict(cluster.versions)
    for number, epoch in ((3, 2), (11, 3), (12, 4)):
        versions[number] = replace(versions[number], epoch=EpochNumber(epoch))
    cluster = replace(cluster, versions=versions)
    bare = a_cluster(is_initialised=False)
    assert masters.in_use([cluster, bare]) == tuple((DEFAULT, EpochNumber(n)) for n in (1, 3, 4))


# --- recovery file ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"ClusterInitialised": NOW}, ["never_exported"]),
        ({"ClusterInitialised": NOW, "MasterExported": NOW + DAY}, []),
        ({"EpochOpened": NOW + 2 * DAY, "MasterExported": NOW + DAY}, ["export_outdated"]),
        ({"VersionsRevoked": NOW + 2 * DAY, "MasterExported": NOW + DAY}, ["export_outdated"]),
    ],
)
def test_a_recovery_file_is_missed_until_it_holds_everything(facts, found):
    """Never exported, or before the last epoch or cluster: a loss would be for good."""
    records = Records(clusters=(a_cluster(),), newest_facts=facts, now=NOW)
    assert codes(recovery.look(records)) == found


@pytest.mark.parametrize(
    ("epochs", "found"),
    [
        (["default/1", "default/2", "default/3"], []),
        (["default/1", "default/2"], ["export_outdated"]),
        (None, []),
    ],
)
def test_a_recovery_file_lacks_an_epoch_that_no_fact_tells_of(epochs, found):
    """After a recovery facts are those of the old copy, and epochs in use those of the document."""
    cluster = replace(a_cluster(), master=DEFAULT, first_epoch=FIRST)
    current = replace(cluster.current, epoch=EpochNumber(3))
    cluster = cluster.with_version(current)
    details = {} if epochs is None else {"MasterExported": {"epochs": epochs}}
    facts = {"EpochOpened": NOW - DAY, "MasterExported": NOW}
    records = Records(
        clusters=(cluster,), newest_facts=facts, newest_details=details, now=NOW + DAY
    )
    assert codes(recovery.look(records)) == found


# --- lost stores --------------------------------------------------------------------------


def test_stores_that_agree_are_no_finding():
    """Nor is a cluster that neither of them knows."""
    records = Records(clusters=(a_cluster(),), native=frozenset({a_cluster().name}), now=NOW)
    written = a_document(11, rotation=a_cluster().last_writer)
    documents = {a_cluster().name: written, ClusterName("new"): None}
    assert list(losses.look(records, documents)) == []


@pytest.mark.parametrize(
    ("cluster", "document", "code"),
    [
        (None, a_document(11), "state_store_lost"),
        (a_cluster(), a_document(12), "state_store_lost"),
        (a_cluster(), None, "document_missing"),
        (a_cluster(uid="f" * 32), a_document(11), "cluster_frozen"),
    ],
)
def test_a_lost_store_is_named_as_recover_names_it(cluster, document, code):
    """No cluster on record, a document that knows more, none at all, one of somebody else."""
    records = Records(clusters=(cluster,) if cluster else (), now=NOW)
    assert codes(losses.look(records, {a_cluster().name: document})) == [code]


def test_a_cluster_that_is_frozen_for_it_is_not_named_twice():
    """The service has said so already, with its code."""
    standing = waiting("foreign_document", "frozen", minutes=60)
    cluster = a_cluster(uid="f" * 32, blockers=(standing,))
    records = Records(clusters=(cluster,), now=NOW)
    assert codes(losses.look(records, {cluster.name: a_document(11)})) == []


async def test_what_a_service_writes_meanwhile_is_no_loss():
    """Seen in one look and not in the next, it was never lost."""
    cookies, reads = MemoryCookieStore(), []
    await cookies.create(a_cluster().name, a_document(11))

    async def read(heads):
        reads.append(heads)
        clusters = (a_cluster(),) if len(reads) > 1 else ()
        return Records(clusters=clusters, native=frozenset(heads), now=NOW)

    assert await losses.standing(cookies, [a_cluster().name], read=read) == frozenset()
    assert len(reads) == 2


def test_without_a_cluster_there_is_nothing_to_lose():
    """Before the first cookie no recovery file is asked for."""
    bare = a_cluster(is_initialised=False)
    assert recovery.look(Records(clusters=(bare,), now=NOW)) == ()


# --- files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "mode", "found"),
    [
        (Kept.SECRET, 0o600, []),
        (Kept.SECRET, 0o400, []),
        (Kept.SECRET, 0o640, ["file_open_to_group"]),
        (Kept.SECRET, 0o604, ["file_open_to_others"]),
        (Kept.SECRET, 0o602, ["file_open_to_others"]),
        (Kept.UNTOUCHED, 0o755, []),
        (Kept.UNTOUCHED, 0o775, ["file_open_to_group"]),
        (Kept.UNTOUCHED, 0o777, ["file_open_to_others"]),
        (Kept.SECRET, None, ["file_missing"]),
    ],
)
def test_files_are_judged_by_their_modes(kept, mode, found):
    """A secret is read by its owner alone; what is public is written by its owner alone."""
    assert codes(files.look([File(path="/x", kept=kept, mode=mode)])) == found


def test_a_file_that_need_not_be_there_is_not_missed():
    """The write-ahead log of a service that is down, for example."""
    assert list(files.look([File(path="/x", kept=Kept.SECRET, mode=None, is_needed=False)])) == []


def test_a_file_that_one_may_not_look_at_hides_no_other():
    """It is a finding of its own."""
    hidden = File(path="/x", kept=Kept.SECRET, mode=None, is_hidden=True)
    other = File(path="/y", kept=Kept.SECRET, mode=0o666)
    assert codes(files.look([hidden, other])) == ["file_hidden", "file_open_to_others"]


# --- configuration ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setup", "found"),
    [
        (Setup(), []),
        (Setup(is_local_store=True), ["local_store"]),
        (Setup(is_plain_http=True), ["plain_http"]),
        (Setup(is_reachable=True), ["health_port_open"]),
        (Setup(has_failpoints=True), ["failpoints_armed"]),
        (Setup(blind=("orders", "billing")), ["nobody_expected", "nobody_expected"]),
    ],
)
def test_settings_that_carry_a_risk_are_named(setup, found):
    """Each risk is a finding; settings without one are none."""
    assert codes(configuration.look(setup)) == found


# --- the runner ---------------------------------------------------------------------------


def a_check(name, result):
    """A check that finds this, or raises it."""

    async def run():
        if isinstance(result, Exception):
            raise result
        return result

    return Check(name, run)


async def test_one_check_that_fails_hides_no_other():
    """Refused, broken or late, a check is named, and the others are heard."""
    never = asyncio.Event()

    async def late():
        await never.wait()
        return ()

    planted = "hvs.PLANTED"
    checks = [
        a_check("refused", StoreSealed()),
        a_check("broken", ValueError(planted)),
        Check("late", late),
        a_check("finds", [Finding(code="local_store")]),
        a_check("clean", ()),
    ]
    seen = []
    report = await examine(checks, on_progress=seen.append, seconds=0.2)
    assert {one.name: one.outcome for one in report.checks} == {
        "refused": Outcome.FAILED,
        "broken": Outcome.FAILED,
        "late": Outcome.FAILED,
        "finds": Outcome.FOUND,
        "clean": Outcome.CLEAN,
    }
    failed = {one.subject: one.detail for one in report.findings if one.code == "check_failed"}
    assert set(failed) == {"refused", "broken", "late"}
    assert failed["refused"].startswith("store_sealed")
    assert not any(planted in detail for detail in failed.values())
    assert "local_store" in codes(report.findings)
    assert report.is_degraded
    assert sorted(seen, key=str) == sorted(report.checks, key=str)


async def test_checks_that_find_nothing_are_a_clean_report():
    """Nothing found is nothing degraded."""
    report = await examine([a_check("a", ()), a_check("b", [Finding(code="local_store")])])
    assert not report.is_degraded
    assert report.checks == (
        Checked(name="a", outcome=Outcome.CLEAN),
        Checked(name="b", outcome=Outcome.FOUND),
    )
