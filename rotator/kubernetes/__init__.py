"""The Kubernetes API, as a client; knows nothing of rotations (docs/decisions/0036)."""

from rotator.kubernetes.api import Answer, KubernetesApi
from rotator.kubernetes.place import Place, in_cluster

__all__ = ["Answer", "KubernetesApi", "Place", "in_cluster"]
