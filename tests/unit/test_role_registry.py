"""The registry's entries of a replica group: each change by compare-and-set, none lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from thespian_dc.entity.role_registry import (
    LISTED_MAX,
    STATES_MAX,
    Seen,
    add_listed,
    begin_roles,
    change_roles,
    diverged_at,
    is_checked,
    known_roles,
    listing,
    note_checked,
    note_diverged,
    note_seen,
    replicated_types,
    seen_by,
    stored_roles,
    want_states,
    wanted_states,
)
from thespian_dc.entity.role_watch import RoleSeen, RoleWatch, StatesWanted
from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.replication import Listed, Role
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.role_errors import NotReplicatedError, ReplicaIdChangedError
from thespian_dc.model.roles import Origin, Roles, opened, promoted

CARTS = Replication("cart", "eu", peers=[Peer("us")], active="us")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/journal.db"


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    opened = open_journal(url)
    opened.slices("cart", 4)
    yield opened
    opened.close()


def test_a_group_is_made_known_once_and_found_again(journal: Journal) -> None:
    assert stored_roles(journal, "cart") is None
    first = begin_roles(journal, CARTS)
    assert first.origins == {"eu": Origin(journal.journal_id, 4)}
    assert (first.epoch, first.active) == (1, "us")
    assert begin_roles(journal, CARTS) == first == stored_roles(journal, "cart")
    assert replicated_types(journal) == ["cart"]


def test_another_replica_id_on_this_journal_is_refused(journal: Journal) -> None:
    begin_roles(journal, CARTS)
    with pytest.raises(ReplicaIdChangedError):
        begin_roles(journal, Replication("cart", "us", peers=[Peer("eu")]))
    assert known_roles(journal, "cart").replica_id == "eu"


def test_what_was_never_replicated_is_named(journal: Journal) -> None:
    with pytest.raises(NotReplicatedError, match="replicated types: none"):
        known_roles(journal, "cart")
    with pytest.raises(NotReplicatedError):
        change_roles(journal, "cart", lambda roles: roles)
    with pytest.raises(SettingsError):
        begin_roles(journal, Replication("order", "eu"))


def test_changes_made_at_once_are_all_there(url: str, journal: Journal) -> None:
    begin_roles(journal, CARTS)

    def raise_epoch() -> None:
        own = open_journal(url)
        for _ in range(20):
            change_roles(own, "cart", lambda roles: replace(roles, epoch=roles.epoch + 1))
        own.close()

    threads = [Thread(target=raise_epoch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert known_roles(journal, "cart").epoch == 81


def test_a_change_that_raises_stores_nothing(journal: Journal) -> None:
    before = begin_roles(journal, CARTS)

    def fail(_: Roles) -> Roles:
        raise SettingsError("no")

    with pytest.raises(SettingsError):
        change_roles(journal, "cart", fail)
    assert known_roles(journal, "cart") == before


def test_what_is_listed_is_counted_and_the_newest_kept(journal: Journal) -> None:
    assert listing(journal, "cart") == (0, ())
    for n in range(LISTED_MAX + 5):
        add_listed(journal, "cart", [Listed("late", "c-1", "us", n, 1)], now_us=n)
    found = listing(journal, "cart")
    assert found.total == LISTED_MAX + 5
    assert [time_us for time_us, _ in found.newest] == list(range(5, LISTED_MAX + 5))
    assert found.newest[-1][1] == Listed("late", "c-1", "us", LISTED_MAX + 4, 1)


def test_a_divergence_counts_for_the_generation_it_was_found_in(journal: Journal) -> None:
    assert diverged_at(journal, "cart", 0) == {}
    note_diverged(journal, "cart", "us", 0)
    assert diverged_at(journal, "cart", 0) == {"us": 0}
    assert diverged_at(journal, "cart", 1) == {}


def test_a_node_is_checked_for_itself(journal: Journal) -> None:
    note_checked(journal, "cart", "node-1")
    assert is_checked(journal, "cart", "node-1")
    assert not is_checked(journal, "cart", "node-2")


def test_of_what_peers_say_the_latest_counts(journal: Journal) -> None:
    assert seen_by(journal, "cart", "us") is None
    for seen in (Seen(0, (3, 4), 20), Seen(0, (1, 1), 10)):
        note_seen(journal, "cart", "us", seen)
    assert seen_by(journal, "cart", "us") == Seen(0, (3, 4), 20)
    note_seen(journal, "cart", "us", Seen(1, (0, 0), 5))
    assert seen_by(journal, "cart", "us") == Seen(1, (0, 0), 5)


def test_a_watch_tells_what_is_new_once(journal: Journal) -> None:
    begin_roles(journal, CARTS)
    watch = RoleWatch(journal, ["cart"], "node-1")
    first = RoleSeen(Role("cart", 1, "us"), False)
    assert watch.look() == [first]
    assert watch.look() == []
    change_roles(journal, "cart", lambda roles: opened(promoted(roles, "cart")))
    assert watch.look() == [RoleSeen(Role("cart", 2, "eu"), False)]
    note_checked(journal, "cart", "node-1")
    assert watch.look() == [RoleSeen(Role("cart", 2, "eu"), True)]


def test_states_are_wanted_once_of_whoever_watches(journal: Journal) -> None:
    begin_roles(journal, CARTS)
    want_states(journal, "cart", ["c-1"])
    watch = RoleWatch(journal, ["cart"], "node-1")  # what was wanted before it began is over
    assert watch.look_for_states() == []
    want_states(journal, "cart", ["c-2", "c-3"])
    assert watch.look_for_states() == [StatesWanted("cart", ("c-2", "c-3"))]
    assert watch.look_for_states() == []
    assert wanted_states(journal, "cart") == (2, ("c-2", "c-3"))


def test_who_asks_for_states_takes_nothing_away_from_who_asked_before(journal: Journal) -> None:
    """Between two looks: many wishes, as far as a host is to do them at once; then the newest."""
    begin_roles(journal, CARTS)
    watch = RoleWatch(journal, ["cart"], "node-1")
    want_states(journal, "cart", ["c-1", "c-2"])
    want_states(journal, "cart", ["c-3"])
    want_states(journal, "cart", ["c-2", "c-4"])
    assert watch.look_for_states() == [StatesWanted("cart", ("c-2", "c-4", "c-3", "c-1"))]
    want_states(journal, "cart", ["c-5"])
    assert watch.look_for_states() == [StatesWanted("cart", ("c-5",))]
    for number in range(STATES_MAX):
        want_states(journal, "cart", [f"n-{number}", f"m-{number}"])
    ((_, ids),) = watch.look_for_states()
    assert len(ids) == STATES_MAX
    assert (ids[0], ids[-1]) == (f"n-{STATES_MAX - 1}", f"m-{STATES_MAX // 2}")
