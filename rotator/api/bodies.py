"""Request bodies: bounded, strict JSON; commands as dataclasses of the wire contract."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import fields
from typing import Any, Final, NoReturn, TypeVar

from fastapi import Depends, Request
from pydantic import TypeAdapter, ValidationError

from rotator.api import auth
from rotator.api.problems import (
    BadBody,
    BodyTooLarge,
    BodyTooSlow,
    ReasonRequired,
    UnknownField,
    places,
)
from rotator.errors import InputError

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_REASON: Final = 1000
BODY_SECONDS: Final = 10.0  #: `limits` cuts what is late a little later

#: What counts for depth. Each match begins where the last ended and fails at its first character
#: or not at all: one pass, however the text is made.
_MARKS: Final = re.compile(r'\\.|["\[{\]}]', re.DOTALL)
_T = TypeVar("_T")


async def read(request: Request) -> bytes:
    """The whole body, of at most 256 KiB, kept for whoever asks again.

    A caller decides how long it is open, so rights are looked at again once it is there.
    """
    kept: bytes | None = getattr(request.state, "body", None)
    if kept is not None:
        return kept
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > len(str(MAX_BYTES)) or int(declared) > MAX_BYTES):
        raise BodyTooLarge
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                found += chunk
                if len(found) > MAX_BYTES:
                    raise BodyTooLarge
    except TimeoutError:
        raise BodyTooSlow from None
    await auth.admit_again(request)
    request.state.body = bytes(found)
    return bytes(found)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadBody("a field stands twice")
    return found


def _no_constant(_name: str) -> NoReturn:
    raise BadBody("NaN and Infinity are not JSON")


def _require_shallow(text: str) -> None:
    depth, in_string = 0, False
    for match in _MARKS.finditer(text):
        mark = match[0]
        if mark == '"':
            in_string = not in_string
        elif in_string:
            continue
        elif mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadBody(f"the body is nested deeper than {MAX_DEPTH}")
        elif mark in "]}":
            depth -= 1


def parse(raw: bytes) -> dict[str, Any]:
    """A JSON object; an empty body is an empty one. `BadBody` says what is wrong, not with what."""
    if not raw.strip():
        return {}
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadBody("the body is not UTF-8") from None
    _require_shallow(text)
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
        # Half of a surrogate pair passes as JSON and then fails wherever it is written.
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise BadBody("the body is not JSON") from None
    if not isinstance(found, dict):
        raise BadBody("the body is not a JSON object")
    return found


_ADAPTERS: Final[dict[type, TypeAdapter[Any]]] = {}


def adapter(kind: type) -> TypeAdapter[Any]:
    """What pydantic makes of a dataclass of the contract."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def validated(kind: type[_T], found: dict[str, Any]) -> _T:
    """A dataclass out of JSON: no conversion of types, unknown fields ignored; `InputError`."""
    try:
        made: _T = adapter(kind).validate_json(json.dumps(found), strict=True)
    except ValidationError as error:
        said = error.errors(include_url=False, include_context=False, include_input=False)
        raise InputError(places(list(said))) from None
    return made


def strictly(kind: type[_T], found: dict[str, Any]) -> _T:
    """As `validated`, for commands: unknown fields are refused."""
    known = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    if not found.keys() <= known:
        raise UnknownField(f"the body has an unknown field; known are {', '.join(sorted(known))}")
    return validated(kind, found)


def command(kind: type[_T]) -> Any:  # noqa: ANN401 - a default of FastAPI
    """A dependency that reads the body as a command."""

    async def read_command(request: Request) -> _T:
        return strictly(kind, parse(await read(request)))

    return Depends(read_command)


def reason(text: str, *, required: bool) -> str:
    """A reason as it may stand in a fact: one line of text."""
    clean = text.strip()
    if required and not clean:
        raise ReasonRequired
    if len(clean) > MAX_REASON or not all(char.isprintable() for char in clean):
        raise InputError(f"a reason is one line of at most {MAX_REASON} characters")
    return clean
