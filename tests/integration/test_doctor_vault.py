"""What doctor finds in a real OpenBao, and that it finds nothing where all is as it should be."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from rotator.adapters.secret_stores.registry import open_stores
from rotator.adapters.secret_stores.vault import examiner as vault
from rotator.domain.ids import ClusterName, EpochNumber, MasterName
from rotator.ports.examiner import Subject
from rotator.services.doctor.runner import Outcome, examine
from rotator.testing.secret_stores import DEFAULT, FIRST, ORDERS, document, epoch, present
from tests.support import openbao

if TYPE_CHECKING:
    from tests.support.openbao import OpenBao

SUBJECT = Subject(clusters=(ORDERS,), initialised=frozenset({ORDERS}), epochs=((DEFAULT, FIRST),))
SHIPPED = (openbao.POLICIES / "vault-service.hcl").read_text(encoding="utf-8")


@dataclass
class Place:
    """A prefix of this test's own, with a document and an epoch that the service has written."""

    server: OpenBao
    mount: str = "secret"
    prefix: str = field(default_factory=lambda: f"t{secrets.token_hex(8)}")

    def policy(self, more: str = "", *, without: str = "") -> str:
        """The shipped policy, with more or less of it; its name."""
        text = SHIPPED.replace("erlang-cookies", self.prefix)
        if without:
            assert without in text
            start = text.index(f'path "{without}')
            text = text[:start] + text[text.index("}", start) + 1 :]
        text += more.replace("PREFIX", self.prefix)
        return self.server.policy(f"p{secrets.token_hex(8)}", text)

    def token(self, *policies: str, **settings: Any) -> str:
        """A token with these policies and not even the default one."""
        return self.server.token(*policies, no_default_policy=True, **settings)

    async def written(self, *, versions: int = 1) -> None:
        """Document and epoch, as the service writes them."""
        stores = self.open(self.token(self.policy()))
        await stores.masters.create(DEFAULT, FIRST, epoch())
        await stores.cookies.create(ORDERS, document(1))
        for number in range(1, versions):
            mark = (await present(stores.cookies)).mark
            await stores.cookies.replace(ORDERS, document(number + 1), mark=mark)
        await stores.close()

    def open(self, token: str, **settings: Any) -> Any:
        """The stores with a token."""
        auth = settings.pop("auth", {"method": "token", "token": token})
        address = settings.pop("address", self.server.address)
        return open_stores(
            "vault", address=address, mount=self.mount, prefix=self.prefix, auth=auth, **settings
        )

    async def found(self, token: str, *, subject: Subject = SUBJECT, **settings: Any) -> Any:
        """What doctor finds with this token: (code, subject, detail)."""
        stores = self.open(token, **settings)
        try:
            report = await examine(stores.examiner.checks(subject))
            await stores.examiner.leave()
        finally:
            await stores.close()
        assert len(report.checks) == 5
        return [(one.code, one.subject, one.detail) for one in report.findings]


@pytest.fixture
def place() -> Place:
    """In the shared server."""
    return Place(openbao.shared())


def metadata(place: Place) -> str:
    """Where the document's settings lie."""
    return f"secret/metadata/{place.prefix}/clusters/{ORDERS}"


async def test_a_service_set_up_as_shipped_has_nothing_to_mend(place: Place) -> None:
    """Policy, document and token as this project gives them are found good in every check."""
    await place.written(versions=3)
    assert await place.found(place.token(place.policy())) == []


async def test_before_the_first_document_there_is_nothing_to_mend(place: Place) -> None:
    """A cluster that is only declared has no document, and that is no fault."""
    assert await place.found(place.token(place.policy())) == []


@pytest.mark.parametrize(
    ("without", "lacks"),
    [
        ("secret/data/{}/clusters", "lacks create, read, update"),
        ("secret/metadata/{}/clusters", "lacks create, read, update"),
        ("secret/data/{}/masters", "lacks create, read"),
    ],
)
async def test_a_right_that_is_missing_is_named_with_its_path(
    place: Place, without: str, lacks: str
) -> None:
    """Before a rotation meets it, the path and what is lacking there are told."""
    await place.written()
    path = without.format(place.prefix)
    found = await place.found(place.token(place.policy(without=path)))
    [(_, subject, detail)] = [one for one in found if one[0] == "rights_missing"]
    assert path in subject
    assert detail == lacks
    assert {one[0] for one in found} == {"rights_missing"}


@pytest.mark.parametrize(
    ("more", "where", "may"),
    [
        (
            'path "secret/metadata/PREFIX/clusters/*" { capabilities = ["create", "read", "update", "delete"] }',
            "secret/metadata/{}/clusters/orders",
            "may delete",
        ),
        (
            'path "secret/data/PREFIX/masters/*" { capabilities = ["create", "read", "update"] }',
            "secret/data/{}/masters/default/1",
            "may update",
        ),
        (
            'path "secret/destroy/PREFIX/*" { capabilities = ["update"] }',
            "secret/destroy/{}/clusters/orders",
            "may update",
        ),
        (
            'path "secret/metadata/PREFIX/*" { capabilities = ["list"] }',
            "secret/metadata/{}/clusters",
            "may list",
        ),
        (
            'path "secret/data/*" { capabilities = ["read"] }',
            "secret/data/rotator-doctor",
            "may read",
        ),
        (
            'path "sys/policies/acl/*" { capabilities = ["create", "update", "sudo"] }',
            "sys/policies/acl/rotator-doctor",
            "may create, sudo, update",
        ),
        (
            'path "auth/token/create" { capabilities = ["update"] }',
            "auth/token/create",
            "may update",
        ),
    ],
)
async def test_a_right_too_many_is_named_with_its_path(
    place: Place, more: str, where: str, may: str
) -> None:
    """To delete, destroy, list, write an epoch over, or reach elsewhere is more than is needed."""
    await place.written()
    extra = place.server.policy(f"p{secrets.token_hex(8)}", more.replace("PREFIX", place.prefix))
    found = await place.found(place.token(place.policy(), extra))
    assert {code for code, _, _ in found} == {"rights_too_wide"}
    assert any(
        where.format(place.prefix) in subject and detail == may for _, subject, detail in found
    )


async def test_many_paths_with_the_same_fault_are_one_finding(place: Place) -> None:
    """Five hundred clusters without a right do not bury what else was found."""
    names = tuple(ClusterName(f"c{number}") for number in range(500))
    path = f"secret/data/{place.prefix}/clusters"
    found = await place.found(
        place.token(place.policy(without=path)), subject=Subject(clusters=names)
    )
    [(code, subject, _)] = found
    assert code == "rights_missing"
    assert subject.endswith("and 497 more")


async def test_a_token_that_may_not_ask_for_its_rights_is_told_so(place: Place) -> None:
    """Rights that are unknown are no rights that are good."""
    found = await place.found(place.token(place.policy(without="sys/capabilities-self")))
    assert [code for code, _, _ in found] == ["rights_unknown"]


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"max_versions": 5}, "document_unsafe"),
        ({"cas_required": False}, "document_unsafe"),
        ({"delete_version_after": "24h"}, "document_expires"),
    ],
)
async def test_a_document_whose_settings_were_changed_is_found(
    place: Place, settings: dict[str, Any], code: str
) -> None:
    """What the service set and somebody undid is named, by cluster."""
    await place.written()
    place.server.do("POST", metadata(place), settings)
    found = await place.found(place.token(place.policy()))
    assert [(one, subject) for one, subject, _ in found] == [(code, ORDERS)]


async def test_a_document_with_a_history_is_found(place: Place) -> None:
    """A former version that can still be read holds a retired cookie."""
    await place.written()
    place.server.do("POST", metadata(place), {"max_versions": 9, "cas_required": False})
    path = f"secret/data/{place.prefix}/clusters/{ORDERS}"
    place.server.do("POST", path, {"data": {"planted": "x"}})
    found = {code: detail for code, _, detail in await place.found(place.token(place.policy()))}
    assert found["document_has_history"] == "2 versions can be read"
    assert "planted" not in str(found)


async def test_a_root_token_is_an_error(place: Place) -> None:
    """Whoever gets hold of the service would have everything."""
    await place.written()
    found = await place.found(place.server.root_token)
    assert [code for code, _, _ in found] == ["store_token_root"]


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"ttl": "1h", "renewable": False}, "store_token_ends"),
        ({"ttl": "1h", "explicit_max_ttl": "2h"}, "store_token_ends"),
        ({"ttl": "1h", "num_uses": 50}, "store_token_uses"),
        ({"ttl": "1h"}, None),
        ({"period": "1h"}, None),
    ],
)
async def test_a_token_that_ends_for_good_is_named(
    place: Place, settings: dict[str, Any], code: str | None
) -> None:
    """One that can be prolonged for ever is well; any other stops the service one day."""
    await place.written()
    found = await place.found(place.token(place.policy(), **settings))
    assert [one for one, _, _ in found] == ([code] if code else [])


async def test_key_value_version_1_is_refused_by_name(place: Place) -> None:
    """It has no compare-and-set, and nothing else is looked at there."""
    place.mount = f"kv1-{secrets.token_hex(4)}"
    place.server.do(
        "POST", f"sys/mounts/{place.mount}", {"type": "kv", "options": {"version": "1"}}
    )
    found = await place.found(place.server.root_token)
    assert [(code, subject) for code, subject, _ in found] == [("kv_version_1", place.mount)]


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"address": "http://127.0.0.1:9"}, "store_unreachable"),
        ({"auth": {"method": "token", "token": "s.nobody"}}, "store_token_expired"),
        ({"auth": {"method": "token", "token_file": "/nowhere"}}, "store_login_failed"),
    ],
)
async def test_a_store_that_cannot_be_used_is_one_finding_with_its_code(
    place: Place, settings: dict[str, Any], code: str
) -> None:
    """Five checks do not say the same five times."""
    found = await place.found("s.nobody-at-all", **settings)
    assert [(one, subject) for one, subject, _ in found] == [("secrets_manager_unusable", code)]
    assert "s.nobody" not in str(found)


async def test_under_the_shipped_policy_a_wrong_mount_is_named_among_what_may_be_wrong(
    place: Place,
) -> None:
    """Vault denies what the policy does not name, whether it is there or not: both are said."""
    token, place.mount = place.token(place.policy()), "nowhere"
    ((code, subject, detail),) = await place.found(token)
    assert (code, subject) == ("secrets_manager_unusable", "store_forbidden")
    assert "no such mount" in detail
    assert "secret_store.mount" in detail


async def test_a_mount_that_is_not_there_is_named(place: Place) -> None:
    """A slip in secret_store.mount is found before the first write."""
    place.mount = "nowhere"
    found = await place.found(place.server.root_token)
    assert [(one, subject) for one, subject, _ in found] == [
        ("secrets_manager_unusable", "store_mount_missing")
    ]


@pytest.mark.parametrize(
    ("off", "code"),
    [
        (timedelta(), None),
        (timedelta(seconds=90), "clock_skew"),
        (timedelta(minutes=-10), "clock_far_off"),
    ],
)
async def test_a_clock_that_differs_is_found_by_the_date_of_an_answer(
    place: Place, off: timedelta, code: str | None
) -> None:
    """Ours against that of a real secrets manager, to the second."""
    stores = place.open(place.token(place.policy()))
    examiner = vault.VaultExaminer(
        stores.cookies._connection,
        mount="secret",
        prefix=place.prefix,
        method="token",
        now=lambda: datetime.now(UTC) + off,
    )
    report = await examine(examiner.checks(SUBJECT))
    await stores.close()
    assert [one.code for one in report.findings] == ([code] if code else [])
    assert all(one.outcome is not Outcome.FAILED for one in report.checks)


async def test_a_login_that_doctor_made_is_given_back(place: Place, tmp_path: Any) -> None:
    """No token is left behind by an examination, and one from a file is not touched."""
    server = place.server
    method = f"approle-{secrets.token_hex(4)}"
    server.do("POST", f"sys/auth/{method}", {"type": "approle"})
    role = f"auth/{method}/role/rotator"
    policies = [place.policy()]
    server.do("POST", role, {"token_policies": policies, "token_no_default_policy": True})
    secret = tmp_path / "secret-id"
    secret.write_text(server.do("POST", f"{role}/secret-id")["data"]["secret_id"])
    auth = {
        "method": "approle",
        "mount": method,
        "role_id": server.do("GET", f"{role}/role-id")["data"]["role_id"],
        "secret_id_file": str(secret),
    }

    def accessors() -> set[str]:
        return set(server.do("LIST", "auth/token/accessors")["data"]["keys"])

    before = accessors()
    assert await place.found("", auth=auth) == []
    assert accessors() <= before
    token = place.token(*policies)
    assert await place.found(token) == []
    assert server.ask("GET", "auth/token/lookup-self", token=token).is_success


def test_the_next_epoch_is_asked_about_before_it_is_wanted() -> None:
    """An emergency opens an epoch: a right that it lacks is found before, not then."""
    from rotator.adapters.secret_stores.vault import rights

    subject = Subject(clusters=(ORDERS,), epochs=((MasterName("default"), EpochNumber(4)),))
    paths = rights.wanted(subject, mount="secret", prefix="p")
    assert paths["secret/data/p/masters/default/5"] == rights.EPOCH
