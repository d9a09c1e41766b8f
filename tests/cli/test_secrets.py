"""No token and no cookie is an argument, and none is printed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import TOKEN, Program
from tests.cli.stub import Says, Stub, cluster, problem, token

COOKIE = "IMPORTEDCOOKIEABCDEF"
TRUSTED_HEADER = f"Bearer {TOKEN}"


def test_import_reads_standard_input(rotator: Program, stub: Stub) -> None:
    """The cookie goes from standard input to the service, without its line's end, and nowhere else."""
    stub.on("POST", "clusters/orders/import", Says(cluster(), 201))
    ran = rotator("import", "orders", stdin=f"{COOKIE}\n")
    assert ran.code == 0
    assert stub.asked[0].json["cookie"] == COOKIE
    assert COOKIE not in ran.out + ran.err
    assert "warning" not in ran.err


@pytest.mark.parametrize("weak", ["secret", "A" * 30, "ABABABABABABABABABABAB"])
def test_a_cookie_that_can_be_guessed_is_taken_with_a_warning(
    rotator: Program, stub: Stub, weak: str
) -> None:
    """A short or monotonous cookie is what the cluster has: it is taken, and never shown."""
    stub.on("POST", "clusters/orders/import", Says(cluster(), 201))
    ran = rotator("import", "orders", stdin=f"{weak}\n")
    assert ran.code == 0
    assert stub.asked[0].json["cookie"] == weak
    assert "warning: this cookie can be guessed" in ran.err
    assert weak not in ran.out + ran.err


def test_import_on_a_terminal_does_not_echo(rotator: Program, stub: Stub) -> None:
    """Typed on a terminal, the cookie is asked for and not shown."""
    stub.on("POST", "clusters/orders/import", Says(cluster(), 201))
    ran = rotator.on_terminal("import", "orders", prompt="Cookie", typed=f"{COOKIE}\n")
    assert ran.code == 0
    assert stub.asked[0].json["cookie"] == COOKIE
    assert COOKIE not in ran.out + ran.err


def test_a_cookie_as_an_argument_is_refused_and_not_repeated(rotator: Program, stub: Stub) -> None:
    """Whoever gives the cookie as an argument is told so, without showing it once more."""
    ran = rotator("import", "orders", COOKIE)
    assert ran.code == 2
    assert "standard input" in ran.err
    assert COOKIE not in ran.out + ran.err
    assert stub.asked == []


@pytest.mark.parametrize("given", ["", "\n", "\u00e9\u00e9"])
def test_what_is_no_cookie_is_not_sent(rotator: Program, stub: Stub, given: str) -> None:
    """An empty standard input, or one that is not ASCII, ends with 2."""
    assert rotator("import", "orders", stdin=given).code == 2
    assert stub.asked == []


def test_a_refused_import_does_not_show_the_cookie(rotator: Program, stub: Stub) -> None:
    """The error after a failed import does not hold the cookie."""
    stub.on("POST", "clusters/orders/import", problem(422, "invalid_cookie"))
    ran = rotator("import", "orders", stdin=COOKIE)
    assert ran.code == 2
    assert COOKIE not in ran.err


def test_the_token_is_sent_and_never_shown(rotator: Program, stub: Stub) -> None:
    """The token reaches the service in its header, and the process list does not have it."""
    lines: list[bytes] = []

    def look(_asked: object) -> Says:
        lines.extend(
            path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()
        )
        return Says(cluster())

    stub.on("GET", "clusters/orders", look)
    assert rotator("status", "orders").code == 0
    assert stub.asked[0].headers["authorization"] == TRUSTED_HEADER
    assert not any(b"PLANTEDSECRET" in line for line in lines)


def test_the_token_may_come_from_the_environment_or_an_option(
    rotator: Program, stub: Stub, tmp_path: Path
) -> None:
    """ROTATOR_TOKEN works, and --token-file wins over the environment."""
    stub.on("GET", "clusters/orders", cluster())
    env = {"ROTATOR_TOKEN": "rot_a_environment", "ROTATOR_TOKEN_FILE": None}
    assert rotator("status", "orders", env=env).code == 0
    other = tmp_path / "other"
    other.write_text("rot_b_file\n")
    assert rotator("--token-file", str(other), "status", "orders", env=env).code == 0
    said = [asked.headers["authorization"] for asked in stub.asked]
    assert said == ["Bearer rot_a_environment", "Bearer rot_b_file"]


@pytest.mark.parametrize(
    ("env", "code"),
    [
        ({"ROTATOR_TOKEN_FILE": None}, 4),
        ({"ROTATOR_TOKEN": "x"}, 2),
        ({"ROTATOR_TOKEN": f"{TOKEN} and more", "ROTATOR_TOKEN_FILE": None}, 2),
        ({"ROTATOR_TOKEN_FILE": os.devnull}, 2),
        ({"ROTATOR_TOKEN_FILE": "/nowhere/token"}, 2),
    ],
    ids=["none", "two", "malformed", "empty", "missing"],
)
def test_a_token_that_cannot_be_used_is_said_without_asking(
    rotator: Program, stub: Stub, env: dict[str, str | None], code: int
) -> None:
    """No token, two, or a malformed one is an error of its own, and nothing is sent."""
    ran = rotator("status", env=env)
    assert ran.code == code
    assert "token" in ran.err.lower()
    assert stub.asked == []


@pytest.mark.parametrize(
    "address",
    ["http://192.0.2.1:8400", "http://user:pw@127.0.0.1:1", "ftp://127.0.0.1", "127.0.0.1:8400"],
)
def test_a_token_does_not_cross_the_network_in_the_clear(rotator: Program, address: str) -> None:
    """Plain http is for loopback alone, and an address that is none is refused."""
    assert rotator("status", "--addr", address).code == 2


def test_a_new_token_stands_alone_on_standard_output(rotator: Program, stub: Stub) -> None:
    """`token create` prints the token and nothing else there, so that it can go to a file."""
    made = "rot_abcdefghijkl_freshlymade"
    stub.on("POST", "tokens", Says(token(token=made), 201))
    ran = rotator("token", "create", "--role", "operator", "--cluster", "*", "--expires-in", "30d")
    assert ran.out == f"{made}\n"
    assert made not in ran.err
    assert stub.asked[0].json["expires_in_seconds"] == 30 * 86400


def test_a_token_instead_of_its_id_is_not_repeated(rotator: Program, stub: Stub) -> None:
    """Whoever gives a whole token to `revoke` is told so, without sending or showing it."""
    ran = rotator("token", "revoke", TOKEN, "--yes")
    assert ran.code == 2
    assert stub.asked == []


def test_a_token_that_reaches_no_cluster_is_made_with_a_warning(
    rotator: Program, stub: Stub
) -> None:
    """A slip in a name shows, on standard error."""
    made = token(token="rot_x", warnings=["no cluster orderz is declared"])
    stub.on("POST", "tokens", Says(made, 201))
    ran = rotator("token", "create", "--role", "auditor", "--cluster", "orderz")
    assert (ran.code, ran.out) == (0, "rot_x\n")
    assert "warning: no cluster orderz is declared" in ran.err


def test_a_local_token_that_reaches_no_cluster_is_made_with_a_warning(
    rotator: Program, tmp_path: Path
) -> None:
    """On the server the configuration tells which clusters there are."""
    config = tmp_path / "rotator.yaml"
    config.write_text(
        f"data_dir: {tmp_path}/data\n"
        f"secret_store: {{kind: local, directory: {tmp_path}/secrets}}\n"
        "clusters: {orders: {members: {expect: none}}}\n"
    )
    local = ("token", "create", "--local", "--config", str(config), "--role", "auditor")
    ran = rotator(*local, "--cluster", "orderz", "--cluster", "orders")
    assert (ran.code, ran.err) == (0, "warning: no cluster orderz is declared\n")
    assert ran.out.startswith("rot_")
