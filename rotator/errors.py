"""Every error that the project raises on purpose, as one tree.

::

    RotatorError
    ├── InputError                 what was given cannot be used
    │   ├── ConfigurationError     rotator.yaml, with line and column
    │   ├── InvalidCookie
    │   └── WeakMaster
    ├── NotFound
    ├── Conflict                   right question, wrong moment
    │   ├── RotationUnderway · PhaseForbids · TooManyRotations · CoolingDown
    │   ├── NotInitialised · AlreadyInitialised · ClusterFrozen
    │   ├── StaleGeneration · WrongFingerprint
    │   ├── MemberIsLive · TooManyMembers · NoSchedule
    │   └── ClaimLost · RolloutPaused
    ├── NotAuthenticated · NotAllowed (NodeShutOut) · IdentityAway
    ├── SecretStoreError           the secrets manager; `is_transient` says whether to try again
    │   ├── StoreUnreachable · StoreSealed · StoreBusy                  (transient)
    │   ├── StoreConflict          compare-and-set lost: read back and look  (transient)
    │   ├── StoreTokenExpired · StoreLoginFailed · StoreForbidden
    │   ├── StoreMountMissing · StoreKvVersion1 · StoreUnsafeSettings
    │   ├── StoreKeyUnusable · StoreQuotaReached · StoreDeletionScheduled · StoreStagesMoved
    │   └── StoreDocumentInvalid · EpochMissing · EpochForeign
    ├── BeamError                  the distribution protocol with a BEAM node
    │   ├── NodeRefused · NodeTlsFailed · NodeTimedOut · NodeGone       the way there
    │   ├── NoSuchNode · NotABeamNode · WrongCookie                     the handshake
    │   └── CallFailed · BeamProtocolError
    ├── AgentError                 beside a node
    │   ├── AgentFileError · BootRefused
    │   └── ServiceAway · AgentRefused (AgentConflict)
    ├── OrchestratorError          restarts nodes by claims
    │   ├── RolloutAway            the service does not answer: try again
    │   ├── RolloutRefused (ClaimOver)
    │   └── RestartImpossible
    ├── KubernetesError
    │   └── KubernetesAway         no answer, or not now · KubernetesRefused
    ├── StateStoreError
    │   ├── RevisionConflict       someone else changed the cluster: load again
    │   ├── FenceLost · AnotherProcess · StateUnavailable
    │   └── DatabaseTooNew · DatabaseTooOld
    ├── NotConfiguredHere          another replica's configuration has the cluster
    └── InvariantViolated          a bug, or a store that was changed by hand

A class's docstring is its default message. Messages never contain cookie or master material,
nor input that might be such.
"""

from __future__ import annotations

from typing import ClassVar


class RotatorError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or (self.__doc__ or "").strip().splitlines()[0])


class InputError(RotatorError):
    """What was given cannot be used."""

    code = "invalid"


class ConfigurationError(InputError):
    """The configuration cannot be used."""

    code = "configuration"


class InvalidCookie(InputError):
    """A cookie is 1 to 255 printable ASCII characters without white space."""

    code = "invalid_cookie"


class WeakMaster(InputError):
    """The master secret is too weak to derive cookies from."""

    code = "weak_master"


class NotFound(RotatorError):
    """There is no such thing."""

    code = "not_found"


class Conflict(RotatorError):
    """That is not possible in the present state."""

    code = "conflict"


class RotationUnderway(Conflict):
    """A rotation of this cluster is under way."""

    code = "rotation_underway"

    def __init__(self, rotation_id: str, *, ends: str = "") -> None:
        self.rotation_id = rotation_id
        super().__init__(f"rotation {rotation_id} is under way; wait for it{ends}")


class PhaseForbids(Conflict):
    """The rotation's phase does not allow that."""

    code = "phase_forbids"


class TooManyRotations(Conflict):
    """The cluster's cap on rotations an hour is reached."""

    code = "too_many_rotations"


class CoolingDown(Conflict):
    """An emergency ran a moment ago; use force to start another."""

    code = "cooling_down"


class NoSchedule(Conflict):
    """The cluster has no schedule in the configuration."""

    code = "no_schedule"


class NotInitialised(Conflict):
    """The cluster has no cookie yet; run `rotator init` or `rotator import` first."""

    code = "not_initialised"


class AlreadyInitialised(Conflict):
    """The cluster has a cookie already."""

    code = "already_initialised"


class ClusterFrozen(Conflict):
    """The cluster is frozen: its stores do not agree, or it is not declared any more."""

    code = "frozen"


class StaleGeneration(Conflict):
    """The report is older than one that this node has already made."""

    code = "stale_generation"


class WrongFingerprint(Conflict):
    """A fingerprint is not that of the version it names."""

    code = "wrong_fingerprint"


class MemberIsLive(Conflict):
    """The member is live; use force if nobody shall wait for it all the same."""

    code = "member_is_live"


class TooManyMembers(Conflict):
    """The cluster has as many members as it may have; remove those that are gone."""

    code = "too_many_members"


class ClaimLost(Conflict):
    """The claim is over, or somebody else has it: do not restart the node for it."""

    code = "claim_lost"


class RolloutPaused(Conflict):
    """No restart may begin just now: renew the claim, and ask again."""

    code = "rollout_paused"


class NotAuthenticated(RotatorError):
    """A valid token is needed."""

    code = "not_authenticated"


class IdentityAway(RotatorError):
    """Whose token it is cannot be told just now; try again."""

    code = "identity_away"


class NotAllowed(RotatorError):
    """This token does not give that right."""

    code = "not_allowed"


class NodeShutOut(NotAllowed):
    """This node is shut out of the cluster, whatever token it shows; an operator may readmit it."""

    code = "shut_out"


class SecretStoreError(RotatorError):
    """The secrets manager did not do what was asked."""

    code = "secret_store"
    is_transient: ClassVar[bool] = False


class StoreUnreachable(SecretStoreError):
    """The secrets manager cannot be reached, or did not answer in time."""

    code = "store_unreachable"
    is_transient = True


class StoreSealed(SecretStoreError):
    """The secrets manager is sealed; unseal it."""

    code = "store_sealed"
    is_transient = True


class StoreBusy(SecretStoreError):
    """The secrets manager answered with a passing fault."""

    code = "store_busy"
    is_transient = True


class StoreConflict(SecretStoreError):
    """Somebody else wrote first; read back and compare."""

    code = "store_conflict"
    is_transient = True


class StoreTokenExpired(SecretStoreError):
    """The secrets manager refuses the token as invalid or expired."""

    code = "store_token_expired"


class StoreLoginFailed(SecretStoreError):
    """The secrets manager refuses the login."""

    code = "store_login_failed"


class StoreForbidden(SecretStoreError):
    """The secrets manager denies this path; compare the token's policy with deploy/policies."""

    code = "store_forbidden"


class StoreMountMissing(SecretStoreError):
    """There is no secrets engine at the configured mount."""

    code = "store_mount_missing"


class StoreKvVersion1(SecretStoreError):
    """The mount is KV version 1, which has no compare-and-set; use a KV version 2 mount."""

    code = "store_kv_version_1"


class StoreUnsafeSettings(SecretStoreError):
    """The document's metadata must have max_versions=1 and cas_required=true."""

    code = "store_unsafe_settings"


class StoreKeyUnusable(SecretStoreError):
    """The KMS key cannot be used: enable it, and allow kms:Decrypt and kms:GenerateDataKey on it."""

    code = "store_key_unusable"


class StoreQuotaReached(SecretStoreError):
    """The secret has too many versions of the last 24 hours; rotate less often, or wait."""

    code = "store_quota_reached"


class StoreDeletionScheduled(SecretStoreError):
    """The secret is scheduled for deletion; restore it (aws secretsmanager restore-secret)."""

    code = "store_deletion_scheduled"


class StoreStagesMoved(SecretStoreError):
    """Somebody else moved the secret's staging labels; move them back."""

    code = "store_stages_moved"


class StoreDocumentInvalid(SecretStoreError):
    """A document in the secrets manager is not one that this program wrote."""

    code = "store_document_invalid"


class EpochMissing(SecretStoreError):
    """An epoch of the master secret that was in use is gone from the secrets manager."""

    code = "epoch_missing"


class EpochForeign(SecretStoreError):
    """An epoch of the master secret was opened for something else."""

    code = "epoch_foreign"


class BeamError(RotatorError):
    """The conversation with a BEAM node failed."""

    code = "beam"


class NodeRefused(BeamError):
    """The node does not take this connection."""

    code = "node_refused"


class NodeTlsFailed(NodeRefused):
    """TLS with the node failed: one side does not trust the other, or one speaks no TLS."""

    code = "node_tls_failed"


class NodeTimedOut(BeamError):
    """The node did not answer in time."""

    code = "node_timed_out"


class NodeGone(BeamError):
    """The connection to the node is lost."""

    code = "node_gone"


class NoSuchNode(BeamError):
    """There is no node of that name at that place."""

    code = "no_such_node"


class NotABeamNode(BeamError):
    """What answers at that place does not speak the Erlang distribution protocol."""

    code = "not_a_beam_node"


class WrongCookie(BeamError):
    """The node and this program do not use the same cookie."""

    code = "wrong_cookie"


class CallFailed(BeamError):
    """The call failed in the node; `reason` is the exception's class, such as undef."""

    code = "call_failed"

    def __init__(self, detail: str = "", *, reason: str = "") -> None:
        self.reason = reason
        super().__init__(detail)


class BeamProtocolError(BeamError):
    """The node sent what cannot be understood, or more than is accepted."""

    code = "beam_protocol"


class StateStoreError(RotatorError):
    """The state store did not do what was asked."""

    code = "state_store"


class RevisionConflict(StateStoreError):
    """The cluster was changed meanwhile; load it again."""

    code = "revision_conflict"


class FenceLost(StateStoreError):
    """Another process leads; this one changes nothing any more."""

    code = "fence_lost"


class AnotherProcess(StateStoreError):
    """Another process has this database open, or leads."""

    code = "another_process"


class DatabaseTooNew(StateStoreError):
    """The database was written by a newer version of this program; upgrade the program."""

    code = "database_too_new"


class DatabaseTooOld(StateStoreError):
    """The database is not at this program's schema; run `rotator migrate`."""

    code = "database_too_old"


class StateUnavailable(StateStoreError):
    """The state store cannot be used just now."""

    code = "state_unavailable"


class NotConfiguredHere(RotatorError):
    """The cluster is not in this replica's configuration; the file of the replica that leads has it."""

    code = "not_configured_here"


class InvariantViolated(RotatorError):
    """A state was about to be reached that must never be."""

    code = "invariant_violated"


class AgentError(RotatorError):
    """The agent cannot do its work."""

    code = "agent"


class AgentFileError(AgentError):
    """A file of the node cannot be read or written."""

    code = "agent_file"


class BootRefused(AgentError):
    """The node may not boot now."""

    code = "boot_refused"


class ServiceAway(AgentError):
    """The service does not answer."""

    code = "service_away"


class AgentRefused(AgentError):
    """The service refuses what the agent asks."""

    code = "agent_refused"


class AgentConflict(AgentRefused):
    """The service refuses it at this moment: something changed meanwhile."""

    code = "agent_conflict"


class OrchestratorError(RotatorError):
    """Nodes cannot be restarted."""

    code = "orchestrator"


class RolloutAway(OrchestratorError):
    """The service does not answer; what was asked for may have been done."""

    code = "rollout_away"


class RolloutRefused(OrchestratorError):
    """The service refuses what the orchestrator asks."""

    code = "rollout_refused"


class ClaimOver(RolloutRefused):
    """The claim is over, or somebody else has it: the node is not to be touched for it."""

    code = "claim_over"


class RestartImpossible(OrchestratorError):
    """The node cannot be restarted this way, however often it is tried."""

    code = "restart_impossible"


class KubernetesError(RotatorError):
    """Kubernetes did not do what was asked."""

    code = "kubernetes"


class KubernetesAway(KubernetesError):
    """The Kubernetes API does not answer; what was asked for may have been done."""

    code = "kubernetes_away"


class KubernetesRefused(KubernetesError):
    """The Kubernetes API refuses it; `status` is that of HTTP."""

    code = "kubernetes_refused"

    def __init__(self, detail: str = "", *, status: int = 0, reason: str = "") -> None:
        self.status = status
        self.reason = reason
        super().__init__(detail)
