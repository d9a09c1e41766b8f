"""``python -m rotator`` and the ``rotator`` program: the command line."""

from __future__ import annotations


def main() -> None:
    """Run the command line; ends the process with one of its exit codes."""
    from rotator.cli.app import run  # noqa: PLC0415 - so that Ctrl-C during start-up stays quiet

    run()


if __name__ == "__main__":
    main()
