"""``rotator demo``: two rotations on real parts, each phase as it happens, and the proof.

Everything is started here on loopback with a directory of its own, and is stopped and removed at
the end: a real OpenBao (or the local store), the service, two rotations. What is shown as proof is
tried with the identity that a node has: its API token, and on Vault a token with the node policy.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rotator.cli.demo.openbao import open_vault, read_policy
from rotator.cli.demo.rotations import Demo
from rotator.cli.demo.service import NODE, serving
from rotator.cli.demo.telling import say


def demonstrate(store: str) -> dict[str, Any]:
    """Run the demonstration on ``vault`` (a real OpenBao) or ``local``; raises `DemoFailed`."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rotator-demo-")))
        vault = stack.enter_context(open_vault(directory)) if store == "vault" else None
        say("OpenBao is running" if vault else "the local store is in use")
        service = stack.enter_context(serving(directory, vault))
        say("the service is running")
        tokens = {
            "admin": service.token("admin"),
            "operator": service.token("operator"),
            "node": service.token("node", "--node", NODE),
        }
        node_token = None
        if vault is not None:
            node_token = vault.token_with("rotator-node", read_policy("vault-node.hcl"))
        demo = Demo(service.address, tokens, vault, node_token, service.configuration)
        return demo.run(store)
