"""Logs on standard error, through structlog: one event a line, with named fields.

Services log by the standard library with ``extra={…}``; this renders it. Tracebacks never show
local variables: a cookie may be one.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor

#: Say more at DEBUG than anybody should read, or bodies and parameters: never below this level.
_CAPPED: Final = {
    "aiosqlite": logging.WARNING,
    "apscheduler": logging.WARNING,
    "asyncio": logging.WARNING,
    "alembic": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "hvac": logging.WARNING,
    "requests": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "urllib3": logging.WARNING,
    "uvicorn": logging.WARNING,
}
_TOKENS: Final = re.compile(
    r"rot_[0-9A-Za-z]+_[0-9A-Za-z]+|\b(?:hv[sbr]|[sbr])\.[0-9A-Za-z_-]{16,}"
)
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """The last resort: what looks like an API token or a Vault token is not printed."""
    return {
        key: _TOKENS.sub("(redacted)", value) if isinstance(value, str) else value
        for key, value in event.items()
    }


def _extras(_logger: object, _method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    if record is not None:
        event.update({k: v for k, v in vars(record).items() if k not in _PLAIN})
    return event


def configure(*, level: str, format: str) -> None:  # noqa: A002 - the setting's name
    """Send everything to standard error; *format* is ``console`` or ``json``."""
    is_json = format == "json"
    shared: list[Processor] = [
        _extras,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        *_exceptions(is_json=is_json),
    ]
    renderer: Any = structlog.processors.JSONRenderer(default=str)
    if not is_json:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, cap in _CAPPED.items():
        logging.getLogger(name).setLevel(max(cap, root.level))


def _exceptions(*, is_json: bool) -> list[Processor]:
    if not is_json:
        return [structlog.processors.format_exc_info]
    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(transformer)]
