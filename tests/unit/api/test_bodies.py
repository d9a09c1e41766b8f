from __future__ import annotations

import json

import pytest

from rotator.api import bodies
from rotator.api.problems import BadBody


@pytest.mark.parametrize("filler", ['\\"', "\\\\", '"', "[]", '"\\', '""\\"'])
@pytest.mark.parametrize("start", ['{"a": "', "", '"'])
def test_a_body_of_the_largest_size_is_read_in_one_pass(start, filler):
    """However a body is made, the work is linear: a string without an end costs no second look."""
    text = (start + filler * bodies.MAX_BYTES)[: bodies.MAX_BYTES]
    with pytest.raises(BadBody):
        bodies.parse(text.encode())


@pytest.mark.parametrize("text", ["[" * 99, '"[', '\\"[{', "\\", '\\\\"', ']}"[', "\\[" * 40])
def test_depth_is_counted_outside_of_strings_alone(text):
    """Brackets, quotes and backslashes within a string are its own."""
    assert bodies.parse(json.dumps({"a": text, "b": [text]}).encode())["a"] == text


@pytest.mark.parametrize("before", ['"\\""', '"\\\\"', '"["', '"]"'])
def test_brackets_after_a_string_count(before):
    """A string ends where JSON says, and what follows it is counted again."""
    levels = bodies.MAX_DEPTH - 1
    fits = '{"a": ' + "[" * levels + before + "]" * levels + "}"
    assert bodies.parse(fits.encode())
    deeper = '{"b": ' + before + ', "a": ' + "[" * (levels + 1) + "]" * (levels + 1) + "}"
    with pytest.raises(BadBody, match="nested deeper"):
        bodies.parse(deeper.encode())
