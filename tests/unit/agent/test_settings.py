"""agent.yaml: what is wrong is said with the place, and with what was meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rotator.agent.boot_files import BootFormat
from rotator.agent.settings import AgentSettings, load
from rotator.errors import ConfigurationError
from tests.support.certificates import Authority

NODE: dict[str, Any] = {"name": "n0@h", "cookie_file": "/n0/cookie", "boot_file": "/n0/boot"}
WHOLE: dict[str, Any] = {
    "service": "https://h:1",
    "cluster": "orders",
    "token_file": "/token",
    "state_dir": "/state",
    "nodes": [NODE],
}


def read(place: Path, found: object) -> AgentSettings:
    """Load this, as YAML or as text."""
    path = place / "agent.yaml"
    path.write_text(found if isinstance(found, str) else yaml.safe_dump(found))
    return load(path)


def refusal(place: Path, found: object) -> str:
    """What is said against it."""
    with pytest.raises(ConfigurationError) as caught:
        read(place, found)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_node(**changes: Any) -> dict[str, Any]:
    """The whole file, with one node that is changed; None takes a key away."""
    node = {key: value for key, value in {**NODE, **changes}.items() if value is not None}
    return {**WHOLE, "nodes": [node]}


def test_the_least_that_is_needed_is_enough(tmp_path: Path) -> None:
    """What is left out is what most nodes want."""
    found = read(tmp_path, WHOLE)
    [node] = found.nodes
    assert (node.host, node.port, node.epmd_port, node.reconnect) == ("127.0.0.1", None, 4369, True)
    assert node.files.boot_format is BootFormat.ERL
    assert (found.ca_cert, found.leave_on_stop, node.tls) == (None, False, None)


def test_everything_that_is_set_is_taken(tmp_path: Path) -> None:
    """Each setting comes to where it is used."""
    tls = {"ca_cert": "/ca", "cert": "/cert", "key": "/key"}
    given = with_node(
        boot_format="elixir", host="::1", port=9, epmd_port=8, reconnect=False, tls=tls
    )
    found = read(tmp_path, {**given, "ca_cert": "/ca", "leave_on_stop": True})
    [node] = found.nodes
    assert node.files.boot_format is BootFormat.ELIXIR
    assert (node.host, node.port, node.epmd_port, node.reconnect) == ("::1", 9, 8, False)
    assert node.tls is not None
    assert (node.tls.key, found.ca_cert, found.leave_on_stop) == (Path("/key"), Path("/ca"), True)


def test_one_file_serves_every_pod_of_a_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name takes what the environment says, and is refused where it says nothing."""
    given = with_node(name="n@$(POD_NAME).nodes.$(SPACE).svc", own_pid_namespace=True)
    monkeypatch.setenv("SPACE", "prod")
    assert refusal(tmp_path, given).endswith("nodes[0].name: $(POD_NAME) is not in the environment")
    monkeypatch.setenv("POD_NAME", "orders-0")
    [node] = read(tmp_path, given).nodes
    assert (node.name, node.own_pid_namespace) == ("n@orders-0.nodes.prod.svc", True)
    monkeypatch.setenv("POD_NAME", "two words")
    assert "the node's full name is wanted" in refusal(tmp_path, given)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({**WHOLE, "tokenfile": "x"}, "'tokenfile'; did you mean token_file?"),
        ({**WHOLE, "zzz": "x"}, "'zzz'; there are service, cluster"),
        (with_node(cookiefile="x"), r"nodes[0]: there is no setting 'cookiefile'; did you mean cookie_file?"),
        (with_node(tls={"ca_crt": "x"}), "nodes[0].tls: there is no setting 'ca_crt'; did you mean ca_cert?"),
        (with_node(tls={"ca_cert": "x"}), "nodes[0].tls: cert is missing"),
        (with_node(boot_file=None), "nodes[0]: boot_file is missing"),
        ({"service": "x"}, "cluster is missing"),
        ({**WHOLE, 7: "x"}, "there is no setting '7'"),
        ({**WHOLE, "service": 7}, "service: text is wanted"),
        ({**WHOLE, "service": None}, "service: text is wanted"),
        ({**WHOLE, "token_file": ""}, "token_file is empty"),
        ({**WHOLE, "nodes": {}}, "nodes: a list is wanted"),
        ({**WHOLE, "nodes": []}, "at least one"),
        ({**WHOLE, "nodes": ["n0@h"]}, "nodes[0]: a mapping is wanted"),
        ({**WHOLE, "leave_on_stop": "yes"}, "leave_on_stop: true or false is wanted"),
        (with_node(port=True), "port: a whole number is wanted"),
        (with_node(port="9"), "port: a whole number is wanted"),
        (with_node(port=0), "nodes[0].port: a port is wanted"),
        (with_node(epmd_port=65536), "nodes[0].epmd_port: a port is wanted"),
        (with_node(epmd_port=-1), "epmd_port: a port is wanted"),
        (with_node(own_pid_namespace="yes"), "own_pid_namespace: true or false is wanted"),
        (with_node(boot_format="erlang"), "one of erl, rabbitmq, elixir is wanted"),
        (with_node(cookie_file="/n0/x/../boot"), "/n0/boot: two of them have the same file"),
        ([], "a mapping is wanted"),
        ("", "a mapping is wanted"),
        ("text", "a mapping is wanted"),
        ("a: b\nc: [", "line 2, column 5: this is not YAML"),
        ("a: !!python/object/apply:os.getcwd []", "this is not YAML"),
        ("a: &a [*a]", "there is no setting 'a'"),
        ("service: a\ncluster: b\nservice: c\n", "line 3: a setting stands there twice"),
        ("? [a]\n: b", "this is not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, found: object, said: str) -> None:
    """A refusal names the setting, what it has to be, and what was probably meant."""
    told = refusal(tmp_path, found)
    assert said in told
    assert told.startswith(str(tmp_path / "agent.yaml"))


@pytest.mark.parametrize(
    "name", ["n0", "@h", "n0@", "a@b@c", "../n0@h/x", "n 0@h", "n0@h\n", "né@h", "n0@h/../x", 7]
)
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: object) -> None:
    """A node's name becomes a part of file names and addresses, so it is what the service takes."""
    assert "nodes[0]" in refusal(tmp_path, with_node(name=name))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"cookie_file": "/b", "boot_file": "/c"}, "n0@h: two of them have the same name"),
        ({"name": "n1@h", "boot_file": "/c"}, "/n0/cookie: two of them have the same file"),
        ({"name": "n1@h", "cookie_file": "/c"}, "/n0/boot: two of them have the same file"),
        ({"name": "n1@h", "cookie_file": "/c", "boot_file": "/n0//cookie"}, "the same file"),
    ],
)
def test_no_two_nodes_share_a_name_or_a_file(
    tmp_path: Path, other: dict[str, Any], said: str
) -> None:
    """In an emergency each node has a cookie of its own, so a shared file cannot be right."""
    assert said in refusal(tmp_path, {**WHOLE, "nodes": [NODE, {**NODE, **other}]})


@pytest.mark.parametrize("host", ["rotator.example.com", "10.0.0.1:8400", "[fd00::1]:8400"])
def test_no_token_crosses_a_network_in_the_clear(tmp_path: Path, host: str) -> None:
    """Plain http to another host is refused before anything is sent, with what to write."""
    told = refusal(tmp_path, {**WHOLE, "service": f"http://{host}"})
    assert "service: the token would cross the network to" in told
    assert "https://" in told


@pytest.mark.parametrize("host", ["127.0.0.1:1", "[::1]:1", "localhost"])
def test_plain_http_to_this_machine_is_taken(tmp_path: Path, host: str) -> None:
    """Nobody listens on the way to oneself."""
    assert read(tmp_path, {**WHOLE, "service": f"http://{host}"}).service == f"http://{host}"


def test_a_file_that_is_not_there_is_said_with_what_to_do(tmp_path: Path) -> None:
    """The path, and how to name another one."""
    with pytest.raises(
        ConfigurationError, match=r"there is no .*/none: name the file with --config"
    ):
        load(tmp_path / "none")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: \x00", b"[" * 5000])
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, content: bytes) -> None:
    """It is no traceback."""
    (tmp_path / "agent.yaml").write_bytes(content)
    with pytest.raises(ConfigurationError, match="not YAML"):
        load(tmp_path / "agent.yaml")


def test_certificates_that_cannot_be_used_are_an_error_of_the_file(tmp_path: Path) -> None:
    """TLS distribution is set up from files, and a wrong one is said as such; good ones verify the node."""
    authority = Authority(tmp_path, "ca")
    good = authority.sign("node", address="127.0.0.1")
    tls = {
        "ca_cert": str(authority.certificate),
        "cert": str(good.certificate),
        "key": str(good.key),
    }
    whole = read(tmp_path, with_node(tls=tls)).nodes[0].tls
    assert whole is not None
    assert whole.context().check_hostname
    for key in tls:
        broken = read(tmp_path, with_node(tls={**tls, key: str(tmp_path / "none")})).nodes[0].tls
        assert broken is not None
        with pytest.raises(ConfigurationError, match="tls"):
            broken.context()
