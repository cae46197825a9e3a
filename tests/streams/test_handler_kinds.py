"""Each kind of handler end to end over a local journal, and one over gRPC."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.streams import material
from tests.streams.material import Added, Fuse, Plain, Writer, counted, offsets, projection, rows
from thespian_dc.model.delivery_settings import Group, Recovery, ToActor
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.settings import Remote
from thespian_dc.projection.api import (
    GroupedHandler,
    GroupedSqlHandler,
    Transaction,
)
from thespian_dc.testkit.eventually import eventually, never

TABLE = "create table if not exists popularity(sku text primary key, n integer not null)"


@pytest.fixture
def run(run_local: Any) -> Any:
    """With nothing seen yet."""
    for kind in (GroupsInSql, Groups, Calls):
        kind.seen.clear()
    Plain.events.clear()
    return run_local


class GroupsInSql(GroupedSqlHandler):
    """Writes a group in one statement, and remembers how large groups were."""

    tables = TABLE
    seen: ClassVar[list[int]] = []

    def handle(self, events: Any, tx: Transaction) -> None:
        tx.executemany(material.UPSERT, [(one.payload.sku, one.payload.quantity) for one in events])
        if any(one.payload.quantity in Fuse.blown for one in events):
            raise ValueError("one of them")
        GroupsInSql.seen.append(len(events))


class Groups(GroupedHandler):
    """Remembers groups as lists of seq_nr."""

    seen: ClassVar[list[list[int]]] = []

    def handle(self, events: Any) -> None:
        if any(one.payload.quantity in Fuse.blown for one in events):
            raise ValueError("one of them")
        Groups.seen.append([one.seq_nr for one in events])


class Calls:
    """What the functions below were called with."""

    seen: ClassVar[list[int]] = []


def count_in_sql(event: Envelope[Added], tx: Transaction) -> None:
    tx.execute(TABLE)
    tx.execute(material.UPSERT, (event.payload.sku, event.payload.quantity))


def remember(event: Envelope[Added]) -> None:
    if event.payload.quantity in Fuse.blown:
        raise ValueError("no")
    Calls.seen.append(event.seq_nr)


def test_groups_have_a_count_and_move_the_position_with_them(
    writer: Writer, run: Any, tmp_path: Path
) -> None:
    """25 events in groups of 10: two full ones at once, the rest when its time is over."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("a", 1))] * 25)
    settings = projection(read_model, handler=GroupsInSql, group=Group(10, 50))
    run(settings)
    eventually(lambda: sum(offsets(read_model).values()) == 25)
    assert GroupsInSql.seen == [10, 10, 5]
    assert counted(read_model) == {"a": 25}


def test_a_group_waits_for_others_until_its_time_is_over(
    writer: Writer, run: Any, tmp_path: Path
) -> None:
    """Events that come one after another are handled together, if they come in time."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("a", 1))])
    settings: dict[str, Any] = {"handler": Groups, "delivery": "at-least-once"}
    run(projection(read_model, group=Group(3, 10_000), **settings))
    never(lambda: Groups.seen, within_s=0.3)
    assert sum(offsets(read_model).values()) == 0
    writer.add([("c-1", Added("a", 1))])
    writer.add([("c-1", Added("a", 1))])
    eventually(lambda: Groups.seen == [[1, 2, 3]])
    eventually(lambda: sum(offsets(read_model).values()) == 3)


@pytest.mark.parametrize("poisoned", [0, 4, 9])
def test_a_group_that_fails_is_taken_apart(
    writer: Writer, run: Any, tmp_path: Path, poisoned: int
) -> None:
    """Nothing of the group stays; its events come one by one, and the policy applies to the one to
    blame."""
    read_model = tmp_path / "read.db"
    Fuse.blown = {1000 + poisoned}
    writer.add([("c-1", Added(f"s{nr}", 1000 + nr)) for nr in range(10)])
    settings = projection(
        read_model, handler=GroupsInSql, group=Group(5, 10), recovery=Recovery("skip")
    )
    run(settings)
    expected = {f"s{nr}": 1000 + nr for nr in range(10) if nr != poisoned}
    eventually(lambda: sum(offsets(read_model).values()) == 10)
    assert counted(read_model) == expected


def test_a_group_at_least_once_that_fails_is_taken_apart(
    writer: Writer, run: Any, tmp_path: Path
) -> None:
    """The same without a transaction; the groups before it are not repeated."""
    read_model = tmp_path / "read.db"
    Fuse.blown = {8}
    writer.add([("c-1", Added("a", nr)) for nr in range(1, 11)])
    settings: dict[str, Any] = {"handler": Groups, "delivery": "at-least-once"}
    run(projection(read_model, group=Group(5, 10), recovery=Recovery("skip"), **settings))
    eventually(lambda: sum(offsets(read_model).values()) == 10)
    assert Groups.seen == [[1, 2, 3, 4, 5], [6], [7], [9], [10]]


def test_a_function_with_a_transaction(writer: Writer, run: Any, tmp_path: Path) -> None:
    """(envelope, tx): exactly once."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("a", 2))] * 3)
    run(projection(read_model, handler=count_in_sql))
    eventually(lambda: counted(read_model) == {"a": 6})


def test_a_function_of_an_event(writer: Writer, run: Any, tmp_path: Path) -> None:
    """(envelope): at least once."""
    writer.add([("c-1", Added("a", 2))] * 3)
    run(projection(tmp_path / "read.db", handler=remember, delivery="at-least-once"))
    eventually(lambda: Calls.seen == [1, 2, 3])


@pytest.mark.parametrize("handler", [remember, Plain])
def test_at_most_once_moves_the_position_first(
    writer: Writer, run: Any, tmp_path: Path, handler: Any
) -> None:
    """When an event is handed over, the position has passed it: it never comes again, also when the
    handler raised."""
    read_model = tmp_path / "read.db"
    Fuse.blown = {2}
    writer.add([("c-1", Added("a", nr)) for nr in range(1, 5)])
    running = run(projection(read_model, handler=handler, delivery="at-most-once"))

    def seen() -> list[int]:
        return Calls.seen if handler is remember else [seq_nr for _, seq_nr in Plain.events]

    eventually(lambda: len(seen()) == 3)
    assert running.status().restarts == 1
    assert running.status().error.startswith("EventLostError")
    assert seen() == [1, 3, 4]
    assert sum(offsets(read_model).values()) == 4


def test_at_most_once_may_skip(writer: Writer, run: Any, tmp_path: Path) -> None:
    """The lost event is counted, and nothing restarts."""
    read_model = tmp_path / "read.db"
    Fuse.blown = {2}
    writer.add([("c-1", Added("a", nr)) for nr in range(1, 5)])
    settings: dict[str, Any] = {"handler": remember, "delivery": "at-most-once"}
    running = run(projection(read_model, recovery=Recovery("skip"), **settings))
    eventually(lambda: Calls.seen == [1, 3, 4])
    assert (running.status().restarts, running.status().skipped) == (0, 1)


PositionSeen: list[int] = []


def test_at_most_once_loses_one_event_at_most(writer: Writer, run: Any, tmp_path: Path) -> None:
    """The position is one ahead while an event is handled, however many wait: that is what a crash
    would lose."""
    read_model = tmp_path / "read.db"
    PositionSeen.clear()
    Watch.path = read_model
    writer.add([("c-1", Added("a", nr)) for nr in range(20)])
    run(projection(read_model, handler=watch_position, delivery="at-most-once"))
    eventually(lambda: len(PositionSeen) == 20)
    assert PositionSeen == list(range(1, 21))


class Watch:
    path = Path()


def watch_position(event: Envelope[Added]) -> None:
    connection = sqlite3.connect(Watch.path)
    sql = "select sum(offset) from thespian_dc_positions"
    PositionSeen.append(connection.execute(sql).fetchone()[0])
    connection.close()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"handler": remember}, "'at-least-once' or 'at-most-once'"),
        ({"handler": count_in_sql, "delivery": "at-least-once"}, "'exactly-once'"),
        ({"handler": Groups}, "'at-least-once'"),
        ({"handler": GroupsInSql, "delivery": "at-most-once"}, "'exactly-once'"),
        ({"handler": print, "delivery": "at-least-once"}, "must take"),
        ({"handler": str}, "must be a subclass"),
        ({"handler": ToActor(str, "x"), "delivery": "at-least-once"}, "needs a node"),
    ],
)
def test_what_does_not_fit_is_refused(
    run: Any, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    """By name, before any event, and no restart tries it again."""
    running = run(projection(tmp_path / "read.db", **changes))
    status = eventually(lambda: (s := running.status()).phase == "halted" and s)
    assert status.error.startswith("SettingsError")
    assert told in status.error


def test_groups_over_grpc(writer: Writer, serve: Any, consume: Any, tmp_path: Path) -> None:
    """The same over a stream: the kind does not know where events come from."""
    read_model = tmp_path / "read.db"
    writer.add([(f"c-{nr % 5}", Added("a", 1)) for nr in range(25)])
    _, port = serve()
    remote = Remote("carts", f"127.0.0.1:{port}")
    GroupsInSql.seen.clear()
    consume(projection(read_model, remote, handler=GroupsInSql, group=Group(10, 20)))
    eventually(lambda: sum(offsets(read_model).values()) == 25)
    assert counted(read_model) == {"a": 25}
    assert max(GroupsInSql.seen) <= 10
    assert rows(read_model, "select count(*) from popularity") == [(1,)]
