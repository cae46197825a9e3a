"""Filters of a projection that change while it runs, over real gRPC and over a local journal: what
passes is handled, what was left out is brought up to date first, nothing twice, nothing skipped.

Long because every case runs over the same two sources.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.streams.material import (
    SLICES,
    Added,
    CountItems,
    Fuse,
    FusedCount,
    Writer,
    offsets,
    projection,
    rows,
)
from tests.streams.running import projections
from thespian_dc.model.criteria import Exclude, Filter, Include
from thespian_dc.model.delivery_settings import Recovery
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.settings import Local, Remote
from thespian_dc.projection.api import (
    Projections,
    RunningProjection,
    Source,
    local_source,
)
from thespian_dc.projection.sqlite.database import SqliteDatabase
from thespian_dc.projection.sqlite.filters import SqliteFilters
from thespian_dc.stream.client import RemoteSource
from thespian_dc.testkit.eventually import eventually, never

NAME = "popularity"
OWED_FROM = "select entity_id, from_seq_nr from thespian_dc_debts"


@pytest.fixture(params=["remote", "local"])
def make_source(
    request: pytest.FixtureRequest, writer: Writer, journal_url: str, serve: Any
) -> Callable[[], Source]:
    """The projection cannot tell which."""
    if request.param == "local":
        return lambda: local_source(Local("cart"), journal_url)
    _, port = serve()
    remote = Remote("carts", f"127.0.0.1:{port}")
    return lambda: RemoteSource(remote, "ranking/test", 500)


@pytest.fixture
def run(make_source: Callable[[], Source]) -> Iterator[Callable[..., RunningProjection]]:
    with projections() as run:
        yield lambda read_model, **changes: run(projection(read_model, **changes), make_source)


def change(read_model: Path, wanted: Filter) -> None:
    """As any process may do it."""
    database = SqliteDatabase(f"sqlite:///{read_model}")
    try:
        filters = SqliteFilters(database)
        filters.change(NAME, filters.read(NAME).version, wanted)
    finally:
        database.close()


def seen(read_model: Path) -> dict[str, list[int]]:
    """seq_nrs by entity, in the order in which they were handled."""
    found: dict[str, list[int]] = defaultdict(list)
    try:
        for entity_id, seq_nr in rows(read_model, "select entity_id, seq_nr from seen order by nr"):
            found[entity_id].append(seq_nr)
    except sqlite3.OperationalError:  # the table is not there yet
        return {}
    return dict(found)


def passed(read_model: Path, writer: Writer) -> bool:
    """The positions have passed all that was written."""
    heads = {key.slice: head for key, head in writer.heads.items()}
    return offsets(read_model) == heads


def in_force(read_model: Path, version: int) -> bool:
    """In all slices."""
    sql = "select slice from thespian_dc_filter_starts where version = ?"
    return len(rows(read_model, sql, version)) == SLICES


def debts(read_model: Path) -> list[Any]:
    return rows(read_model, "select entity_id from thespian_dc_debts")


def test_filtered_traffic_moves_positions_along(run: Any, writer: Writer, read_model: Path) -> None:
    """Nothing of it is handled, and no position stands still."""
    running = run(read_model, filter=Include.entity_ids("a"))
    for _ in range(5):
        writer.add([(one, Added("x", 1)) for one in "abcdefgh"])
    eventually(lambda: passed(read_model, writer))
    assert seen(read_model) == {"a": [1, 2, 3, 4, 5]}
    assert running.status().lag == 0


def test_a_projection_that_ran_unfiltered_and_then_gets_a_filter(
    run: Any, writer: Writer, read_model: Path
) -> None:
    """What it handled before has no marks, and is neither repeated nor looked up."""
    run(read_model)
    writer.add([("a", Added("x", 1)), ("b", Added("x", 1))] * 3)
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3], "b": [1, 2, 3]})
    change(read_model, Exclude.entity_ids("b"))
    eventually(lambda: in_force(read_model, 1))
    writer.add([("a", Added("x", 1)), ("b", Added("x", 1))] * 2)
    eventually(lambda: passed(read_model, writer))
    assert seen(read_model) == {"a": [1, 2, 3, 4, 5], "b": [1, 2, 3]}
    change(read_model, Filter())
    eventually(lambda: in_force(read_model, 2))
    assert seen(read_model)["b"] == [1, 2, 3], "it comes with its next event"
    writer.add([("a", Added("x", 1)), ("b", Added("x", 1))])
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3, 4, 5, 6], "b": [1, 2, 3, 4, 5, 6]})
    eventually(lambda: not debts(read_model))


class Stepped(CountItems):
    """Handles an event when it may."""

    steps: ClassVar[threading.Semaphore]

    def handle(self, event: Any, tx: Any) -> None:
        assert Stepped.steps.acquire(timeout=60)
        super().handle(event, tx)


def test_a_batch_evaluated_under_the_old_filter(
    run: Any, writer: Writer, read_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits to be handled when the producer is told of the new one. What it left out behind an
    event that is handled meanwhile comes before what follows it, once."""
    from thespian_dc.projection.local import LocalSource

    waiting, told = list[int](), list[int]()
    for source in (RemoteSource, LocalSource):
        start, change_filter = source.start, source.change_filter

        def starts(self: Any, *more: Any, start: Any = start) -> None:
            *before, events = more

            def batch(one: Any) -> None:
                if one.filter_version == 1:
                    waiting.append(one.next_offset)
                events.batch(one)

            start(self, *before, events._replace(batch=batch))

        def changes(self: Any, wanted: Any, change_filter: Any = change_filter) -> None:
            told.append(len(seen(read_model).get("a", [])))
            change_filter(self, wanted)

        monkeypatch.setattr(source, "start", starts)
        monkeypatch.setattr(source, "change_filter", changes)
    slice_ = slice_of("a", SLICES)
    left_out = next(one for one in "bcdefgh" if slice_of(one, SLICES) == slice_)
    Stepped.steps = threading.Semaphore(0)
    run(read_model, handler=Stepped, filter=Exclude.tags("red"))
    try:
        for _ in range(50):
            writer.add([("a", Added("x", 1))])
        writer.add([(left_out, Added("x", 1))])
        for _ in range(50):
            writer.add([(left_out, Added("x", 1))], tags=("red",))
        eventually(lambda: 101 in waiting)
        change(read_model, Filter())

        def step() -> list[int]:
            Stepped.steps.release()
            return told

        eventually(step, every_s=0.06)
        assert told[0] < 50, "something was left out before the producer was told"
    finally:
        Stepped.steps.release(1000)
    eventually(lambda: in_force(read_model, 2))
    writer.add([("a", Added("x", 1)), (left_out, Added("x", 1))])
    everything = list(range(1, 53))
    eventually(lambda: seen(read_model) == {"a": everything[:51], left_out: everything})
    eventually(lambda: not debts(read_model))


def test_inclusion_by_id_heals_at_once_and_blocks_nobody(
    run: Any, writer: Writer, read_model: Path
) -> None:
    """All its events come, in order, once, without one of its own being written."""
    run(read_model, filter=Include.entity_ids("a"))
    writer.add([(one, Added("x", 1)) for one in "abc"] * 50)
    eventually(lambda: passed(read_model, writer))
    change(read_model, Include.entity_ids("a", "b").spelled_out())
    writer.add([("a", Added("x", 1))])
    everything = list(range(1, 51))
    eventually(lambda: seen(read_model) == {"a": [*everything, 51], "b": everything})
    writer.add([("b", Added("x", 1))])
    eventually(lambda: seen(read_model)["b"] == [*everything, 51])
    assert "c" not in seen(read_model)
    eventually(lambda: not debts(read_model))


def test_a_higher_start_of_an_entity_that_is_included_already_is_noticed(
    run: Any, writer: Writer, read_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the lookup from the lower one is under way, and its answer begins there. A start at
    what is handled already, or a lower one, changes nothing."""
    from thespian_dc.projection.local import LocalSource

    held: list[Any] = []
    for source in (RemoteSource, LocalSource):
        look_up = source.look_up

        def later(*asked: Any, look_up: Any = look_up) -> None:
            held.append((look_up, asked))

        monkeypatch.setattr(source, "look_up", later)
    run(read_model, filter=Include.entity_ids("b"))
    writer.add([("a", Added("x", 1))] * 6)
    eventually(lambda: passed(read_model, writer))
    both = Include.entity_ids("b").spelled_out()
    for version, start, counts in ((2, 2, 2), (3, 5, 5), (4, 3, 5)):
        change(read_model, both + Include.entity_ids("a", from_seq_nr=start))
        eventually(partial(in_force, read_model, version))
        assert rows(read_model, OWED_FROM) == [("a", counts)]
    assert [asked[1].from_seq_nr for _, asked in held] == [2]
    monkeypatch.undo()
    look_up, asked = held[0]
    look_up(*asked)
    eventually(lambda: seen(read_model) == {"a": [5, 6]})
    eventually(lambda: not debts(read_model))
    change(read_model, both + Include.entity_ids("a", from_seq_nr=9))
    eventually(lambda: in_force(read_model, 5))
    writer.add([("a", Added("x", 1))] * 2)
    eventually(lambda: seen(read_model) == {"a": [5, 6, 7, 8]})


def test_a_tag_brings_the_entitys_earlier_events(
    run: Any, writer: Writer, read_model: Path
) -> None:
    """Tags select entities: what was not let through comes before the event that is."""
    run(read_model, filter=Include.tags("large"))
    writer.add([("a", Added("x", 1)), ("b", Added("x", 1))] * 4)
    eventually(lambda: passed(read_model, writer))
    assert seen(read_model) == {}
    writer.add([("a", Added("x", 1))], tags=("large",))
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3, 4, 5]})
    writer.add([("a", Added("x", 1))])
    writer.add([("a", Added("x", 1))], tags=("large",))
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3, 4, 5, 6, 7]})


def test_events_only_looks_nothing_up(
    run: Any, writer: Writer, read_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 % of the events pass; of the other 99 % nothing is asked."""
    from thespian_dc.projection.local import LocalSource

    asked: list[Any] = []
    for source in (RemoteSource, LocalSource):
        monkeypatch.setattr(source, "look_up", lambda _, lookup, __: asked.append(lookup))
    run(read_model, filter=Include.tags("large", events_only=True))
    for nr in range(1, 301):
        writer.add([(one, Added("x", 1)) for one in "ab"], ("large",) if nr % 100 == 0 else ())
    eventually(lambda: passed(read_model, writer))
    assert seen(read_model) == {"a": [100, 200, 300], "b": [100, 200, 300]}
    assert asked == []


def test_the_changed_filter_outlives_a_full_stop(
    run: Any, writer: Writer, read_model: Path
) -> None:
    """It is stored with the projection; the settings' one counted where none was."""
    first = run(read_model, filter=Include.entity_ids("a"))
    writer.add([(one, Added("x", 1)) for one in "abc"])
    eventually(lambda: seen(read_model) == {"a": [1]})
    assert first.stop()
    change(read_model, Include.entity_ids("b").spelled_out())
    second = run(read_model, filter=Include.entity_ids("a"))
    eventually(lambda: seen(read_model) == {"a": [1], "b": [1]})
    writer.add([(one, Added("x", 1)) for one in "abc"])
    eventually(lambda: seen(read_model) == {"a": [1], "b": [1, 2]})
    assert second.stop()
    run(read_model, filter=Include.entity_ids("a", "c"))  # the settings changed: they count again
    eventually(lambda: seen(read_model) == {"a": [1, 2], "b": [1, 2], "c": [1, 2]})


def test_a_debt_outlives_the_run_that_made_it(run: Any, writer: Writer, read_model: Path) -> None:
    """Lookups that never were answered are asked again by the next run; the position has passed,
    and others of the slice are handled meanwhile."""
    from thespian_dc.projection.local import LocalSource

    with pytest.MonkeyPatch.context() as patched:
        for source in (RemoteSource, LocalSource):
            patched.setattr(source, "look_up", lambda *_: None)
        first = run(read_model, filter=Include.tags("large"))
        writer.add([("a", Added("x", 1))] * 3)
        writer.add([("a", Added("x", 1))], tags=("large",))
        eventually(lambda: passed(read_model, writer) and debts(read_model) == [("a",)])
        assert seen(read_model) == {}
        other = next(one for one in "bcdefgh" if slice_of(one, SLICES) == slice_of("a", SLICES))
        writer.add([("a", Added("x", 1)), (other, Added("x", 1))], tags=("large",))
        eventually(lambda: seen(read_model) == {other: [1]})
        assert first.stop()
    run(read_model, filter=Include.tags("large"))
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3, 4, 5], other: [1]})
    eventually(lambda: not debts(read_model))


def test_a_raise_while_a_debt_is_paid_repeats_nothing(
    run: Any, writer: Writer, read_model: Path
) -> None:
    """What was paid stays paid, the rest is looked up again."""
    Fuse.blown = {1003}
    running = run(read_model, handler=FusedCount, filter=Include.tags("large"))
    writer.add([("a", Added("x", 1000 + nr)) for nr in range(1, 7)])
    writer.add([("a", Added("x", 1007))], tags=("large",))
    status = eventually(lambda: (s := running.status()).restarts > 1 and s)
    assert "seq_nr 3" in status.error
    assert seen(read_model) == {"a": [1, 2]}
    Fuse.blown = set()
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3, 4, 5, 6, 7]})


@pytest.fixture
def trimmed(run: Any, writer: Writer, read_model: Path) -> Callable[..., RunningProjection]:
    """Run a projection to which a is included when the first two of its four events are gone."""

    def start(policy: Recovery) -> RunningProjection:
        running: RunningProjection = run(
            read_model, filter=Include.entity_ids("b"), recovery=policy
        )
        for _ in range(4):
            writer.add([("a", Added("x", 1))])
        eventually(lambda: passed(read_model, writer))
        key = SliceKey("cart", slice_of("a", writer.slices))
        writer.journal.advance_index(key, 4)
        assert writer.journal.trim(key, 2) == 2
        change(read_model, Include.entity_ids("a", "b").spelled_out())
        return running

    return start


def test_trimmed_history_is_named_and_a_later_start_mends_it(
    trimmed: Any, read_model: Path
) -> None:
    """Nothing is skipped in silence; who says from where on an entity is wanted gets it from
    there."""
    running = trimmed(Recovery())
    status = eventually(lambda: (s := running.status()).restarts and s)
    assert status.error.startswith("HistoryLostError: projection popularity: a (slice")
    assert "TrimmedError" in status.error
    never(lambda: seen(read_model) != {}, within_s=0.3)
    change(read_model, Include.entity_ids("a", from_seq_nr=3).spelled_out())
    eventually(lambda: seen(read_model) == {"a": [3, 4]})


@pytest.mark.parametrize("strategy", ["skip", "retry-and-skip"])
def test_trimmed_history_is_passed_over_where_the_policy_skips(
    trimmed: Any, writer: Writer, read_model: Path, strategy: Any
) -> None:
    """What is left of the entity comes, in order; what was lost is counted."""
    running = trimmed(Recovery(strategy))
    eventually(lambda: seen(read_model) == {"a": [3, 4]})
    eventually(lambda: not debts(read_model))
    writer.add([("a", Added("x", 1)), ("b", Added("x", 1))])
    eventually(lambda: seen(read_model) == {"a": [3, 4, 5], "b": [1]})
    status = running.status()
    assert (status.skipped, status.restarts) == (1, 0)


def test_trimmed_history_parks_its_entity(
    trimmed: Any, run: Any, writer: Writer, read_model: Path
) -> None:
    """Others go on. A retry finds it trimmed as before; a skip gives up what is lost, for good,
    whoever looks the rest up."""
    from thespian_dc.projection.local import LocalSource

    policy, projections = Recovery("retry-and-park"), Projections(f"sqlite:///{read_model}")
    running = trimmed(policy)
    [parked] = eventually(lambda: projections.parked(NAME))
    assert (parked.entity_id, parked.seq_nr, parked.events) == ("a", 1, 1)
    assert parked.cause.startswith("TrimmedError: ")
    writer.add([("a", Added("x", 1)), ("b", Added("x", 1))])
    eventually(lambda: seen(read_model) == {"b": [1]})
    projections.retry_parked(NAME, "a")
    eventually(lambda: [p.parked_us for p in projections.parked(NAME)] > [parked.parked_us])
    [again] = projections.parked(NAME)
    assert again._replace(parked_us=parked.parked_us) == parked
    assert (debts(read_model), running.status().restarts) == ([("a",)], 0)
    with pytest.MonkeyPatch.context() as patched:
        for source in (RemoteSource, LocalSource):
            patched.setattr(source, "look_up", lambda *_: None)
        projections.skip_parked(NAME, "a")
        eventually(lambda: not projections.parked(NAME))
        assert running.stop()
    run(read_model, filter=Include.entity_ids("b"), recovery=policy)
    eventually(lambda: seen(read_model) == {"a": [3, 4, 5], "b": [1]})
    eventually(lambda: not debts(read_model))
    assert not projections.parked(NAME)


def test_many_debts_at_once(run: Any, writer: Writer, read_model: Path) -> None:
    """A filter that goes: each entity is brought up to date with its next event."""
    ids = [f"c-{nr}" for nr in range(200)]
    run(read_model, filter=Exclude.all(), handler=CountItems)
    for _ in range(3):
        writer.add([(one, Added("x", 1)) for one in ids])
    eventually(lambda: passed(read_model, writer))
    change(read_model, Filter())
    eventually(lambda: in_force(read_model, 2))
    for _ in range(3):
        writer.add([(one, Added("x", 1)) for one in ids])
    everything = list(range(1, 7))
    eventually(lambda: seen(read_model) == dict.fromkeys(ids, everything), deadline_s=30)
    eventually(lambda: not debts(read_model))


def test_the_stream_waits_while_too_many_are_owed(
    run: Any, writer: Writer, read_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more the memory would be without bound; it goes on when some are paid."""
    from thespian_dc.projection.local import LocalSource

    monkeypatch.setattr("thespian_dc.projection.healing.DEBTS_MAX", 3)
    ids = [f"c-{nr}" for nr in range(40)]
    running = run(read_model, filter=Exclude.all())
    writer.add([(one, Added("x", 1)) for one in ids])
    eventually(lambda: passed(read_model, writer))
    change(read_model, Filter())
    eventually(lambda: in_force(read_model, 2))
    held: list[Any] = []
    with pytest.MonkeyPatch.context() as patched:
        for source in (RemoteSource, LocalSource):
            look_up = source.look_up
            patched.setattr(source, "look_up", lambda *asked, to=look_up: held.append((to, asked)))
        writer.add([(one, Added("x", 1)) for one in ids[:3]])
        eventually(lambda: len(held) == len(debts(read_model)) == 3)
        writer.add([(one, Added("x", 1)) for one in ids[3:]])
        eventually(lambda: running.status().lag == 37)
        never(lambda: len(debts(read_model)) != 3, within_s=0.3)
    for look_up, asked in held:
        look_up(*asked)
    everything = [1, 2]
    eventually(lambda: seen(read_model) == dict.fromkeys(ids, everything), deadline_s=30)
    eventually(lambda: not debts(read_model))


def test_two_workers_heal_their_slices_and_hand_them_over(
    run: Any, writer: Writer, read_model: Path
) -> None:
    """Marks, debts and versions belong to slices: who gets a slice gets them with it."""
    ids = [f"c-{nr}" for nr in range(40)]
    first = run(read_model, filter=Exclude.entity_ids(*ids[:20]))
    second = run(read_model, filter=Exclude.entity_ids(*ids[:20]))
    for _ in range(3):
        writer.add([(one, Added("x", 1)) for one in ids])
    eventually(lambda: passed(read_model, writer))
    eventually(lambda: first.status().positions and second.status().positions)
    change(read_model, Exclude.entity_ids(*ids[:5]) + Include.entity_ids(*ids[5:10]))
    eventually(lambda: in_force(read_model, 2))
    writer.add([(one, Added("x", 1)) for one in ids])
    assert second.stop()
    writer.add([(one, Added("x", 1)) for one in ids])
    everything = list(range(1, 6))
    eventually(lambda: seen(read_model) == dict.fromkeys(ids[5:], everything), deadline_s=20)
    eventually(lambda: not debts(read_model))


def test_what_is_looked_up_can_be_parked_and_released(
    run: Any, writer: Writer, read_model: Path
) -> None:
    """The entity's rest waits behind the event that raised, also what comes by the stream; others
    go on; all comes in order when it is released."""
    Fuse.blown = {1002}
    policy = Recovery("retry-and-park", retries=1, delay_ms=1)
    large = Include.tags("large")
    run(read_model, handler=FusedCount, filter=large, recovery=policy)
    writer.add([("a", Added("x", 1000 + nr)) for nr in range(1, 4)])
    writer.add([("a", Added("x", 1004)), ("b", Added("x", 1))], tags=("large",))
    eventually(lambda: seen(read_model) == {"a": [1], "b": [1]} and not debts(read_model))
    writer.add([("a", Added("x", 1005))])
    writer.add([("a", Added("x", 1006)), ("b", Added("x", 2))], tags=("large",))
    eventually(lambda: seen(read_model) == {"a": [1], "b": [1, 2]})
    projections = Projections(f"sqlite:///{read_model}")
    [parked] = projections.parked(NAME)
    assert (parked.entity_id, parked.seq_nr) == ("a", 2)
    Fuse.blown = set()
    projections.retry_parked(NAME, "a")
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3, 4, 5, 6], "b": [1, 2]})
    eventually(lambda: not debts(read_model))


class Again(CountItems):
    """May see an event again."""

    tables = CountItems.tables.replace(", unique (entity_id, seq_nr)", "")


@pytest.mark.parametrize(("from_seq_nr", "comes"), [(0, [2, 3]), (1, [1, 2, 3])])
def test_what_lies_below_a_position_set_by_hand_counts_as_handled(
    run: Any, writer: Writer, read_model: Path, from_seq_nr: int, comes: list[int]
) -> None:
    """Also what a filter had left out there, unless it is asked for by its seq_nr."""
    slice_ = slice_of("a", SLICES)
    left_out = next(one for one in "bcdefgh" if slice_of(one, SLICES) == slice_)
    run(read_model, handler=Again, filter=Exclude.entity_ids(left_out))
    for _ in range(3):
        writer.add([("a", Added("x", 1)), (left_out, Added("x", 1))])
    eventually(lambda: passed(read_model, writer))
    projections = Projections(f"sqlite:///{read_model}")
    projections.set_position(NAME, slice_, 2)
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3, 2, 3]})
    projections.add_criteria(NAME, Include.entity_ids(left_out, from_seq_nr=from_seq_nr))
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3, 2, 3], left_out: comes})
    writer.add([("a", Added("x", 1)), (left_out, Added("x", 1))])
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3, 2, 3, 4], left_out: [*comes, 4]})
    eventually(lambda: not debts(read_model))


def test_an_event_skipped_by_hand_is_not_looked_up(
    run: Any, writer: Writer, read_model: Path
) -> None:
    """It counts as handled, wherever it would have come from."""
    Fuse.blown = {1002}
    running = run(read_model, handler=FusedCount, filter=Exclude.entity_ids("b"))
    writer.add([("a", Added("x", 1001)), ("a", Added("x", 1002))])
    eventually(lambda: running.status().restarts)
    Projections(f"sqlite:///{read_model}").skip(NAME, slice_of("a", writer.slices), 1)
    change(read_model, Exclude.entity_ids("a", "b"))
    eventually(lambda: in_force(read_model, 2))
    Fuse.blown = set()
    writer.add([("a", Added("x", 1003))])
    change(read_model, Filter())
    eventually(lambda: in_force(read_model, 3))
    writer.add([("a", Added("x", 1004))])
    eventually(lambda: seen(read_model) == {"a": [1, 3, 4]})
