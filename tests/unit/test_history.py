"""What a consumer without full history gets of one slice: states in places of what they stand
for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thespian_dc.journal.api import StateRow
from thespian_dc.journal.memory import MemoryJournal, MemoryStorage
from thespian_dc.model.errors import CorruptRecordError, TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import records_of
from thespian_dc.model.stream_errors import HistoryMovedError
from thespian_dc.projection import history as module
from thespian_dc.projection.api import Chosen, Judge, Restored, SliceHistory
from thespian_dc.testkit.journal_cases.storage import SLICES, TYPE, Writer

KEY = SliceKey(TYPE, 1)
Item = tuple[str, str, int, int]
"""("state" | "event", entity, seq_nr, offset)."""


class Log:
    """A journal with one slice, and what stands in it."""

    def __init__(self) -> None:
        self.journal = MemoryJournal("memory:history", MemoryStorage(1 << 10))
        self.journal.slices(TYPE, SLICES)
        self.writer = Writer(self.journal, KEY).take_over()
        self.records: list[tuple[str, int]] = []  # (entity, seq_nr) by offset

    def write(self, *entity_ids: str) -> None:
        commit = self.writer.write(*entity_ids)
        self.records += [(r.entity_id, r.seq_nr) for r in records_of(commit)]

    def keep(self, offset: int, body: bytes = b"state") -> None:
        """Store the state as of this record."""
        entity_id, seq_nr = self.records[offset]
        self.journal.write_states(KEY, [StateRow(entity_id, seq_nr, offset, body)])

    def trim(self, until: int) -> int:
        self.journal.advance_index(KEY, len(self.records))
        return self.journal.trim(KEY, until)


@dataclass
class Reader:
    """Reads a history to its end, then the rest of the log as every consumer does."""

    log: Log
    offset: int = 0
    judge: Judge | None = None
    remembered_max: int = 1000
    items: list[Item] = field(default_factory=list)

    def __post_init__(self) -> None:
        head = self.log.journal.find_head(KEY).head
        self.history = SliceHistory(
            self.log.journal, KEY, self.offset, head, self.remembered_max, page_bytes=150
        )

    def run(self, between: Callable[[], None] = lambda: None) -> list[Item]:
        while not self.history.done:
            self.page()
            between()
        at = self.history.offset
        rest = self.log.records[at:]
        self.items += [("event", id_, nr, at + i) for i, (id_, nr) in enumerate(rest)]
        return self.items

    def page(self) -> None:
        before = self.history.offset
        for part in self.history.next(self.judge):
            assert self._first(part) <= before < part.end_offset
            found = [
                ("state", placed.row.entity_id, placed.row.seq_nr, placed.row.offset)
                for placed in part.states
            ]
            if isinstance(part, Chosen):
                wanted = range(part.commit.count) if part.wanted is None else part.wanted
                for index, record in enumerate(records_of(part.commit)):
                    if index in wanted:
                        offset = part.commit.base_offset + index
                        found.append(("event", record.entity_id, record.seq_nr, offset))
            found.sort(key=lambda item: item[3])
            assert all(item[3] < part.end_offset for item in found)
            self.items += [item for item in found if item[3] >= before]
            before = part.end_offset
        assert self.history.offset == before

    @staticmethod
    def _first(part: Chosen | Restored) -> int:
        return part.commit.base_offset if isinstance(part, Chosen) else part.first_offset


def by_entity(items: Sequence[Item]) -> dict[str, list[tuple[str, int]]]:
    found = defaultdict(list)
    for kind, entity_id, seq_nr, _ in items:
        found[entity_id].append((kind, seq_nr))
    return found


def test_a_state_stands_for_all_before_it_at_its_own_place() -> None:
    log = Log()
    for names in ("ab", "ab", "ac", "ba"):
        log.write(*names)
    log.keep(2)  # a's second
    log.keep(6)  # b's third
    assert Reader(log).run() == [
        ("state", "a", 2, 2), ("event", "a", 3, 4), ("event", "c", 1, 5),
        ("state", "b", 3, 6), ("event", "a", 4, 7),
    ]  # fmt: skip


def test_a_state_below_the_position_is_not_brought_again() -> None:
    """A call that goes on where another broke off: no entity's state comes twice."""
    log = Log()
    for _ in range(4):
        log.write("a", "b")
    log.keep(2)
    log.keep(5)
    assert Reader(log, offset=4).run() == [
        ("event", "a", 3, 4), ("state", "b", 3, 5), ("event", "a", 4, 6), ("event", "b", 4, 7),
    ]  # fmt: skip


def test_what_is_written_later_comes_as_it_is() -> None:
    """The states of what is above the head of the call are nobody's history."""
    log = Log()
    log.write("a")
    reader = Reader(log)
    log.write("a", "b")
    log.keep(2)
    assert reader.run() == [("event", "a", 1, 0), ("event", "a", 2, 1), ("event", "b", 1, 2)]


def test_a_state_that_moves_above_the_head_is_brought_there() -> None:
    """Its older form is gone, and its records were dropped already."""
    log = Log()
    for _ in range(20):
        log.write("a", "b")
    log.keep(38)
    reader = Reader(log)
    reader.page()
    assert [item for item in reader.items if item[1] == "a"] == []
    log.write("a", "b", "a", "a")
    log.keep(42)
    items = by_entity(reader.run())
    assert items["a"] == [("state", 22), ("event", 23)]
    assert items["b"] == [("event", n) for n in range(1, 22)]


def test_a_state_that_is_gone_is_named_where_its_records_were_dropped() -> None:
    log = Log()
    for _ in range(20):
        log.write("a", "b")
    log.keep(38)
    reader = Reader(log)
    reader.page()
    log.journal.delete_state(KEY, "a")
    with pytest.raises(CorruptRecordError, match="its stored state is gone"):
        reader.run()


def test_a_state_of_a_log_that_was_longer_is_not_believed() -> None:
    """A journal restored from a copy, its states from a later one."""
    log = Log()
    log.write("a", "a")
    log.journal.write_states(KEY, [StateRow("a", 9, 900, b"")])
    assert Reader(log).run() == [("event", "a", 1, 0), ("event", "a", 2, 1)]


def test_states_that_move_on_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_BYTES_MAX", 100)
    log = Log()
    for _ in range(3):
        log.write(*"abcd")
    reader = Reader(log)
    log.write(*"abcd")
    for offset in range(12, 16):
        log.keep(offset, b"x" * 30)
    with pytest.raises(HistoryMovedError) as caught:
        reader.run()
    assert caught.value.retryable
    assert by_entity(Reader(log).run()) == {id_: [("state", 4)] for id_ in "abcd"}


def test_a_state_that_would_not_pass_replaces_nothing() -> None:
    """Else a consumer would get neither the events nor the state."""
    log = Log()
    for _ in range(2):
        log.write("a", "b")
    log.keep(2)
    log.keep(3)
    seen = []

    def judge(row: StateRow, tags: Sequence[str]) -> bool:
        seen.append((row.entity_id, list(tags)))
        return row.entity_id == "b"

    items = by_entity(Reader(log, judge=judge).run())
    assert items == {"a": [("event", 1), ("event", 2)], "b": [("state", 2)]}
    assert seen == [("a", ["t"]), ("b", ["t"])]


def test_below_the_trim_mark_states_come_first_in_order() -> None:
    log = Log()
    for names in ("abc", "cab", "abc", "bca"):
        log.write(*names)
    for offset in (4, 3, 9):  # a, c, b
        log.keep(offset)
    assert log.trim(6) == 6
    reader = Reader(log)
    reader.page()
    assert reader.items == [("state", "c", 2, 3), ("state", "a", 2, 4)]
    assert reader.history.offset == 6
    assert by_entity(reader.run()) == {
        "a": [("state", 2), ("event", 3), ("event", 4)],
        "b": [("state", 4)],
        "c": [("state", 2), ("event", 3), ("event", 4)],
    }


def test_records_behind_a_state_that_were_trimmed_are_named() -> None:
    """Also where the entity has no record behind the mark that would show the gap."""
    log = Log()
    log.write("a", "a", "b")
    log.keep(0)
    log.keep(2)
    log.trim(3)
    with pytest.raises(TrimmedError, match=r"\|a"):
        Reader(log).run()


def test_trimmed_states_come_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than are listed at a time, and than fit a page."""
    monkeypatch.setattr(module, "RESTORED_MAX", 7)
    monkeypatch.setattr(module, "_READ_ROWS", 3)
    monkeypatch.setattr(module, "_LIST_ROWS", 4)
    log = Log()
    names = [f"e-{n}" for n in range(30)]
    log.write(*names)
    for offset in range(30):
        log.keep(offset, b"x" * 40)
    log.write("last")
    log.trim(30)
    reader = Reader(log)
    reader.page()
    assert 0 < len(reader.items) < 10
    items = reader.run()
    assert items == [
        *(("state", name, 1, offset) for offset, name in enumerate(names)),
        ("event", "last", 1, 30),
    ]


def test_an_entity_that_was_trimmed_without_a_state_is_named() -> None:
    log = Log()
    log.write("a", "b")
    log.write("a", "b")
    log.keep(0)
    log.trim(2)
    with pytest.raises(TrimmedError, match=r"\|b"):
        Reader(log).run()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.lists(st.sampled_from("abcde"), min_size=1, max_size=4)),
        st.tuples(st.just("keep"), st.integers(0, 200)),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(before=STEPS, during=st.lists(STEPS, max_size=6), cut=st.integers(0, 30),
       remembered=st.sampled_from([1, 1000]))  # fmt: skip
def test_each_entity_comes_as_one_state_and_all_behind_it(
    before: list[tuple[str, object]], during: list[list[tuple[str, object]]], cut: int,
    remembered: int,
) -> None:  # fmt: skip
    """Whatever is written, and whichever states move on, while it is read; wherever it begins."""
    log = Log()

    def do(steps: list[tuple[str, object]]) -> None:
        for what, value in steps:
            if what == "write":
                log.write(*value)  # type: ignore[misc]
            elif log.records:
                log.keep(value % len(log.records))  # type: ignore[operator]

    do([("write", list("abcde")), *before])
    start = min(cut, len(log.records))
    reader = Reader(log, offset=start, remembered_max=remembered)
    turns = iter(during)
    items = by_entity(reader.run(between=lambda: do(next(turns, []))))
    first = dict(reversed(log.records[start:]))  # the first seq_nr of each behind the start
    last = dict(log.records)
    assert set(items) == set(first)
    for entity_id, got in items.items():
        states = [seq_nr for kind, seq_nr in got if kind == "state"]
        assert len(states) <= 1 or remembered == 1
        assert [seq_nr for _, seq_nr in got] == sorted({seq_nr for _, seq_nr in got})
        at = states[-1] if states else first[entity_id]
        behind = [seq_nr for _, seq_nr in got if seq_nr >= at]
        assert behind == list(range(at, last[entity_id] + 1))
        if states and remembered > 1:
            assert got[0] == ("state", at)
