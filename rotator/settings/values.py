"""Kinds of values that several settings share. What is wrong is said; the value never is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,3})?[smhd])+")
_LONGEST: Final = timedelta(days=3650)


class Section(BaseModel):
    """A part of rotator.yaml."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _may_be_all_comment(cls, value: object) -> object:
        return {} if value is None else value


def suggestion(name: object, known: Iterable[str], *, otherwise: str = "") -> str:
    """`; did you mean …?`, or *otherwise*; only what is *known* is ever repeated."""
    near = get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else otherwise


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    text = str(value).strip()
    if text != "0" and not _DURATION.fullmatch(text):
        raise ValueError("a duration is a number and a unit: 90s, 15m, 4h, 30d; or 0")
    parts = re.findall(r"([0-9.]+)([smhd])", text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds > _LONGEST.total_seconds():
        raise ValueError("a duration is at most ten years")
    return timedelta(seconds=seconds)


def _more_than_nothing(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("this is more than 0, such as 30s")
    return value


def _location(value: Path, validation: ValidationInfo) -> Path:
    text = str(value)
    if text == "." or "\0" in text:
        raise ValueError("a path is expected")
    if text.startswith("~"):
        raise ValueError("write the whole path: ~ stands for nobody here")
    directory: Path | None = (validation.context or {}).get("directory")
    return directory / value if directory else value


def matching(pattern: str, rule: str) -> Callable[[str], str]:
    """A validator that says *rule* to what is not *pattern* from end to end."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(rule)
        return value

    return check


Duration = Annotated[timedelta, BeforeValidator(_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(_more_than_nothing)]
#: Relative to the file that says it.
Location = Annotated[Path, AfterValidator(_location)]
#: YAML's `yes` and `no` are booleans, and 1 is none; so neither is taken for the other.
Count = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Port = Annotated[Count, Field(ge=1, le=65535)]
Text = Annotated[str, Field(min_length=1, max_length=500)]
#: The name of a cluster or a master: it becomes a step of a path.
_NAME_RULE: Final = "a name is 1 to 63 of a-z 0-9 . _ - and begins with a letter or digit"
Name: Any = AfterValidator(matching(NAME.pattern, _NAME_RULE))
