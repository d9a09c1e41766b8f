"""An upgrade changes what was changed, and never a secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.charts import (
    CHART,
    LIBRARY,
    RECIPE,
    SETS,
    Document,
    documents,
    find,
    rendered,
    template,
)

#: Functions that make, or look up, what is other each time or in each cluster.
UNSTEADY = re.compile(
    r"\b(rand[A-Z]\w*|gen(CA|SignedCert|SelfSignedCert|PrivateKey)\w*|uuidv4|lookup|now|date\w*|htpasswd|bcrypt|encryptAES|getHostByName|derivePassword|buildCustomCert)\b"
)


def kind(found: list[Document], name: str) -> Document:
    """The only one."""
    return find(found, name)


def test_no_template_makes_or_looks_up_anything() -> None:
    """No function that gives another value at another time, or in another cluster, is in any template."""
    found = {
        f"{path.name}: {match[0]}"
        for chart in (CHART, LIBRARY, RECIPE)
        for path in (chart / "templates").rglob("*")
        if path.is_file()
        for match in UNSTEADY.finditer(_actions(path))
    }
    assert found == set()


def _actions(path: Path) -> str:
    """What stands in double braces."""
    text = re.sub(r"{{-? /\*.*?\*/ -?}}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return "\n".join(re.findall(r"{{(.*?)}}", text, re.DOTALL))


def test_the_search_finds_what_it_is_for() -> None:
    """A planted password generator is found."""
    assert UNSTEADY.search("randAlphaNum 32")
    assert UNSTEADY.search('lookup "v1" "Secret"')


@pytest.mark.parametrize("name", sorted(SETS))
def test_the_same_values_render_the_same(name: str) -> None:
    """Installed again or upgraded without a change, byte for byte nothing is other."""
    assert template(CHART, SETS[name]) == rendered(name)
    assert template(CHART, SETS[name], "--is-upgrade") == rendered(name)


def test_a_change_of_the_file_restarts_the_pod_and_nothing_else_does() -> None:
    """The pod's template changes with rotator.yaml, and not with values that are no business of it."""
    before = documents(rendered("sqlite-vault"))
    values = SETS["sqlite-vault"]
    of_config = documents(
        template(CHART, values, "--set", "config.clusters.orders.grace_window=1h")
    )
    of_service = documents(template(CHART, values, "--set", "service.port=443"))
    pod = [
        kind(each, "StatefulSet")["spec"]["template"] for each in (before, of_config, of_service)
    ]
    assert pod[0] != pod[1]
    assert pod[0] == pod[2]
    for each in (of_config, of_service):
        assert (
            kind(each, "StatefulSet")["spec"]["volumeClaimTemplates"]
            == (kind(before, "StatefulSet")["spec"]["volumeClaimTemplates"])
        )


@pytest.mark.parametrize(
    ("name", "workload"), [("sqlite-vault", "StatefulSet"), ("postgresql-replicas", "Deployment")]
)
def test_what_cannot_be_changed_stays_through_other_values(name: str, workload: str) -> None:
    """Selectors, the name of the Service and the claims are the same after every change that is no new installation."""
    before = kind(documents(rendered(name)), workload)["spec"]
    after = kind(
        documents(
            template(
                CHART, SETS[name], "--set",
                "image.tag=9.9.9,image.digest=,commonLabels.team=a,podLabels.x=y,config.log.level=debug",
            )
        ),
        workload,
    )["spec"]  # fmt: skip
    for key in ("selector", "serviceName", "volumeClaimTemplates"):
        assert before.get(key) == after.get(key)


def test_releases_share_nothing() -> None:
    """Two releases in one namespace have no object and no pod in common."""
    values = SETS["sqlite-vault"]
    one, two = (documents(template(CHART, values, release=name)) for name in ("one", "two"))
    names = [{(each["kind"], each["metadata"]["name"]) for each in found} for found in (one, two)]
    assert names[0] & names[1] == set()
    selectors = [str(kind(found, "StatefulSet")["spec"]["selector"]) for found in (one, two)]
    assert selectors[0] != selectors[1]


def test_the_volume_outlives_the_release() -> None:
    """Neither an uninstall nor a smaller number of replicas takes the state with it."""
    found = kind(documents(rendered("trial")), "StatefulSet")["spec"]
    retention = found["persistentVolumeClaimRetentionPolicy"]
    assert retention == {"whenDeleted": "Retain", "whenScaled": "Retain"}
