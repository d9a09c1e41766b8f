from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as of_hypothesis
from hypothesis import strategies as st

from rotator.domain.calendar import Calendar
from rotator.domain.policy import RotationPolicy
from rotator.domain.schedule import Schedule
from rotator.errors import ConfigurationError
from rotator.settings import Settings, load, schedules
from rotator.settings.clusters import Cluster, Members, OnLost
from rotator.settings.limits import Limits
from rotator.settings.secret_stores import METHODS, STORES, VaultStore
from rotator.settings.sections import Listen, Log, Master, section_at
from rotator.settings.state_stores import STATES, PostgresStore
from rotator.settings.values import Section

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "deploy/rotator.example.yaml"
REFERENCE = CHECKOUT / "docs/reference/configuration.md"
SECRET = "hvs.CAESIJplantedplanted"
LEAST = """\
secret_store: {kind: local, directory: secrets}
clusters:
  orders:
    members: {expect: none}
"""

Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes rotator.yaml and gives its path."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "rotator.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def _refusal(path: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value).splitlines()


def _with_cluster(*lines: str, members: str = "{expect: none}") -> str:
    below = "".join(f"    {line}\n" for line in lines)
    return (
        "secret_store: {kind: local, directory: secrets}\nclusters:\n  orders:\n"
        f"    members: {members}\n{below}"
    )


def _with_store(store: str) -> str:
    return f"secret_store: {store}\nclusters: {{}}\n"


def _with_listen(listen: str) -> str:
    return f"{LEAST}listen: {listen}\n"


# --- what is accepted ---------------------------------------------------------------------------


def test_the_least_file_gives_the_documented_defaults(written: Written) -> None:
    """A secret store and a cluster suffice; the policy's defaults are the domain's own."""
    path = written(LEAST)

    loaded = load(path)

    assert loaded.policies() == {"orders": RotationPolicy(expect=None)}
    assert (loaded.listen.address, loaded.listen.port) == ("127.0.0.1", 8400)
    assert loaded.state_path == path.parent / "rotator-data/state.sqlite"
    assert loaded.masters["default"].profile == "rfc9106-low-memory"


def test_the_example_that_is_shipped_loads() -> None:
    """deploy/rotator.example.yaml is accepted as it stands."""
    loaded = load(EXAMPLE)

    assert set(loaded.clusters) == {"orders", "reports"}
    assert loaded.policies()["orders"].expect == {"rabbit@a", "rabbit@b", "rabbit@c"}
    assert loaded.policies()["reports"].grace_window == timedelta(hours=4)


def test_what_the_example_shows_as_default_is_the_default(tmp_path: Path) -> None:
    """Taking the marks of comment off changes nothing, but for the files of TLS and Vault."""
    shown = re.sub(
        r"^(\s+)# (\w+: )", r"\1\2", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    without_files = re.sub(
        r"^\s+(tls_certificate|tls_key|ca_cert):.*\n", "", shown, flags=re.MULTILINE
    )
    path = tmp_path / EXAMPLE.name
    path.write_text(without_files, encoding="utf-8")

    assert shown != EXAMPLE.read_text(encoding="utf-8")
    assert load(path) == load(EXAMPLE)


def test_every_setting_of_a_cluster_reaches_its_policy(written: Written) -> None:
    """What is written is what the domain gets, each under its own name."""
    text = _with_cluster(
        "master: main",
        "adoption: hot",
        "install_timeout: 3m",
        "grace_window: 1h30m",
        "lock_timeout: 45s",
        "emergency_cooldown: 0",
        "max_rotations_per_hour: 7",
        members="{expect: 3, heartbeat: 0.5s, node_ttl: 20s, ephemeral: true,"
        " on_lost: {action: excuse, after: 2d}}",
    )

    loaded = load(written(text + "masters: {main: {kdf: scrypt, profile: other}}\n"))

    assert loaded.policies() == {
        "orders": RotationPolicy(
            expect=3,
            master="main",  # type: ignore[arg-type]
            install_timeout=timedelta(minutes=3),
            grace_window=timedelta(minutes=90),
            lock_timeout=timedelta(seconds=45),
            emergency_cooldown=timedelta(),
            max_rotations_per_hour=7,
            heartbeat=timedelta(seconds=0.5),
            node_ttl=timedelta(seconds=20),
            ephemeral=True,
            excuse_lost_after=timedelta(days=2),
        )
    }


def test_paths_are_relative_to_the_file_that_says_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to where the service was started, and not to where a link of a mounted file leads."""
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026/rotator.yaml").write_text(
        LEAST + "listen: {tls_certificate: tls/crt, tls_key: /k}\n", encoding="utf-8"
    )
    (tmp_path / "rotator.yaml").symlink_to("..2026/rotator.yaml")
    monkeypatch.chdir(tmp_path.parent)

    loaded = load(Path(tmp_path.name) / "rotator.yaml")

    assert loaded.secret_store.model_dump()["directory"] == tmp_path / "secrets"
    assert loaded.listen.tls_certificate == tmp_path / "tls/crt"
    assert loaded.listen.tls_key == Path("/k")
    assert loaded.data_dir == tmp_path / "rotator-data"


@pytest.mark.parametrize(
    "auth",
    [
        "{method: token, token_file: /t}",
        "{method: approle, role_id: r, secret_id_file: /s, mount: team/approle}",
        "{method: jwt, role: r, jwt_file: /j}",
    ],
)
def test_each_way_to_log_in_is_taken(written: Written, auth: str) -> None:
    """Token, AppRole and JWT, with the files that their secrets are in."""
    loaded = load(
        written(_with_store(f"{{kind: vault, address: 'http://[::1]:82', auth: {auth}}}"))
    )

    assert isinstance(loaded.secret_store, VaultStore)
    assert loaded.secret_store.auth.method in auth


def test_a_section_of_comments_alone_has_its_defaults(written: Written) -> None:
    """A heading that is left over above commented settings is no mistake."""
    assert load(written(f"{LEAST}listen:\n  # port: 1\nlog:\n")).listen == Listen()


def test_settings_do_not_change(written: Written) -> None:
    """What was loaded is a value."""
    loaded = load(written(LEAST))

    with pytest.raises(ValueError, match="frozen"):
        loaded.listen.port = 1  # type: ignore[misc]


# --- mistakes, and what is said about them ------------------------------------------------------


def test_a_typo_is_named_with_line_column_and_what_was_meant(written: Written) -> None:
    """An unknown setting is never ignored."""
    assert _refusal(written(_with_cluster("grace_windw: 15m"))) == [
        (
            "rotator.yaml:5:5: clusters.orders: unknown setting 'grace_windw';"
            " did you mean 'grace_window'?"
        )
    ]


def test_a_cluster_declared_twice_is_refused_with_both_positions(written: Written) -> None:
    """YAML would take the last one in silence."""
    text = LEAST + "  billing: {members: {expect: none}}\n  orders: {members: {expect: 2}}\n"

    assert _refusal(written(text)) == [
        "rotator.yaml:6:3: clusters.orders is there twice; first at 3:3"
    ]


def test_everything_that_is_wrong_is_said_at_once_first_line_first(
    written: Written,
) -> None:
    """Mistakes of every sort, in the order of the file, with one of them not hiding another."""
    text = """\
log: {level: inof}
listen: {address: 0.0.0.0, prot: 1}
secret_store: {kind: vault, adress: "http://x", auth: {method: token}}
masters:
  main: {kdf: argon2}
clusters:
  orders:
    master: mian
    grace_window: 1s
    install_timeout: 90
    members: {expect: 2, hearbeat: 1s}
  orders: {members: {expect: none}}
  Billing: {members: {expect: none}, master: main}
  empty: {master: main}
"""
    assert _refusal(written(text)) == [
        (
            "rotator.yaml:1:7: log.level: this is one of: debug, info, warning, error;"
            " did you mean 'info'?"
        ),
        (
            "rotator.yaml:2:1: listen: outside of loopback, cookies would cross the network in the"
            " clear: set tls_certificate and tls_key, or plain_http: true if a proxy in front does TLS"
        ),
        "rotator.yaml:2:28: listen: unknown setting 'prot'; did you mean 'port'?",
        "rotator.yaml:3:1: secret_store: the setting 'address' is missing",
        "rotator.yaml:3:29: secret_store: unknown setting 'adress'; did you mean 'address'?",
        "rotator.yaml:3:49: secret_store.auth: the setting 'token_file' is missing",
        (
            "rotator.yaml:5:10: masters.main.kdf: this is one of: argon2id, pbkdf2-hmac-sha512, scrypt;"
            " did you mean 'argon2id'?"
        ),
        "rotator.yaml:8:5: clusters.orders.master: there is no such master; did you mean 'main'?",
        (
            "rotator.yaml:9:5: clusters.orders.grace_window: this is 0 or at least a heartbeat: in"
            " less, no member can report"
        ),
        (
            "rotator.yaml:10:5: clusters.orders.install_timeout: a duration is a number and a unit:"
            " 90s, 15m, 4h, 30d; or 0"
        ),
        (
            "rotator.yaml:11:26: clusters.orders.members: unknown setting 'hearbeat';"
            " did you mean 'heartbeat'?"
        ),
        "rotator.yaml:12:3: clusters.orders is there twice; first at 7:3",
        (
            "rotator.yaml:13:3: clusters.Billing: a name is 1 to 63 of a-z 0-9 . _ - and begins with a"
            " letter or digit"
        ),
        (
            "rotator.yaml:14:3: clusters.empty: the setting 'members' is missing;"
            " write members: {expect: none}, or a count, or a list of node names"
        ),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "rollout: {strategy: roling}",
            "rollout.strategy: this is one of: rolling, stop_the_world; did you mean",
        ),
        (
            "rollout: {strategy: stop_the_world}",
            "rollout: strategy: stop_the_world is of nodes without",
        ),
        ("rollout: {strategy: [1]}", "rollout.strategy: this is one of: rolling"),
        ("rollout: {max_unavailable: 0}", "rollout.max_unavailable: should be greater than"),
        ("rollout: {order: nmae}", "rollout.order: write `name`, or a list of node names"),
        ("rollout: {order: []}", "rollout.order: write `name`, or a list of node names"),
        ("rollout: {order: [a]}", "rollout.order: name 1 is not as Erlang writes a node's"),
        ("rollout: {claim_ttl: 500ms}", "rollout.claim_ttl: a duration is a number and a unit"),
        ("rollout: {claim_ttl: 0.5s}", "rollout.claim_ttl: this is at least 1s"),
        ("rollout: {sok: 1s}", "rollout: unknown setting 'sok'; did you mean 'soak'?"),
        ("adoption: hott", "adoption: this is one of: hot, restart; did you mean 'hot'?"),
        ("on_drift: heel", "on_drift: this is one of: heal, hold; did you mean 'heal'?"),
        ("install_timeout: 0", "install_timeout: this is more than 0"),
        ("install_timeout: 5 minutes", "install_timeout: a duration is a number and a unit"),
        ("install_timeout: -5s", "install_timeout: a duration is a number and a unit"),
        ("install_timeout: 1:30", "install_timeout: a duration is a number and a unit"),
        ("install_timeout: [5s]", "install_timeout: a duration is a number and a unit"),
        ("lock_timeout: 0s", "lock_timeout: this is more than 0"),
        ("emergency_cooldown: 999999999d", "emergency_cooldown: a duration is at most ten years"),
        ("grace_window: 14s", "grace_window: this is 0 or at least a heartbeat"),
        ("max_rotations_per_hour: 0", "max_rotations_per_hour: should be greater than"),
        ("max_rotations_per_hour: yes", "max_rotations_per_hour: a whole number is expected"),
        ("max_rotations_per_hour: '4'", "max_rotations_per_hour: a whole number is expected"),
        ("max_rotations_per_hour: 4.0", "max_rotations_per_hour: a whole number is expected"),
        ("master: 7", "master: text is expected; put a number in quotes"),
        ("master: other", "master: there is no such master; declare it under masters"),
        ("qqq: 1", "unknown setting 'qqq'; known are: adoption, "),
    ],
)
def test_a_mistake_in_a_cluster_is_explained(written: Written, line: str, said: str) -> None:
    """Each with where it stands and what would be right."""
    [only] = _refusal(written(_with_cluster(line)))

    assert re.match(r"rotator\.yaml:5:(5|15): clusters\.orders", only)
    assert said in only


@pytest.mark.parametrize(
    ("members", "adoption", "said"),
    [
        (
            "{expect: none, without_agent: [a]}",
            "restart",
            "name 1 is not as Erlang writes a node's",
        ),
        ("{expect: none, without_agent: []}", "restart", "write a list of node names"),
        ("{expect: none, without_agent: [a@h, a@h]}", "restart", "name 2 is there twice"),
        ("{expect: 3, without_agent: [a@h]}", "restart", "this goes with `expect: none`"),
        ("{expect: none, without_agent: [a@h]}", "hot", "need adoption: restart"),
    ],
)
def test_nodes_without_an_agent_are_restarted_and_attest_nothing(
    written: Written, members: str, adoption: str, said: str
) -> None:
    """They are named; nobody is expected beside them; and they cannot adopt while they run."""
    [only] = _refusal(written(_with_cluster(f"adoption: {adoption}", members=members)))
    assert said in only


def test_nodes_without_an_agent_may_stop_all_at_once(written: Written) -> None:
    """`stop_the_world` is read where such nodes are named."""
    lines = ("adoption: restart", "rollout: {strategy: stop_the_world}")
    members = "{expect: none, without_agent: [b@h, a@h]}"
    settings = load(written(_with_cluster(*lines, members=members)))
    [cluster] = settings.clusters.values()
    policy = cluster.policy()
    assert policy.without_agent == {"a@h", "b@h"}
    assert policy.rollout.strategy == "stop_the_world"


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("{cron: '0 25 * * 0'}", "schedule.cron: the second field is the hour: 0 to 23"),
        ("{cron: 0 3 * *}", "schedule.cron: a cron expression has five fields"),
        ("{cron: 7}", "schedule.cron: text is expected"),
        ("{timezone: UTC}", "schedule: the setting 'cron' is missing; write five fields"),
        ("", "schedule: the setting 'cron' is missing"),
        (
            "{cron: 0 3 * * *, jiter: 5m}",
            "schedule: unknown setting 'jiter'; did you mean 'jitter'?",
        ),
        (
            "{cron: 0 3 * * *, timezone: Europe/Berln}",
            "timezone: there is no such time zone; did you mean 'Europe/Berlin'?",
        ),
        (
            "{cron: 0 3 * * *, timezone: ../../etc/passwd}",
            "timezone: there is no such time zone; write it as in Europe/Berlin, or UTC",
        ),
        ("{cron: 0 3 * * *, timezone: localtime}", "timezone: write a place's zone"),
        ("{cron: 0 3 * * *, window: 10m}", "schedule: jitter is shorter than window"),
        ("{cron: 0 3 * * *, window: 0}", "schedule.window: this is more than 0"),
        ("{cron: 0 * * * *}", "schedule: two of these times are only 60m apart"),
    ],
)
def test_a_mistake_in_a_schedule_is_explained(written: Written, schedule: str, said: str) -> None:
    """By line and column, with what the field may hold, and without what was given."""
    [only] = _refusal(written(_with_cluster(f"schedule: {schedule}")))

    assert re.match(r"rotator\.yaml:5:\d+: clusters\.orders\.schedule", only)
    assert said in only


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ("{}", "the setting 'expect' is missing; write `none`, a count, or a list"),
        ("", "the setting 'expect' is missing"),
        ("none", "clusters.orders.members: settings are expected"),
        ("{expect: 0}", "a count is at least 1"),
        ("{expect: -1}", "a count is at least 1"),
        ("{expect: true}", "write `none`, a count, or a list of node names"),
        ("{expect: 1.5}", "write `none`, a count, or a list of node names"),
        ("{expect: }", "write `none`, a count, or a list of node names"),
        ("{expect: []}", "write `none`, a count, or a list of node names"),
        ("{expect: {a: 1}}", "write `none`, a count, or a list of node names"),
        ("{expect: rabbit@a}", "write `none`, a count, or a list of node names"),
        ("{expect: [rabbit@a, rabbit]}", "name 2 is not as Erlang writes a node's: name@host"),
        ("{expect: ['a@b@c']}", "name 1 is not as Erlang writes"),
        ("{expect: [5]}", "name 1 is not as Erlang writes"),
        ("{expect: [a@b, c@d, a@b]}", "name 3 is there twice"),
        ("{expect: 1, heartbeat: 0}", "heartbeat: this is more than 0"),
        ("{expect: 1, node_ttl: 30s}", "node_ttl: this is more than two heartbeats"),
        ("{expect: 1, heartbeat: 45s}", "node_ttl: this is more than two heartbeats"),
        ("{expect: 1, ephemeral: 1}", "ephemeral: true or false is expected"),
        ("{expect: 1, on_lost: {action: excuse}}", "write {action: wait}, or {action: excuse"),
        ("{expect: 1, on_lost: {after: 1h}}", "write {action: wait}, or {action: excuse"),
        ("{expect: 1, on_lost: {action: drop}}", "action: this is one of: wait, excuse"),
        ("{expect: 1, on_lost: {actoin: wait}}", "unknown setting 'actoin'; did you mean 'action'"),
    ],
)
def test_a_mistake_about_members_is_explained(written: Written, members: str, said: str) -> None:
    """Whom to wait for is never guessed."""
    [only] = _refusal(written(_with_cluster(members=members)))

    assert re.match(r"rotator\.yaml:4:\d+: clusters\.orders\.members", only)
    assert said in only


def test_grace_of_nothing_and_of_a_heartbeat_are_accepted(written: Written) -> None:
    """Only what lies between the two is refused."""
    for window, seconds in (("0", 0), ("0s", 0), ("15s", 15)):
        loaded = load(written(_with_cluster(f"grace_window: {window}")))
        assert loaded.policies()["orders"].grace_window == timedelta(seconds=seconds)


def test_a_default_that_a_longer_heartbeat_makes_wrong_is_refused(written: Written) -> None:
    """The default grace window counts as if it had been written."""
    text = _with_cluster(members="{expect: none, heartbeat: 20m, node_ttl: 1h}")

    [only] = _refusal(written(text))

    assert only.startswith("rotator.yaml:3:3: clusters.orders.grace_window: this is 0 or at least")


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("{address: 0.0.0.0}", "outside of loopback, cookies would cross the network in the clear"),
        ("{address: '::'}", "outside of loopback"),
        ("{address: localhost}", "address is an IP address"),
        ("{tls_certificate: /c}", "tls_certificate and tls_key go together"),
        ("{tls_key: /c}", "tls_certificate and tls_key go together"),
        ("{tls_certificate: /c, tls_key: /k, plain_http: true}", "exclude each other"),
        ("{port: 8401}", "port and health_port are the same"),
        ("{port: 0}", "port: should be greater than or equal to 1"),
        ("{port: 65536}", "port: should be less than or equal to 65535"),
        ("{plain_http: 'yes'}", "plain_http: true or false is expected"),
        ("{tls_key: ~/k, tls_certificate: ''}", "a path is expected"),
        ("{tls_key: '~/k', tls_certificate: /c}", "write the whole path"),
        ("8400", "settings are expected, as `name: value`"),
        ("[]", "settings are expected, as `name: value`"),
    ],
)
def test_a_mistake_in_listen_is_explained(written: Written, listen: str, said: str) -> None:
    """Cookies never cross a network in the clear by a slip."""
    assert any(said in line for line in _refusal(written(_with_listen(listen))))


@pytest.mark.parametrize(
    "listen",
    [
        "{address: '::1'}",
        "{address: 127.0.0.7}",
        "{address: 0.0.0.0, plain_http: true}",
        "{address: 10.0.0.1, tls_certificate: /c, tls_key: /k}",
    ],
)
def test_an_address_with_tls_or_behind_a_proxy_is_accepted(written: Written, listen: str) -> None:
    """Loopback, TLS, or the word of the operator."""
    assert load(written(_with_listen(listen))).listen.port == 8400


@pytest.mark.parametrize(
    ("store", "at", "said"),
    [
        ("{}", "1:1", "'kind' is one of: vault, local, aws"),
        ("", "1:1", "settings are expected, as `name: value`"),
        ("{kind: valt}", "1:16", "'kind' is one of: vault, local, aws; did you mean 'vault'?"),
        ("{kind: local}", "1:1", "the setting 'directory' is missing"),
        ("{kind: local, directory: 5}", "1:29", "directory: a path is expected"),
        ("{kind: local, directroy: /x, directory: /x}", "1:29", "did you mean 'directory'?"),
        ("{kind: vault, address: 'https://x', auth: {}}", "1:51", "'method' is one of: token, a"),
        ("{kind: vault, address: 'https://x', auth: {method: aprole}}", "1:58", "mean 'approle'?"),
        ("{kind: vault, address: x, auth: {method: token, token_file: t}}", "1:29", "an address"),
        ("{kind: vault, address: 'http://', auth: {method: token, token_file: t}}", "1:29", "an a"),
        ("{kind: vault, address: 'http://a:x', auth: {method: token, token_file: t}}", "1:29", "a"),
        ("{kind: vault, address: 'https://me:pw@v', auth: {method: token, token_file: t}}", "1:29",
         "a user or password does not stand in the address"),
        ("{kind: vault, mount: /s/, address: 'https://v', auth: {method: token, token_file: t}}",
         "1:29", "mount: a path such as"),
        ("{kind: vault, prefix: a/../b, address: 'https://v', auth: {method: token, token_file: t}}",
         "1:29", "prefix: a path such as"),
        ("{kind: vault, timeout: 0, address: 'https://v', auth: {method: token, token_file: t}}",
         "1:29", "timeout: this is more than 0"),
        ("{kind: vault, address: 'https://v', auth: {method: token, token_file: t, mount: t}}",
         "1:88", "unknown setting 'mount'"),
    ],
)  # fmt: skip
def test_a_mistake_about_the_secret_store_is_explained(
    written: Written, store: str, at: str, said: str
) -> None:
    """Its kind and the way to log in decide which settings there are."""
    [only] = _refusal(written(_with_store(store)))

    assert only.startswith(f"rotator.yaml:{at}: secret_store")
    assert said in only


def test_a_master_is_renewed_at_most_once_a_day(written: Written) -> None:
    """Every epoch stays in the secrets manager, so a loop of them is refused."""
    [only] = _refusal(written(f"{LEAST}masters: {{default: {{rotate_every: 23h}}}}\n"))

    assert only.startswith("rotator.yaml:5:21: masters.default.rotate_every: this is at least 1d")


def test_a_schedule_reaches_the_policy(written: Written) -> None:
    """Expression and zone as a calendar, the limits under their own names."""
    line = "schedule: {cron: 0 3 * * sun, timezone: Europe/Berlin, jitter: 20m, window: 4h, spacing: 0}"
    schedule = load(written(_with_cluster(line))).policies()["orders"].schedule

    assert schedule == Schedule(
        calendar=Calendar("0 3 * * sun", ZoneInfo("Europe/Berlin")),
        jitter=timedelta(minutes=20),
        window=timedelta(hours=4),
        spacing=timedelta(),
    )


def test_an_expression_that_begins_with_a_star_wants_quotes(written: Written) -> None:
    """YAML takes the star for an alias; the message says what to do."""
    [only] = _refusal(written(_with_cluster("schedule: {cron: */15 * * * *}")))

    assert only.startswith("rotator.yaml:5:23: ")
    assert only.endswith("; put text that begins with * in quotes")


def test_a_machine_without_time_zones_says_so(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image without tzdata names what is missing instead of the setting."""
    monkeypatch.setattr(schedules, "available_timezones", set)
    [only] = _refusal(written(_with_cluster("schedule: {cron: 0 3 * * *, timezone: Nowhere}")))

    assert "install tzdata, or write UTC" in only


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        (f"{{method: token, token: {SECRET}}}", "put it into a file, and write token_file: …"),
        (f"{{method: approle, role_id: r, secret_id: {SECRET}}}", "write secret_id_file: …"),
        (f"{{method: jwt, role: r, jwt: {SECRET}}}", "write jwt_file: …"),
        (f"{{method: token, token_file: t, password: {SECRET}}}", "the name of the file"),
        (f"{{method: token, token_file: t, {SECRET}}}", "unknown setting; known are:"),
        (f"{{method: {SECRET}}}", "'method' is one of"),
        (f"{{method: token, token_file: [{SECRET}]}}", "a path is expected"),
        (f"{{method: approle, role_id: [{SECRET}], secret_id_file: s}}", "text is expected"),
        (f"{{method: token, token_file: t, mount: {SECRET}}}", "unknown setting 'mount'"),
        (f"{{method: jwt, role: r, jwt_file: t, mount: '{SECRET}/'}}", "a path such as"),
        (f"{SECRET}", "auth"),
        (f"{{method: token, token_file: t: {SECRET}}}", "this is not YAML"),
        (f"{{method: token, token_file: *{SECRET.replace('.', '')}}}", "anchors and aliases"),
        (f"!{SECRET} {{method: token, token_file: t}}", "tags are not used here"),
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(
    written: Written, auth: str, said: str
) -> None:
    """Wherever it was put by mistake, the error names the place and not the value."""
    text = _with_store(f"{{kind: vault, address: 'https://v', auth: {auth}}}")

    lines = _refusal(written(text))

    assert any(said in line for line in lines)
    assert "planted" not in "\n".join(lines)


# --- files that are no settings -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "rotator.yaml:1:1: the file is empty; settings are expected"),
        (b"# nothing\n", "rotator.yaml:1:1: the file is empty"),
        (b"- a\n", "rotator.yaml:1:1: settings are expected, as `name: value`"),
        (b"orders", "rotator.yaml:1:1: settings are expected"),
        (b"log:\n  level: \xff\xfe\n", "rotator.yaml:2:10: this is not UTF-8"),
        (LEAST.encode("utf-16"), "rotator.yaml:1:1: this is not UTF-8"),
        (b"log:\n  level: a\x00b\n", "rotator.yaml:2:11: this character cannot stand in YAML"),
        (b"log: {level: info\nclusters: }\n", "rotator.yaml:2:9: this is not YAML"),
        (b"log:\n\tlevel: info\n", "rotator.yaml:2:1: this is not YAML"),
        (b"log: 'x\n", "rotator.yaml:2:1: this is not YAML"),
        (b"a: 1\n---\nb: 2\n", "rotator.yaml:2:1: this is not YAML: but found another document"),
        (b"log: &x {}\n", "rotator.yaml:1:6: anchors and aliases are not used here"),
        (b"log: *x\n", "rotator.yaml:1:6: anchors and aliases are not used here"),
        (b"log: " + b"[" * 100_000, "rotator.yaml:1:26: this is nested too deeply"),
        (b"log: " + b"{a: " * 100_000, "rotator.yaml:1:83: this is nested too deeply"),
        (b"? [a]\n: 1\n", "rotator.yaml:1:3: a name is expected before the colon"),
        (b"log: !!python/object:os.system {}\n", "rotator.yaml:1:1: log: tags are not used here"),
        (b"log: !!int x\n", "rotator.yaml:1:1: log: this cannot be read"),
        (b"log: !!bool x\n", "rotator.yaml:1:1: log: this cannot be read"),
        (b"log: " + b"9" * 5000, "rotator.yaml:1:1: log: this cannot be read"),
        (b"log: 2026-99-99\n", "rotator.yaml:1:1: log: settings are expected"),
        (b"<<: {log: {}}\n", "unknown setting"),
        (b"\xef\xbb\xbflgo: 1\n", "unknown setting 'lgo'; did you mean 'log'?"),
        (b"1: 2\n", "unknown setting; known are: "),
        (b'"log\\e[2J\\n": 2\n', "unknown setting; did you mean 'log'?"),
    ],
)
def test_a_file_that_is_not_settings_is_refused_with_its_place(
    written: Written, text: bytes, said: str
) -> None:
    """Not UTF-8, not YAML, bombs, tags and odd keys: one clear line, and no traceback."""
    lines = _refusal(written(text))

    assert any(said in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_aliases_that_multiply_are_refused_before_they_do(written: Written) -> None:
    """A file of a few hundred bytes that would expand to gigabytes."""
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )

    [only] = _refusal(written(bomb))

    assert only == "rotator.yaml:1:5: anchors and aliases are not used here; write it twice"


def test_a_file_that_is_too_large_is_not_parsed(written: Written) -> None:
    """The limit is 1 MiB, to the byte."""
    path = written(LEAST + "#" * (1024 * 1024 - len(LEAST)))
    assert load(path).clusters

    path = written(path.read_bytes() + b"#")
    assert _refusal(path) == [f"{path} is larger than 1024 KiB"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, and a directory in its place."""
    missing = tmp_path / "rotator.yaml"

    assert _refusal(missing) == [f"{missing} cannot be read: {os.strerror(2)}"]
    assert _refusal(tmp_path) == [f"{tmp_path} cannot be read: {os.strerror(21)}"]


_KEYS = st.sampled_from(
    ["listen", "log", "clusters", "orders", "masters", "default", "secret_store", "kind", "auth",
     "method", "members", "expect", "on_lost", "grace_window", "data_dir", "token", "[key]", ""]
)  # fmt: skip
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.sampled_from(["vault", "local", "token", "none", "5s", "hot", "\x07", "a\nb", "=", "<<"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=20,
)


@of_hypothesis(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_KEYS, _VALUES, max_size=6))
def test_whatever_the_file_says_it_loads_or_is_refused(
    written: Written, content: dict[str, Any]
) -> None:
    """No content gives another error than `ConfigurationError`, or one without a place."""
    path = written(yaml.safe_dump(content, allow_unicode=True, sort_keys=False))

    try:
        load(path)
    except ConfigurationError as error:
        lines = str(error).splitlines()
        assert lines
        assert all(re.match(r"rotator\.yaml:\d+:\d+: .", line) for line in lines)


@of_hypothesis(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text(alphabet="a:-[]{}&*!|>'\"#%@`, \n\t?~=<09_.", max_size=40))
def test_whatever_bytes_the_file_holds_it_loads_or_is_refused(
    written: Written, content: bytes | str
) -> None:
    """Arbitrary bytes and arbitrary punctuation never end in a traceback."""
    _refusal(written(content))


# --- where the state is kept ----------------------------------------------------------------------

POSTGRES = "state_store: {kind: postgresql, %s}"


def test_a_file_is_the_default_and_says_so(written: Written) -> None:
    """Without the section, and with it for SQLite, the state lies in data_dir."""
    for text in ("", "state_store: {kind: sqlite}"):
        settings = load(written(f"{LEAST}\n{text}\n"))
        assert settings.state_store.kind == "sqlite"


@pytest.mark.parametrize(
    ("given", "mode", "roots"),
    [
        ("host: db.example", "verify-full", "system"),
        ("host: 10.0.0.1, ca_cert: /etc/ca.pem", "verify-full", "/etc/ca.pem"),
        ("host: db.example, sslmode: require", "require", None),
        ("host: db.example, sslmode: disable", "disable", None),
        ("host: 127.0.0.1", None, None),
        ("host: localhost", None, None),
        ("host: /run/postgresql", None, None),
        ("service: rotator", None, None),
        ("port: 5433", None, None),
    ],
)
def test_a_database_elsewhere_is_verified(
    written: Written, given: str, mode: str | None, roots: str | None
) -> None:
    """Who leaves sslmode out gets the strictest, but where the way does not leave the machine."""
    store = load(written(f"{LEAST}\n{POSTGRES % given}\n")).state_store
    assert isinstance(store, PostgresStore)
    assert (store.tls_mode, store.tls_roots) == (mode, roots)
    assert store.lease.total_seconds() == 15


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("password: canary", "state_store: password: a secret does not stand here"),
        ("hots: db", "state_store: unknown setting 'hots'; did you mean 'host'?"),
        ("host: 'postgresql://canary@db'", "host is one name, address or directory"),
        ("host: db, service: rotator", "service stands in place of host, port, database and user"),
        ("lease: 0s", "state_store.lease: a lease lasts at least 1s"),
        ("sslmode: prefer", "state_store.sslmode: this is one of: disable, require"),
        ("port: 0", "state_store.port:"),
    ],
)
def test_what_is_wrong_with_a_database_is_said(written: Written, given: str, said: str) -> None:
    """By line and column, with what was meant, and never with what was given."""
    with pytest.raises(ConfigurationError) as caught:
        load(written(f"{LEAST}\n{POSTGRES % given}\n"))
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)
    assert re.match(r"rotator\.yaml:\d+:\d+: ", str(caught.value))


def test_kinds_of_state_stores_are_suggested(written: Written) -> None:
    """A slip in the kind is named with the kinds of state stores, not of secret stores."""
    with pytest.raises(ConfigurationError, match=r"sqlite, postgresql; did you mean 'postgresql'"):
        load(written(f"{LEAST}\nstate_store: {{kind: postgres}}\n"))


# --- what is documented -------------------------------------------------------------------------


def _sections() -> Iterator[type[Section]]:
    yield from (Settings, Listen, Limits, Log, Master, Cluster, Members, OnLost, schedules.Schedule)
    yield from (*STORES.values(), *METHODS.values(), *STATES.values())


@pytest.mark.parametrize(
    ("section", "name"),
    [(section, name) for section in _sections() for name in section.model_fields],
)
def test_every_setting_is_in_the_reference(section: type[Section], name: str) -> None:
    """docs/reference/configuration.md has a row, or a heading, for each."""
    text = REFERENCE.read_text(encoding="utf-8")

    assert re.search(rf"^(\| `{name}` \||## `{name}[.`])", text, flags=re.MULTILINE)


def test_suggestions_know_every_section() -> None:
    """Each section is found at the place where the file has it, so that a typo in it is named."""
    places = {
        (): Settings,
        ("listen",): Listen,
        ("log",): Log,
        ("limits",): Limits,
        ("masters", "any"): Master,
        ("clusters", "any"): Cluster,
        ("clusters", "any", "schedule"): schedules.Schedule,
        ("clusters", "any", "members"): Members,
        ("clusters", "any", "members", "on_lost"): OnLost,
        **{("secret_store", kind): section for kind, section in STORES.items()},
        **{("state_store", kind): section for kind, section in STATES.items()},
        **{("secret_store", "vault", "auth", way): section for way, section in METHODS.items()},
    }

    assert {place: section_at(place) for place in places} == places
    assert set(places.values()) == set(_sections())
    assert section_at(("nowhere", "at", "all")) is None


def test_kinds_and_methods_are_those_that_their_sections_say() -> None:
    """The tables by which a kind is looked up agree with the types that validate it."""
    for tag, table in (("kind", STORES), ("method", METHODS)):
        for name, section in table.items():
            assert get_args(section.model_fields[tag].annotation) == (name,)
