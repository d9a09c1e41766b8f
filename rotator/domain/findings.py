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
        "start it, unless state_store_lost stands beside this; if it has run, data_dir is another one now",
    ),
    "state_store_lost": _error(
        "the secrets manager knows more of a cluster than the state store: that is lost, or an old copy",
        "stop the service, rotator recover: docs/operations/runbooks.md#a-lost-or-old-state-store",
    ),
    "state_store_unusable": _error(
        "the state store cannot be read",
        "look the code up: docs/reference/blockers.md#the-service-itself; lost:"
        " docs/operations/runbooks.md#a-lost-or-old-state-store",
    ),
    "database_in_the_clear": _error(
        "what is said to the database crosses a network without TLS: tokens' hashes, facts, the lease",
        "set sslmode: verify-full, and TLS on the server",
    ),
    "database_unverified": _warning(
        "nobody checks whose database it is: somebody in between can be it",
        "set sslmode: verify-full, and ca_cert if its authority is your own",
    ),
    "database_read_only": _error(
        "the database takes no writes: a standby, or set to read-only",
        "name the primary in state_store.host, or set default_transaction_read_only=off",
    ),
    "database_not_durable": _error(
        "the database may lose what it has confirmed; nothing here may be lost that way",
        "set it to on: fsync and full_page_writes on the server, synchronous_commit for the role, too",
    ),
    "database_rights_missing": _error(
        "the role lacks a right at a table that the service needs",
        "GRANT it, as in docs/how-to/postgresql.md#3-make-the-tables",
    ),
    "database_rights_too_wide": _warning(
        "the role may more on the database server than the service ever needs",
        "ALTER ROLE … NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION, or use another role",
    ),
    "database_connections_few": _warning(
        "the limits of the server, the database or the role leave less than one replica may want",
        "raise max_connections or the limit of the role or database, or end what holds them",
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
        "look the code up: docs/reference/vault-setup.md#when-it-says, docs/how-to/aws.md#when-it-says",
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
        "what the service may do could not be found out",
        "Vault: allow update on sys/capabilities-self, as in deploy/policies; AWS: see the detail",
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
    "document_missing": _error(
        "a secret of a cluster that has versions is not there",
        "check where the settings point (mount, prefix, region, account); if it is gone, rotator rederive:"
        " docs/operations/runbooks.md#a-lost-or-old-secrets-manager",
    ),
    "secret_deletion_scheduled": _error(
        "a secret is scheduled for deletion, and cannot be read",
        "aws secretsmanager restore-secret --secret-id SUBJECT",
    ),
    "secret_stages_moved": _error(
        "somebody moved a label of a secret; the cluster is not rotated meanwhile",
        "see store_stages_moved: docs/how-to/aws.md#when-it-says",
    ),
    "secret_rotated_by_aws": _error(
        "AWS's own rotation is switched on: it would write over what this program wrote",
        "aws secretsmanager cancel-rotate-secret --secret-id SUBJECT",
    ),
    "store_quota_near": _warning(
        "a secret has so many versions of the last 24 hours that no rotation begins",
        "wait, and rotate less often; an emergency is not held up",
    ),
    "store_token_root": _error(
        "the service uses a root token of the secrets manager",
        "give it a token with the policy of deploy/policies alone",
    ),
    "store_token_ends": _warning(
        "the token for the secrets manager ends, and nobody can prolong it",
        "put another in its place in time, or use what is renewed: AppRole, JWT, on AWS a role",
    ),
    "store_key_lasting": _note(
        "the service uses an AWS access key that never ends by itself",
        "give it a role instead (instance, container, web identity), or exchange the key regularly",
    ),
    "store_token_uses": _warning(
        "the token for the secrets manager has a limited number of uses", "make it without num_uses"
    ),
    # --- masters
    "epoch_missing": _error(
        "an epoch that cookies come from is not in the secrets manager",
        "bring it back (undelete, or a backup), or rotator rederive with the recovery file:"
        " docs/operations/runbooks.md#a-lost-or-old-secrets-manager",
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
    # --- Kubernetes
    "kubernetes_unusable": _error(
        "Kubernetes reviews no tokens for the service, so no pod gets in by its service account",
        "bind the ClusterRole system:auth-delegator to the service's own account, and see kubernetes.api,"
        " token_file and ca_cert: docs/how-to/kubernetes.md",
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
        "the stores do not agree about a cluster; nothing is written",
        "go by its code: docs/operations/runbooks.md#a-frozen-cluster",
    ),
    "cluster_waits": _warning(
        "a cluster has waited for the same thing for ten minutes",
        "look the code up: docs/reference/blockers.md",
    ),
    "member_finding": _warning(
        "an agent has found something on its node", "look it up: docs/reference/agent.md#findings"
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
