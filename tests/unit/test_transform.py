"""What a stream shows of a commit, type by type: a Transformation, and a function for all."""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from thespian_dc.codec.api import Registry
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import (
    CHANGE_META,
    DELETED_MANIFEST,
    EVENT,
    STATE,
    Commit,
    Record,
    make_commit,
    pack_record,
    records_of,
)
from thespian_dc.model.settings import Settings, Stream
from thespian_dc.model.stream_errors import TransformError, UnmappedEventError
from thespian_dc.model.transformation import Transformation
from thespian_dc.stream import transform
from thespian_dc.stream.transform import view_for, whole_commit


@dataclass(frozen=True, slots=True)
class Added:
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Charged:
    card: str


@dataclass(frozen=True, slots=True)
class Renamed:
    name: str


@dataclass(frozen=True, slots=True)
class Total:
    items: int


@dataclass(frozen=True, slots=True)
class Public:
    what: str


class Cart:
    """As much of an entity class as a stream looks at."""

    entity_type = "cart"
    events = (Added, Charged, Renamed)
    states = (Total,)


STORED = Registry([Added, Charged, Renamed, Total])
KEY = SliceKey("cart", 3)


def commit_of(*payloads: Any, **changes: Any) -> Commit:
    """A commit of one entity's events."""
    packed = []
    for number, payload in enumerate(payloads, 1):
        manifest, encoded = STORED.encode(payload)
        record = Record(EVENT, "c-1", number, manifest, encoded, ["t:x"], "command", b"reply")
        packed.append(("c-1", pack_record(record._replace(**changes))))
    return make_commit(KEY, 40, b"w" * 16, 1, 7, packed)


def public_item(event: Added) -> Public:
    return Public(f"{event.quantity} {event.sku}")


def placed(event: Envelope[Any]) -> Public:
    return Public(f"{event.entity_id} {event.seq_nr} {event.slice} {event.offset} {event.tags}")


def only_few(event: Added) -> Public | None:
    return public_item(event) if event.quantity < 5 else None


def broken(event: Added) -> Public:
    raise ValueError(event.sku)


def leaves(event: Added) -> Public:
    sys.exit(event.sku)


async def leaves_later(event: Added) -> Public:
    sys.exit(event.sku)


def undeclared(event: Added) -> Total:
    return Total(1)


def deleted(state: None) -> Public:
    return Public("deleted")


class Async:
    """Asynchronous transforms, and what they saw."""

    running = 0
    most = 0
    finished: list[int] = []  # noqa: RUF012  of the test at hand


async def later_the_smaller(event: Added) -> Public:
    """The later in the stream, the sooner it is done."""
    Async.running += 1
    Async.most = max(Async.most, Async.running)
    for _ in range(100 - event.quantity):
        await asyncio.sleep(0)
    Async.running -= 1
    Async.finished.append(event.quantity)
    return public_item(event)


async def never(event: Added) -> Public:
    await asyncio.Event().wait()
    return public_item(event)


async def broken_later(event: Added) -> Public:
    await asyncio.sleep(0)
    raise ValueError(event.sku)


def shown(stream: Stream, commit: Commit) -> list[tuple[int, str, Any]]:
    """(offset, manifest, payload) of what passes."""
    view: Any = view_for(stream)
    seen = view(commit)
    seen = asyncio.run(seen) if asyncio.iscoroutine(seen) else seen
    if not seen.body:
        return []
    registry = Registry([Public, Added, Renamed, Total])
    kept = seen.kept or range(commit.count)
    packed: Any = seen.body
    records = [Record(*fields) for fields in transform.msgpack.unpackb(packed)]
    assert all(r.command_id == "" and r.reply is None for r in records)
    assert all(list(r.tags) == ["t:x"] and r.entity_id == "c-1" for r in records)
    return [
        (seen.first_offset + index, r.manifest, registry.decode(r.manifest, r.payload))
        for index, r in zip(kept, records, strict=True)
    ]


def stream(to_public: Any, events: Sequence[type] = (Public,)) -> Stream:
    return Stream("carts", Cart, to_public, events)


def test_each_type_has_its_own_step() -> None:
    """Payload or envelope, as it is, dropped, and the rest: all in one stream."""
    to_public = Transformation().payload(Added, public_item).drop(Charged).identity(Renamed)
    found = shown(stream(to_public), commit_of(Added("a", 2), Charged("4111"), Renamed("x")))
    assert found == [(40, "Public/1", Public("2 a")), (42, "Renamed/1", Renamed("x"))]
    found = shown(stream(to_public), commit_of(Charged("4111")))
    assert found == []
    found = shown(
        stream(Transformation().envelope(Renamed, placed).otherwise(placed)),
        commit_of(Renamed("x"), Added("a", 1)),
    )
    assert [payload.what for _, _, payload in found] == [
        "c-1 1 3 40 ['t:x']", "c-1 2 3 41 ['t:x']",
    ]  # fmt: skip


def test_a_function_for_all_stays_allowed() -> None:
    found = shown(stream(placed), commit_of(Added("a", 1)))
    assert found == [(40, "Public/1", Public("c-1 1 3 40 ['t:x']"))]


def test_a_step_may_drop_single_events() -> None:
    """None: left out; the others keep their offsets."""
    to_public = Transformation().payload(Added, only_few)
    found = shown(stream(to_public), commit_of(Added("a", 9), Added("b", 1), Added("c", 9)))
    assert found == [(41, "Public/1", Public("1 b"))]


def test_an_unmapped_type_is_named_and_never_dropped() -> None:
    to_public = Transformation().payload(Added, public_item)
    with pytest.raises(UnmappedEventError) as caught:
        shown(stream(to_public), commit_of(Added("a", 1), Renamed("x")))
    error = caught.value
    assert (error.manifest, error.entity_id, error.offset) == ("Renamed/1", "c-1", 41)
    assert "Renamed" in str(error)


@pytest.mark.parametrize("fails", [broken, broken_later, undeclared, leaves, leaves_later])
def test_a_step_that_fails_names_the_event(fails: Any) -> None:
    """sys.exit, too: it would end the loop of all streams."""
    to_public = Transformation().payload(Added, fails).identity(Renamed)
    with pytest.raises(TransformError) as caught:
        shown(stream(to_public), commit_of(Renamed("x"), Added("a", 1), Added("b", 1)))
    assert (caught.value.offset, caught.value.slice) == (41, 3)


def test_asynchronous_steps_keep_the_order_and_are_bounded() -> None:
    Async.most, Async.finished = 0, []
    to_public = Transformation().payload(Added, later_the_smaller).identity(Renamed)
    events = [Added("a", n) if n % 10 else Renamed(str(n)) for n in range(90)]
    found = shown(stream(to_public), commit_of(*events))
    assert [offset for offset, _, _ in found] == list(range(40, 130))
    assert [payload.what for _, kind, payload in found if kind == "Public/1"] == [
        f"{n} a" for n in range(90) if n % 10
    ]
    assert Async.finished != sorted(Async.finished)  # they did overtake each other
    assert 1 < Async.most <= transform.PARALLEL


def test_an_asynchronous_step_that_never_ends_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transform, "TRANSFORM_S", 0.01)
    with pytest.raises(TransformError, match="TimeoutError"):
        shown(stream(Transformation().payload(Added, never)), commit_of(Added("a", 1)))


def test_a_durable_state_is_mapped_by_its_change_or_its_state() -> None:
    """The change event where the record has one, else the state; None where it was deleted."""
    to_public = Transformation().payload(Added, public_item).identity(Total)
    state = {"kind": STATE}
    change = {CHANGE_META: list(STORED.encode(Added("a", 1)))}
    found = shown(stream(to_public), commit_of(Total(5), **state, meta=change))
    assert found == [(40, "Public/1", Public("1 a"))]
    assert shown(stream(to_public), commit_of(Total(5), **state)) == [(40, "Total/1", Total(5))]
    gone = commit_of(Total(5), **state, manifest=DELETED_MANIFEST, payload=b"")
    with pytest.raises(UnmappedEventError, match=r"\$deleted"):
        shown(stream(to_public), gone)
    to_public = to_public.payload(type(None), deleted)
    assert shown(stream(to_public), gone)[0][2] == Public("deleted")


@pytest.mark.parametrize("to_public", [None, Transformation().identity(Added, Renamed)])
def test_only_what_is_wanted_is_looked_at(to_public: Any) -> None:
    """A record that is not wanted is not decoded: of an unmapped type it does no harm."""
    view: Any = view_for(stream(to_public))
    seen = view(commit_of(Charged("4"), Added("a", 1), Charged("5"), Renamed("b")), {1, 3})
    assert tuple(seen.kept) == (1, 3)
    fields = transform.msgpack.unpackb(seen.body)
    assert [f[3] for f in fields] == ["Added/1", "Renamed/1"]
    assert view(commit_of(Charged("4")), set()).body == b""


def test_without_a_transform_the_stored_bytes_pass() -> None:
    commit = commit_of(Added("a", 1), Charged("4"))
    assert view_for(stream(None)) is whole_commit
    assert whole_commit(commit).body is commit.body
    every = whole_commit(commit, {0, 1})
    assert (every.body, every.kept) == (commit.body, ())
    assert [r.manifest for r in records_of(commit)] == ["Added/1", "Charged/1"]


def test_a_type_stands_once() -> None:
    with pytest.raises(SettingsError, match="names Added twice"):
        Transformation().payload(Added, public_item).drop(Renamed, Added)
    with pytest.raises(SettingsError, match="otherwise"):
        Transformation().otherwise(placed).otherwise(placed)
    with pytest.raises(SettingsError, match="goes by type"):
        Transformation().drop("Added")  # type: ignore[arg-type]


def test_what_another_process_cannot_import_is_refused_at_once() -> None:
    class Local:
        pass

    for wrong in (
        Transformation().payload(Added, lambda event: Public(event.sku)),
        Transformation().identity(Local),
        Transformation().otherwise(5),  # type: ignore[arg-type]
    ):
        with pytest.raises(SettingsError, match="transform must be a class or function at the top"):
            stream(wrong)


def test_a_transformation_travels_to_the_producers_process() -> None:
    to_public = Transformation().payload(Added, only_few).drop(Charged).otherwise(placed)
    assert pickle.loads(pickle.dumps(to_public)) == to_public


@pytest.mark.parametrize("name", ["", "a|b", "x" * 256, None])
def test_a_stream_has_a_name(name: Any) -> None:
    with pytest.raises(SettingsError, match="stream_id"):
        Stream(name, Cart)


def test_a_transformation_names_something() -> None:
    """Each method returns another one: what one returned may have been forgotten. It is refused
    before anything starts, not at the first event."""
    with pytest.raises(SettingsError, match="transform names no type"):
        Stream("public", "cart", Transformation())
    assert Stream("public", "cart", Transformation().identity(Added)).transform


def test_stream_names_are_unique() -> None:
    with pytest.raises(SettingsError, match="stream_id 'carts' stands twice"):
        Settings(
            service="shop", listen="127.0.0.1:0",
            streams=[Stream("carts", Cart), Stream("wagons", Cart), Stream("carts", "cart")],
        )  # fmt: skip
