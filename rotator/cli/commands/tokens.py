"""``rotator token``: API tokens. The token itself is shown once, alone on standard output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rotator.cli import durations, listings, output
from rotator.cli.arguments import TOKENS, ReasonOption, YesOption
from rotator.cli.failure import ExitCode, Misuse
from rotator.cli.session import PlainGroup, Session, command
from rotator.protocol import v1

DEFAULT_LIFETIME = "90d"


def create(
    session: Session,
    *,
    role: Annotated[
        str,
        typer.Option(
            "--role",
            help="node (its cookie), operator (rotates), auditor (reads), admin (tokens, init, import)"
            " or orchestrator (reads rotations, and nothing else).",
        ),
    ],
    clusters: Annotated[
        list[str],
        typer.Option("--cluster", metavar="NAME", help="In its scope; '*' for all. Repeatable."),
    ],
    node: Annotated[
        str, typer.Option("--node", metavar="NAME", help="Role node: whose, such as rabbit@a.")
    ] = "",
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="What it is for.")] = "",
    expires_in: Annotated[
        str, typer.Option("--expires-in", metavar="TIME", help="Its life, at most 90d.")
    ] = DEFAULT_LIFETIME,
    local: Annotated[
        bool, typer.Option("--local", help="On the server: open the state store directly.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="With --local: rotator.yaml.")
    ] = None,
) -> ExitCode:
    """Make a token; it is shown once, alone on standard output.

    The first one is made on the server with --local: the right to its files is the right.
    """
    lifetime = durations.parse(expires_in)
    if role == "node" and not node:
        raise Misuse("a node's token names its node", hint="add --node, such as --node rabbit@a")
    if (config is not None) != local:
        raise Misuse("--local and --config go together: the state store is named in the file")
    if config is not None:
        from rotator.cli.commands import local as on_server  # noqa: PLC0415 - server parts
        from rotator.cli.commands.server import needs_server_extra  # noqa: PLC0415 - with it

        with needs_server_extra():
            text = on_server.create_token(
                config,
                role=role,
                clusters=tuple(clusters),
                nodes=node,
                note=note,
                expires_in=lifetime,
            )
        session.out.show({"token": text}, [text])
        return ExitCode.OK
    asked = v1.CreateToken(
        role=role,
        clusters=clusters,
        nodes=node,
        note=note,
        expires_in_seconds=lifetime.total_seconds(),
    )
    answer = session.api.post(v1.Token, "tokens", body=asked)
    made = answer.value
    output.warn(made.warnings)
    output.say(f"token {made.id} for {made.role}, until {made.expires_at}; it is not shown again")
    session.out.show(answer.document, [made.token or ""])
    return ExitCode.OK


def list_(session: Session) -> ExitCode:
    """The tokens, newest first, without their secrets."""
    found = session.api.get(v1.Tokens, "tokens")
    session.out.show(found.document, listings.tokens(found.value, session.api.now))
    return ExitCode.OK


def revoke(
    session: Session,
    *,
    token: Annotated[str, typer.Argument(metavar="ID", help="A token's id, never a token.")],
    reason: ReasonOption = "",
    yes: YesOption = False,
) -> ExitCode:
    """Refuse a token from now on, on every replica."""
    if token.startswith("rot_"):
        raise Misuse(
            "that looks like a token; give its id alone, the part between the two underscores",
            hint="what was given is in this shell's history: do revoke it",
        )
    session.confirm(f"Whoever uses token {token} is refused from now on.", yes=yes)
    asked = v1.Reason(reason=reason) if reason else None
    answer = session.api.delete(v1.Token, "tokens", token, body=asked)
    session.out.show(answer.document or {"id": token}, [f"token {token} is revoked"])
    return ExitCode.OK


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    group = typer.Typer(
        name="token",
        help="Make, list and revoke API tokens.",
        no_args_is_help=True,
        cls=PlainGroup,
    )
    command(
        group,
        "create",
        "rotator token create --role operator --cluster '*' > operator.token",
        "rotator token create --role node --cluster orders --node rabbit@a --expires-in 30d",
        "rotator token create --local --config rotator.yaml --role admin --cluster '*'",
    )(create)
    command(group, "list", "rotator token list")(list_)
    command(group, "revoke", 'rotator token revoke ID --reason "laptop lost" --yes')(revoke)
    app.add_typer(group, name="token", rich_help_panel=TOKENS)
