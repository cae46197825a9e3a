"""Decide which events are handled when filters change: marks, debts and what is looked up. Pure.

in: batches' events in order, FilterInForce, answers to lookups, commits and rollbacks, time
out: handle an event or not; Changes to store; Lookups to ask
Laws:
- An event at or below its entity's mark is never handled again.
- An event above its mark is handled only if nothing between the two can be missing: it is the next
  seq_nr, or every filter in force since lets all of the entity pass. Otherwise the entity is owed:
  a debt is stored in the transaction that moves the position past the event.
- A debt is paid in seq_nr order from lookups; meanwhile the entity's events of the stream only
  raise it. It ends when an answer is complete through all that is owed.
- Without a filter, now or before, nothing is remembered and nothing costs anything.
- What is not known (an old filter that was forgotten) may have held anything back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from thespian_dc.model.criteria import UNFILTERED, Filter, VersionedFilter
from thespian_dc.model.passing import Evaluator
from thespian_dc.projection.api import LookedUp, Lookup, LookUpFailed
from thespian_dc.projection.lookups import LOOKUPS_MAX, Lookups
from thespian_dc.projection.memory import STARTS_MAX, Changes, Debt, Mark, Start, StoredMemory
from thespian_dc.projection.open_memory import MARKS_MAX, OpenMemory

DEBTS_MAX = 10_000
"""Above it no batch is taken before some are paid: all debts are in memory."""
_NOTHING = Debt()


class Healing:
    """Of the slices that one run serves. An entity id belongs to one slice only."""

    def __init__(self, lookups_max: int = LOOKUPS_MAX, marks_max: int = MARKS_MAX) -> None:
        self._memory = OpenMemory(marks_max)
        self._filters: dict[int, Filter] = {0: UNFILTERED.filter}
        self._evaluators: dict[int, Evaluator] = {}
        self._in_force = 0
        self._skips: dict[int, frozenset[int]] = {}
        self._pending: tuple[str, int, Mark] | None = None
        self._lookups = Lookups(lookups_max)

    # --- what is stored, what is wanted ---

    def on_loaded(self, stored: StoredMemory) -> None:
        """These rows, of slices that are served from now on."""
        self._memory.load(stored)
        self._filters |= stored.filters
        self._skips |= stored.skips
        for entity_id in stored.debts:
            self._lookups.add(entity_id)

    def on_filter(self, filter_: VersionedFilter) -> None:
        """The source is about to be told of this filter."""
        self._filters[filter_.version] = filter_.filter

    def lets_all_pass(self, slice_: int, version: int) -> bool:
        """Nothing is remembered of the slice, and this version is no reason to begin."""
        return not self._memory.slice(slice_).starts and not self._filters.get(version, True)

    # --- a transaction: batches ---

    def on_version(self, slice_: int, version: int, reached: int) -> None:
        """What comes now of the slice, from the offset `reached` on, is chosen by this version.
        Called before anything of it is judged."""
        memory = self._memory.slice(slice_)
        if memory.starts and memory.starts[-1].version == version:
            return
        memory = self._memory.change_slice(slice_)
        if memory.began < 0:
            memory.began = reached
        if memory.starts and memory.starts[-1].offset >= reached:
            memory.starts.pop()  # nothing was evaluated under it
        memory.starts = [*memory.starts, Start(reached, version)][-STARTS_MAX:]

    def missing(self, entity_ids: Iterable[str]) -> list[str]:
        """Those whose mark must be read before they are judged: then tell `on_marks`."""
        return self._memory.missing(entity_ids)

    def on_marks(self, slice_: int, asked: Sequence[str], found: Mapping[str, Mark]) -> None:
        """The stored marks of those of `asked` that have one."""
        self._memory.on_marks(slice_, asked, found)

    def judge(
        self,
        slice_: int,
        version: int,
        entity_id: str,
        seq_nr: int,
        offset: int,
        whole: bool = False,
    ) -> bool:
        """Is this event, the next that passed the stream, to be handled now? whole: it stands for
        all before it.

        A yes counts as soon as another event is judged, or with `settle(True)`.
        """
        self.settle(True)
        mark, debt = self._memory.mark(entity_id), self._memory.debt(entity_id)
        if seq_nr <= mark.seq_nr:
            return False
        complete = whole or self._complete(slice_, version, entity_id, mark, seq_nr, offset)
        if debt is None and not complete:
            debt = _NOTHING
        if debt is None:
            self._pending = entity_id, slice_, Mark(seq_nr, offset + 1)
            return True
        if seq_nr > debt.through:
            debt = debt._replace(through=seq_nr, offset=offset + 1)
            self._memory.put_debt(slice_, entity_id, debt)
        return False

    def settle(self, handled: bool) -> None:
        """The event last said yes to was handled (taken over, skipped), or it was not."""
        if handled and self._pending is not None:
            entity_id, slice_, mark = self._pending
            self._memory.put_mark(slice_, entity_id, mark)
        self._pending = None

    def _complete(
        self, slice_: int, version: int, entity_id: str, mark: Mark, seq_nr: int, offset: int
    ) -> bool:
        """Can nothing be missing between the entity's mark and this event?"""
        if seq_nr == mark.seq_nr + 1:
            return True
        filter_ = self._filters.get(version)
        if filter_ is not None and filter_.events_only and not self._all_pass(version, entity_id):
            return True  # it passed for itself alone; what comes before it was not selected
        return self._unfiltered(slice_, entity_id, mark.offset, offset)

    def _unfiltered(self, slice_: int, entity_id: str, from_offset: int, until_offset: int) -> bool:
        versions = self._memory.slice(slice_).versions(from_offset, until_offset)
        return all(self._all_pass(version, entity_id) for version in versions)

    def _all_pass(self, version: int | None, entity_id: str) -> bool:
        if version is None or version not in self._filters:
            return False
        evaluator = self._evaluators.get(version)
        if evaluator is None:
            evaluator = self._evaluators[version] = Evaluator(self._filters[version])
        return evaluator.passes_by_entity(entity_id)

    # --- a transaction: a filter is in force ---

    def on_in_force(self, version: int) -> Sequence[str]:
        """No batch of an earlier version comes any more. Returns the ids that this one includes:
        their marks are needed for `include`."""
        self._in_force = max(version, self._in_force)
        filter_ = self._filters.get(version)
        return filter_.include.entity_ids if filter_ is not None else ()

    def include(self, slice_: int, version: int, start: int, entity_ids: Iterable[str]) -> None:
        """What these ids of the slice, which the version includes, are owed becomes a debt: from
        `start` on the stream brings them, or from the position on, where a source began again below
        it: what comes once more is not handled. `on_version` was told before."""
        filter_, memory = self._filters.get(version), self._memory.slice(slice_)
        if memory.starts:
            start = max(start, memory.starts[-1].offset)
        replays = dict(filter_.from_seq_nrs) if filter_ is not None else {}
        for entity_id in entity_ids:
            mark, debt = self._memory.mark(entity_id), self._memory.debt(entity_id)
            from_seq_nr = replays.get(entity_id, 0)
            # Before its memory began the projection handled everything: that is not repeated.
            replay = from_seq_nr and not mark.seq_nr and memory.began == memory.baseline
            replay = replay and mark.offset <= memory.began
            if not (debt or replay) and self._unfiltered(slice_, entity_id, mark.offset, start):
                continue
            debt = debt or _NOTHING
            wanted = debt._replace(
                below_offset=max(debt.below_offset, start),
                from_seq_nr=max(debt.from_seq_nr, from_seq_nr),
            )
            if wanted != debt:
                self._memory.put_debt(slice_, entity_id, wanted)

    # --- a transaction: an answer ---

    def is_asked(self, answer: LookedUp | LookUpFailed) -> bool:
        """The answer is to the lookup under way, and still owed."""
        owed = self._memory.debt(answer.lookup.entity_id) is not None
        return owed and self._lookups.is_asked(answer.lookup)

    def judge_owed(
        self, slice_: int, entity_id: str, seq_nr: int, offset: int, whole: bool = False
    ) -> bool:
        """Is this event, the next of an answer, to be handled? whole: it stands for all before it,
        wherever it stands. Counts as `judge`'s yes does."""
        self.settle(True)
        if not self._reaches(slice_, entity_id, seq_nr, offset, whole):
            return False
        self._pending = entity_id, slice_, Mark(seq_nr, offset + 1)
        if offset in self._skips.get(slice_, ()):
            self.settle(True)
            return False
        return True

    def owes(
        self, slice_: int, entity_id: str, seq_nr: int, offset: int, whole: bool = False
    ) -> bool:
        """What `judge_owed` would say while no transaction is open."""
        skipped = offset in self._skips.get(slice_, ())
        return not skipped and self._reaches(slice_, entity_id, seq_nr, offset, whole)

    def _reaches(self, slice_: int, entity_id: str, seq_nr: int, offset: int, whole: bool) -> bool:
        """The entity's debt does, to this event."""
        mark, debt = self._memory.mark(entity_id), self._memory.debt(entity_id)
        memory = self._memory.slice(slice_)
        if debt is None or seq_nr <= mark.seq_nr or seq_nr < debt.from_seq_nr:
            return False
        return not memory.baseline <= offset < memory.began and (whole or offset < debt.limit)

    def on_paid(self, answer: LookedUp) -> None:
        """All events of the answer are handled, in the open transaction."""
        self.settle(True)
        entity_id, slice_ = answer.lookup.entity_id, answer.lookup.slice
        mark, debt = self._memory.mark(entity_id), self._memory.debt(entity_id)
        assert debt is not None, "an answer is handled only where something is owed"
        self._memory.put_looked_through(entity_id, answer.complete_through)
        if answer.complete_through >= debt.through and _covers(answer, debt.below_offset):
            mark = Mark(max(mark.seq_nr, debt.through), max(mark.offset, debt.limit))
            self._memory.put_mark(slice_, entity_id, mark)
            self._memory.put_debt(slice_, entity_id, None)

    def on_lost(self, slice_: int, entity_id: str, below_offset: int) -> None:
        """What is owed to the entity and lies below this offset is there no more, and given up: in
        the open transaction."""
        debt = self._memory.debt(entity_id)
        if debt is None:
            return
        mark, began = self._memory.mark(entity_id), max(0, self._memory.slice(slice_).began)
        if self._replays(slice_, mark, debt) and below_offset <= began:
            mark = mark._replace(offset=below_offset)
            if below_offset == began:  # of what is below the baseline nothing is left
                self._memory.put_debt(slice_, entity_id, debt._replace(from_seq_nr=0))
        mark = mark._replace(offset=max(mark.offset, below_offset))
        self._memory.put_mark(slice_, entity_id, mark)

    # --- the end of a transaction ---

    def changes(self) -> Changes:
        """What the open transaction must store before it commits."""
        self.settle(True)
        return self._memory.changes(self._filters)

    def on_committed(self) -> None:
        """The changes are durable."""
        changed = self._memory.slices_changed
        for entity_id in self._memory.commit():
            self._lookups.add(entity_id)
        self._pending = None
        if changed:
            self._forget_filters()

    def on_rolled_back(self) -> None:
        """The transaction is gone, with everything handled in it."""
        self._memory.roll_back()
        self._pending = None

    def _forget_filters(self) -> None:
        """Keep those that a slice was evaluated under, and those that are still to come."""
        for version in self._filters.keys() - self._memory.versions() - {0}:
            if version < self._in_force:
                del self._filters[version]
                self._evaluators.pop(version, None)

    # --- lookups ---

    @property
    def is_full(self) -> bool:
        """So much is owed that no more batches are to be taken now."""
        return len(self._memory.debts) >= DEBTS_MAX

    def is_owing(self, entity_id: str) -> bool:
        """The entity is owed something."""
        return entity_id in self._memory.debts

    @property
    def owing(self) -> int:
        """Entities that are owed something."""
        return len(self._memory.debts)

    def due(self, now_us: int, holds: Callable[[str], bool]) -> list[Lookup]:
        """What to ask now. holds: the entity waits for something else, so its debt waits too."""
        return self._lookups.due(now_us, holds, self._lookup)

    def _lookup(self, entity_id: str) -> Lookup:
        slice_, debt = self._memory.debts[entity_id]
        mark = self._memory.mark(entity_id)
        through = max(mark.seq_nr, self._memory.looked_through(entity_id))
        began = max(0, self._memory.slice(slice_).began)
        # A mark elsewhere than where memory began says that nothing is left below it (on_lost).
        replays = self._replays(slice_, mark, debt) and mark.offset == began
        return Lookup(
            entity_id, slice_, max(through + 1, debt.from_seq_nr),
            0 if debt.below_offset else debt.through, 0 if replays else mark.offset,
        )  # fmt: skip

    def _replays(self, slice_: int, mark: Mark, debt: Debt) -> bool:
        """From below the baseline: possible where nothing was handled before marks began."""
        memory = self._memory.slice(slice_)
        return bool(debt.from_seq_nr) and not mark.seq_nr and memory.began == memory.baseline

    def on_answered(self, answer: LookedUp, now_us: int) -> None:
        """It is handled and committed: where something is owed still, the next one is due; after
        a pause if this one brought nothing (its producer's journal is not as far yet)."""
        if answer.lookup.entity_id in self._memory.debts and not (answer.commits or answer.more):
            self._lookups.on_failed(answer.lookup, now_us)
        else:
            self._lookups.on_answered(answer.lookup, answer.lookup.entity_id in self._memory.debts)

    def ask_anew(self, lookup: Lookup) -> None:
        """What could not be answered is given up, or waits for somebody: the rest is due."""
        self._lookups.on_answered(lookup, self.is_owing(lookup.entity_id))

    def on_failed(self, lookup: Lookup, now_us: int) -> None:
        """It got no answer: the debt stays, it is asked again later."""
        self._lookups.on_failed(lookup, now_us)

    def on_source_lost(self) -> None:
        """Nothing that was asked will be answered."""
        self._lookups.on_source_lost()


def _covers(answer: LookedUp, below_offset: int) -> bool:
    """All of the entity below this offset is in this answer or was in those before it."""
    if not below_offset:
        return True
    if answer.commits and answer.commits[-1].end_offset >= below_offset:
        return True
    complete = not answer.more and not answer.lookup.until_seq_nr
    return complete and answer.below_offset >= below_offset
