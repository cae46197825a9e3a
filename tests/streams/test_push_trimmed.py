"""A destination whose log is trimmed: what it knows of each source outlives the records that said
so. All that is pushed again is recognised, and each entity's own seq_nr goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.streams.material import ENTITY_TYPE, Added, Writer, counted, projection, rows
from tests.streams.pushing import (
    FAR_SLICES,
    FAR_TYPE,
    ON_BOTH,
    Ends,
    destination,
    error_of,
    forget,
)
from tests.streams.test_kills import Load, in_order
from thespian_dc.cli.main import main
from thespian_dc.journal.api import Journal, StateRow
from thespian_dc.model.errors import CorruptPayloadError
from thespian_dc.model.history import History
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.push_errors import DestinationTrimmedError, NotADestinationError
from thespian_dc.model.record import EVENT, Record
from thespian_dc.model.settings import Local, Push, Stream
from thespian_dc.model.state_body import pack_state
from thespian_dc.projection.api import (
    RunningProjection,
    local_source,
    note_consumer,
    start_projection,
)
from thespian_dc.shell.clock import now_us
from thespian_dc.stream import push_core as key
from thespian_dc.stream.destination_baselines import remembered
from thespian_dc.stream.destination_trimming import trim_destination
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.stream.server import StreamServer
from thespian_dc.testkit.eventually import eventually, never

ENTITIES = [f"c-{n}" for n in range(7)]


class Both:
    """A node that pushes, and the one that takes it."""

    def __init__(self, shop_url: str, far_url: str) -> None:
        self._shop_url, self._far_url = shop_url, far_url
        self._servers: list[StreamServer] = []

    def start(self) -> StreamServer:
        """Both; the pusher is returned."""
        far = StreamServer(StartProducer("far", self._far_url, (), "127.0.0.1:0", FAR_SLICES,
                                         destinations=(destination(),)))  # fmt: skip
        self._servers.append(far)
        push = Push(Stream("carts", ENTITY_TYPE), f"127.0.0.1:{far.start()}")
        shop = StreamServer(
            StartProducer("shop", self._shop_url, (), "", FAR_SLICES, pushes=(push,))
        )
        self._servers.append(shop)
        shop.start()
        return shop

    def stop(self) -> None:
        while self._servers:
            self._servers.pop().stop()


@pytest.fixture
def both(writer: Writer, journal_url: str, far_url: str) -> Iterator[Both]:
    found = Both(journal_url, far_url)
    yield found
    found.stop()


def written(far: Journal) -> int:
    """Events so far, deleted ones too."""
    return sum(far.find_head(SliceKey(FAR_TYPE, n)).head for n in range(FAR_SLICES))


def has_written(far: Journal, events: int) -> bool:
    return written(far) == events


def has_more(far: Journal, events: int) -> bool:
    return written(far) > events


def key_of(entity_id: str) -> SliceKey:
    return SliceKey(FAR_TYPE, slice_of(entity_id, FAR_SLICES))


def left(far: Journal, entity_id: str, from_seq_nr: int) -> list[tuple[int, int]]:
    """(own seq_nr, the source's) of an entity's records from this one on."""
    found = far.read_entity(key_of(entity_id), entity_id, from_seq_nr)
    return [(one.record.seq_nr, (one.record.meta or {})[key.SEQ_NR]) for one in found]


def push_all(both: Both, writer: Writer, far: Journal) -> None:
    """100 events of 7 entities, all of them there; both nodes are stopped then."""
    writer.add([(ENTITIES[n % 7], Added("apple", 1)) for n in range(100)])
    both.start()
    eventually(partial(has_written, far, 100), deadline_s=60)
    both.stop()


@pytest.mark.timeout(240)
@ON_BOTH
def test_what_is_deleted_is_recognised_when_it_comes_again(
    writer: Writer, both: Both, far: Journal, far_url: str
) -> None:
    """All of it was deleted, and all of it comes again; twice, with events in between."""
    push_all(both, writer, far)
    for round_ in (1, 2):
        after = [(one.after, one.head) for one in trim_destination(far, FAR_TYPE)]
        assert all(trimmed == head for trimmed, head in after)
        assert sum(trimmed for trimmed, _ in after) == 99 + round_
        forget(far_url)  # as after a crash before any position was stored
        writer.add([("c-1", Added("pear", 1))])
        both.start()
        eventually(partial(has_written, far, 100 + round_), deadline_s=60)
        never(partial(has_more, far, 100 + round_), within_s=0.3)
        both.stop()
        assert left(far, "c-1", 15 + round_) == [(15 + round_, 15 + round_)]
        assert far.verify() == []


@pytest.mark.timeout(240)
@ON_BOTH
def test_a_log_that_was_deleted_otherwise_takes_nothing_by_name(
    writer: Writer, both: Both, far: Journal, far_url: str
) -> None:
    """Nobody can tell what comes from what was there: nothing is written, and both ends say why."""
    push_all(both, writer, far)
    at = key_of("c-1")
    far.advance_index(at, far.find_head(at).head)
    assert far.trim(at, 99) > 0
    forget(far_url)
    pusher = both.start()
    eventually(lambda: "DestinationTrimmedError" in error_of(pusher))
    assert "destination-trim" in error_of(pusher)
    assert written(far) == 100
    writer.add([("c-1", Added("pear", 1))])
    never(lambda: written(far) != 100, within_s=0.3)
    both.stop()
    meta = {key.ORIGIN: "shop", key.STREAM: "carts", key.ENTITY_ID: "c-1", key.SEQ_NR: 16}
    other = Writer(far.url, FAR_SLICES, FAR_TYPE)  # of what is missing it makes no row either
    other.put([Record(EVENT, "c-1", 16, "Added", b"{}", (), meta=meta)])
    other.close()
    with pytest.raises(DestinationTrimmedError):
        trim_destination(far, FAR_TYPE)


@pytest.mark.timeout(240)
@ON_BOTH
def test_trimmed_while_an_entity_is_read(
    writer: Writer, both: Both, far: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records go between two pages: the row that stands for them is read instead."""
    push_all(both, writer, far)
    at, read = key_of("c-1"), far.read_entity
    calls = 0

    def read_and_trim(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        found = read(*arguments)  # type: ignore[arg-type]
        if calls == 1:
            trim_destination(far, FAR_TYPE)
        return found

    monkeypatch.setattr(far, "read_entity", read_and_trim)
    below, records = remembered(far, at, "c-1", far.find_head(at).head)
    known = key.after(below, records)
    assert (known.seq_nr, dict(known.sources)) == (15, {("shop", "carts", "c-1"): 15})


def test_a_projection_holds_what_it_has_not_passed(
    writer: Writer, both: Both, far: Journal
) -> None:
    """By where it began, or by name it is not waited for; a dry run deletes nothing."""
    push_all(both, writer, far)
    slice_ = key_of("c-1").slice
    note_consumer(far, FAR_TYPE, "local far/sales", {slice_: 3}, now_us())
    held = trim_destination(far, FAR_TYPE, dry_run=True)[slice_]
    assert (held.before, held.after, held.held[0].by) == (0, 3, "local far/sales")
    assert left(far, "c-1", 1) == [(n, n) for n in range(1, 16)]
    assert trim_destination(far, FAR_TYPE)[slice_].after <= 3
    gone = trim_destination(far, FAR_TYPE, without=["local far/sales"])[slice_]
    assert (gone.after, gone.held) == (gone.head, ())


def test_only_what_was_pushed_is_trimmed_so(writer: Writer) -> None:
    """An entity's own log has states of its own, and another verb."""
    writer.add([("c-1", Added("apple", 1))])
    with pytest.raises(NotADestinationError, match="c-1 at cart/"):
        trim_destination(writer.journal, ENTITY_TYPE)
    assert len(writer.journal.read(SliceKey(ENTITY_TYPE, slice_of("c-1", 4)), 0)) == 1
    with pytest.raises(NotADestinationError, match="no such type"):
        trim_destination(writer.journal, "nothing")


def test_a_state_is_not_taken_for_what_was_pushed(far: Journal) -> None:
    """Some other version wrote it: nothing is deleted behind what cannot be read."""
    at, state = key_of("c-1"), pack_state("Cart", b"{}", [])
    far.write_states(at, [StateRow("c-1", 1, 0, state)])
    meta = {key.ORIGIN: "shop", key.STREAM: "carts", key.ENTITY_ID: "c-1", key.SEQ_NR: 1}
    other = Writer(far.url, FAR_SLICES, FAR_TYPE)
    other.put([Record(EVENT, "c-1", 1, "Added", b"{}", (), meta=meta)])
    other.close()
    with pytest.raises(CorruptPayloadError, match="does not say what was pushed"):
        trim_destination(far, FAR_TYPE)
    assert left(far, "c-1", 1) == [(1, 1)]


def test_a_stored_row_is_taken_for_no_state(
    writer: Writer, both: Both, far: Journal, far_url: str, tmp_path: Path
) -> None:
    """Who asks for a history of states gets a named error that says what to ask for."""
    push_all(both, writer, far)
    trim_destination(far, FAR_TYPE)
    source = Local(FAR_TYPE, history=History.LATEST)
    running = start_projection(
        projection(tmp_path / "read.db", source), lambda: local_source(source, far_url)
    )
    eventually(lambda: CorruptPayloadError.__name__ in str(running.status().error))
    assert "History.FULL" in str(running.status().error)
    running.stop()


def test_the_verb_says_what_it_deleted(
    writer: Writer, both: Both, far: Journal, far_url: str
) -> None:
    """A line per slice; what it must not touch is one line of error."""
    push_all(both, writer, far)
    arguments = ["destination-trim", FAR_TYPE, "--journal", far_url, "--json"]
    result = CliRunner().invoke(main, arguments)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert sum(one["after"] for one in found) == written(far) == 100
    assert {one["before"] for one in found} == {0}
    again = CliRunner().invoke(main, arguments)
    assert [json.loads(line)["before"] for line in again.stdout.splitlines()] == [
        one["after"] for one in found
    ]
    refused = CliRunner().invoke(main, ["destination-trim", "nothing", "--journal", far_url])
    assert isinstance(refused.exception, SystemExit)
    assert "name the entity_type of one of Settings.destinations" in refused.stderr


@pytest.fixture
def reading(far_url: str, tmp_path: Path, ends: Ends) -> Iterator[RunningProjection]:
    """An ordinary projection of what the destination writes."""
    running = start_projection(
        projection(tmp_path / "read.db", Local(FAR_TYPE)),
        lambda: local_source(Local(FAR_TYPE), far_url),
    )
    yield running
    assert running.stop()


def has_more_than(read_model: Path, handled: int) -> bool:
    return sum(counted(read_model).values()) > handled


class Trimming:
    """The verb again and again, on a thread, until stopped: it meets whatever the nodes do."""

    def __init__(self, far_url: str, read_model: Path) -> None:
        where = f"far/popularity=sqlite:///{read_model}"
        words = ["destination-trim", FAR_TYPE, "--journal", far_url, "--json"]
        self._words = [*words, "--projection", where]
        self.deleted = self.rounds = 0
        self.failed = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main)
        self._thread.start()

    def _main(self) -> None:
        while not self._stop.wait(0.02):
            done = CliRunner().invoke(main, self._words)
            if done.exit_code:
                self.failed = done.output
                return
            self.deleted = sum(json.loads(line)["after"] for line in done.stdout.splitlines())
            self.rounds += 1

    def deleted_more(self, than: int) -> bool:
        assert not self.failed, self.failed
        return self.deleted > than

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.processes
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("far_url", "kills", "events_per_s"),
    [
        ("sqlite", 4, 1000),
        pytest.param("cassandra", 3, 300, marks=pytest.mark.cassandra),
        pytest.param("cassandra", 30, 300, marks=[pytest.mark.cassandra, pytest.mark.soak]),
    ],
    indirect=["far_url"],
)
def test_trimmed_under_load_with_the_destination_killed(
    writer: Writer, far: Journal, far_url: str, tmp_path: Path, ends: Ends,
    reading: RunningProjection, kills: int, events_per_s: int,
) -> None:  # fmt: skip
    """Each time it is killed it also forgets how far it was: all comes again from the first event,
    most of which is deleted by then, or is deleted while it looks. Each event was handled once, in
    order, and no call ended because nobody could tell what was new."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("first", 1))])
    eventually(partial(has_more_than, read_model, 0), deadline_s=60)  # now its name is known
    load, trimming = Load(writer, events_per_s), Trimming(far_url, read_model)
    try:
        for _ in range(kills):
            eventually(partial(trimming.deleted_more, trimming.deleted), deadline_s=60)
            eventually(lambda: far.entry("pushed:carts:shop").version, deadline_s=60)
            ends.kill("far")
            forget(far_url)
            ends.start("far")
        expected = {**load.stop(), "first": 1}
        eventually(lambda: counted(read_model) == expected, deadline_s=120)
    finally:
        load.stop()
        trimming.stop()
    assert not trimming.failed, trimming.failed
    assert in_order(read_model)
    broken = ends.children["shop"].ask("broken")
    assert broken
    assert not [error for error in broken if error.startswith("DestinationTrimmedError")]
    for which in ("shop", "far"):
        ends.kill(which)
    assert written(far) == sum(writer.seq_nrs.values())
    assert rows(read_model, "select count(*) from seen") == [(written(far),)]
    assert far.verify() == []
    print(f"\npush: {kills} kills, {trimming.rounds} times trimmed, {trimming.deleted} of "
          f"{written(far)} events deleted, each handled once")  # fmt: skip
