"""What follows a raise, with everything real but the distance: each policy, at each index of a
batch, and where its position goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.streams import material
from tests.streams.material import (
    Added,
    CountItems,
    Fuse,
    FusedCount,
    FusedSum,
    Plain,
    SumItems,
    Unknown,
    Writer,
    counted,
    offsets,
    projection,
    rows,
)
from thespian_dc.model.criteria import Criteria, Filter, Include
from thespian_dc.model.delivery_settings import Recovery
from thespian_dc.projection.databases import open_stores
from thespian_dc.projection.management import Projections
from thespian_dc.projection.parking import RETRY, SKIP
from thespian_dc.testkit.eventually import eventually, never

EVENTS = 8
QUICK: dict[str, Any] = {"retries": 2, "delay_ms": 1, "growth": 1.0}


@pytest.fixture
def run(run_local: Any) -> Any:
    return run_local


def policy(strategy: str) -> Recovery:
    return Recovery(strategy, **(QUICK if strategy.startswith("retry") else {}))


@pytest.mark.parametrize("poisoned", range(EVENTS))
@pytest.mark.parametrize(
    ("strategy", "handler"), [("skip", FusedCount), ("retry-and-skip", FusedSum)]
)
def test_skip_leaves_out_exactly_that_event(
    writer: Writer, run: Any, tmp_path: Path, strategy: str, poisoned: int, handler: type
) -> None:
    """At every index of a batch: all others are handled once, the position passes all of them."""
    read_model = tmp_path / "read.db"
    Fuse.blown = {1000 + poisoned}
    writer.add([("c-1", Added(f"s{i}", 1000 + i)) for i in range(EVENTS)])
    running = run(projection(read_model, handler=handler, recovery=policy(strategy)))
    eventually(lambda: sum(offsets(read_model).values()) == EVENTS)
    assert counted(read_model) == {f"s{i}": 1000 + i for i in range(EVENTS) if i != poisoned}
    assert running.status().restarts == 0
    assert running.status().skipped == 1
    manage = Projections(f"sqlite:///{read_model}")
    eventually(lambda: manage.status("popularity").workers[0].activity.skipped == 1)


@pytest.mark.parametrize("poisoned", range(EVENTS))
@pytest.mark.parametrize("strategy", ["fail", "retry-and-fail"])
def test_fail_stands_exactly_there(
    writer: Writer, run: Any, tmp_path: Path, strategy: str, poisoned: int
) -> None:
    """At every index: what came before is kept, the position stands at the event, and it is tried
    so often in each run."""
    read_model = tmp_path / "read.db"
    Tries.seen = []
    Fuse.blown = {1000 + poisoned}
    writer.add([("c-1", Added(f"s{i}", 1000 + i)) for i in range(EVENTS)])
    running = run(projection(read_model, handler=Tries, recovery=policy(strategy)))
    status = eventually(lambda: (s := running.status()).restarts and s)
    assert status.error.startswith("HandlerError")
    assert f"seq_nr {poisoned + 1} (" in status.error
    assert sum(offsets(read_model).values()) == poisoned
    assert counted(read_model) == {f"s{i}": 1000 + i for i in range(poisoned)}
    per_run = QUICK["retries"] + 1 if strategy == "retry-and-fail" else 1
    assert Tries.seen[: poisoned + per_run] == [
        *range(1, poisoned + 1), *[poisoned + 1] * per_run
    ]  # fmt: skip


@pytest.mark.parametrize("poisoned", range(EVENTS))
def test_park_holds_back_that_entity_alone(
    writer: Writer, run: Any, tmp_path: Path, poisoned: int
) -> None:
    """At every index: the position passes all; the entity's later events wait behind the parked
    one, other entities go on; a retry hands them over in order."""
    read_model = tmp_path / "read.db"
    Fuse.blown = {1000 + poisoned}
    events = [(f"c-{i % 2}", Added(f"s{i}", 1000 + i)) for i in range(EVENTS)]
    writer.add(events)
    running = run(projection(read_model, handler=FusedCount, recovery=policy("retry-and-park")))
    eventually(lambda: sum(offsets(read_model).values()) == EVENTS)
    waits = [i for i in range(EVENTS) if i >= poisoned and i % 2 == poisoned % 2]
    assert counted(read_model) == {f"s{i}": 1000 + i for i in range(EVENTS) if i not in waits}
    parked = open_stores(f"sqlite:///{read_model}").parked
    [entity] = parked.entities("popularity")
    assert (entity.entity_id, entity.events) == (f"c-{poisoned % 2}", len(waits))
    assert entity.cause == f"ValueError: no {1000 + poisoned}"
    assert entity.attempts == QUICK["retries"] + 1
    assert running.status().parked == len(waits)

    parked.wish("popularity", RETRY, entity.entity_id)  # still poison: it stays the first
    eventually(lambda: parked.entities("popularity")[0].attempts == QUICK["retries"] + 2)
    assert parked.entities("popularity")[0].events == len(waits)
    Fuse.blown = set()
    parked.wish("popularity", RETRY, entity.entity_id, entity.seq_nr)
    eventually(lambda: not parked.entities("popularity"))
    assert counted(read_model) == {f"s{i}": 1000 + i for i in range(EVENTS)}
    in_order(read_model)
    writer.add([(entity.entity_id, Added("after", 1))])
    eventually(lambda: counted(read_model).get("after") == 1)
    assert running.status().restarts == 0


def in_order(read_model: Path) -> None:
    """Each entity's events once and in order."""
    for (entity_id,) in rows(read_model, "select distinct entity_id from seen"):
        sql = "select seq_nr from seen where entity_id = ? order by nr"
        seen = [nr for (nr,) in rows(read_model, sql, entity_id)]
        assert seen == sorted(set(seen))


def test_skipping_a_parked_event_hands_over_those_behind_it(
    writer: Writer, run: Any, tmp_path: Path
) -> None:
    """The first one is left out for good, the others follow in order, and the entity is free."""
    read_model = tmp_path / "read.db"
    Fuse.blown = {2}
    writer.add([("c-1", Added(f"s{i}", i)) for i in range(1, 6)])
    running = run(projection(read_model, handler=FusedCount, recovery=policy("retry-and-park")))
    parked = open_stores(f"sqlite:///{read_model}").parked
    eventually(lambda: parked.entities("popularity"))
    parked.wish("popularity", SKIP, "c-1", 2)
    eventually(lambda: not parked.entities("popularity"))
    assert counted(read_model) == {"s1": 1, "s3": 3, "s4": 4, "s5": 5}
    in_order(read_model)
    assert running.status().skipped == 1


def test_parked_entities_stay_parked_through_restarts(
    writer: Writer, run: Any, tmp_path: Path
) -> None:
    """What waits is in the database: another run holds the entity back too, and can free it."""
    read_model = tmp_path / "read.db"
    settings = projection(read_model, handler=FusedCount, recovery=policy("retry-and-park"))
    Fuse.blown = {1}
    writer.add([("c-1", Added("a", 1)), ("c-2", Added("b", 2))])
    first = run(settings)
    eventually(lambda: counted(read_model) == {"b": 2})
    parked = open_stores(f"sqlite:///{read_model}").parked
    eventually(lambda: parked.entities("popularity"))  # its slice may come later than c-2's
    assert first.stop()
    Fuse.blown = set()
    writer.add([("c-1", Added("a", 10)), ("c-2", Added("b", 2))])
    second = run(settings)
    eventually(lambda: counted(read_model) == {"b": 4})
    assert eventually(lambda: parked.entities("popularity")[0].events == 2)
    assert second.status().parked == 2
    parked.wish("popularity", RETRY, "c-1")
    eventually(lambda: counted(read_model) == {"a": 11, "b": 4})


@pytest.mark.parametrize("what", [RETRY, SKIP])
def test_a_pause_before_a_restart_does_not_hold_up_parked_entities(
    writer: Writer, run: Any, tmp_path: Path, what: str
) -> None:
    """A projection that fails at another entity does all that is wished of them, at once and in one
    run, though that run fails too."""
    read_model = tmp_path / "read.db"
    Fuse.blown = {1001}
    skus = ["s0", "s1"]
    writer.add([(f"c-{sku}", Added(sku, 1001)) for sku in skus])
    first = run(projection(read_model, handler=FusedCount, recovery=policy("retry-and-park")))
    stores = open_stores(f"sqlite:///{read_model}")
    eventually(lambda: len(stores.parked.entities("popularity")) == 2)
    assert first.stop()
    Fuse.blown = {1001, 13}
    writer.add([("c-1", Added("z", 13))])
    running = run(projection(read_model, handler=FusedCount, restart_backoff_ms=(600_000, 600_000)))
    eventually(lambda: running.status().phase == "waiting")
    assert "ValueError: no 13" in running.status().error
    Fuse.blown = {13}
    stores.parked.wish("popularity", what, "c-s0")
    manage = Projections(f"sqlite:///{read_model}")
    (manage.retry_parked if what == RETRY else manage.skip_parked)("popularity", "c-s1")
    eventually(lambda: not stores.parked.entities("popularity"))
    stores.database.close()
    eventually(lambda: running.status().phase == "waiting")
    assert running.status().restarts == 2
    assert counted(read_model) == (dict.fromkeys(skus, 1001) if what == RETRY else {})


@pytest.mark.parametrize(
    ("bounds", "what"),
    [({"parked_events_max": 3}, "3 events"), ({"parked_bytes_max": 100}, "100 bytes")],
)
def test_full_stops_the_projection_at_that_event(
    writer: Writer, run: Any, tmp_path: Path, bounds: dict[str, int], what: str
) -> None:
    """Nothing is dropped to make room: what came before is kept, the position stands there."""
    read_model = tmp_path / "read.db"
    Fuse.blown = {1}
    writer.add([("c-1", Added("a", 1)), *[("c-1", Added("a", 2))] * 9])
    recovery = Recovery("retry-and-park", **QUICK, **bounds)
    running = run(projection(read_model, handler=FusedCount, recovery=recovery))
    status = eventually(lambda: (s := running.status()).phase == "halted" and s)
    assert status.error.startswith("ParkedFullError")
    assert what in status.error
    [entity] = open_stores(f"sqlite:///{read_model}").parked.entities("popularity")
    assert sum(offsets(read_model).values()) == entity.events
    assert 1 <= entity.events <= 3


def test_an_unknown_event_is_parked_until_its_type_is_known(
    writer: Writer, run: Any, tmp_path: Path
) -> None:
    """A newer producer's type holds up its entity only; with the type listed, a retry handles
    it."""
    read_model = tmp_path / "read.db"
    settings: dict[str, Any] = {"handler": Anything, "recovery": policy("retry-and-park")}
    writer.add([("c-1", Unknown("x")), ("c-1", Added("a", 1)), ("c-2", Added("b", 1))])
    first = run(projection(read_model, **settings))
    eventually(lambda: sum(offsets(read_model).values()) == 3)
    parked = open_stores(f"sqlite:///{read_model}").parked
    [entity] = parked.entities("popularity")
    assert (entity.attempts, entity.events) == (1, 2)
    assert "Unknown/1" in entity.cause
    assert first.stop()
    run(projection(read_model, events=[Added, Unknown], **settings))
    parked.wish("popularity", RETRY, "c-1")
    eventually(lambda: counted(read_model) == {"Added": 2, "Unknown": 1})


@pytest.mark.parametrize("strategy", ["skip", "retry-and-park"])
def test_a_raise_of_flush_is_traced_to_its_event(
    writer: Writer, run: Any, tmp_path: Path, strategy: str
) -> None:
    """A handler that gathers raises when nothing says which event it was: the events are handed
    over one by one, and the policy applies to the one to blame."""
    read_model = tmp_path / "read.db"
    Fuse.blown = {1003}
    many = 2 * EVENTS  # so that each slice has events behind it
    writer.add([(f"c-{i}", Added(f"s{i}", 1000 + i)) for i in range(many)])
    run(projection(read_model, handler=FlushSum, recovery=policy(strategy)))
    expected = {f"s{i}": 1000 + i for i in range(many) if i != 3}
    eventually(
        lambda: counted(read_model) == expected and sum(offsets(read_model).values()) == many
    )
    never(lambda: counted(read_model) != expected, within_s=0.2)


@pytest.mark.parametrize("strategy", ["skip", "retry-and-park"])
def test_a_raise_of_flush_is_traced_to_its_event_among_what_is_looked_up(
    writer: Writer, run: Any, tmp_path: Path, strategy: str
) -> None:
    """The same where a filter's change owes the events to their entity."""
    read_model = tmp_path / "read.db"
    Fuse.blown = {1003}
    writer.add([("c-1", Added(f"s{i}", 1000 + i)) for i in range(EVENTS)])
    only_others = Filter(exclude=Criteria(entity_ids=["c-1"]))
    run(projection(read_model, handler=FlushSum, recovery=policy(strategy), filter=only_others))
    eventually(lambda: sum(offsets(read_model).values()) == EVENTS)
    manage = Projections(f"sqlite:///{read_model}")
    manage.add_criteria("popularity", Include.entity_ids("c-1"))
    handled = 3 if strategy == "retry-and-park" else EVENTS
    expected = {f"s{i}": 1000 + i for i in range(handled) if i != 3}
    eventually(lambda: counted(read_model) == expected)
    if strategy == "retry-and-park":
        [entity] = eventually(lambda: manage.parked("popularity"))
        assert entity.seq_nr == 4


def test_stop_during_a_retry_is_at_once(writer: Writer, run: Any, tmp_path: Path) -> None:
    """A long pause before a retry does not hold up a stop."""
    read_model = tmp_path / "read.db"
    Tries.seen, Fuse.blown = [], {1}
    writer.add([("c-1", Added("a", 1))])
    recovery = Recovery("retry-and-fail", delay_ms=60_000, delay_ms_max=60_000)
    running = run(projection(read_model, handler=Tries, recovery=recovery))
    eventually(lambda: Tries.seen)
    assert running.stop(timeout_s=20.0)
    assert Tries.seen == [1]


def test_a_full_disk_is_nobodys_fault(writer: Writer, run: Any, tmp_path: Path) -> None:
    """What the database refuses would be refused for every event: nothing is skipped."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("a", 1))])
    running = run(projection(read_model, handler=DiskFull, recovery=Recovery("skip")))
    status = eventually(lambda: (s := running.status()).restarts and s)
    assert status.skipped == 0
    assert sum(offsets(read_model).values()) == 0


def test_skip_of_a_plain_handler(writer: Writer, run: Any, tmp_path: Path) -> None:
    """The same where effects are outside of the transaction."""
    Plain.events.clear()
    Fuse.blown = {2}
    writer.add([("c-1", Added("a", nr)) for nr in range(1, 5)])
    read_model = tmp_path / "read.db"
    run(projection(read_model, handler=Plain, delivery="at-least-once", recovery=policy("skip")))
    eventually(lambda: sum(offsets(read_model).values()) == 4)
    assert Plain.events == [("c-1", 1), ("c-1", 3), ("c-1", 4)]


class Tries(FusedCount):
    """Remembers which seq_nr it was called with."""

    seen: ClassVar[list[int]] = []

    def handle(self, event: Any, tx: Any) -> None:
        Tries.seen.append(event.seq_nr)
        super().handle(event, tx)


class Anything(CountItems):
    """Counts classes."""

    def handle(self, event: Any, tx: Any) -> None:
        tx.execute(material.UPSERT, (type(event.payload).__name__, 1))


class FlushSum(SumItems):
    """Raises in flush where something poisoned was gathered."""

    def handle(self, event: Any, tx: Any) -> None:
        self.poisoned = getattr(self, "poisoned", False) or event.payload.quantity in Fuse.blown
        super().handle(event, tx)

    def flush(self, tx: Any) -> None:
        if getattr(self, "poisoned", False):
            raise ValueError("something is wrong with something")
        super().flush(tx)


class DiskFull(CountItems):
    """Makes its database full."""

    def handle(self, event: Any, tx: Any) -> None:
        pages = tx.execute("pragma page_count").fetchone()[0]
        tx.execute(f"pragma max_page_count = {pages}")
        for _ in range(10_000):
            tx.execute("insert into seen(entity_id, seq_nr) values (hex(randomblob(900)), 1)")


def test_a_debt_of_a_parked_entity_waits(writer: Writer, run: Any, tmp_path: Path) -> None:
    """What a filter held back meanwhile comes behind what is parked: looked up when the entity is
    free, in its order."""
    read_model = tmp_path / "read.db"
    Fuse.blown = {1001}
    writer.add([("c-1", Added("a", 1001)), ("c-2", Added("b", 1))])
    run(projection(read_model, handler=FusedCount, recovery=policy("retry-and-park")))
    eventually(lambda: counted(read_model) == {"b": 1})
    stores = open_stores(f"sqlite:///{read_model}")
    only_others = Filter(exclude=Criteria(entity_ids=["c-1"]))
    version = stores.filters.change("popularity", 0, only_others).version
    in_force = "select count(*) from thespian_dc_filter_starts where version = ?"
    eventually(lambda: rows(read_model, in_force, version) == [(material.SLICES,)])
    writer.add([("c-1", Added("a", 2)), ("c-2", Added("b", 1)), ("c-1", Added("a", 3))])
    eventually(lambda: counted(read_model) == {"b": 2})
    stores.filters.change("popularity", version, Filter())
    eventually(lambda: rows(read_model, in_force, version + 1) == [(material.SLICES,)])
    writer.add([("c-1", Added("a", 4)), ("c-2", Added("b", 1))])
    eventually(lambda: counted(read_model) == {"b": 3})
    owed = "select count(*) from thespian_dc_debts"
    eventually(lambda: rows(read_model, owed) == [(1,)])
    never(lambda: "a" in counted(read_model), within_s=0.3)
    Fuse.blown = set()
    stores.parked.wish("popularity", RETRY, "c-1")
    eventually(lambda: counted(read_model) == {"a": 1001 + 2 + 3 + 4, "b": 3})
    seen = rows(read_model, "select seq_nr from seen where entity_id = 'c-1' order by nr")
    assert seen == [(1,), (2,), (3,), (4,)]
    eventually(lambda: rows(read_model, owed) == [(0,)])
    stores.database.close()
