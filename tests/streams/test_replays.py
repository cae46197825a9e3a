"""What a filter brings later over a real stream: replays from a seq_nr, what follows them, what a
stream withheld before; and a handler whose SQL is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.streams.asking import PLENTY, asked, events_in
from tests.streams.material import (
    Added,
    CountItems,
    PublicAdded,
    Unknown,
    Writer,
    execute,
    offsets,
    projection,
    rows,
)
from tests.streams.test_healing import NAME, debts, passed, seen
from tests.streams.test_transforms import TO_PUBLIC, Cart, CountPublic
from thespian_dc import Projections
from thespian_dc.model.criteria import Exclude, Filter, Include
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.ids import slice_of
from thespian_dc.model.settings import Remote, Stream
from thespian_dc.projection.api import Lookup, Transaction
from thespian_dc.stream.filter_registry import set_stream_filter
from thespian_dc.testkit.eventually import eventually, never


def add(writer: Writer, *entity_ids: str, tags: tuple[str, ...] = ()) -> None:
    for entity_id in entity_ids:
        writer.add([(entity_id, Added("apple", 1))], tags)


def change(read_model: Path, wanted: Filter) -> None:
    Projections(f"sqlite:///{read_model}").add_criteria(NAME, wanted)


def test_entities_are_replayed_from_where_each_is_wanted_and_nothing_twice(
    writer: Writer, serve: Any, consume: Any, read_model: Path
) -> None:
    """Also one that was handled all along: a replay never goes below what was handled."""
    _, port = serve()
    remote = Remote("carts", f"127.0.0.1:{port}")
    running, _ = consume(projection(read_model, remote, filter=Exclude.entity_ids("b", "c")))
    add(writer, *"abc" * 3)
    eventually(lambda: passed(read_model, writer))
    wanted = Include.entity_ids("a", from_seq_nr=1) + Include.entity_ids("b", from_seq_nr=2)
    change(read_model, wanted + Include.entity_ids("c", from_seq_nr=3))
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3], "b": [2, 3], "c": [3]})
    add(writer, *"abc")
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3, 4], "b": [2, 3, 4], "c": [3, 4]})
    assert running.status().restarts == 0


def test_a_replay_is_one_projections_alone(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """Another one of the same stream, with the same filter, gets nothing of it."""
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    _, port = serve()
    for read_model in (one, other):
        remote = Remote("carts", f"127.0.0.1:{port}")
        consume(projection(read_model, remote, filter=Exclude.entity_ids("b")))
    add(writer, *"abab")
    eventually(lambda: passed(one, writer) and passed(other, writer))
    change(one, Include.entity_ids("b", from_seq_nr=1))
    eventually(lambda: seen(one) == {"a": [1, 2], "b": [1, 2]})
    add(writer, *"ba")
    eventually(lambda: seen(one)["b"] == [1, 2, 3] and passed(other, writer))
    assert seen(other) == {"a": [1, 2, 3]}


def test_what_follows_a_replay_is_filtered_again(
    writer: Writer, serve: Any, consume: Any, read_model: Path
) -> None:
    """A tag brings what came before it, not what comes after it."""
    _, port = serve()
    remote = Remote("carts", f"127.0.0.1:{port}")
    consume(projection(read_model, remote, filter=Include.tags("large")))
    add(writer, *"aa")
    add(writer, "a", tags=("large",))
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3]})
    add(writer, "a")
    eventually(lambda: passed(read_model, writer))
    never(lambda: seen(read_model) != {"a": [1, 2, 3]}, within_s=0.2)
    add(writer, "a", tags=("large",))
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3, 4, 5]})


@pytest.mark.parametrize(
    ("wanted", "comes"),
    [(Include.tags("large"), [1, 2, 3]), (Exclude.entity_ids("z"), [3]), (Filter(), [3])],
)
def test_what_a_stream_begins_to_show_comes_before_the_entitys_next_event(
    writer: Writer, serve: Any, consume: Any, read_model: Path, wanted: Filter, comes: list[int]
) -> None:
    """To a projection whose own filter may have left it out; to others a jump in seq_nr is what
    the stream withheld. As long as it was withheld nobody got it."""
    _, port = serve(streams=(Stream("carts", "cart", filter=Exclude.tags("secret")),))
    remote = Remote("carts", f"127.0.0.1:{port}")
    consume(projection(read_model, remote, filter=wanted))
    slice_ = slice_of("a", writer.slices)

    def shown() -> int:
        found = asked(port, "look_up", Lookup("a", slice_, 1), PLENTY, "")
        return len(events_in(slice_, found.commits))

    add(writer, *"aa", tags=("secret", "large"))
    eventually(lambda: passed(read_model, writer))
    assert (seen(read_model), shown()) == ({}, 0)
    set_stream_filter(writer.journal, "carts", Filter())
    eventually(lambda: shown() == 2)
    assert seen(read_model) == {}
    add(writer, "a", tags=("large",))
    eventually(lambda: seen(read_model) == {"a": comes})


def test_what_is_brought_later_is_what_the_stream_shows(
    writer: Writer, serve: Any, consume: Any, read_model: Path
) -> None:
    """Public types, without what its own filter withholds and its transform leaves out: no hole."""
    public = TO_PUBLIC.drop(Unknown)
    shown = Stream("public", Cart, public, [PublicAdded], filter=Exclude.tags("secret"))
    _, port = serve(streams=(shown,))
    remote, unwanted = Remote("public", f"127.0.0.1:{port}"), Exclude.entity_ids("a")
    settings = {"handler": CountPublic, "events": [PublicAdded], "filter": unwanted}
    running, _ = consume(projection(read_model, remote, **settings))
    for sku, quantity, tag in (("fig", 1, "x"), ("fig", 0, "x"), ("fig", 1, "secret")):
        writer.add([("a", Added(sku, quantity))], (tag,))
    writer.add([("a", Unknown("never shown"))])
    writer.add([("a", Added("pear", 2)), ("b", Added("pear", 2))])
    eventually(lambda: passed(read_model, writer))
    change(read_model, Include.entity_ids("a"))
    eventually(lambda: seen(read_model) == {"a": [1, 5], "b": [1]})
    eventually(lambda: not debts(read_model))
    writer.add([("a", Unknown("never shown")), ("a", Added("pear", 1))])
    eventually(lambda: seen(read_model) == {"a": [1, 5, 7], "b": [1]})
    assert running.status().restarts == 0


class Misspelt(CountItems):
    """Its second statement names a table that may not be there."""

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        super().handle(event, tx)
        if event.payload.sku == "pear":
            tx.execute("insert into pears values (?)", (event.seq_nr,))


def test_a_wrong_statement_takes_its_event_back_and_is_tried_from_there(
    writer: Writer, serve: Any, consume: Any, read_model: Path
) -> None:
    """Nothing of that event stays, all before it does; mended, it goes on with it, once."""
    _, port = serve()
    remote = Remote("carts", f"127.0.0.1:{port}")
    writer.add([("a", Added(sku, 1)) for sku in ("apple", "apple", "pear", "apple")])
    running, _ = consume(projection(read_model, remote, handler=Misspelt))
    status = eventually(lambda: (s := running.status()).restarts > 1 and s)
    assert "no such table: pears" in status.error
    assert seen(read_model) == {"a": [1, 2]}
    assert sum(offsets(read_model).values()) == 2
    execute(read_model, "create table pears(nr integer)")
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3, 4]})
    assert rows(read_model, "select nr from pears") == [(3,)]
