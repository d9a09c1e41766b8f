"""A small Kubernetes API for tests: `cluster.fake_kubernetes` starts one on loopback.

What it has: HTTPS and bearer tokens; objects with uid, generation and resourceVersion, conflicts,
preconditions; merge, strategic merge and JSON patches; list, watch, label and field selectors; discovery,
as far as kubectl 1.35 needs it; RBAC for service accounts; tokens of service accounts and TokenReview;
Lease; evictions that honour PodDisruptionBudgets; a StatefulSet controller (ordinals, RollingUpdate with
partition, OnDelete, Parallel) and a kubelet of one machine, which starts what a `Runtime` says a pod is.

What it has not: other controllers, admission, defaults and checks of schemas, finalizers, volumes,
networks, scheduling, garbage collection by owner, protobuf. No real cluster was ever asked; what is said
about one comes from Kubernetes' documentation, and from kubectl 1.35, which works against this.
"""
