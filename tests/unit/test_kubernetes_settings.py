from __future__ import annotations

import pytest
from pydantic import ValidationError

from rotator.settings.kubernetes import Kubernetes

PLAIN, TOLD_APART = "rabbit@{pod}.rabbit", "rabbit@{pod}.rabbit.{namespace}"


def identity(account: str, nodes: str, *clusters: str) -> dict[str, object]:
    """One of role node."""
    names = list(clusters or ("orders",))
    return {"service_account": account, "role": "node", "clusters": names, "nodes": nodes}


def test_pods_of_two_namespaces_are_never_one_node() -> None:
    """A pod of the same name could be made in the other namespace, and would get the cookie."""
    two = [identity("dev/mq", PLAIN, "orders", "stock"), identity("prod/mq", PLAIN, "orders")]
    with pytest.raises(ValidationError, match="pods of two namespaces"):
        Kubernetes.model_validate({"identities": two})


@pytest.mark.parametrize(
    "second",
    [
        identity("prod/mq", PLAIN, "billing"),
        identity("dev/other", PLAIN),
        identity("prod/mq", TOLD_APART),
        {"service_account": "prod/mq", "role": "auditor", "clusters": ["orders"]},
    ],
)
def test_identities_whose_nodes_differ_stand_beside_each_other(second: dict[str, object]) -> None:
    """By cluster, by the namespace, or since within one namespace a pod's name is unique."""
    given = {"identities": [identity("dev/mq", PLAIN), second]}
    assert len(Kubernetes.model_validate(given).identities) == 2
