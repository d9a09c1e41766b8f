"""Write what the chart has from elsewhere: `make chart`. A test says when it was forgotten.

The alerts and the dashboard are those of `deploy/`, `config` of the schema is what `rotator.settings` takes, the
table of the README is made of the comments in values.yaml, and appVersion is the program's version.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

import rotator
from rotator.settings import Settings

HELM: Final = Path(__file__).parent
CHART: Final = HELM / "rotator"
DEPLOY: Final = HELM.parent / "deploy"

#: Paths, and where the service listens, are the chart's: nobody writes them into values.
_OWN: Final = {
    "Listen": {"port", "health_port"},
    "Settings": {"data_dir"},
    "Kubernetes": {"api"},
}
_EXPECT: Final = {
    "description": "Names of nodes, a count, or none",
    "type": ["array", "integer", "string"],
    "items": {"type": "string"},
    "minItems": 1,
    "uniqueItems": True,
    "minimum": 1,
    "pattern": "^none$",
}
_ORDER: Final = {
    "description": "name, or names of nodes that come first",
    "type": ["array", "string"],
    "items": {"type": "string"},
    "uniqueItems": True,
    "pattern": "^name$",
}
#: What a validator of ours takes, and pydantic's schema does not say.
_BY_HAND: Final = {"expect": _EXPECT, "order": _ORDER}
_BEGIN, _END = "<!-- values: begin -->\n", "<!-- values: end -->\n"


def parts() -> dict[Path, str]:
    """Each file with what it should say."""
    return {
        CHART / "files/rotator.rules.yaml": (DEPLOY / "alerts/rotator.rules.yaml").read_text(),
        CHART / "files/rotator.json": (DEPLOY / "grafana/rotator.json").read_text(),
        CHART / "values.schema.json": _schema((CHART / "values.schema.json").read_text()),
        CHART / "README.md": _readme((CHART / "README.md").read_text()),
        CHART / "Chart.yaml": re.sub(
            r"(?m)^appVersion: .*$",
            f'appVersion: "{rotator.__version__}"',
            (CHART / "Chart.yaml").read_text(),
        ),
    }


# --- the schema of `config` ----------------------------------------------------------------------


def _schema(before: str) -> str:
    """What is written by hand, with the definitions of rotator.yaml anew."""
    whole = json.loads(before)
    by_hand = {name: each for name, each in whole["$defs"].items() if not name.startswith("config")}
    whole["$defs"] = by_hand | config_definitions()
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def config_definitions() -> dict[str, Any]:
    """`config` and each section below it, as JSON Schema with messages that can be read."""
    found = Settings.model_json_schema()
    sections = {"Settings": found, **found.pop("$defs")}
    return {
        "config" + name.removeprefix("Settings"): _section(name, section)
        for name, section in sorted(sections.items())
    }


def _section(name: str, section: dict[str, Any]) -> dict[str, Any]:
    if "properties" not in section:
        return {"enum": section["enum"]}
    taken = {
        key: _value(key, value)
        for key, value in section["properties"].items()
        if key not in _OWN.get(name, ()) and not _is_path(value)
    }
    needed = [key for key in section.get("required", ()) if key in taken]
    if name == "Settings":  # a template says why it is needed
        needed = []
    made: dict[str, Any] = {"type": "object", "additionalProperties": False}
    return made | {"properties": taken} | ({"required": needed} if needed else {})


def _is_path(value: dict[str, Any]) -> bool:
    return any(one.get("format") == "path" for one in (value, *value.get("anyOf", ())))


def _value(key: str, value: dict[str, Any]) -> dict[str, Any]:
    """One setting; None is what nobody writes."""
    if key in _BY_HAND:
        return _BY_HAND[key]
    if "discriminator" in value:
        return _one_of(value["discriminator"])
    [only] = [one for one in value.get("anyOf", [value]) if one.get("type") != "null"]
    if "$ref" in only:
        return {"$ref": _moved(only["$ref"])}
    if only.get("format") == "duration":
        return {"$ref": "#/$defs/duration"}
    if "const" in only:
        return {"const": only["const"]}
    if "items" in only:
        return {"type": "array", "items": _value("", only["items"])}
    kept = ("type", "enum", "minimum", "maximum", "minLength", "maxLength")
    made = {key: only[key] for key in kept if key in only}
    if "additionalProperties" in only:
        made["additionalProperties"] = _value("", only["additionalProperties"])
        made["propertyNames"] = {"pattern": "^[a-z0-9][a-z0-9._-]{0,62}$"}
    return made


def _one_of(discriminator: dict[str, Any]) -> dict[str, Any]:
    """`if kind is …, then`: a mistake is told of the section that was meant, not of each."""
    name, mapping = discriminator["propertyName"], discriminator["mapping"]
    branches = [
        {
            "if": {"properties": {name: {"const": kind}}, "required": [name]},
            "then": {"$ref": _moved(reference)},
        }
        for kind, reference in sorted(mapping.items())
    ]
    return {
        "type": "object",
        "required": [name],
        "properties": {name: {"enum": sorted(mapping)}},
        "allOf": branches,
    }


def _moved(reference: str) -> str:
    return reference.replace("#/$defs/", "#/$defs/config")


# --- the table of values -------------------------------------------------------------------------


def _readme(before: str) -> str:
    head, _, rest = before.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    rows = [
        f"| `{name}` | {default} | {meaning} |" for name, default, meaning in described_values()
    ]
    table = "\n".join(["", "| value | default | meaning |", "|---|---|---|", *rows, "", ""])
    return head + _BEGIN + table + _END + tail


def described_values() -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of each value that has a comment `# -- …` above it."""
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    path: list[tuple[int, str]] = []
    meaning = ""
    for line in text.splitlines():
        if (comment := re.match(r"\s*# -- (.*)", line)) is not None:
            meaning = comment[1]
        elif (key := re.match(r"( *)([A-Za-z_.]+):", line)) is not None:
            path = [step for step in path if step[0] < len(key[1])] + [(len(key[1]), key[2])]
            if meaning:
                names = [name for _, name in path]
                yield ".".join(names), _default(values, names), meaning.replace("|", r"\|")
                meaning = ""


def _default(values: dict[str, Any], names: list[str]) -> str:
    found: object = values
    for name in names:
        found = found[name] if isinstance(found, dict) else None
    if found in ("", [], {}):
        return "none"
    return f"`{json.dumps(found) if isinstance(found, (dict, list, bool)) else found}`"


def main() -> int:
    """Write them."""
    for path, text in parts().items():
        if path.read_text() != text:
            path.write_text(text)
            print(f"written: {path.relative_to(HELM.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
