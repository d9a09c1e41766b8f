"""Logs on standard error, through structlog: one event a line, with named fields.

Services log by the standard library with ``extra={…}``; this renders it. Tracebacks never show
local variables: a cookie may be one.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor

_OURS: Final = "rotator"
#: An API token (`rot_<id>_<secret>`), a token of Vault or OpenBao (`hvs.…`; older ones `s.…`).
_TOKENS: Final = re.compile(
    r"rot_[0-9A-Za-z]+_[0-9A-Za-z]+|\b(?:hv[sbr]|[sbr])\.[0-9A-Za-z_-]{16,}"
)
_REDACTED: Final = "(redacted)"
_UNREADABLE: Final = "(cannot be shown)"
#: What every record has; the rest came by ``extra``.
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_MANY_LINES: Final = frozenset({"exception", "stack"})


class _StandardError(logging.StreamHandler[Any]):
    """Says where a line was lost, where the standard library would print its arguments as well."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name in logging
        with contextlib.suppress(OSError, ValueError):  # standard error itself may be gone
            sys.stderr.write(f"a log line is lost: {record.name}, line {record.lineno}\n")


def configure(*, level: str, format: str) -> None:  # noqa: A002 - the setting's name
    """Send everything to standard error; *format* is ``console`` or ``json``.

    *level* is ``debug``, ``info``, ``warning`` or ``error`` and holds for this program. Libraries
    are heard from ``warning`` on at most: below it they log headers, bodies, SQL and paths, and a
    list of those that do would lack the next one.
    """
    shared = _shared(is_json=format == "json")
    handler = _StandardError()
    handler.setFormatter(_formatter(shared, is_json=format == "json"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    chosen: int = getattr(logging, level.upper())
    root.setLevel(max(chosen, logging.WARNING))
    logging.getLogger(_OURS).setLevel(chosen)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _shared(*, is_json: bool) -> list[Processor]:
    return [
        _extras,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _exceptions(is_json=is_json),
    ]


def _formatter(shared: list[Processor], *, is_json: bool) -> logging.Formatter:
    last: list[Processor] = [redact]
    if is_json:
        last += [structlog.processors.JSONRenderer()]
    else:
        last += [_on_one_line, _console()]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )


def _console() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def _exceptions(*, is_json: bool) -> Processor:
    if not is_json:
        return structlog.processors.format_exc_info
    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False, use_rich=False)
    return structlog.processors.ExceptionRenderer(transformer)


def _extras(_logger: object, _method: str, event: EventDict) -> EventDict:
    """The fields of ``extra``; none of them replaces one that has a meaning."""
    if not event.get("_from_structlog", True):
        given = vars(event["_record"]).items()
        event.update({k: v for k, v in given if k not in _PLAIN and k not in event})
    return event


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """The last resort: what looks like an API token or a Vault token is not printed.

    Cookies and masters are no concern of it: their repr shows nothing. Values are made text here,
    not in the renderer, so that nothing gets past this.
    """
    return {str(_clean(key)): _clean(value) for key, value in event.items()}


def _clean(value: object) -> Any:  # noqa: ANN401 - what JSON can hold
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(_clean(key)): _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(inner) for inner in value]
    return _TOKENS.sub(_REDACTED, _text(value))


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - whatever it is, the line is worth more
        return _UNREADABLE


def _on_one_line(_logger: object, _method: str, event: EventDict) -> EventDict:
    """What somebody sent cannot end a line, nor speak to the terminal."""
    return {
        key: _printable(value, keep="\n" if key in _MANY_LINES else "")
        if isinstance(value, str)
        else value
        for key, value in event.items()
    }


def _printable(text: str, *, keep: str) -> str:
    return "".join(
        letter if letter.isprintable() or letter in keep else repr(letter)[1:-1] for letter in text
    )
