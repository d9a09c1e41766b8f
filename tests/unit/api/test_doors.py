from __future__ import annotations

import resource

import pytest

from rotator.api import doors
from rotator.api.doors import Doors


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("", ""),
        ("a socket file", "a socket file"),
    ],
)
def test_an_address_is_counted_as_what_one_host_has(address, counted):
    """An IPv4 address however it is written, the /64 of an IPv6 one, and anything else as it is."""
    assert doors.network(address) == counted


def test_each_address_has_its_own_places_and_there_is_a_limit_in_all():
    """One address that is full keeps none other out, until the house is full."""
    found = Doors(per_address=2, in_all=3)
    assert [found.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert [found.enter("192.0.2.2") for _ in range(2)] == [True, False]
    found.leave("192.0.2.1")
    assert found.enter("192.0.2.2")
    assert found.open == 3


class Guest:
    """A connection; *is_idle* says whether it lets itself be cut."""

    def __init__(self, house, address, *, is_idle=True):
        self.house, self.address, self.is_idle = house, address, is_idle
        self.is_in = house.enter(address, self)

    def give_way(self):
        """Go if idle."""
        if self.is_in and self.is_idle:
            self.is_in = False
            self.house.leave(self.address, self)
            return True
        return False


def test_who_has_been_idle_for_longest_gives_way_to_a_newcomer():
    """A probe gets in, from whatever address, although strangers hold each place."""
    house = Doors(per_address=2, in_all=3, makes_room=True)
    busy = Guest(house, "192.0.2.1", is_idle=False)
    first, second = Guest(house, "192.0.2.1"), Guest(house, "192.0.2.2")
    assert Guest(house, "192.0.2.3").is_in
    assert (busy.is_in, first.is_in, second.is_in, house.open) == (True, False, True, 3)
    assert Guest(house, "192.0.2.2").is_in
    own = [Guest(house, "192.0.2.2") for _ in range(9)]
    assert [guest.is_in for guest in own[-3:]] == [False, True, True]
    assert house.open <= 3


def test_without_one_that_is_idle_nobody_gives_way():
    """Whoever is being answered stays, and so does everybody where the doors make no room."""
    house = Doors(in_all=1, makes_room=True)
    assert Guest(house, "192.0.2.1", is_idle=False).is_in
    assert not Guest(house, "192.0.2.2").is_in
    other = Doors(in_all=1)
    assert Guest(other, "192.0.2.1").is_in
    assert not Guest(other, "192.0.2.2").is_in


def test_nothing_is_kept_of_who_has_gone():
    """What is remembered is as large as what is connected."""
    found = Doors()
    for number in range(100):
        assert found.enter(f"192.0.2.{number}")
    for number in range(100):
        found.leave(f"192.0.2.{number}")
    assert (found.open, dict(found._by_place)) == (0, {})
    house = Doors(in_all=9, makes_room=True)
    for _ in range(100):
        assert Guest(house, "192.0.2.1").is_in
    assert (house.open, len(house._guests)) == (9, 9)


def test_the_process_may_open_more_files_than_programs_with_select():
    """The soft limit on files is raised to the hard one, and some are kept for the service itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        found = doors.room()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 256
        assert 0 < found < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
