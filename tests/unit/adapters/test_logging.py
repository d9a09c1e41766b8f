from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import structlog

from rotator.adapters.telemetry.logging import configure
from rotator.domain.cookie import Cookie
from rotator.domain.master import MasterSecret

API_TOKEN = "rot_k3J9x0aQ_" + "Z" * 43
VAULT_TOKENS = (
    "hvs.CAESIJplantedplanted",
    "s.plantedplantedplanted1234",
    "b.planted-batch_token12",
)
COOKIE = "PLANTEDCOOKIE0123456789"
MASTER = bytes(range(65, 65 + 32))
FORMATS = pytest.mark.parametrize("form", ["console", "json"])

log = logging.getLogger("rotator.services.planted")


@pytest.fixture(autouse=True)
def _logging_is_given_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, ours = root.handlers[:], root.level, logging.getLogger("rotator").level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("rotator").setLevel(ours)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def _json_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


class _Unwilling:
    def __str__(self) -> str:
        raise RuntimeError(API_TOKEN)


def _fail_with_secrets_at_hand() -> None:
    cookie = Cookie(COOKIE)
    text = cookie.reveal()
    master = MasterSecret(MASTER).reveal()
    raise RuntimeError(
        f"failed after {len(text) + len(master)} bytes, with {cookie} and {API_TOKEN}"
    )


@FORMATS
def test_a_secret_in_a_local_variable_is_not_in_the_traceback(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A traceback at DEBUG names what failed and shows no local variable and no token."""
    configure(level="debug", format=form)

    try:
        _fail_with_secrets_at_hand()
    except RuntimeError:
        log.exception("pass failed", extra={"cluster": "orders"})
    said = capsys.readouterr().err

    assert "_fail_with_secrets_at_hand" in said
    assert "RuntimeError" in said
    assert COOKIE not in said
    assert MASTER.decode() not in said
    assert str(MASTER)[2:-1] not in said
    assert API_TOKEN not in said


@FORMATS
@pytest.mark.parametrize("token", [API_TOKEN, *VAULT_TOKENS])
def test_a_planted_token_is_redacted_wherever_it_stands(
    form: str, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the message, a field, a nested value, an error, bytes or after a line end: not printed."""
    configure(level="debug", format=form)

    log.debug("with %s in it", token)
    log.warning(
        "fields",
        extra={
            "plain": token,
            "second_line": f"first\n{token}",
            "nested": {token: [f"Bearer {token}", (token,)]},
            "error": ValueError(f"bad header: {token}"),
            "raw": token.encode(),
        },
    )
    said = capsys.readouterr().err

    assert said.count("(redacted)") == 8
    assert token not in said


@FORMATS
def test_cookies_and_masters_show_nothing_of_themselves(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Handed to the log by mistake, they appear as their name alone."""
    configure(level="debug", format=form)

    log.info("%s", [Cookie(COOKIE)], extra={"it": Cookie(COOKIE), "from": MasterSecret(MASTER)})
    said = capsys.readouterr().err

    assert said.count("Cookie(") == 2
    assert said.count("MasterSecret(") == 1
    assert COOKIE not in said
    assert MASTER.decode() not in said


def test_json_has_one_object_a_line_with_the_fields_that_were_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A stable event, level, logger, a UTC instant, and every extra as a field of its own."""
    configure(level="info", format="json")

    log.info("version promoted", extra={"cluster": "orders", "number": 12, "at_once": True})
    [line] = _json_lines(capsys)

    instant = datetime.fromisoformat(line.pop("timestamp"))
    assert str(instant.utcoffset()) == "0:00:00"
    assert line == {
        "event": "version promoted",
        "level": "info",
        "logger": "rotator.services.planted",
        "cluster": "orders",
        "number": 12,
        "at_once": True,
    }


def test_a_field_cannot_pass_for_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    """An extra named like a field with a meaning does not replace it."""
    configure(level="info", format="json")

    log.info("true", extra={"event": "false", "level": "false", "logger": "false"})
    [line] = _json_lines(capsys)

    assert (line["event"], line["level"]) == ("true", "info")
    assert line["logger"] == "rotator.services.planted"


def test_structlogs_own_loggers_go_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever uses structlog directly gets the same redaction on the same stream."""
    configure(level="info", format="json")

    structlog.get_logger("rotator.adapters.planted").info("opened", token=API_TOKEN)
    streams = capsys.readouterr()

    assert json.loads(streams.err)["token"] == "(redacted)"
    assert streams.out == ""


@pytest.mark.parametrize(
    "library",
    ["aiosqlite", "hpack", "httpcore.http11", "hvac", "sqlalchemy.engine.Engine", "urllib3",
     "uvicorn.access", "one.nobody.thought.of"],
)  # fmt: skip
def test_libraries_say_nothing_below_warning(
    library: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """At DEBUG of ours no library's headers, bodies or parameters are printed, known or not."""
    configure(level="debug", format="json")
    # Another test of this process may have let uvicorn configure its own loggers.
    logging.getLogger(library).propagate = True
    logging.getLogger(library).disabled = False

    logging.getLogger(library).debug("header: X-Vault-Token")
    logging.getLogger(library).info("parameters")
    logging.getLogger(library).warning("heard")

    assert [line["event"] for line in _json_lines(capsys)] == ["heard"]


def test_a_higher_level_holds_for_libraries_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks for errors gets errors."""
    configure(level="error", format="json")

    log.warning("ours")
    logging.getLogger("uvicorn").warning("theirs")
    log.error("heard")

    assert [line["event"] for line in _json_lines(capsys)] == ["heard"]


@FORMATS
def test_what_somebody_sent_cannot_forge_a_line(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Line ends and escape sequences in message and fields do not reach the terminal."""
    configure(level="info", format=form)

    log.info("node %s", "a\nforged", extra={"node": "b\x1b[2J\r\nforged"})
    said = capsys.readouterr().err

    assert len(said.splitlines()) == 1
    assert "\x1b[2J" not in said


@FORMATS
def test_a_line_that_cannot_be_rendered_is_named_without_its_arguments(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong number of arguments costs the line, and prints neither them nor a stack."""
    configure(level="info", format=form)

    log.info("%s and %s", API_TOKEN)  # noqa: PLE1206 - the slip that is meant
    log.info("odd", extra={"it": _Unwilling()})
    said = capsys.readouterr().err

    assert "a log line is lost: rotator.services.planted" in said
    assert "(cannot be shown)" in said
    assert API_TOKEN not in said


def test_warnings_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """What Python warns of goes through the same redaction."""
    configure(level="info", format="json")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(f"odd: {API_TOKEN}", stacklevel=1)
    [line] = _json_lines(capsys)

    assert line["logger"] == "py.warnings"
    assert API_TOKEN not in str(line)


def test_configuring_twice_prints_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A second call replaces the first."""
    configure(level="info", format="json")
    configure(level="info", format="json")

    log.info("once")

    assert len(_json_lines(capsys)) == 1
