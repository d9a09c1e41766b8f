"""agent.yaml: which service, which nodes, which files."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from rotator.agent.boot_files import BootFormat
from rotator.agent.files import NodeFiles
from rotator.beam import tls
from rotator.domain.ids import NODE_NAME, NodeName
from rotator.errors import ConfigurationError
from rotator.protocol.address import USE_HTTPS, in_the_clear

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS distribution (``-proto_dist inet_tls``)."""

    ca_cert: Path
    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Verifies the node, and shows it our certificate."""
        try:
            return tls.context(ca=self.ca_cert, certificate=self.cert, key=self.key)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise ConfigurationError(f"tls: the certificates cannot be used: {why}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """One BEAM node on this host."""

    name: NodeName  #: as `node()` says it: rabbit@host
    files: NodeFiles
    host: str = "127.0.0.1"  #: where its distribution listens, as seen from here
    port: int | None = None  #: None: ask epmd
    epmd_port: int = 4369
    tls: Tls | None = None
    reconnect: bool = True  #: link members that are missing
    own_pid_namespace: bool = False  #: nobody on the host sees its arguments: a container


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """The whole file."""

    service: str
    cluster: str
    token_file: Path
    state_dir: Path  #: what the agent remembers (0700)
    nodes: tuple[NodeSettings, ...]
    ca_cert: Path | None = None
    leave_on_stop: bool = False  #: SIGTERM means that the nodes go for good


_TOP: Final = {
    "service": str, "cluster": str, "token_file": str, "state_dir": str, "nodes": list,
    "ca_cert": str, "leave_on_stop": bool,
}  # fmt: skip
_NODE: Final = {
    "name": str, "cookie_file": str, "boot_file": str, "boot_format": str, "host": str,
    "port": int, "epmd_port": int, "tls": dict, "reconnect": bool, "own_pid_namespace": bool,
}  # fmt: skip
_TLS: Final = {"ca_cert": str, "cert": str, "key": str}
_WORDS: Final = {
    str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "a mapping",
}  # fmt: skip
#: As Kubernetes writes it in the arguments of a container.
_VARIABLE: Final = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_NEEDED: Final = ("service", "cluster", "token_file", "state_dir", "nodes")


class _Twice(Exception):
    def __init__(self, line: int) -> None:
        self.line = line


class _Loader(yaml.SafeLoader):
    """YAML takes the last of two equal keys; a person meant one of them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for place, (key, _) in enumerate(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value in keys[:place]:
                raise _Twice(key.start_mark.line + 1)
        return super().construct_mapping(node, deep)


def load(path: Path) -> AgentSettings:
    """Read agent.yaml; raises `ConfigurationError` that says what is wrong and where."""
    try:
        with path.open(encoding="utf-8") as file:
            found = yaml.load(file, _Loader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no {path}: name the file with --config or ROTATOR_AGENT_CONFIG"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except _Twice as error:
        raise ConfigurationError(
            f"{path}, line {error.line}: a setting stands there twice"
        ) from None
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigurationError(f"{path}{where}: this is not YAML") from None
    try:
        return _settings(found)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _settings(found: Any) -> AgentSettings:  # noqa: ANN401 - YAML
    top = _checked(found, _TOP, _NEEDED, "")
    nodes = tuple(_node(one, f"nodes[{place}]") for place, one in enumerate(top["nodes"]))
    _no_two_alike(nodes)
    _require_safe(top["service"])
    return AgentSettings(
        service=top["service"],
        cluster=top["cluster"],
        token_file=Path(top["token_file"]),
        state_dir=Path(top["state_dir"]),
        nodes=nodes,
        ca_cert=_path(top.get("ca_cert")),
        leave_on_stop=top.get("leave_on_stop", False),
    )


def _require_safe(service: str) -> None:
    why = in_the_clear(service) if service.isprintable() else None
    if why is not None:
        raise ConfigurationError(f"service: {why}: {USE_HTTPS}")


def _node(found: Any, where: str) -> NodeSettings:  # noqa: ANN401 - YAML
    given = _checked(found, _NODE, ("name", "cookie_file", "boot_file"), where)
    name = _expanded(given["name"], f"{where}.name")
    if NODE_NAME.fullmatch(name) is None:
        raise ConfigurationError(f"{where}.name: the node's full name is wanted, as in rabbit@host")
    kinds = [str(kind) for kind in BootFormat]
    if given.get("boot_format", "erl") not in kinds:
        raise ConfigurationError(f"{where}.boot_format: one of {', '.join(kinds)} is wanted")
    files = NodeFiles(
        cookie_file=Path(given["cookie_file"]),
        boot_file=Path(given["boot_file"]),
        boot_format=BootFormat(given.get("boot_format", "erl")),
    )
    kept = ("host", "port", "epmd_port", "reconnect", "own_pid_namespace")
    rest = {key: given[key] for key in kept if key in given}
    for key in ("port", "epmd_port"):
        if not 0 < rest.get(key, 1) < 65536:  # noqa: PLR2004 - the range of ports
            raise ConfigurationError(f"{where}.{key}: a port is wanted")
    tls = None if "tls" not in given else _tls(given["tls"], f"{where}.tls")
    return NodeSettings(name=NodeName(name), files=files, tls=tls, **rest)


def _expanded(name: str, where: str) -> str:
    """With what the environment says for each ``$(VARIABLE)``: one file for the pods of a set."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if not found:
            raise ConfigurationError(f"{where}: $({match[1]}) is not in the environment")
        return found

    return _VARIABLE.sub(value, name)


def _tls(found: Any, where: str) -> Tls:  # noqa: ANN401 - YAML
    given = _checked(found, _TLS, ("ca_cert", "cert", "key"), where)
    return Tls(
        ca_cert=Path(given["ca_cert"]),
        cert=Path(given["cert"]),
        key=Path(given["key"]),
    )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _checked(
    found: Any,  # noqa: ANN401 - YAML
    known: Mapping[str, type],
    needed: tuple[str, ...],
    where: str,
) -> dict[str, Any]:
    within = f"{where}: " if where else ""
    if not isinstance(found, dict):
        raise ConfigurationError(f"{within}a mapping is wanted")
    if unknown := [str(key)[:40] for key in found if key not in known]:
        raise ConfigurationError(
            f"{within}there is no setting {unknown[0]!r}{_meant(unknown[0], known)}"
        )
    if missing := [key for key in needed if key not in found]:
        raise ConfigurationError(f"{within}{missing[0]} is missing")
    for key, value in found.items():
        if not isinstance(value, known[key]) or (known[key] is int and isinstance(value, bool)):
            raise ConfigurationError(f"{within}{key}: {_WORDS[known[key]]} is wanted")
        if value == "":
            raise ConfigurationError(f"{within}{key} is empty")
    return found


def _meant(word: str, known: Mapping[str, type]) -> str:
    import difflib  # noqa: PLC0415 - only for who has mistyped: it is memory for as long as the agent runs

    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"


def _no_two_alike(nodes: tuple[NodeSettings, ...]) -> None:
    if not nodes:
        raise ConfigurationError("nodes: at least one is wanted")
    names = [node.name for node in nodes]
    paths = [path for node in nodes for path in (node.files.cookie_file, node.files.boot_file)]
    for given, what in ((names, "name"), ([path.resolve() for path in paths], "file")):
        if twice := [one for place, one in enumerate(given) if one in given[:place]]:
            raise ConfigurationError(f"nodes: {twice[0]}: two of them have the same {what}")
