"""The architecture's rules that a list of imports cannot say."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "rotator"

# Where cookie or master material leaves its wrapper, and why it must.
# Adding a line here is a decision about security: say the reason in the review.
REVEALING_MODULES = {
    "rotator.adapters.derivation": "a key stretcher hashes the master secret",
    "rotator.adapters.secret_stores.epochs": "the secrets manager keeps the master secrets",
    "rotator.adapters.secret_stores.recovery_file": "what was imported is in no master: a sealed file keeps it",
    "rotator.agent.boot_files": "a node boots with the pins in its boot file",
    "rotator.agent.files": "a node boots with the cookie in its cookie file",
    "rotator.agent.latch": "a VM is laid the throwaway of the next round of locking ready",
    "rotator.agent.memory": "an agent that was killed finds its way back into its node",
    "rotator.agent.node": "a VM is asked and told with its cookie, over the distribution protocol",
    "rotator.api.mapping": "the answer to a node is what brings it its cookies",
    "rotator.cli.demo.stored": "the demonstration looks whether a former cookie is still stored",
    "rotator.domain.document": "the document that the secrets manager keeps holds the cookies",
}

# What the command line must start without: the base distribution does not bring these.
SERVER_ONLY = frozenset(
    {
        "aiosqlite",
        "alembic",
        "apscheduler",
        "argon2",
        "cronsim",
        "cryptography",
        "fastapi",
        "hvac",
        "prometheus_client",
        "pydantic",
        "pydantic_settings",
        "sqlalchemy",
        "starlette",
        "structlog",
        "uvicorn",
    }
)


def layers() -> list[set[str]]:
    """The layers of pyproject.toml, outermost first, without the marks of what may be missing."""
    text = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    contracts = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    [inwards] = [contract for contract in contracts if contract.get("exhaustive")]
    return [
        {name.strip().strip("()") for name in line.replace(":", "|").split("|")}
        for line in inwards["layers"]
    ]


def top_level_modules() -> set[str]:
    """Each module and each package with Python in it, directly below `rotator`."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    packages = {path.parts[len(PACKAGE.parts)] for path in PACKAGE.glob("*/**/*.py")}
    return modules | packages


def revealing_modules(package: Path) -> set[str]:
    """Every module below `package` that mentions an attribute named `reveal`, called or passed on."""
    return {
        ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for path in package.rglob("*.py")
        if any(
            isinstance(node, ast.Attribute) and node.attr == "reveal"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    }


def test_every_top_level_package_is_placed_in_a_layer() -> None:
    """A new package below `rotator` fails the build until someone decided where it belongs."""
    placed = set().union(*layers())
    assert top_level_modules() - placed == set()


def test_no_package_stands_in_two_layers() -> None:
    """Each package has one place, so that an import has one direction."""
    names = [name for layer in layers() for name in layer]
    assert len(names) == len(set(names))


def test_secret_material_leaves_its_wrapper_only_where_it_is_listed() -> None:
    """`reveal` is used in exactly the modules that were agreed on, no more and no fewer."""
    assert revealing_modules(PACKAGE) == set(REVEALING_MODULES)


@pytest.mark.parametrize(
    "source", ["cookie.reveal()", "show = cookie.reveal", "list(map(Cookie.reveal, cookies))"]
)
def test_the_search_for_reveal_finds_each_way_to_write_it(tmp_path: Path, source: str) -> None:
    """A planted use of `reveal` is found, called as well as handed on."""
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "leak.py").write_text(source, encoding="utf-8")
    assert revealing_modules(planted) == {"planted.leak"}


def test_the_command_line_starts_without_the_server() -> None:
    """Importing the program loads none of the server's libraries, so the base install suffices."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import rotator.__main__, sys; print(*sys.modules)"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert SERVER_ONLY & set(loaded.stdout.split()) == set()


@pytest.mark.parametrize(("kind", "loaded"), [("local", set()), ("aws", {"boto3"})])
def test_an_sdk_is_loaded_only_when_its_secrets_manager_is_chosen(
    kind: str, loaded: set[str]
) -> None:
    """A service on another secrets manager does not pay for boto3 or hvac."""
    arguments = {"local": "directory='x'", "aws": "region='eu-central-1'"}[kind]
    source = (
        "import sys, rotator.bootstrap\n"
        "from rotator.adapters.secret_stores.registry import open_stores\n"
        f"open_stores({kind!r}, {arguments})\n"
        "print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", source], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert set(ran.stdout.split()) & {"boto3", "hvac"} == loaded
