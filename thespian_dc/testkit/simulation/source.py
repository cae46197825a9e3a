"""Where a simulated projection gets its batches: this one reads the journal slice by slice, over a
network that loses, doubles and reorders, and looks up what is owed in the journal, too: `LookUps`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from thespian_dc.journal.memory import MemoryJournal
from thespian_dc.model.criteria import UNFILTERED, VersionedFilter
from thespian_dc.model.errors import JournalError, ThespianDcError, TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import Position
from thespian_dc.model.record import SNAPSHOT_META, Commit, shown_as
from thespian_dc.model.stream_errors import HistoryMovedError
from thespian_dc.model.topics import PREFIX
from thespian_dc.projection.api import (
    CommitView,
    EntityReading,
    Facts,
    FactsCache,
    FilterInForce,
    LookedUp,
    Lookup,
    Selector,
    SliceHistory,
    SourceBatch,
    SourceDescription,
    append_empty,
)
from thespian_dc.projection.handling import records_in
from thespian_dc.projection.local import view_of
from thespian_dc.projection.local_history import LocalHistories, state_first, with_state
from thespian_dc.testkit.simulation.journal import SimulatedJournal
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.positions import Effect
from thespian_dc.testkit.simulation.process import Process

POLL_US = 40_000
SILENCE_US = 600_000
READ_BYTES = 2_000
LOOK_UP_US = 400_000
PLACES_MAX, PAGE_BYTES = 8, 500
PAGE = 4
"""Events of one answer to a lookup."""


class Ears(NamedTuple):
    """What a source calls, in its consumer's process."""

    started: Callable[[SourceDescription], None]
    batch: Callable[[SourceBatch, Sequence[Effect]], None]
    in_force: Callable[[FilterInForce], None]
    failed: Callable[[ThespianDcError], None]


class LookUps:
    """Reads of one entity, some of which are never answered."""

    def __init__(
        self, process: Process, journal: SimulatedJournal, entity_type: str, latest: bool = False
    ) -> None:
        self._process, self._journal, self._entity_type = process, journal, entity_type
        self._latest = latest

    def look_up(self, lookup: Lookup, on_answer: Callable[[LookedUp | None], None]) -> None:
        """on_answer is called once; None: no answer came."""
        key, answered = SliceKey(self._entity_type, lookup.slice), [False]
        memory = self._journal.memory

        def read_all() -> LookedUp | None:
            return looked_up(memory, key, lookup, self._latest, READ_BYTES, PAGE)

        def once(answer: LookedUp | None) -> None:
            if not answered[0]:
                answered[0] = True
                on_answer(answer)

        self._journal.call(self._process.name, read_all, self._process.into(once))
        self._process.after(LOOK_UP_US, once, None)


def looked_up(
    memory: MemoryJournal, key: SliceKey, lookup: Lookup, latest: bool, bytes_max: int, most: int
) -> LookedUp | None:
    """The answer from the journal; None where it is damaged, which the checker finds."""
    state, rest = state_first(memory, key, lookup) if latest else ([], lookup)
    try:
        answer = EntityReading(memory, key, rest, bytes_max, most).add_all(view_of)
    except JournalError:
        return None
    return with_state(answer, lookup, state)


class ShortHistory(LocalHistories):
    """Of one slice: in short pages, with few places remembered, so that states move on between."""

    def __init__(self, journal: MemoryJournal, key: SliceKey, offset: int, head: int) -> None:
        super().__init__(journal, {}, {})
        self._slices[key] = SliceHistory(journal, key, offset, head, PLACES_MAX, PAGE_BYTES)


class JournalSource:
    """Of slices of the journal. One source is started once."""

    def __init__(
        self, process: Process, network: Network, journal: SimulatedJournal, entity_type: str,
        slices: int, latest: bool = False,
    ) -> None:  # fmt: skip
        self._process, self._network, self._journal = process, network, journal
        self._entity_type, self._count, self._latest = entity_type, slices, latest
        self._all = entity_type, slices
        self._histories: dict[int, ShortHistory] = {}
        self._told: dict[int, int] = {}
        self._stopped = False
        self.look_up = LookUps(process, journal, entity_type, latest).look_up

    def start(
        self,
        journal_id: str,
        positions: Mapping[int, Position],
        wanted: VersionedFilter,
        slices: Sequence[int],
        ears: Ears,
    ) -> None:
        self._ears, self._wanted, world = ears, wanted, self._process.world
        self._stored = {s: positions[s].offset if s in positions else 0 for s in slices}
        self._reading = dict(self._stored)
        self._heard_us = dict.fromkeys(slices, world.now_us)
        self._in_force = dict.fromkeys(slices, UNFILTERED)
        self._selectors = dict.fromkeys(slices, _selector_of(UNFILTERED))
        for slice_ in slices:
            self._begin_history(slice_)
        self._process.after(100, self._describe)
        self._process.after(1_000, self._poll)

    def change_filter(self, wanted: VersionedFilter) -> None:
        self._wanted = wanted

    def handled(self, batch: SourceBatch) -> None:
        self._stored[batch.slice] = max(batch.next_offset, self._stored[batch.slice])
        self._heard_us[batch.slice] = self._process.world.now_us

    def stop(self) -> None:
        self._stopped = True

    def _describe(self) -> None:
        if not self._stopped:
            journal_id = self._journal.memory.journal_id
            self._ears.started(SourceDescription(journal_id, self._entity_type, self._count))

    def _poll(self) -> None:
        """Ask for what follows; where nothing came for long, from the stored position again."""
        if self._stopped:
            return
        heads = self._journal.heads(*self._all)
        for slice_ in self._reading:
            self._apply_filter(slice_)
            if self._process.world.now_us - self._heard_us[slice_] > SILENCE_US:
                self._heard_us[slice_] = self._process.world.now_us
                self._reading[slice_] = self._stored[slice_]
                self._begin_history(slice_)
            if slice_ in self._histories:
                self._read_history(slice_)
            elif self._reading[slice_] < heads[slice_]:
                self._read(slice_, self._reading[slice_])
        self._process.after(POLL_US, self._poll)

    def _begin_history(self, slice_: int) -> None:
        """Of what is there now, last states only."""
        if self._latest:
            key, head = SliceKey(self._entity_type, slice_), self._journal.heads(*self._all)[slice_]
            self._histories[slice_] = ShortHistory(
                self._journal.memory, key, self._reading[slice_], head
            )

    def _read_history(self, slice_: int) -> None:
        """Its next page; the log from there on, once it is over."""
        key, wanted = SliceKey(self._entity_type, slice_), self._in_force[slice_]
        try:
            page = self._histories[slice_].next(key, self._selectors[slice_])
        except (TrimmedError, HistoryMovedError) as error:
            self._fail(error)
            return
        if page is None:
            del self._histories[slice_]
        elif page:
            self._process.world.hit("projection: history read")
            self._hand_over(slice_, page, wanted)

    def _read(self, slice_: int, offset: int) -> None:
        key, memory = SliceKey(self._entity_type, slice_), self._journal.memory
        answer = self._process.into(lambda commits: self._on_read(slice_, offset, commits))

        def read() -> Sequence[Commit] | TrimmedError:
            try:
                return memory.read(key, offset, READ_BYTES)
            except TrimmedError as error:
                return error

        self._journal.call(self._process.name, read, answer)

    def _fail(self, error: ThespianDcError) -> None:
        """As LocalSource: this one is over."""
        if not self._stopped:
            self.stop()
            self._process.after(0, self._ears.failed, error)

    def _on_read(self, slice_: int, offset: int, commits: Sequence[Commit] | TrimmedError) -> None:
        if self._stopped or not commits or offset != self._reading[slice_]:
            return
        if isinstance(commits, TrimmedError):
            self._fail(commits)
            return
        self._hand_over(slice_, [view_of(one) for one in commits], self._in_force[slice_])

    def _hand_over(self, slice_: int, views: list[CommitView], wanted: VersionedFilter) -> None:
        offset, head = self._reading[slice_], views[-1].end_offset
        self._reading[slice_] = head
        shown, selector = list[CommitView](), self._selectors[slice_]
        for view in (selector.select(slice_, one) for one in views):
            shown += [view] if view.body else []
            if not view.body:
                append_empty(shown, view)
        batch = SourceBatch(slice_, offset, head, head, shown, wanted.version)
        self._deliver(slice_, wanted.version, lambda: self._ears.batch(batch, effects_of(batch)))

    def _apply_filter(self, slice_: int) -> None:
        """Read under another filter from here on, and say so."""
        wanted = self._wanted
        if self._in_force[slice_] is not wanted:
            self._in_force[slice_] = wanted
            self._selectors[slice_] = _selector_of(wanted)
            said = FilterInForce(wanted.version, {slice_: self._reading[slice_]})
            self._deliver(slice_, wanted.version, lambda: self._ears.in_force(said))

    def _deliver(self, slice_: int, version: int, run: Callable[[], None]) -> None:
        """What a later filter has overtaken is lost: no source yields it after that one's word."""

        def arrives() -> None:
            if not self._stopped and version >= self._told.get(slice_, 0):
                self._told[slice_] = version
                run()

        self._network.send("source", self._process.name, self._process.into(arrives))


def _selector_of(wanted: VersionedFilter) -> Selector:
    return Selector(wanted, FactsCache(Facts), PREFIX)


def effects_of(batch: SourceBatch) -> list[Effect]:
    """What a handler would write down of all that a batch holds."""
    found = []
    for view in (one for one in batch.commits if one.body):
        for offset, record in records_in(view, "simulated", batch.slice, batch.base_offset):
            kind, entity_id, seq_nr, manifest, payload, *_, meta = record
            _, shown = shown_as(kind, manifest, payload, meta)
            whole = bool(meta and meta.get(SNAPSHOT_META))
            found.append(Effect(batch.slice, offset, entity_id, seq_nr, shown, whole))
    return found
