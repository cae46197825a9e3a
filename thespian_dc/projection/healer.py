"""What a run does about filters: keeps the memory of Healing in the database, asks the source for
lookups, and judges events where a filter was ever in force.

A shell around Healing; called on the projection's thread, but for `on_answer`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from thespian_dc.model.criteria import Filter, VersionedFilter
from thespian_dc.model.errors import TrimmedError
from thespian_dc.model.ids import slice_of
from thespian_dc.model.projection_errors import HistoryLostError
from thespian_dc.model.record import SNAPSHOT_META
from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.projection.api import (
    FilterInForce,
    LookedUp,
    Lookup,
    LookUpFailed,
    Source,
    SourceBatch,
)
from thespian_dc.projection.databases import Stores
from thespian_dc.projection.handling import Fields, Gate, Prepare, records_in
from thespian_dc.projection.healing import Healing
from thespian_dc.shell.clock import now_us

ENTITY_ID, SEQ_NR, META = 1, 2, 8  # fields of a Record


class Included(NamedTuple):
    """Ids of a slice that a filter includes, which is in force there from `start` on."""

    slice: int
    version: int
    start: int
    entity_ids: Sequence[str]


class Lost(NamedTuple):
    """What a lookup wants below the offset `below` was trimmed. error: named so."""

    lookup: Lookup
    below: int
    error: HistoryLostError


class Healer:
    """Of one run. `takes`: of the recovery policy, asked about events that healing lets pass."""

    def __init__(
        self,
        projection: str,
        initial: Filter,
        stores: Stores,
        wake: Callable[[], None],
    ) -> None:
        self._projection, self._wake, self._core = projection, wake, Healing()
        self._marks, self._filters = stores.marks, stores.filters
        self._data_version = stores.database.data_version
        self._seen = self._data_version()
        self.wanted: VersionedFilter = stores.filters.begin(projection, initial.spelled_out())
        """The filter that the source was told, or is to be told when it starts."""
        self._core.on_filter(self.wanted)
        self._answers: deque[LookedUp | LookUpFailed] = deque()  # bounded: LOOKUPS_MAX are asked
        self._slices = 0

    # --- a run ---

    def on_claimed(self, slices: Sequence[int]) -> Mapping[str, int]:
        """These are served by this run. Returns which of their entities are owed something: the
        slice of each."""
        stored = self._marks.load(self._projection, slices)
        self._core.on_loaded(stored)
        return {entity_id: slice_ for entity_id, (slice_, _) in stored.debts.items()}

    def on_started(self, slices: int) -> None:
        """The source's entity type has so many."""
        self._slices = slices

    def on_source_lost(self) -> None:
        """Another source takes its place."""
        self._answers.clear()
        self._core.on_source_lost()

    def turn(self, source: Source, holds: Callable[[str], bool]) -> None:
        """Between transactions: tell the source of a changed filter, ask what is due."""
        found = self._data_version()
        if found != self._seen:
            self._seen = found
            wanted = self._filters.read(self._projection)
            if wanted.version != self.wanted.version:
                self.wanted = wanted
                self._core.on_filter(wanted)
                source.change_filter(wanted)
        if self._core.owing and self._slices:
            for lookup in self._core.due(now_us(), holds):
                source.look_up(lookup, self._on_answer)

    @property
    def is_full(self) -> bool:
        """No more batches before some debts are paid."""
        return self._core.is_full

    def _on_answer(self, answer: LookedUp | LookUpFailed) -> None:
        self._answers.append(answer)
        self._wake()

    # --- batches ---

    def gate(
        self, batch: SourceBatch, reached: int, takes: Gate | None
    ) -> tuple[Gate | None, Prepare | None]:
        """Which events of the batch are not to be handled (None: all are), and what is to be told
        before they are asked about."""
        core, version = self._core, batch.filter_version
        if core.lets_all_pass(batch.slice, version):
            return takes, None
        core.on_version(batch.slice, version, reached)

        def prepare(records: Sequence[tuple[int, Fields]]) -> None:
            self._load(batch.slice, core.missing(fields[ENTITY_ID] for _, fields in records))

        def stays(slice_: int, offset: int, time_us: int, fields: Fields) -> bool:
            entity_id, seq_nr, meta = fields[ENTITY_ID], fields[SEQ_NR], fields[META]
            if not core.judge(slice_, version, entity_id, seq_nr, offset, _is_whole(meta)):
                return True
            return takes is not None and takes(slice_, offset, time_us, fields)

        return stays, prepare

    def settle(self, handled: bool) -> None:
        """The event at which handling stopped counts as handled, or it does not."""
        self._core.settle(handled)

    def on_in_force(self, said: FilterInForce, served: Iterable[int]) -> list[Included]:
        """What is to be stored because a filter is in force, by slice of those that are served."""
        by_slice: dict[int, list[str]] = {}
        for entity_id in self._core.on_in_force(said.version):
            by_slice.setdefault(slice_of(entity_id, self._slices), []).append(entity_id)
        return [
            Included(slice_, said.version, said.starts[slice_], by_slice.get(slice_, []))
            for slice_ in served
            if slice_ in said.starts and not self._core.lets_all_pass(slice_, said.version)
        ]

    def include(self, included: Included, reached: int) -> None:
        """In a transaction: what those ids are owed. reached: the slice's position."""
        slice_, version, start, entity_ids = included
        self._core.on_version(slice_, version, reached)
        self._load(slice_, self._core.missing(entity_ids))
        self._core.include(slice_, version, start, entity_ids)

    def _load(self, slice_: int, entity_ids: Sequence[str]) -> None:
        if entity_ids:
            found = self._marks.marks(self._projection, slice_, entity_ids)
            self._core.on_marks(slice_, entity_ids, found)

    # --- answers ---

    def next_answer(self) -> LookedUp | Lost | None:
        """One that is to be handled now; it stays until `answered`. HistoryLostError where what is
        owed cannot be had, for another reason than that it was trimmed."""
        while self._answers:
            answer = self._answers[0]
            if not self._core.is_asked(answer):
                self._answers.popleft()
            elif isinstance(answer, LookedUp):
                return answer
            elif getattr(answer.error, "retryable", False):
                self._answers.popleft()
                self._core.on_failed(answer.lookup, now_us())
            else:
                return self._lost(answer)
        return None

    def _lost(self, failed: LookUpFailed) -> Lost:
        lookup, cause = failed.lookup, f"{type(failed.error).__name__}: {failed.error}"
        error = HistoryLostError(
            self._projection, lookup.entity_id, lookup.slice, lookup.from_seq_nr, cause
        )
        error.__cause__ = failed.error
        if not isinstance(failed.error, TrimmedError):
            raise error
        return Lost(lookup, failed.error.trimmed_to, error)

    def give_up(self, slice_: int, entity_id: str, below_offset: int) -> None:
        """In the open transaction: of what the entity is owed nothing below the offset is left."""
        self._core.on_lost(slice_, entity_id, below_offset)

    def lost(self, lost: Lost) -> None:
        """What becomes of it is committed."""
        self._answers.popleft()
        self._core.ask_anew(lost.lookup)

    def gate_of(self, answer: LookedUp, takes: Gate | None) -> Gate:
        """Which events of an answer are not to be handled."""
        core, entity_id = self._core, answer.lookup.entity_id

        def stays(slice_: int, offset: int, time_us: int, fields: Fields) -> bool:
            if fields[ENTITY_ID] != entity_id:
                raise MalformedMessageError("an answer to a lookup", "it is of another entity")
            whole = _is_whole(fields[META])
            if not core.judge_owed(slice_, entity_id, fields[SEQ_NR], offset, whole):
                return True
            return takes is not None and takes(slice_, offset, time_us, fields)

        return stays

    def first_owed(self, answer: LookedUp, entity_type: str) -> int | None:
        """The offset of the first of its events that is to be handled; None: none is."""
        slice_, entity_id = answer.lookup.slice, answer.lookup.entity_id
        for commit in answer.commits:
            for offset, fields in records_in(commit, entity_type, slice_, 0):
                whole = _is_whole(fields[META])
                if self._core.owes(slice_, entity_id, fields[SEQ_NR], offset, whole):
                    return offset
        return None

    def on_paid(self, answer: LookedUp) -> None:
        """All of it is handled, in the open transaction."""
        self._core.on_paid(answer)

    def answered(self, answer: LookedUp) -> bool:
        """And that is committed. Whether all that the entity is owed is paid with it."""
        self._answers.popleft()
        self._core.on_answered(answer, now_us())
        return not self._core.is_owing(answer.lookup.entity_id)

    # --- the end of a transaction ---

    def write(self) -> None:
        """Before the commit."""
        self._marks.write(self._projection, self._core.changes())

    def committed(self) -> None:
        self._core.on_committed()

    def rolled_back(self) -> None:
        self._core.on_rolled_back()


def _is_whole(meta: Any) -> bool:
    """The record was made of an entity's stored state."""
    return bool(meta) and SNAPSHOT_META in meta
