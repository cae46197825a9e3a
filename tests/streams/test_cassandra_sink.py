"""Projections whose read model is in Cassandra, in both forms, on a real server.

Long because both forms share handlers and one keyspace: another one takes seconds.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, ClassVar

import pytest

pytest.importorskip("cassandra")

from cassandra import OperationTimedOut

from tests.streams import material
from tests.streams.material import Added, Fuse, Writer
from tests.streams.running import projections
from tests.streams.test_handler_kinds import Calls, Groups, remember
from thespian_dc.journal.cassandra.link import Link
from thespian_dc.model.criteria import Exclude, Filter, Include
from thespian_dc.model.delivery_settings import Group, Recovery
from thespian_dc.model.errors import JournalUnavailableError, PositionConflictError
from thespian_dc.model.handler_errors import SinkError
from thespian_dc.model.position import Position
from thespian_dc.model.settings import Local, Projection
from thespian_dc.projection.api import (
    CassandraProjectionHandler,
    CassandraUpsertHandler,
    Projections,
    RunningProjection,
    local_source,
    start_projection,
)
from thespian_dc.projection.cassandra.transaction import write_time
from thespian_dc.projection.core import Move
from thespian_dc.projection.databases import Stores, open_stores
from thespian_dc.projection.parking import RETRY, SKIP
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(300)]
NAME = "popularity"
LONG = "x" * 3_000
"""Of 30 such rows, which is what a slice gets of 150, Cassandra refuses a batch (50 KiB)."""


@pytest.fixture(scope="module")
def keyspace(cassandra: Any) -> str:
    """One for this file; each test has a projection of its own name in it."""
    from thespian_dc.projection.cassandra.schema import apply_schema

    url: str = cassandra.url(f"s_{uuid.uuid4().hex[:12]}")
    apply_schema(url)
    stores = open_stores(url)
    access: Any = stores.database
    name = access.access.keyspace
    access.access.define(f"create table {name}.carts (cart text primary key, n bigint, last text)")
    stores.database.close()
    return url


def settings_of(url: str, name: str, handler: Any, **changes: Any) -> Projection:
    return Projection(
        name, Local(material.ENTITY_TYPE), handler, url, [Added],
        **({"restart_backoff_ms": (5, 50)} | changes),
    )  # fmt: skip


@pytest.fixture
def run(journal_url: str, keyspace: str, name: str) -> Iterator[Callable[..., RunningProjection]]:
    with projections(stop_s=30.0) as run:

        def start(handler: Any, **changes: Any) -> RunningProjection:
            settings = settings_of(keyspace, name, handler, **changes)
            return run(settings, lambda: local_source(Local(material.ENTITY_TYPE), journal_url))

        yield start


class Counts(CassandraProjectionHandler):
    """Reads what it wrote: any handler will do where rows and position move together."""

    def handle(self, event: Any, tx: Any) -> None:
        tx.put(event.payload.sku, (tx.get(event.payload.sku) or 0) + event.payload.quantity)
        if event.payload.quantity in Fuse.blown:
            raise ValueError(f"no {event.payload.quantity}")


class Carts(CassandraUpsertHandler):
    """A row per cart, in a table of the user's."""

    def handle(self, event: Any, tx: Any) -> None:
        if event.payload.sku == "empty":
            tx.delete("carts", {"cart": event.entity_id})
            return
        tx.upsert("carts", {"cart": event.entity_id, "n": event.seq_nr})
        tx.upsert("carts", {"cart": event.entity_id, "last": event.payload.sku})
        if event.payload.quantity in Fuse.blown:
            raise ValueError("no")


def carts(stores: Stores, prefix: str) -> dict[str, tuple[int, str]]:
    access: Any = stores.database
    rows = access.access.rows(f"select cart, n, last from {access.access.keyspace}.carts")
    return {cart: (n, last) for cart, n, last in rows if cart.startswith(prefix)}


def test_rows_and_position_are_one_batch(writer: Writer, run: Any, counted: Any) -> None:
    """Caught up, followed, stopped, gone on from there: each event counts once."""
    writer.add([(f"c-{nr % 7}", Added("a", 1)) for nr in range(200)])
    first = run(Counts)
    eventually(lambda: counted() == {"a": 200}, 30)
    writer.add([("c-1", Added("b", 3))])
    eventually(lambda: counted() == {"a": 200, "b": 3})
    assert first.stop(30.0)
    writer.add([(f"c-{nr % 7}", Added("a", 1)) for nr in range(20)])
    run(Counts)
    eventually(lambda: counted() == {"a": 220, "b": 3}, 30)


class LosesAnswers:
    """Every third conditional write: its answer is lost after it was done, or it never went out."""

    def __init__(self) -> None:
        self.calls, self.lost, self.unsent = 0, 0, 0

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        real = Link.decide

        def decide(link: Link, statement: Any) -> dict[str, Any]:
            self.calls += 1
            if self.calls % 6 == 3:
                self.unsent += 1
                raise JournalUnavailableError(link.url, "late") from OperationTimedOut()
            answer = real(link, statement)
            if self.calls % 6 == 0:
                self.lost += 1
                raise JournalUnavailableError(link.url, "late") from OperationTimedOut()
            return answer

        patch.setattr(Link, "decide", decide)


def test_an_unknown_outcome_is_read_back(
    writer: Writer, run: Any, counted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Applied or not, nobody said: totals are exact all the same."""
    faults = LosesAnswers()
    faults.patch(monkeypatch)
    run(Counts)
    added = 0
    while faults.lost < 4 or faults.unsent < 4:
        added += 1
        writer.add([(f"c-{added % 3}", Added("a", 1))])
        eventually(lambda: counted() == {"a": added}, 30)  # noqa: B023  called at once
        assert added < 100, (faults.lost, faults.unsent)


@pytest.mark.parametrize("fault", ["lost", "unsent"])
def test_each_unknown_outcome_by_itself(
    stores: Any, name: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The batch is sent again as it is, or found to stand: either way it took effect once."""
    found = stores()
    found.positions.claim(name, [0], "j")
    real, seen = Link.decide, []

    def decide(link: Link, statement: Any) -> dict[str, Any]:
        seen.append(statement)
        if len(seen) == 1:
            if fault == "lost":
                real(link, statement)
            raise JournalUnavailableError(link.url, "late") from OperationTimedOut()
        return real(link, statement)

    monkeypatch.setattr(Link, "decide", decide)
    transaction = found.database.transaction
    found.database.begin()
    transaction.at(name, 0, 0)
    transaction.put("a", 1)
    found.positions.move(name, [Move(0, 1, 0, Position(1, b"w"))])
    found.database.commit()
    assert len(seen) == (1 if fault == "lost" else 2)
    assert all(one is seen[0] for one in seen)
    assert found.positions.load(name).slices[0] == (1, Position(1, b"w"))
    assert transaction.get("a") == 1


def test_a_fenced_worker_changes_no_row(stores: Any, name: str) -> None:
    """Its batch comes after another claimed the slice: nothing of it is stored."""
    zombie, owner = stores(), stores()
    zombie.positions.claim(name, [0], "j")
    transaction = zombie.database.transaction
    zombie.database.begin()
    transaction.at(name, 0, 0)
    transaction.put("a", 1)
    zombie.positions.move(name, [Move(0, 1, 0, Position(1, b"w"))])
    owner.positions.claim(name, [0], "j")
    with pytest.raises(PositionConflictError):
        zombie.database.commit()
    owner.database.transaction.at(name, 0, 0)
    assert owner.database.transaction.get("a") is None
    assert owner.positions.load(name).slices[0] == (2, Position())


def test_what_an_event_did_is_taken_back_alone(writer: Writer, run: Any, counted: Any) -> None:
    """A raise in the middle of a transaction: its puts are gone, those around it stay."""
    Fuse.blown = {1003}
    writer.add([("c-1", Added("a", 1000 + nr)) for nr in range(6)])
    running = run(Counts, recovery=Recovery("skip"))
    eventually(lambda: counted() == {"a": 1000 + 1001 + 1002 + 1004 + 1005}, 30)
    assert running.status().skipped == 1


def test_parking_works_the_same(
    writer: Writer, run: Any, counted: Any, stores: Any, name: str
) -> None:
    """Parked in the position's batch; retried in order; other entities go on."""
    Fuse.blown = {1000}
    writer.add([("c-1", Added("a", 1000)), ("c-2", Added("b", 1)), ("c-1", Added("a", 1))])
    run(Counts, recovery=Recovery("retry-and-park", 1, 1))
    eventually(lambda: counted() == {"b": 1}, 30)
    parked = stores().parked
    [entity] = eventually(lambda: (e := parked.entities(name)) and e[0].events == 2 and e)
    assert entity.cause == "ValueError: no 1000"
    Fuse.blown = set()
    parked.wish(name, RETRY, "c-1", 1)
    eventually(lambda: counted() == {"a": 1001, "b": 1}, 30)
    eventually(lambda: not parked.entities(name))


def test_an_entity_that_is_freed_while_it_is_listed_is_left_out(
    writer: Writer, run: Any, stores: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name was read, and then its events were gone."""
    Fuse.blown = {1000}
    writer.add([("c-2", Added("a", 1000))])
    run(Counts, recovery=Recovery("retry-and-park", 1, 1))
    parked = stores().parked
    [entity] = eventually(lambda: parked.entities(name), 30)
    named = {("c-1", 0), (entity.entity_id, entity.slice), ("c-3", 1)}
    monkeypatch.setattr(parked, "_places", lambda _: named)
    assert parked.entities(name) == [entity]


@pytest.mark.parametrize("what", [RETRY, SKIP])
def test_a_pause_before_a_restart_does_not_hold_up_parked_entities(
    writer: Writer, run: Any, stores: Any, counted: Any, keyspace: str, name: str, what: str
) -> None:
    """A projection that fails at another entity does all that is wished of them, at once and in one
    run, though that run fails too."""
    Fuse.blown = {1001}
    skus = ["s0", "s1"]
    writer.add([(f"c-{sku}", Added(sku, 1001)) for sku in skus])
    first = run(Counts, recovery=Recovery("retry-and-park", retries=1, delay_ms=1))
    parked = stores().parked
    eventually(lambda: len(parked.entities(name)) == 2)
    assert first.stop(30.0)
    Fuse.blown = {1001, 13}
    writer.add([("c-1", Added("z", 13))])
    running = run(Counts, restart_backoff_ms=(600_000, 600_000))
    eventually(lambda: running.status().phase == "waiting")
    assert "ValueError: no 13" in running.status().error
    Fuse.blown = {13}
    parked.wish(name, what, "c-s0")
    manage = Projections(keyspace)
    (manage.retry_parked if what == RETRY else manage.skip_parked)(name, "c-s1")
    eventually(lambda: not parked.entities(name))
    eventually(lambda: running.status().phase == "waiting")
    assert running.status().restarts == 2
    assert counted() == (dict.fromkeys(skus, 1001) if what == RETRY else {})


class InOrder(CassandraProjectionHandler):
    """Takes each entity's events from the first on, once, without a hole."""

    def handle(self, event: Any, tx: Any) -> None:
        last = tx.get(event.entity_id) or 0
        if event.seq_nr != last + 1:
            raise ValueError(f"{event.seq_nr} after {last}")
        tx.put(event.entity_id, event.seq_nr)


def test_what_a_filter_left_out_is_brought_up_in_order(
    writer: Writer, run: Any, counted: Any, keyspace: str, name: str
) -> None:
    """By id at once; the others, where the filter goes while nothing runs, with their next
    event."""
    ids = [f"c-{nr}" for nr in range(6)]
    unwanted, manage = Exclude.entity_ids(*ids[:3]), Projections(keyspace)
    first = run(InOrder, filter=unwanted)
    for _ in range(4):
        writer.add([(one, Added("a", 1)) for one in ids])
    eventually(lambda: counted() == dict.fromkeys(ids[3:], 4), 30)
    manage.add_criteria(name, Include.entity_ids(ids[0]))
    eventually(lambda: counted() == dict.fromkeys([ids[0], *ids[3:]], 4), 30)
    assert first.stop(30.0)
    manage.set_filter(name, Filter())
    run(InOrder, filter=unwanted)
    writer.add([(one, Added("a", 1)) for one in ids])
    eventually(lambda: counted() == dict.fromkeys(ids, 5), 30)


@pytest.mark.parametrize(
    ("handler", "changes"),
    [
        (remember, {"delivery": "at-least-once"}),
        (remember, {"delivery": "at-most-once"}),
        (Groups, {"delivery": "at-least-once", "group": Group(5, 20)}),
    ],
)
def test_handlers_whose_effects_are_elsewhere_keep_their_positions_here(
    writer: Writer, run: Any, handler: Any, changes: dict[str, Any]
) -> None:
    """The next run goes on behind what they had."""
    Calls.seen.clear()
    Groups.seen.clear()
    writer.add([("c-1", Added("a", 1))] * 12)
    for count in (12, 13):
        running = run(handler, **changes)
        expected = list(range(1, count + 1))
        eventually(lambda e=expected: [*Calls.seen, *chain.from_iterable(Groups.seen)] == e, 30)
        assert running.stop(30.0)
        writer.add([("c-1", Added("a", 1))])


class Gathers(CassandraProjectionHandler):
    """Writes in flush, many rows per event."""

    rows_per_event = 1_200  # more than a transaction takes

    def start(self) -> None:
        self.gathered: list[str] = []

    def handle(self, event: Any, tx: Any) -> None:
        self.gathered.append(event.payload.sku)
        for nr in range(self.rows_per_event):
            tx.put(f"row-{event.seq_nr}-{nr}", 1)

    def flush(self, tx: Any) -> None:
        if Fuse.blown:
            raise ValueError("not now")
        for sku in self.gathered:
            tx.put(sku, (tx.get(sku) or 0) + 1)
        self.gathered.clear()


@pytest.mark.parametrize("alone", [False, True])
def test_flush_follows_an_event_that_fills_its_transaction(
    writer: Writer, run: Any, counted: Any, alone: bool
) -> None:
    """Also where events come one by one, after flush raised once."""
    Fuse.blown = {1} if alone else set()
    writer.add([("c-1", Added("a", 1))] * 3)
    running = run(Gathers)
    if alone:
        eventually(lambda: running.status().restarts, 30)
        Fuse.blown = set()
    eventually(lambda: counted().get("a") == 3, 30)
    assert len(counted()) == 3 * Gathers.rows_per_event + 1


def test_upserts_go_anywhere(writer: Writer, run: Any, stores: Any, name: str) -> None:
    """Whole rows of the user's own table; what one event does twice to a row ends the last way;
    more rows than the server takes in one batch are cut into several."""
    found = stores()
    ids = [f"{name}-{nr}" for nr in range(150)]
    writer.add([(one, Added(LONG, 1)) for one in ids])
    writer.add([(ids[0], Added("last", 1)), (ids[1], Added("empty", 1))])
    run(Carts, delivery="at-least-once")
    expected = dict.fromkeys(ids[2:], (1, LONG)) | {ids[0]: (2, "last")}
    eventually(lambda: carts(found, name) == expected, 30)


def test_upserts_of_a_raise_are_not_written(
    writer: Writer, run: Any, stores: Any, name: str
) -> None:
    """They are gathered until the transaction's end, and taken back with their event."""
    Fuse.blown = {2}
    writer.add([(f"{name}-1", Added("a", 1)), (f"{name}-1", Added("b", 2))])
    running = run(Carts, delivery="at-least-once", recovery=Recovery("skip"))
    eventually(lambda: running.status().skipped == 1, 30)
    assert carts(stores(), name) == {f"{name}-1": (1, "a")}


def test_a_late_write_of_a_fenced_worker_does_not_win(stores: Any, name: str) -> None:
    """Form two fences nothing: the write time says who is newer, epoch first, then offset."""
    zombie, owner = stores(), stores()
    zombie.positions.claim(name, [0], "j")
    owner.positions.claim(name, [0], "j")
    for found, offset, last in ((owner, 5, "owner"), (zombie, 9, "zombie"), (owner, 4, "older")):
        found.database.begin()
        found.database.transaction.at(name, 0, offset)
        found.database.transaction.upsert("carts", {"cart": name, "n": offset, "last": last})
        found.database.transaction.write_upserts()
        found.database.rollback()
    assert carts(owner, name) == {name: (5, "owner")}


def test_write_times_have_bounds() -> None:
    """Beyond them the order would be lost: named, not wrapped round."""
    assert write_time(2, 0) > write_time(1, (1 << 39) - 1)
    for epoch, offset in ((1, 1 << 39), (1 << 24, 0), (0, 1)):
        with pytest.raises(SinkError):
            write_time(epoch, offset)
    assert write_time((1 << 24) - 1, (1 << 39) - 1) < 1 << 63


class WrongRows(CassandraUpsertHandler):
    """Writes what cannot be written."""

    row: ClassVar[tuple[str, dict[str, Any]]] = ("", {})

    def handle(self, event: Any, tx: Any) -> None:
        tx.upsert(*self.row)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (("nowhere", {"a": 1}), "make it first"),
        (("carts", {"n": 1}), "its primary key is (cart)"),
        (("carts", {"cart": "c", "colour": 1}), "no column ['colour']"),
        (("projection_slices", {"projection": "p"}), "make it first"),
    ],
)
def test_rows_that_do_not_fit_are_named(writer: Writer, run: Any, row: Any, told: str) -> None:
    """The handler's own mistake: its policy applies."""
    WrongRows.row = row
    writer.add([("c-1", Added("a", 1))])
    running = run(WrongRows, delivery="at-least-once")
    status = eventually(lambda: (s := running.status()).restarts and s, 30)
    assert told in status.error


def test_a_missing_schema_is_named_and_not_made(cassandra: Any) -> None:
    """Running consumers make no tables."""
    running = start_projection(
        settings_of(cassandra.url("nobody_made_me"), "p", Counts),
        lambda: local_source(Local(material.ENTITY_TYPE), "memory:"),
    )
    status: Any = eventually(lambda: (s := running.status()).restarts and s, 30)
    assert "schema apply --positions" in status.error
    assert running.stop()


@pytest.mark.parametrize("handler", [material.CountItems, material.Plain])
def test_handlers_of_sql_have_no_place_here(run: Any, handler: Any) -> None:
    """SQL is not to be had in Cassandra; a plain handler would do at least once."""
    running = run(handler)
    status = eventually(lambda: (s := running.status()).phase == "halted" and s, 30)
    assert status.error.startswith("SettingsError")
