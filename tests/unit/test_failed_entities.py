"""Which entities of a replica take no commands: what they say of themselves, kept for people."""

from __future__ import annotations

from tests.unit.link_groups import Group, batch
from thespian_dc.entity.api import Absorbed, Replicated
from thespian_dc.entity.protocol import EntityRef
from thespian_dc.entity.role_registry import (
    FAILED_MAX,
    Failed,
    begin_roles,
    store_failed,
    stored_failed,
)
from thespian_dc.entity.role_watch import RoleWatch
from thespian_dc.journal.memory import MemoryJournal, MemoryStorage
from thespian_dc.model.criteria import UNFILTERED
from thespian_dc.model.replication import Listed
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.replication.failed import ASK_US, FailedEntities
from thespian_dc.shell.frames import unpack


def test_an_entity_is_listed_from_its_first_failure_until_it_is_sound() -> None:
    failed = FailedEntities()
    failed.note("a", "", 1)
    failed.note("b", "cannot apply", 2)
    failed.note("b", "cannot apply", 3)
    assert failed.take_changes() == {"b": Failed(2, "cannot apply")}
    failed.note("b", "cannot apply that either", 4)
    assert failed.take_changes() == {"b": Failed(4, "cannot apply that either")}
    failed.note("b", "", 5)
    assert failed.take_changes() == {"b": None}
    assert failed.take_changes() == {}


def test_who_failed_is_asked_at_the_start_and_now_and_then() -> None:
    failed = FailedEntities({"b": Failed(2, "cannot apply")})
    assert failed.due(ASK_US) == ["b"]
    assert failed.due(ASK_US + 1) == []
    assert failed.due(2 * ASK_US) == ["b"]
    failed.note("b", "", 2 * ASK_US)
    assert failed.due(3 * ASK_US) == []


def test_no_more_are_kept_than_anybody_reads() -> None:
    failed, journal = FailedEntities(), MemoryJournal("memory:failed", MemoryStorage(8))
    for number in range(FAILED_MAX + 5):
        failed.note(f"e{number}", "cannot apply", number)
    changes = failed.take_changes()
    assert len(changes) == FAILED_MAX
    store_failed(journal, "cart", changes)
    store_failed(journal, "cart", {"of another node": Failed(0, "too many")})
    assert list(stored_failed(journal, "cart")) == list(changes)


def test_nodes_keep_what_others_found() -> None:
    journal = MemoryJournal("memory:failed", MemoryStorage(8))
    assert stored_failed(journal, "cart") == {}
    store_failed(journal, "cart", {"b": Failed(2, "cannot apply")})
    store_failed(journal, "cart", {"a": Failed(1, "set aside"), "c": None})
    both = [("a", Failed(1, "set aside")), ("b", Failed(2, "cannot apply"))]
    assert list(stored_failed(journal, "cart").items()) == both
    store_failed(journal, "cart", {"b": None})
    assert list(stored_failed(journal, "cart")) == ["a"]


def test_what_hosts_and_other_nodes_found_is_asked_too() -> None:
    """As long as there is room; when it was met, and why, stays what it was."""
    failed = FailedEntities({"b": Failed(2, "cannot apply")})
    failed.learn({"a": Failed(1, "set aside"), "b": Failed(9, "otherwise")})
    assert failed.take_changes() == {}
    assert sorted(failed.due(ASK_US)) == ["a", "b"]
    failed.note("a", "", ASK_US)
    assert failed.take_changes() == {"a": None}
    failed.learn({f"e{number}": Failed(3, "cannot apply") for number in range(FAILED_MAX)})
    assert len(failed.due(2 * ASK_US)) == FAILED_MAX


def test_a_host_keeps_who_takes_no_commands() -> None:
    """Found when a command brings it into memory; met again, it is as old as it was."""
    journal = MemoryJournal("memory:failed", MemoryStorage(8))
    journal.slices("cart", 4)
    begin_roles(journal, Replication("cart", "eu", [Peer("us")]))
    watch = RoleWatch(journal, ["cart"], "node-1")
    for now_us in (1, 2):
        watch.on_failed(EntityRef("cart", "a"), "cannot apply", now_us)
        watch.store_failed()
    assert stored_failed(journal, "cart") == {"a": Failed(1, "cannot apply")}
    store_failed(journal, "cart", {"a": None})
    watch.store_failed()
    assert stored_failed(journal, "cart") == {}


def test_links_learn_it_from_the_answers_and_ask_again() -> None:
    group = Group(UNFILTERED)
    us, _ = group.now_open()
    group.open(us)
    us.on.batch(batch("a", 1))
    group.run()
    group.answer(Absorbed(1, failed="cannot apply"))
    assert [one.why for one in group.group.failed.take_changes().values() if one] == [
        "cannot apply"
    ]
    group.group.on_tick()
    (asked,) = group.router.commands
    assert (asked.entity_id, unpack(asked.body)) == ("a", Replicated((), "eu"))
    made_good = Listed("late_set_aside", "a", "us", 1, 1)
    group.answer(Absorbed(0, listed=(made_good,)))
    assert group.group.failed.take_changes() == {"a": None}
    assert group.listed == [made_good], "what it says then is kept"
