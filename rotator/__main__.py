"""``python -m rotator`` and the ``rotator`` program: the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; ends the process with one of its exit codes."""
    if sys.argv[1:2] == ["agent"]:
        # Before the command line proper is loaded: an agent runs beside every node.
        from rotator.agent.main import main as agent  # noqa: PLC0415

        sys.exit(agent(sys.argv[2:]))
    from rotator.cli.app import run  # noqa: PLC0415 - so that Ctrl-C during start-up stays quiet

    run()


if __name__ == "__main__":
    main()
