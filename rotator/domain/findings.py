"""What `rotator doctor` can find: each finding with what it means and what to do.

docs/reference/doctor.md follows this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Severity(StrEnum):
    """How much a finding matters; the order is that of a report."""

    ERROR = "error"  #: it does not work, or a secret is at risk
    WARNING = "warning"  #: it works today
    NOTE = "note"  #: worth knowing; may be meant


_ORDER: Final = list(Severity)
DEGRADING: Final = frozenset({Severity.ERROR, Severity.WARNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """One line of the catalogue."""

    severity: Severity
    means: str
    remedy: str


def _error(means: str, remedy: str) -> Meaning:
    return Meaning(severity=Severity.ERROR, means=means, remedy=remedy)


def _warning(means: str, remedy: str) -> Meaning:
    return Meaning(severity=Severity.WARNING, means=means, remedy=remedy)


def _note(means: str, remedy: str) -> Meaning:
    return Meaning(severity=Severity.NOTE, means=means, remedy=remedy)


CATALOGUE: Final[Mapping[str, Meaning]] = {
    # --- configuration
    "configuration_invalid": _error(
        "rotator.yaml cannot be used; no other check was made", "correct it where it says"
    ),
    "failpoints_armed": _error(
        "ROTATOR_FAILPOINTS is set: the program fails on purpose", "unset it; it is for tests alone"
    ),
    "plain_http": _warning(
        "cookies and tokens leave this program in the clear",
        "see that only a proxy with TLS reaches it, or set tls_certificate and tls_key",
    ),
    "health_port_open": _note(
        "health and metrics are served beyond this machine, without a token",
        "let only your monitoring reach that port",
    ),
    "local_store": _note(
        "the key of the local store lies beside what it protects",
        "use a secrets manager where more than a trial depends on it",
    ),
    "nobody_expected": _note(
        "no member has to attest, so rotations go by the clock alone",
        "name the members, or their number, once agents are there",
    ),
    # --- files
    "file_missing": _error("a file that the settings name is not there", "make it, or correct it"),
    "file_hidden": _warning(
        "this user may not look at a file that the settings name",
        "run doctor as the service's user; is it that one, see the directories above the file",
    ),
    "file_open_to_others": _error(
        "every user of this machine can read or replace it",
        "chmod 600 (a directory: 700); if others are here, exchange what it held",
    ),
    "file_open_to_group": _note(
        "the group of the file can read or replace it", "see that nobody else is in that group"
    ),
    "tls_unusable": _error(
        "certificate and key do not go together, or cannot be read", "correct listen.tls_*"
    ),
    # --- state store
    "state_store_missing": _warning(
        "there is no state store yet: the service has never run with these settings",
        "start it; if it has run, data_dir is another one now",
    ),
    "state_store_unusable": _error(
        "the state store cannot be read", "see the runbook of the state store"
    ),
    # --- clocks
    "clock_skew": _warning(
        "two clocks differ by over half a minute: tokens end and windows close at other times",
        "let both machines keep time (NTP)",
    ),
    "clock_far_off": _error(
        "two clocks differ by over five minutes: logins and windows go wrong",
        "correct the clock, and let it be kept (NTP)",
    ),
    # --- secrets manager
    "secrets_manager_unusable": _error(
        "the secrets manager cannot be used; the subject is the code",
        "look the code up under Vault set-up",
    ),
    "kv_version_1": _error(
        "the mount is KV version 1, which has no compare-and-set",
        "use a KV version 2 mount (secret_store.mount)",
    ),
    "rights_missing": _error(
        "the service lacks a right that it needs", "compare its policy with deploy/policies"
    ),
    "rights_too_wide": _error(
        "the service may do what it never needs; whoever takes its place may, too",
        "give it the policy of deploy/policies and no other",
    ),
    "rights_unknown": _warning(
        "what the token may do could not be asked",
        "allow update on sys/capabilities-self, as in deploy/policies",
    ),
    "document_unsafe": _error(
        "the document does not keep one version alone, or takes writes without compare-and-set",
        "set max_versions=1 and cas_required=true in its metadata, then rotate",
    ),
    "document_has_history": _error(
        "former versions of the document can still be read, with the cookies in them",
        "set max_versions=1 in its metadata; the next write removes them: rotate",
    ),
    "document_expires": _error(
        "the secrets manager would delete the document by itself",
        "set delete_version_after=0s in its metadata",
    ),
    "store_token_root": _error(
        "the service uses a root token of the secrets manager",
        "give it a token with the policy of deploy/policies alone",
    ),
    "store_token_ends": _warning(
        "the token for the secrets manager ends, and nobody can prolong it",
        "put another into token_file in time, or use AppRole or JWT",
    ),
    "store_token_uses": _warning(
        "the token for the secrets manager has a limited number of uses", "make it without num_uses"
    ),
    # --- masters
    "epoch_missing": _error(
        "an epoch that cookies come from is not in the secrets manager",
        "bring it back (undelete, or a backup)",
    ),
    "epoch_weak": _warning(
        "an epoch in use is stretched too little for a secret that is not random",
        "rotator master rotate, then rotate its clusters",
    ),
    "epoch_profile_old": _note(
        "an epoch in use has other parameters than the settings have now",
        "none needed; they apply from the next epoch on",
    ),
    "profile_weak": _warning(
        "the profile of a master is one for tests",
        "choose another (docs/reference/derivation.md); it applies to the next epoch",
    ),
    # --- recovery
    "never_exported": _warning(
        "there is no recovery file: what only the secrets manager holds would be lost with it",
        "rotator master export, and keep the file elsewhere",
    ),
    "export_outdated": _warning(
        "the recovery file is older than a master's epoch or a cluster",
        "rotator master export again",
    ),
    # --- API tokens
    "token_expires": _warning(
        "an API token in use ends within a week",
        "rotator token create for whoever uses it, then revoke this one",
    ),
    "token_too_wide": _warning(
        "a node's token is good for other nodes, too: whoever has it attests for them",
        "one token for each node; revoke this one",
    ),
    "nobody_may_act": _warning(
        "no operator's token is valid: nobody could begin an emergency",
        "rotator token create --local --role operator",
    ),
    # --- clusters
    "cluster_undeclared": _warning(
        "a cluster is not in rotator.yaml any more: it is served and never rotated",
        "put it back, or leave it",
    ),
    "cluster_uninitialised": _warning(
        "a cluster has no version yet: nothing rotates it", "rotator init, or rotator import"
    ),
    "cluster_frozen": _error(
        "the stores do not agree about a cluster; nothing is written", "see the runbook of its code"
    ),
    "cluster_waits": _warning(
        "a cluster has waited for the same thing for ten minutes", "look the code up under Blockers"
    ),
    "member_finding": _warning(
        "an agent has found something on its node", "see the agent's reference"
    ),
    # --- the examination itself
    "check_failed": _warning(
        "a check came to no end, so it says nothing", "see the detail, then run doctor again"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found. Never holds a secret."""

    code: str  #: of `CATALOGUE`
    subject: str = ""  #: the cluster, file, token or path
    detail: str = ""

    @property
    def meaning(self) -> Meaning:
        """What it means and what to do."""
        return CATALOGUE[self.code]


def by_weight(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first; alike ones together, each once."""
    unique = set(findings)
    key = lambda one: (_ORDER.index(one.meaning.severity), one.code, one.subject, one.detail)  # noqa: E731
    return tuple(sorted(unique, key=key))


def is_degraded(findings: Iterable[Finding]) -> bool:
    """Whether any of them is more than a note."""
    return any(one.meaning.severity in DEGRADING for one in findings)
