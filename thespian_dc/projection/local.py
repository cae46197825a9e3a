"""The source over a journal that this process can open itself: polls it.

One thread per source; a read returns what is there. Nobody pushes here: what is at the tail comes
after a pause of at most POLL_MS.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.errors import JournalDivergedError, JournalUnavailableError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import NO_WRITE_ID, START, Position
from thespian_dc.model.record import Commit, checksum_of, records_of
from thespian_dc.projection.api import (
    CommitView,
    SourceBatch,
    SourceDescription,
    SourceEvents,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

POLL_MS = (2, 100)
"""Pause after a read that found something, and the greatest, reached by doubling while nothing
comes."""
READ_BYTES_MAX = 256 << 10
WAITING_BYTES_MAX = 4 << 20
"""Batches handed over and not yet handled; reading stops above it."""


class LocalSource:
    """Implements projection.api.Source over `journal_url`."""

    def __init__(self, entity_type: str, journal_url: str) -> None:
        self._entity_type, self._url = entity_type, journal_url
        self._wake = threading.Event()
        self._stopping = False
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
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

    def handled(self, batch: SourceBatch) -> None:
        """Its bytes may be read again."""
        with self._lock:
            self._waiting_bytes -= _bytes_of(batch)
        self._wake.set()

    def stop(self) -> None:
        """See Source.stop."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

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
            events.started(SourceDescription(journal.journal_id, self._entity_type, slices))
            self._follow(journal, offsets, events.batch)
        finally:
            journal.close()

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
                self.trouble = f"{type(error).__name__}: {error}"
                facts = {"journal": self._url, "error": str(error)}
                log.warning("journal_unavailable", extra=facts)
                self._wake.wait(POLL_MS[1] / 1000)
                self._wake.clear()
        return None

    def _checked(self, journal: Journal, key: SliceKey, position: Position) -> int:
        found = self._retried(lambda: journal.position_before(key, position.offset))
        named = position.write_id != NO_WRITE_ID  # set by hand it names no commit
        if found is not None and named and found.write_id != position.write_id:
            raise JournalDivergedError(str(key), position.offset, "another commit stands there")
        return position.offset

    def _follow(
        self,
        journal: Journal,
        offsets: dict[SliceKey, int],
        on_batch: Callable[[SourceBatch], None],
    ) -> None:
        heads = {key: journal.find_head(key).head for key in offsets}
        pause_ms = POLL_MS[0]
        while not self._stopping:
            found = False
            for key in offsets:
                if self._waiting_bytes < WAITING_BYTES_MAX and not self._stopping:
                    found |= self._read(journal, key, offsets, heads, on_batch)
            pause_ms = POLL_MS[0] if found else min(pause_ms * 2, POLL_MS[1])
            if not found or self._waiting_bytes >= WAITING_BYTES_MAX:
                self._wake.wait(pause_ms / 1000)
            self._wake.clear()

    def _read(
        self,
        journal: Journal,
        key: SliceKey,
        offsets: dict[SliceKey, int],
        heads: dict[SliceKey, int],
        on_batch: Callable[[SourceBatch], None],
    ) -> bool:
        offset = offsets[key]
        commits = self._retried(lambda: journal.read(key, offset, READ_BYTES_MAX))
        if not commits:
            return False
        sound = _sound_part(commits)
        offsets[key] = sound[-1].end_offset
        heads[key] = max(heads[key], offsets[key])
        batch = SourceBatch(
            key.slice, offset, offsets[key], heads[key], [view_of(commit) for commit in sound]
        )
        with self._lock:
            self._waiting_bytes += _bytes_of(batch)
        on_batch(batch)
        return True


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
    return sum(len(commit.body) for commit in batch.commits)
