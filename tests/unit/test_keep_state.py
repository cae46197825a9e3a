"""A state is stored because somebody wants it, not because it is due: what a trimmed log needs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.replicas import Replica, group, settle
from tests.unit.replicated_entities import Chronicle, fresh, texts, write
from thespian_dc.entity.protocol import Command, KeepState
from thespian_dc.model.state_body import unpack_state

looked = pytest.fixture(autouse=True)(fresh)


@pytest.fixture
def pair() -> list[Replica]:
    """a wrote two events, b one; no snapshot is due. b is looked at."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one", "two")
    write(b, "three")
    settle(a, b)
    return [a, b]


def keep(replica: Replica) -> Any:
    """Its stored state after the wish, if there is one."""
    host = replica.local.host
    host.perform(
        host.core.on_commands([Command("chronicle", "x", KeepState())], replica.local.now_us)
    )
    replica.local.tick(1_000_000)
    return replica.local.journal.read_state(replica.key(), "x")


def test_the_state_is_stored_as_of_the_head(pair: list[Replica]) -> None:
    _, b = pair
    assert b.local.journal.read_state(b.key(), "x") is None
    row = keep(b)
    head = b.local.journal.find_head(b.key()).head
    assert (row.seq_nr, row.offset) == (3, head - 1)
    assert unpack_state("x", row.body).replica is not None


def test_it_is_enough_where_the_records_are_trimmed(pair: list[Replica]) -> None:
    a, b = pair
    keep(b)
    before, vector = b.state(), b.vector()
    journal, key = b.local.journal, b.key()
    head = journal.find_head(key).head
    journal.advance_index(key, head)
    assert journal.trim(key, head) == head
    b.restart()
    assert (b.state(), b.vector()) == (before, vector)
    write(b, "four")
    write(a, "five")
    settle(a, b)
    assert sorted(texts(a.state())) == sorted(["one", "two", "three", "four", "five"])
    assert a.vector() == b.vector()


def test_a_later_snapshot_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chronicle, "snapshot_every", 4)
    a, _ = group(Chronicle, "a", "b")
    write(a, "one")
    kept = keep(a)
    write(a, "two", "three", "four")
    a.local.tick(10_000_000)
    row = a.local.journal.read_state(a.key(), "x")
    assert row is not None
    assert (kept.seq_nr, row.seq_nr, row.offset > kept.offset) == (1, 4, True)


def test_nobody_is_answered_and_a_standby_does_it_too(pair: list[Replica]) -> None:
    _, b = pair
    b.role(epoch=2, active="a")
    assert keep(b).seq_nr == 3
    assert b.local.host.core.idle


def test_an_entity_without_records_has_nothing_to_keep() -> None:
    a, _ = group(Chronicle, "a", "b")
    assert keep(a) is None
