"""AWS has no snapshots: what can be put back or lost there by hand is named, and comes right again."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support import aws
from tests.support.losses import CLUSTER, Reader, World, lived
from tests.support.service import wait_for

pytestmark = pytest.mark.timeout(600)

IS_WHOLE = bool(os.environ.get("ROTATOR_TESTS_WHOLE"))
whole = pytest.mark.skipif(not IS_WHOLE, reason="with ROTATOR_TESTS_WHOLE=1")
THERE = {"epoch default/1": "there", "epoch default/2": "there"}


@dataclass
class Hand:
    """Somebody with every right on AWS, and copies of what was there at each moment."""

    world: World
    reader: Reader
    server: aws.Aws
    prefix: str
    versions: dict[str, dict[str, str]]  #: moment → secret → VersionId that was AWSCURRENT
    texts: dict[str, dict[str, str]]  #: moment → secret → its value

    def name(self, part: str) -> str:
        """``cookies``, ``meta``, or ``masters/default/N``."""
        parts = {"cookies": f"clusters/{CLUSTER}", "meta": f"clusters/{CLUSTER}/meta"}
        return f"{self.prefix}/{parts.get(part, part)}"

    def move_back(self, part: str, moment: str) -> None:
        """AWSCURRENT is moved to where it was."""
        name = self.name(part)
        self.server.client().update_secret_version_stage(
            SecretId=name,
            VersionStage="AWSCURRENT",
            RemoveFromVersionId=self.server.labels(name)["AWSCURRENT"],
            MoveToVersionId=self.versions[moment][name],
        )

    def write_back(self, part: str, moment: str) -> None:
        """The value of then is put as a new one."""
        name = self.name(part)
        self.server.client().put_secret_value(
            SecretId=name, SecretString=self.texts[moment][name], ClientRequestToken=_token()
        )

    def remove(self, *parts: str) -> None:
        """As ``delete-secret --force-delete-without-recovery``."""
        with self.server.lock:
            for part in parts:
                dict.pop(self.server.secrets, self.name(part))

    def make_anew(self) -> None:
        """Every secret out of a backup of values, with versions of its own."""
        with self.server.lock:
            former = self.server.below(self.prefix)
            texts = {name: current_text(secret) for name, secret in former.items()}
            for name in former:
                dict.pop(self.server.secrets, name)
        for name, text in texts.items():
            self.server.client().create_secret(
                Name=name, SecretString=text, ClientRequestToken=_token()
            )

    def shown(self) -> dict[str, int]:
        """Label → number, as nodes that read AWS themselves find it."""
        found = self.server.readable(self.name("cookies"))
        return {label: value["number"] for label, value in found.items()}

    def blocked_by(self, code: str) -> dict[str, Any]:
        """The blocker of this code, once it stands."""

        def ask() -> dict[str, Any] | None:
            found = self.world.service.get(f"clusters/{CLUSTER}")["blockers"]
            return next((one for one in found if one["code"] == code), None)

        return dict(wait_for(f"blocked by {code}", ask))

    def goes_on(self) -> None:
        """Started, it has the cookie from before, and rotates to version 4."""
        self.world.service.start()
        self.world.service.until_stable(CLUSTER)
        assert self.shown() == {"AWSCURRENT": 3}
        assert Reader(self.world).ask().json()["current"]["cookie"] == self.reader.cookies[-1]
        self.world.begin()
        self.reader.ask()
        assert self.reader.numbers == [1, 2, 3, 4]
        assert self.shown() == {"AWSCURRENT": 4}


def _token() -> str:
    return secrets.token_hex(20)


def current_text(secret: Any) -> str:
    """The value at AWSCURRENT."""
    return str(secret.versions[aws.rules.stages(secret)["AWSCURRENT"]]["secret_string"])


@pytest.fixture(scope="module")
def life(
    tmp_path_factory: pytest.TempPathFactory, store_places: Any, databases: Any
) -> Iterator[tuple[Hand, Callable[[], None], Callable[[], None]]]:
    """A cluster's life, once for all that is done to it afterwards; and the copies of its end."""
    directory = tmp_path_factory.mktemp("aws")
    place = store_places["aws"](directory)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in place.environment.items():
            patched.setenv(name, value)
        world, reader = lived(directory, place, databases["sqlite"](directory))
        end = world.save()
        server, prefix = aws.shared(), place.settings["prefix"]
        hand = Hand(world, reader, server, prefix, versions={}, texts={})
        for moment, (_, secrets_of_then) in world.moments.items():
            secrets_of_then()
            below = server.below(prefix)
            hand.texts[moment] = {name: current_text(one) for name, one in below.items()}
            hand.versions[moment] = {name: server.labels(name)["AWSCURRENT"] for name in below}
        yield hand, *end
        world.service.kill()


@pytest.fixture
def hand(life: tuple[Hand, Callable[[], None], Callable[[], None]]) -> Iterator[Hand]:
    """Version 1 is retired, 2 revoked, 3 current; the service is stopped."""
    found, state, secret_store = life
    world, known = found.world, found.reader
    world.service.kill()
    state()
    secret_store()
    tokens, over = dict(world.service.tokens), set(world.over)
    found.reader = Reader(
        world, known.generation, numbers=list(known.numbers), cookies=list(known.cookies)
    )
    yield found
    world.service.kill()
    found.reader = known
    world.service.tokens, world.over = tokens, over


@pytest.mark.parametrize(
    ("moment", "how"),
    [
        ("retiring", "move_back"),
        pytest.param("installing", "write_back", marks=whole),
        pytest.param("rolling_out", "write_back", marks=whole),
        pytest.param("staged", "move_back", marks=whole),
    ],
)
def test_a_meta_put_back_by_hand_is_named_and_gives_no_label_to_what_is_over(
    moment: str, how: str, hand: Hand
) -> None:
    """It looks like a write that was cut short, and is not finished: labels stay where they are."""
    getattr(hand, how)("meta", moment)
    hand.world.service.start()
    assert hand.world.frozen() == "reverted_document"
    for _ in range(3):
        assert Reader(hand.world).ask().status_code == httpx.codes.SERVICE_UNAVAILABLE
    hand.world.assert_rotates_nothing()
    assert hand.shown() == {"AWSCURRENT": 3}
    hand.world.service.stop()
    assert hand.world.rederive() == {"cluster orders": "written"}
    hand.goes_on()
    hand.world.service.stop()
    hand.world.assert_no_leak()


@whole
def test_a_meta_put_back_under_a_running_service_is_named_too(hand: Hand) -> None:
    """First it may be an answer that lags; what stays is an old document."""
    hand.world.service.start()
    assert Reader(hand.world).ask().is_success
    hand.move_back("meta", "rolling_out")
    assert hand.world.frozen() == "reverted_document"
    for _ in range(3):
        hand.reader.ask()
    assert hand.shown() == {"AWSCURRENT": 3}
    hand.world.begin("emergency", force=True)
    hand.reader.ask()
    assert hand.reader.numbers == [1, 2, 3, 4]
    assert hand.shown() == {"AWSCURRENT": 4}


@whole
def test_a_cookie_put_back_by_hand_is_named_and_an_emergency_goes_over_it(hand: Hand) -> None:
    """Who reads AWS itself reads the old one until then, and nobody can keep him from it."""
    hand.write_back("cookies", "staged")
    hand.world.service.start()
    blocker = hand.blocked_by("store_stages_moved")
    assert hand.server.labels(hand.name("cookies"))["AWSCURRENT"] in blocker["detail"]
    assert Reader(hand.world).ask().json()["current"]["cookie"] == hand.reader.cookies[-1]
    hand.world.begin("emergency", force=True)
    hand.reader.ask()
    assert hand.reader.numbers == [1, 2, 3, 4]
    assert hand.shown() == {"AWSCURRENT": 4}


@pytest.mark.parametrize(
    "lost",
    [
        ("cookies",),
        pytest.param(("meta",), marks=whole),
        pytest.param(("cookies", "meta"), marks=whole),
    ],
    ids="-".join,
)
def test_a_lost_secret_of_a_cluster_is_written_again(lost: tuple[str, ...], hand: Hand) -> None:
    """Of the two secrets either or both: with the masters there no recovery file is needed."""
    hand.remove(*lost)
    hand.world.service.start()
    assert hand.world.frozen() == "document_missing"
    assert Reader(hand.world).ask().status_code == httpx.codes.SERVICE_UNAVAILABLE
    hand.world.service.stop()
    killed = hand.world.run("rederive", failpoints="KD:before:kill")
    assert killed.returncode == -9, killed.stderr
    assert hand.world.rederive() == {"cluster orders": "written"}
    assert hand.world.rederive() == {"cluster orders": "there"}
    hand.goes_on()


@whole
@pytest.mark.parametrize("point", ["AwsCreate", "AwsPutMeta", "AwsDecide", "AwsSettle"])
def test_writing_it_again_goes_on_where_it_was_killed(point: str, hand: Hand) -> None:
    """At each call of AWS."""
    hand.remove("cookies")
    killed = hand.world.run("rederive", failpoints=f"{point}:after:kill")
    assert killed.returncode == -9, killed.stderr
    assert hand.world.rederive()["cluster orders"] in {"written", "there"}
    hand.goes_on()


def test_secrets_that_are_to_be_deleted_are_named_and_come_back_as_they_were(hand: Hand) -> None:
    """Scheduled for deletion they are not lost: they are restored, and nothing is written."""
    parts = ("cookies", "meta", "masters/default/2")
    for part in parts:
        hand.server.secrets[hand.name(part)].delete(1e10)
    refused = hand.world.run(
        "rederive", "--from", str(hand.world.file), text="a passphrase of the tests"
    )
    assert refused.returncode == 5, refused.stderr
    rows = json.loads(refused.stdout)["outcomes"]
    assert [row["came"] for row in rows] == ["there", "refused", "refused"]
    assert all("restore-secret" in row["why"] for row in rows[1:])
    (planned,) = hand.world.recover(is_dry=True)
    assert planned["need"] == "refused"
    assert "restore-secret" in planned["why"]
    for part in parts:
        hand.server.secrets[hand.name(part)].restore()
    assert hand.world.rederive(hand.world.file) == THERE | {"cluster orders": "there"}
    hand.goes_on()


def test_secrets_made_anew_from_a_backup_of_values_are_named_and_replaced(hand: Hand) -> None:
    """They have other VersionIds: nothing is taken for what it was; removed, all comes back."""
    hand.make_anew()
    hand.world.service.start()
    hand.blocked_by("store_document_invalid")
    assert Reader(hand.world).ask().status_code == httpx.codes.SERVICE_UNAVAILABLE
    hand.world.service.stop()
    everything = ("masters/default/1", "masters/default/2", "cookies", "meta")
    things = ("epoch default/1", "epoch default/2", "cluster orders")
    assert hand.world.rederive(hand.world.file) == dict.fromkeys(things, "refused")
    assert "remove it there" in hand.world.why["cluster orders"]
    hand.remove(*everything)
    assert hand.world.rederive(hand.world.file) == dict.fromkeys(things, "written")
    hand.goes_on()
    hand.world.service.stop()
    hand.world.assert_no_leak()
