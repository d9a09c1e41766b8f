"""The resources that the fake knows, and what discovery says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

EVERYTHING = ("create", "delete", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource."""

    group: str
    version: str
    plural: str
    kind: str
    is_namespaced: bool = True
    short: tuple[str, ...] = ()
    verbs: tuple[str, ...] = EVERYTHING

    @property
    def api_version(self) -> str:
        """As it stands in an object."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def described(self) -> dict[str, Any]:
        """Its row of discovery."""
        return {
            "name": self.plural,
            "singularName": self.kind.lower(),
            "namespaced": self.is_namespaced,
            "kind": self.kind,
            "verbs": list(self.verbs),
            **({"shortNames": list(self.short)} if self.short else {}),
        }


_RBAC = "rbac.authorization.k8s.io"
KINDS = (
    Kind("", "v1", "namespaces", "Namespace", False, ("ns",)),
    Kind("", "v1", "nodes", "Node", False, ("no",)),
    Kind("", "v1", "pods", "Pod", True, ("po",)),
    Kind("", "v1", "services", "Service", True, ("svc",)),
    Kind("", "v1", "configmaps", "ConfigMap", True, ("cm",)),
    Kind("", "v1", "secrets", "Secret"),
    Kind("", "v1", "serviceaccounts", "ServiceAccount", True, ("sa",)),
    Kind("", "v1", "events", "Event", True, ("ev",)),
    Kind("apps", "v1", "statefulsets", "StatefulSet", True, ("sts",)),
    Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, ("pdb",)),
    Kind("coordination.k8s.io", "v1", "leases", "Lease"),
    Kind(_RBAC, "v1", "roles", "Role"),
    Kind(_RBAC, "v1", "rolebindings", "RoleBinding"),
    Kind(_RBAC, "v1", "clusterroles", "ClusterRole", False),
    Kind(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", False),
    Kind("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False, (), ("create",)),
    Kind(
        "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", False, (),
        ("create",),
    ),
    Kind(
        "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False,
        (), ("create",),
    ),
)  # fmt: skip
#: Below an object: (plural, name, kind, group and version of what is sent).
SUBRESOURCES = (
    ("pods", "eviction", "Eviction", ("policy", "v1")),
    ("pods", "status", "Pod", ("", "v1")),
    ("statefulsets", "status", "StatefulSet", ("apps", "v1")),
    ("serviceaccounts", "token", "TokenRequest", ("authentication.k8s.io", "v1")),
)


def find(group: str, version: str, plural: str) -> Kind | None:
    """The resource at a path, or None."""
    for kind in KINDS:
        if (kind.group, kind.version, kind.plural) == (group, version, plural):
            return kind
    return None


def named(kind: str) -> Kind:
    """By the name that objects have in `kind`."""
    return next(one for one in KINDS if one.kind == kind)


def groups() -> list[str]:
    """Named API groups; each has one version, v1."""
    return list(dict.fromkeys(kind.group for kind in KINDS if kind.group))


def resources(group: str) -> dict[str, Any]:
    """Discovery of one group."""
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        if kind.group != group:
            continue
        rows.append(kind.described())
        for plural, name, what, (its_group, its_version) in SUBRESOURCES:
            if plural != kind.plural:
                continue
            verbs = ["get", "patch", "update"] if name == "status" else ["create"]
            row = {"name": f"{plural}/{name}", "singularName": "", "namespaced": True, "kind": what}
            if its_group != group:
                row |= {"group": its_group, "version": its_version}
            rows.append({**row, "verbs": verbs})
    version = f"{group}/v1" if group else "v1"
    return {
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": rows,
    }  # fmt: skip


def group_row(group: str) -> dict[str, Any]:
    """One row of `/apis`."""
    version = {"groupVersion": f"{group}/v1", "version": "v1"}
    return {"name": group, "versions": [version], "preferredVersion": version}


def openapi(group: str) -> dict[str, Any]:
    """As little of OpenAPI as makes kubectl leave the checking of fields to the server."""
    paths: dict[str, Any] = {}
    for kind in KINDS:
        if kind.group != group:
            continue
        root = f"/apis/{group}/v1" if group else "/api/v1"
        within = "/namespaces/{namespace}" if kind.is_namespaced else ""
        paths[f"{root}{within}/{kind.plural}/{{name}}"] = {
            "patch": {
                "parameters": [{"name": "fieldValidation", "in": "query"}],
                "responses": {},
                "x-kubernetes-group-version-kind": {
                    "group": group, "version": "v1", "kind": kind.kind,
                },
            }
        }  # fmt: skip
    return {"openapi": "3.0.0", "info": {"title": "fake", "version": "v1.35"}, "paths": paths}
