"""A store that was lost, or put back to an earlier time, is noticed, named, and serves nothing that is over."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from rotator.errors import AnotherProcess
from tests.support.losses import (
    CLUSTER,
    MOMENTS,
    PASSPHRASE,
    PLAIN,
    Reader,
    World,
    lived,
)
from tests.support.service import Service

pytestmark = pytest.mark.timeout(600)

IS_WHOLE = bool(os.environ.get("ROTATOR_TESTS_WHOLE"))  #: every moment with every way out
STORES = ("local", "vault", "aws")
DATABASES = ("sqlite", "postgresql")
#: Where time is short, these stand for all of them: each store, and each database, at least once.
SOME = (("local", "sqlite"), ("vault", "postgresql"), ("aws", "sqlite"))
#: What is put back, and by which code that is named.
BACK = {
    "state": {"state_store_behind"},
    "secrets": {"reverted_document", "epoch_missing"},
    "both": {"both_stores_behind"},
}


@pytest.fixture(
    scope="module",
    params=[(s, d) for s in STORES for d in DATABASES if IS_WHOLE or (s, d) in SOME],
    ids="-".join,
)
def life(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    store_places: Any,
    databases: Any,
) -> Iterator[tuple[World, Reader, Any]]:
    """A cluster's life, once for all that is done to it afterwards; and the copies of its end."""
    store, database = request.param
    directory = tmp_path_factory.mktemp(store)
    place = store_places[store](directory)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in place.environment.items():
            patched.setenv(name, value)
        world, reader = lived(directory, place, databases[database](directory))
        yield world, reader, world.save()
        world.service.kill()


@pytest.fixture
def world(life: tuple[World, Reader, Any]) -> Iterator[World]:
    """The cluster as it was at the end of its life, stopped."""
    found, _, (state, secrets) = life
    found.service.kill()
    state()
    secrets()
    tokens, over = dict(found.service.tokens), set(found.over)
    yield found
    found.service.kill()
    found.service.tokens, found.over = tokens, over


@pytest.fixture
def reader(life: tuple[World, Reader, Any], world: World) -> Reader:
    """A node that has obeyed all of that life."""
    _, known, _ = life
    return Reader(world, known.generation, numbers=list(known.numbers), cookies=list(known.cookies))


@pytest.fixture
def _one_for_all(request: pytest.FixtureRequest) -> None:
    """Where time is short, the first store and database stand for all of them."""
    if not IS_WHOLE and request.node.callspec.params["life"] != SOME[0]:
        pytest.skip("with ROTATOR_TESTS_WHOLE=1")


def put_back(world: World, moment: str, which: str) -> None:
    """Put an old copy in the place of one store, or of both."""
    state, secrets = world.moments[moment]
    if which != "secrets":
        state()
    if which != "state":
        secrets()


CASES = [(moment, which) for moment in MOMENTS for which in BACK]


@pytest.fixture
def _one_of_them(request: pytest.FixtureRequest) -> None:
    """Where time is short, each moment with each store is tried in one place of them."""
    params = request.node.callspec.params
    turn = CASES.index((params["moment"], params["which"])) // len(BACK) + list(BACK).index(
        params["which"]
    )
    if not IS_WHOLE and params["life"] != SOME[turn % len(SOME)]:
        pytest.skip("with ROTATOR_TESTS_WHOLE=1")


@pytest.mark.usefixtures("_one_of_them")
@pytest.mark.parametrize(("moment", "which"), CASES)
def test_a_store_put_back_is_named_and_serves_nothing_that_is_over(
    moment: str, which: str, world: World, reader: Reader
) -> None:
    """From each moment of a rotation, the state store, the secrets manager, or both alike."""
    put_back(world, moment, which)
    world.service.start()
    before = list(reader.numbers)
    # A node is heard by what it asks with, or by what it reports; one that is taken is a member.
    if moment == "retiring" and which != "secrets":
        assert reader.attest().status_code in {httpx.codes.OK, httpx.codes.CONFLICT}
    else:
        reader.ask()
    assert world.frozen() in BACK[which]
    for _ in range(3):
        reader.ask()
    world.assert_rotates_nothing()
    assert reader.numbers == before
    way_out = {"state": out_by_recover, "secrets": out_by_rederive, "both": out_by_emergency}
    if IS_WHOLE or moment in {"rolling_out", "retiring"}:
        way_out[which](world, reader)
    world.service.stop()
    world.assert_no_leak()


def out_by_recover(world: World, reader: Reader) -> None:
    """The state store is made anew from the document; the cluster goes on with version 4."""
    world.service.stop()
    assert [row["need"] for row in world.recover()] == ["rebuild"]
    assert world.revoked > 0
    world.service.start()
    goes_on(world, reader, number=4)


def out_by_rederive(world: World, reader: Reader) -> None:
    """The document is derived anew for the state store; the cluster goes on with version 4."""
    before = world.document()
    with pytest.raises(AnotherProcess):
        world.rederive(world.file)
    assert world.document() == before
    world.service.stop()
    epochs = {"epoch default/1": "there", "epoch default/2": "there"}
    done = world.rederive(world.file)
    assert done == epochs | {"epoch default/2": "written", "cluster orders": "written"}
    assert world.rederive(world.file) == epochs | {"cluster orders": "there"}
    world.service.start()
    goes_on(world, reader, number=4)


def out_by_emergency(world: World, reader: Reader) -> None:
    """Nobody knows which numbers were used: an emergency goes on far above them."""
    world.begin("emergency")
    assert reader.ask().status_code == httpx.codes.OK
    assert reader.numbers[-1] > 1_000_000
    assert reader.cookies[-1] not in world.over
    world.service.until_stable(CLUSTER)


def goes_on(world: World, reader: Reader, *, number: int) -> None:
    """The same cookie as before, then the next version, and no generation goes backwards."""
    world.service.until_stable(CLUSTER)
    assert Reader(world).ask().json()["current"]["cookie"] == reader.cookies[-1]
    reader.ask()
    assert reader.numbers == [1, 2, 3]
    world.begin()
    assert reader.ask().status_code == httpx.codes.OK
    assert reader.numbers == [1, 2, 3, number]
    assert reader.refused == 0
    world.over.add(reader.cookies[2])
    reader.ask()


def test_an_empty_state_store_begins_nothing_and_current_is_still_read(
    world: World, reader: Reader
) -> None:
    """Frozen by name: nothing rotates, nothing can be begun anew, and nodes can still boot."""
    world.state.lose()
    world.service.tokens.clear()
    world.service.start()
    assert world.frozen() == "state_store_lost"
    world.assert_rotates_nothing()
    answer = world.service.request(
        "POST", f"clusters/{CLUSTER}/init", role="admin", json={"reason": "test"}
    )
    assert answer.status_code == httpx.codes.CONFLICT
    assert "rotator recover" in answer.text
    for kind, is_dry in (("manual", False), ("emergency", False), ("manual", True)):
        asked = {"kind": kind, "reason": "test", "dry_run": is_dry}
        answer = world.service.request("POST", f"clusters/{CLUSTER}/rotations", json=asked)
        assert answer.status_code == httpx.codes.CONFLICT
        assert "rotator recover" in answer.json()["detail"]
    assert Reader(world).ask().json()["current"]["cookie"] == reader.cookies[-1]
    assert reader.ask().status_code == httpx.codes.OK
    assert reader.refused == 1, "the document is from before the newest generation"
    with pytest.raises(AnotherProcess):
        world.recover()
    world.service.stop()
    world.assert_no_leak()


def test_an_empty_state_store_is_rebuilt_and_its_cluster_goes_on(
    world: World, reader: Reader
) -> None:
    """The command shows what it would do, asks, does it once, and says that tokens are made anew."""
    world.state.lose()
    before = world.document()
    planned = world.recover(is_dry=True)
    assert [row["need"] for row in planned] == ["rebuild"]
    asked = world.run("recover")
    assert (asked.returncode, asked.stdout) == (2, ""), "there is no terminal to ask on"
    assert world.document() == before
    told = world.run("recover", "--yes")
    assert told.returncode == 0, told.stderr
    done = {"clusters": planned, "revoked_tokens": 0, "dry_run": False}
    assert json.loads(told.stdout) == done
    world.service.tokens.clear()
    assert [row["need"] for row in world.recover()] == ["nothing"]
    world.service.start()
    facts = world.service.get(f"facts?cluster={CLUSTER}", role="auditor")["facts"]
    assert "StateRecovered" in [fact["kind"] for fact in facts][:3]
    goes_on(world, reader, number=4)
    world.service.stop()
    world.assert_no_leak()


@pytest.mark.usefixtures("_one_for_all")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_state_store_lost_in_a_rotation_goes_on_with_it(
    moment: str, world: World, reader: Reader
) -> None:
    """The document's slots say how far it had come: no number is used twice, no cookie lost."""
    if not IS_WHOLE and moment in {"staged", "rolling_out"}:
        pytest.skip("with ROTATOR_TESTS_WHOLE=1")
    _, secrets = world.moments[moment]
    world.state.lose()
    secrets()
    goes_on_in = "installing" if moment in {"staged", "installing"} else "rolling_out"
    (row,) = world.recover()
    assert row["phase"] == goes_on_in
    world.service.start()
    found = world.service.until_stable(CLUSTER)
    document = world.document()
    assert document is not None
    assert (found["current"], document["cookie"]) == (2, reader.cookies[1])
    assert document["versions"] == {2: reader.cookies[1]}
    assert world.begin()["to_version"] == 3


@pytest.mark.usefixtures("_one_for_all")
@pytest.mark.parametrize("point", ["L1:before", "L1:after", "KL:before", "KL:after"])
def test_recover_goes_on_where_it_was_killed(point: str, world: World, reader: Reader) -> None:
    """Killed at any write, and repeated: one recovery, one generation that leaps, one cookie."""
    world.state.lose()
    killed = world.run("recover", "--yes", failpoints=f"{point}:kill")
    assert killed.returncode == -9, killed.stderr
    (row,) = world.once_free(world.recover)
    expected = {"L1:before": "rebuild", "L1:after": "stamp", "KL:before": "stamp"}
    assert row["need"] == expected.get(point, "nothing")
    document = world.document()
    assert document is not None
    assert 1_000_000 < document["generation"] < 2_000_000
    assert (document["current"], document["cookie"]) == (3, reader.cookies[-1])
    world.service.start()
    facts = world.service.get(f"facts?cluster={CLUSTER}", role="auditor")["facts"]
    assert [fact["kind"] for fact in facts].count("StateRecovered") == 1
    goes_on(world, reader, number=4)


def test_an_empty_secrets_manager_is_rebuilt_from_the_recovery_file(
    world: World, reader: Reader
) -> None:
    """Masters and documents come back as they were; without the file nothing does, and it says so."""
    world.secrets.lose()
    world.service.start()
    assert world.frozen() == "document_missing"
    assert Reader(world).ask().status_code == httpx.codes.SERVICE_UNAVAILABLE
    world.service.stop()
    assert world.rederive() == {"cluster orders": "refused"}
    assert "recovery file" in world.why["cluster orders"]
    assert world.document() is None
    missing = {"epoch default/1": "missing", "epoch default/2": "missing"}
    assert world.rederive(world.file, is_dry=True) == missing | {"cluster orders": "missing"}
    assert world.document() is None
    words = ("rederive", "--from", str(world.file))
    wrong = world.run(*words, text="not the passphrase of it")
    assert wrong.returncode == 2
    assert "passphrase" in wrong.stderr
    killed = world.run(*words, text=PASSPHRASE, failpoints="KD:before:kill")
    assert killed.returncode == -9, killed.stderr
    there = {"epoch default/1": "there", "epoch default/2": "there"}
    repeated = world.once_free(lambda: world.rederive(world.file))
    assert repeated == there | {"cluster orders": "written"}
    assert world.rederive(world.file) == there | {"cluster orders": "there"}
    world.service.start()
    goes_on(world, reader, number=4)
    world.service.stop()
    world.assert_no_leak()


@pytest.mark.usefixtures("_one_for_all")
def test_a_recovery_file_of_another_service_writes_nothing(
    world: World, tmp_path_factory: pytest.TempPathFactory, store_places: Any, databases: Any
) -> None:
    """Masters that are not those on record are refused by name, one for one."""
    directory = tmp_path_factory.mktemp("other")
    place = store_places["local"](directory)
    other = Service(directory, place.settings, {CLUSTER: PLAIN})
    other.start()
    other.initialise(CLUSTER)
    other.stop()
    stranger = World(
        service=other, secrets=place.keep, state=databases["sqlite"](directory), open=place.open
    )
    stranger.export()
    world.secrets.lose()
    refused = {"epoch default/1": "refused", "cluster orders": "refused"}
    assert world.rederive(stranger.file) == refused
    assert "another cluster" in world.why["epoch default/1"]
    assert world.document() is None
