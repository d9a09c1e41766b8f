"""Kubernetes as it says who processes are."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from rotator.domain.ids import NODE_NAME
from rotator.settings.values import Location, Name, Section, Text, matching

_ACCOUNT: Final = AfterValidator(
    matching(r"[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}", "namespace/name, such as shop/rabbitmq")
)
_ADDRESS: Final = AfterValidator(
    matching(
        r"https://[^/?#@\s]+|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", "https://host:port"
    )
)


class Identity(Section):
    """What processes of one service account may."""

    service_account: Annotated[str, _ACCOUNT]
    #: namespace/name.
    role: Literal["node", "orchestrator", "operator", "auditor"]
    #: admin is left out on purpose: whoever may make pods there would make tokens here.
    clusters: Annotated[list[Annotated[str, Name]], Field(min_length=1)]
    #: Names of clusters.
    nodes: Text | None = None
    #: Role node alone: how a node's name is made of its pod's: rabbit@{pod}.rabbit-nodes.

    @model_validator(mode="after")
    def _names_its_node(self) -> Identity:
        if (self.role == "node") != (self.nodes is not None):
            raise ValueError("nodes goes with role node, and with no other")
        if self.nodes is None:
            return self
        tried = self.nodes.replace("{pod}", "p").replace("{namespace}", "n")
        if self.nodes.count("{pod}") != 1 or NODE_NAME.fullmatch(tried) is None or "*" in tried:
            raise ValueError(
                "nodes holds {pod} once, so that a pod speaks for its own node alone:"
                " rabbit@{pod}.rabbit-nodes"
            )
        return self


class Kubernetes(Section):
    """Tokens of service accounts are taken, as far as the cluster itself says that they are good."""

    identities: Annotated[list[Identity], Field(min_length=1)]
    #: Who may what; each service account once.
    audience: Text = "rotator"
    #: That tokens have to be for. One for the Kubernetes API itself is never taken.
    api: Annotated[str, _ADDRESS] | None = None
    #: The Kubernetes API; default: that of the pod in which the service runs.
    token_file: Location | None = None
    #: With `api`: what the service asks with.
    ca_cert: Location | None = None
    #: With `api`: PEM file of its authority; default: the usual ones.

    @model_validator(mode="after")
    def _is_whole(self) -> Kubernetes:
        accounts = [one.service_account for one in self.identities]
        if len(set(accounts)) < len(accounts):
            raise ValueError("identities: a service account stands there twice")
        _no_node_of_two(self.identities)
        if self.api is None and (self.token_file or self.ca_cert):
            raise ValueError("token_file and ca_cert go with api")
        return self

    def reviewer(self) -> dict[str, Any]:
        """Whom to ask about tokens."""
        return self.model_dump(exclude={"identities"})


def _no_node_of_two(identities: list[Identity]) -> None:
    """Pods of one name in two namespaces would be one node, and each would get its cookie."""
    seen: dict[tuple[str, str], str] = {}
    for one in identities:
        if one.nodes is None:
            continue
        namespace = one.service_account.partition("/")[0]
        made = one.nodes.replace("{namespace}", namespace)
        for cluster in set(one.clusters):
            if seen.setdefault((cluster, made), namespace) != namespace:
                raise ValueError(
                    f"identities: pods of two namespaces make the same names of nodes of {cluster};"
                    " tell them apart, as by {namespace}"
                )
