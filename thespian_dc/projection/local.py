"""The source over a journal that this process can open itself: polls it.

One thread per source reads the log, evaluates the filter and answers lookups. What is at the tail
comes after a pause of at most POLL_MS, or at once where somebody rings.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.criteria import UNFILTERED, VersionedFilter
from thespian_dc.model.errors import (
    JournalDivergedError,
    JournalUnavailableError,
    ThespianDcError,
    TrimmedError,
)
from thespian_dc.model.history import History
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import NO_WRITE_ID, START, Position
from thespian_dc.model.record import Commit, checksum_of, records_of
from thespian_dc.model.topics import PREFIX
from thespian_dc.projection.api import (
    HEADS_S,
    LOOK_UP_BYTES_MAX,
    LOOK_UP_EVENTS_MAX,
    FilterInForce,
    JournalPositions,
    LookUpFailed,
    SourceDescription,
    SourceEvents,
)
from thespian_dc.projection.consumers import note_consumer
from thespian_dc.projection.entity_reading import EntityReading
from thespian_dc.projection.local_history import LocalHistories, state_first, with_state
from thespian_dc.projection.selecting import Facts, FactsCache, Selector, append_empty
from thespian_dc.projection.views import CommitView, LookedUp, Lookup, SourceBatch
from thespian_dc.shell.clock import now_us

log = logging.getLogger(__name__)
T = TypeVar("T")
OnAnswer = Callable[[LookedUp | LookUpFailed], None]

POLL_MS = (2, 100)
"""Pause after a read that found something, and the greatest, reached by doubling while nothing
comes."""
READ_BYTES_MAX = 256 << 10
WAITING_BYTES_MAX = 4 << 20
"""Batches handed over and not yet handled; reading stops above it."""
BATCH_BYTES = 4 << 10
"""What a batch counts beside its bodies: also those of which nothing passes are bounded."""


class LocalSource:
    """Implements projection.api.Source over `journal_url`. name: of the projection, noted there."""

    def __init__(
        self, entity_type: str, journal_url: str, history: History = History.FULL, name: str = ""
    ) -> None:
        self._name = name
        self._entity_type, self._url, self._history = entity_type, journal_url, history
        self._histories: LocalHistories | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._lookups: deque[tuple[Lookup, OnAnswer]] = deque()  # bounded by the asker
        self._wanted = UNFILTERED
        self._selector = Selector(UNFILTERED, FactsCache(Facts), PREFIX)
        self.trouble = ""

    def start(
        self,
        journal_id: str,
        positions: Mapping[int, Position],
        filter_: VersionedFilter,
        slices: Sequence[int] | None,
        events: SourceEvents,
    ) -> None:
        """See Source.start."""
        self._wanted = filter_

        def run() -> None:
            try:
                self._run(journal_id, positions, slices, events)
            except Exception as error:  # noqa: BLE001 - the projection decides what comes next
                if not self._stopping:
                    events.failed(error)

        self._thread = threading.Thread(
            target=run, name=f"local source {self._entity_type}", daemon=True
        )
        self._thread.start()

    def change_filter(self, filter_: VersionedFilter) -> None:
        """See Source.change_filter."""
        self._wanted = filter_
        self._wake.set()

    def look_up(self, lookup: Lookup, on_answer: OnAnswer) -> None:
        """See Source.look_up."""
        self._lookups.append((lookup, on_answer))
        self._wake.set()

    def handled(self, batch: SourceBatch) -> None:
        """Its bytes may be read again."""
        with self._lock:
            self._waiting_bytes -= _bytes_of(batch)
        self._wake.set()

    def ring(self) -> None:
        """Something was written: look at once. From any thread."""
        self._wake.set()

    def stop(self) -> None:
        """See Source.stop."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def heads(self) -> JournalPositions:
        """See Source.heads."""
        return self._positions(lambda journal, key: journal.find_head(key).head)

    def positions_at(self, time_us: int) -> JournalPositions:
        """See Source.positions_at."""
        return self._positions(lambda journal, key: journal.offset_at(key, time_us))

    def _positions(self, offset_of: Callable[[Journal, SliceKey], int]) -> JournalPositions:
        journal = open_journal(self._url)
        try:
            found = {}
            for slice_ in range(self._slices_of(journal)):
                key = SliceKey(self._entity_type, slice_)
                found[slice_] = journal.position_before(key, offset_of(journal, key))
            return JournalPositions(journal.journal_id, found)
        finally:
            journal.close()

    # --- the thread ---

    def _run(
        self,
        journal_id: str,
        positions: Mapping[int, Position],
        wanted: Sequence[int] | None,
        events: SourceEvents,
    ) -> None:
        journal = self._retried(lambda: open_journal(self._url))
        if journal is None:
            return
        try:
            slices = self._retried(lambda: self._slices_of(journal))
            if slices is None:
                return
            where = f"local {self._entity_type}"
            if journal_id and journal.journal_id != journal_id:
                raise JournalDivergedError(where, 0, f"its id is {journal.journal_id}")
            mine = range(slices) if wanted is None else wanted
            keys = [SliceKey(self._entity_type, slice_) for slice_ in mine]
            offsets = {k: self._checked(journal, k, positions.get(k.slice, START)) for k in keys}
            if self._name and self._history is History.FULL:
                self._retried(lambda: self._note(journal, offsets))
            events.started(SourceDescription(journal.journal_id, self._entity_type, slices))
            self._follow(journal, offsets, events)
        finally:
            journal.close()

    def _note(self, journal: Journal, offsets: Mapping[SliceKey, int]) -> None:
        here = {key.slice: at for key, at in offsets.items()}
        note_consumer(journal, self._entity_type, f"local {self._name}", here, now_us())

    def _slices_of(self, journal: Journal) -> int:
        slices = journal.slice_counts().get(self._entity_type)
        if slices is None:
            raise JournalUnavailableError(self._url, f"it has no {self._entity_type} yet")
        return slices

    def _retried(self, call: Callable[[], T]) -> T | None:
        """The call's value, tried until the journal answers; None when stopped meanwhile."""
        while not self._stopping:
            try:
                value = call()
                self.trouble = ""
                return value
            except JournalUnavailableError as error:
                trouble = f"{type(error).__name__}: {error}"
                if trouble != self.trouble:  # not ten times a second
                    self.trouble = trouble
                    facts = {"journal": self._url, "error": str(error)}
                    log.warning("journal_unavailable", extra=facts)
                self._wake.wait(POLL_MS[1] / 1000)
                self._wake.clear()
        return None

    def _checked(self, journal: Journal, key: SliceKey, position: Position) -> int:
        try:
            found = self._retried(lambda: journal.position_before(key, position.offset))
        except TrimmedError:
            if self._history is History.FULL:
                raise
            return position.offset  # nobody can tell; states go on from there
        named = position.write_id != NO_WRITE_ID  # set by hand it names no commit
        if found is not None and named and found.write_id != position.write_id:
            raise JournalDivergedError(str(key), position.offset, "another commit stands there")
        return position.offset

    def _follow(self, journal: Journal, offsets: dict[SliceKey, int], events: SourceEvents) -> None:
        heads = {key: journal.find_head(key).head for key in offsets}
        if self._history is not History.FULL:
            self._histories = LocalHistories(journal, offsets, heads)
        pause_ms, look_s = POLL_MS[0], 0.0
        while not self._stopping:
            self._wake.clear()
            if time.monotonic() >= look_s:
                look_s = time.monotonic() + HEADS_S
                self._look(journal, heads, events)
            found = False
            for key in offsets:
                self._take_filter(offsets, events)
                self._answer(journal)
                if self._waiting_bytes < WAITING_BYTES_MAX and not self._stopping:
                    found |= self._read(journal, key, offsets, heads, events.batch)
            pause_ms = POLL_MS[0] if found else min(pause_ms * 2, POLL_MS[1])
            if not found or self._waiting_bytes >= WAITING_BYTES_MAX:
                self._wake.wait(pause_ms / 1000)

    def _look(self, journal: Journal, heads: dict[SliceKey, int], events: SourceEvents) -> None:
        """At the heads, where more is there than is handled: else the last batches tell them."""
        if self._waiting_bytes:
            found = self._retried(lambda: {key: journal.find_head(key).head for key in heads})
            heads |= found or {}
        events.heads({key.slice: head for key, head in heads.items()})

    def _take_filter(self, offsets: Mapping[SliceKey, int], events: SourceEvents) -> None:
        """From the next batch on, what is wanted now."""
        wanted = self._wanted
        if wanted.version != self._selector.version:
            self._selector = Selector(wanted, FactsCache(Facts), PREFIX)
            starts = {key.slice: offset for key, offset in offsets.items()}
            events.filter_in_force(FilterInForce(wanted.version, starts))

    def _answer(self, journal: Journal) -> None:
        """Everything that was asked for."""
        while self._lookups and not self._stopping:
            lookup, on_answer = self._lookups.popleft()
            key = SliceKey(self._entity_type, lookup.slice)
            try:
                answer: LookedUp | LookUpFailed = self._looked_up(journal, key, lookup)
            except ThespianDcError as error:
                answer = LookUpFailed(lookup, error)
            on_answer(answer)

    def _looked_up(self, journal: Journal, key: SliceKey, lookup: Lookup) -> LookedUp:
        state, rest = list[CommitView](), lookup
        if self._history is not History.FULL:
            state, rest = state_first(journal, key, lookup)
        reading = EntityReading(journal, key, rest, LOOK_UP_BYTES_MAX, LOOK_UP_EVENTS_MAX)
        return with_state(reading.add_all(view_of), lookup, state)

    def _read(
        self,
        journal: Journal,
        key: SliceKey,
        offsets: dict[SliceKey, int],
        heads: dict[SliceKey, int],
        on_batch: Callable[[SourceBatch], None],
    ) -> bool:
        offset = offsets[key]
        found = self._retried(lambda: self._found(journal, key, offset))
        if not found:
            return False
        offsets[key] = found[-1].end_offset
        heads[key] = max(heads[key], offsets[key])
        selector, views = self._selector, list[CommitView]()
        for commit in found:
            view = selector.select(key.slice, commit)
            if view.body:
                views.append(view)
            else:
                append_empty(views, view)
        batch = SourceBatch(key.slice, offset, offsets[key], heads[key], views, selector.version)
        with self._lock:
            self._waiting_bytes += _bytes_of(batch)
        on_batch(batch)
        return True

    def _found(self, journal: Journal, key: SliceKey, offset: int) -> list[CommitView]:
        """What stands at this offset and behind."""
        if self._histories is not None:
            page = self._histories.next(key, self._selector)
            if page is not None:
                return page
        commits = _sound_part(journal.read(key, offset, READ_BYTES_MAX))
        return [view_of(commit) for commit in commits]


def view_of(commit: Commit) -> CommitView:
    """All of a commit, as a source yields it."""
    return CommitView(
        commit.base_offset, commit.end_offset, commit.write_id, commit.time_us, commit.body
    )


def _sound_part(commits: list[Commit]) -> list[Commit]:
    """The commits before the first damaged one; raises CorruptRecordError where that is the
    first."""
    for index, commit in enumerate(commits):
        if checksum_of(commit) != commit.checksum:
            if index:
                return commits[:index]
            records_of(commit)  # names the damaged record
    return commits


def _bytes_of(batch: SourceBatch) -> int:
    return BATCH_BYTES + sum(len(commit.body) for commit in batch.commits)
