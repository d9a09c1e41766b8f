from __future__ import annotations

from pathlib import Path

import pytest

from rotator.settings.differences import Differences, differences
from rotator.settings.sections import Settings

BEFORE = {
    "secret_store": {"kind": "local", "directory": Path("/s")},
    "clusters": {"orders": {"members": {"expect": 3}}, "billing": {"members": {"expect": "none"}}},
}


def _differences(change):
    after = {**BEFORE, **change}
    return differences(Settings.model_validate(BEFORE), Settings.model_validate(after))


def test_the_same_file_differs_in_nothing():
    """Reading it again changes nothing, whatever defaults it leaves out."""
    assert _differences({"limits": {"burst": 400}}) == Differences()


def test_each_setting_that_is_other_is_named_and_no_value():
    """Clusters come, go and change by name; a nested setting is named to its end."""
    found = _differences(
        {
            "clusters": {
                "orders": {"members": {"expect": 5}, "grace_window": "1h"},
                "invoices": {"members": {"expect": "none"}},
            },
            "limits": {"burst": 7},
        }
    )
    assert found.added == ("clusters.invoices",)
    assert found.removed == ("clusters.billing",)
    assert found.changed == (
        "clusters.orders.grace_window",
        "clusters.orders.members.expect",
        "limits.burst",
    )
    assert found.clusters == ("invoices", "billing", "orders")
    assert found.by_cluster == {"orders": ("grace_window", "members.expect")}
    assert found.elsewhere == ("limits.burst",)
    assert found.for_restart == ()


def test_a_cluster_whose_name_has_dots_is_that_cluster():
    """A name is never taken apart at its dots."""
    clusters = {**BEFORE["clusters"], "eu.orders": {"members": {"expect": 1}}}
    before = Settings.model_validate({**BEFORE, "clusters": clusters})
    clusters = {**clusters, "eu.orders": {"members": {"expect": 2}}}
    found = differences(before, Settings.model_validate({**BEFORE, "clusters": clusters}))
    assert found.by_cluster == {"eu.orders": ("members.expect",)}
    assert found.clusters == ("eu.orders",)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"listen": {"port": 9000}}, "listen.port"),
        ({"data_dir": Path("/d")}, "data_dir"),
        ({"secret_store": {"kind": "local", "directory": Path("/t")}}, "secret_store.directory"),
    ],
)
def test_what_takes_a_restart_is_told_apart(change, named):
    """Whatever is opened at the start alone is named as such."""
    assert _differences(change).for_restart == (named,)
