"""The few requests that kubectl 1.35 makes in protobuf alone, with the fields that are read here.

Numbers of fields are those of the `generated.proto` files of Kubernetes.
"""

from __future__ import annotations

from typing import Any

MAGIC = b"k8s\x00"
_TEXT, _NUMBER, _TEXTS = "text", "number", "texts"
Fields = dict[int, tuple[str, Any]]

_META: Fields = {1: ("name", _TEXT), 2: ("generateName", _TEXT), 3: ("namespace", _TEXT)}
_BOUND: Fields = {
    1: ("kind", _TEXT), 2: ("apiVersion", _TEXT), 3: ("name", _TEXT), 4: ("uid", _TEXT),
}  # fmt: skip
_ATTRIBUTES: Fields = {
    1: ("namespace", _TEXT), 2: ("verb", _TEXT), 3: ("group", _TEXT), 4: ("version", _TEXT),
    5: ("resource", _TEXT), 6: ("subresource", _TEXT), 7: ("name", _TEXT),
}  # fmt: skip
_REQUEST: Fields = {
    1: ("audiences", _TEXTS), 3: ("boundObjectRef", _BOUND), 4: ("expirationSeconds", _NUMBER),
}  # fmt: skip
_ONLY_META: Fields = {1: ("metadata", _META)}
_KINDS: dict[str, Fields] = {
    "SelfSubjectReview": _ONLY_META,
    "ServiceAccount": _ONLY_META,
    "Namespace": _ONLY_META,
    "SelfSubjectAccessReview": {
        **_ONLY_META,
        2: ("spec", {1: ("resourceAttributes", _ATTRIBUTES)}),
    },
    "TokenRequest": {**_ONLY_META, 2: ("spec", _REQUEST)},
}
_UNKNOWN: Fields = {1: ("type", {1: ("apiVersion", _TEXT), 2: ("kind", _TEXT)}), 2: ("raw", "raw")}


def decoded(raw: bytes) -> dict[str, Any]:
    """The object; `ValueError` for a kind that is not known here."""
    outer = _message(raw.removeprefix(MAGIC), _UNKNOWN)
    kind = outer["type"]["kind"]
    if kind not in _KINDS:
        raise ValueError(f"{kind} is not read from protobuf here")
    return {**outer["type"], **_message(outer["raw"], _KINDS[kind])}


def _message(raw: bytes, fields: Fields) -> dict[str, Any]:
    made: dict[str, Any] = {}
    place = 0
    while place < len(raw):
        key, place = _varint(raw, place)
        value: Any
        if key & 7 == 0:
            value, place = _varint(raw, place)
        elif key & 7 == 2:
            size, place = _varint(raw, place)
            value, place = raw[place : place + size], place + size
        else:
            raise ValueError("a kind of field that is not read here")
        if key >> 3 in fields:
            name, what = fields[key >> 3]
            _put(made, name, what, value)
    return made


def _put(made: dict[str, Any], name: str, what: Any, value: Any) -> None:
    if what == _TEXTS:
        made.setdefault(name, []).append(value.decode())
    elif isinstance(what, dict):
        made[name] = _message(value, what)
    elif what == _TEXT:
        made[name] = value.decode()
        if not value:
            del made[name]
    else:
        made[name] = value


def _varint(raw: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
