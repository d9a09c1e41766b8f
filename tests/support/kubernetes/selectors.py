"""Label and field selectors, as they stand in a query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SET = re.compile(r"\s*(\S+)\s+(in|notin)\s+\(([^)]*)\)\s*")
_SPLIT = re.compile(r",(?![^(]*\))")


def labels_match(selector: str, labels: Mapping[str, str]) -> bool:
    """`a=b,c!=d,e,!f,g in (h,i)`."""
    return all(_requirement(part.strip(), labels) for part in _SPLIT.split(selector) if part)


def _requirement(text: str, labels: Mapping[str, str]) -> bool:
    if found := _SET.fullmatch(text):
        key, operator, values = found.groups()
        is_in = labels.get(key) in [value.strip() for value in values.split(",")]
        return is_in == (operator == "in")
    if "!=" in text:
        key, value = text.split("!=")
        return labels.get(key.strip()) != value.strip()
    if "=" in text:
        key, value = re.split("==?", text, maxsplit=1)
        return labels.get(key.strip()) == value.strip()
    if text.startswith("!"):
        return text[1:].strip() not in labels
    return text in labels


def selected(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """A selector of an object's spec; none selects nothing."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for one in selector.get("matchExpressions", []):
        value, values = labels.get(one["key"]), one.get("values", [])
        good = {
            "In": value in values, "NotIn": value not in values,
            "Exists": value is not None, "DoesNotExist": value is None,
        }  # fmt: skip
        if not good[one["operator"]]:
            return False
    return True


def fields_match(selector: str, item: Mapping[str, Any]) -> bool:
    """`metadata.name=a,spec.nodeName!=b`: each a dotted path."""
    for part in filter(None, selector.split(",")):
        path, value = re.split("!=|==?", part, maxsplit=1)
        found: Any = item
        for step in path.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
        if (("" if found is None else str(found)) == value) == ("!=" in part):
            return False
    return True
