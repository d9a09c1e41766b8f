"""The members of a cluster: see them, stop waiting for them, let them go."""

from __future__ import annotations

from typing import Annotated

import typer

from rotator.cli import listings, tables
from rotator.cli.arguments import (
    NODES,
    ClusterArgument,
    NeededReasonOption,
    NodeArgument,
    ReasonOption,
    YesOption,
    required_reason,
)
from rotator.cli.failure import ExitCode
from rotator.cli.session import Session, command
from rotator.protocol import v1

ForceOption = Annotated[
    bool, typer.Option("--force", help="Even if it is live, and still uses what will be retired.")
]


def nodes(
    session: Session,
    *,
    cluster: ClusterArgument,
    node: Annotated[
        str | None, typer.Argument(metavar="NODE", help="One node, with its pairs.")
    ] = None,
) -> ExitCode:
    """The members of a cluster: liveness, what they hold and use, since when."""
    if node is None:
        every = session.api.get(v1.Members, "clusters", cluster, "nodes")
        session.out.show(every.document, listings.members(every.value, session.api.now))
    else:
        one = session.api.get(v1.Member, "clusters", cluster, "nodes", node)
        session.out.show(one.document, listings.member(one.value, session.api.now))
    return ExitCode.OK


def excuse(
    session: Session,
    *,
    cluster: ClusterArgument,
    node: NodeArgument,
    reason: NeededReasonOption = "",
    force: ForceOption = False,
    yes: YesOption = False,
) -> ExitCode:
    """Wait no longer for a member that is lost; one that is live needs --force.

    What it uses may be retired without it. With its agent it goes on adopting, and is a member
    again once it shows that it is on current. A node that was down meanwhile has a retired cookie:
    start it by `rotator agent boot`, or its agent resets it.
    """
    required_reason(reason)
    if force:
        session.confirm(
            f"Nobody waits for {node} of {cluster} any more, even if it is live: the cookie that it"
            " uses may be retired, and then it makes no new links until its agent has reset it.",
            yes=yes,
        )
    asked = v1.Reason(reason=reason, force=force)
    answer = session.api.post(v1.Member, "clusters", cluster, "nodes", node, "excuse", body=asked)
    session.out.show(answer.document, listings.member(answer.value, session.api.now))
    return ExitCode.OK


def leave(
    session: Session,
    *,
    cluster: ClusterArgument,
    node: NodeArgument,
    reason: ReasonOption = "",
    yes: YesOption = False,
) -> ExitCode:
    """Say that a node has left in good order: wait for it no more. With the node's own token.

    Then stop the node, and its agent. What the agent reports in between does not bring it back; a
    new start of the node or of the agent does.
    """
    session.confirm(f"{node} counts as gone from {cluster}: stop it, and its agent.", yes=yes)
    asked = v1.Reason(reason=reason)
    answer = session.api.post(v1.Member, "clusters", cluster, "nodes", node, "leave", body=asked)
    session.out.show(answer.document, listings.member(answer.value, session.api.now))
    return ExitCode.OK


def remove(
    session: Session,
    *,
    cluster: ClusterArgument,
    node: NodeArgument,
    reason: NeededReasonOption = "",
    force: ForceOption = False,
    yes: YesOption = False,
) -> ExitCode:
    """A node is gone for good: its tokens are revoked, and its name is shut out.

    It is refused with any other token, too, and in a pod of that name, until `rotator readmit`.
    """
    required_reason(reason)
    session.confirm(f"{node} is removed from {cluster}, and its tokens are revoked.", yes=yes)
    asked = v1.Reason(reason=reason, force=force)
    answer = session.api.delete(v1.Removed, "clusters", cluster, "nodes", node, body=asked)
    view: tables.View = [f"{node} is removed from {cluster}"]
    if answer.value is not None:
        view = listings.removed(answer.value)
    session.out.show(answer.document, view)
    return ExitCode.OK


def readmit(
    session: Session,
    *,
    cluster: ClusterArgument,
    node: NodeArgument,
    reason: NeededReasonOption = "",
    yes: YesOption = False,
) -> ExitCode:
    """Let a node join again that an emergency or `remove` has shut out.

    It counts as new, and needs a token: its own was revoked. Make sure that nobody else has its
    name by now: whoever comes with a token for it gets the cookie.
    """
    required_reason(reason)
    session.confirm(f"{node} may join {cluster} again, and then gets the cookie.", yes=yes)
    asked = v1.Reason(reason=reason)
    path = ("clusters", cluster, "nodes", node, "readmit")
    answer = session.api.post(v1.Readmitted, *path, body=asked)
    session.out.show(answer.document, [f"{node} may join {cluster} again"])
    return ExitCode.OK


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    command(app, "nodes", "rotator nodes orders", "rotator nodes orders rabbit@a", panel=NODES)(
        nodes
    )
    command(
        app,
        "excuse",
        'rotator excuse orders rabbit@c --reason "disk broken, comes back next week"',
        panel=NODES,
    )(excuse)
    command(app, "leave", "rotator leave orders rabbit@c --yes", panel=NODES)(leave)
    command(app, "remove", 'rotator remove orders rabbit@c --reason "sold" --yes', panel=NODES)(
        remove
    )
    command(
        app,
        "readmit",
        'rotator readmit orders rabbit@c --reason "installed anew" --yes',
        panel=NODES,
    )(readmit)
