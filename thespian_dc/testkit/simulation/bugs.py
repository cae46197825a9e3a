"""Bugs to put into a simulation, each one a mistake that somebody made or nearly made.

A bug is a context manager: inside it the real core, or the simulated journal, is wrong in one way;
it yields the simulation class to run. Production code has no switch for any of them. The checker
must catch each by an invariant: a bug that only crashes a core proves nothing about the checks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from thespian_dc.entity.actions import AdvanceIndex, Answer, Forward, WriteStates
from thespian_dc.entity.effects import Effects
from thespian_dc.entity.hosted import HostedSlice, HostedType
from thespian_dc.entity.instance import Instance
from thespian_dc.entity.residents import Residents
from thespian_dc.entity.routing import Routing
from thespian_dc.entity.rows import Kept
from thespian_dc.entity.running import Running
from thespian_dc.entity.turn import Turn
from thespian_dc.journal.api import Appended, Head, Outcome, StateRow
from thespian_dc.journal.memory import _sealed
from thespian_dc.journal.reading import index_rows_of
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit, checksum_of
from thespian_dc.slices.actions import Action, CommitAt, FoundCommit, NotWritten, Result
from thespian_dc.slices.phases import Phase
from thespian_dc.slices.writer import SliceWriter
from thespian_dc.testkit.simulation import ask_bugs as asks
from thespian_dc.testkit.simulation import durable_bugs as durable
from thespian_dc.testkit.simulation import filter_bugs as filters
from thespian_dc.testkit.simulation import projection_bugs as projection
from thespian_dc.testkit.simulation import read_bugs as reads
from thespian_dc.testkit.simulation.bug import Bug, patched, replaced
from thespian_dc.testkit.simulation.journal import SimulatedJournal, Steps
from thespian_dc.testkit.simulation.plan import Plan, plan_of
from thespian_dc.testkit.simulation.run import Simulation


# --- in the entity core ---
def acknowledge_before_commit() -> contextlib.AbstractContextManager[type[Simulation]]:
    """The answer goes out when the command has run, not when its commit is durable."""
    conclude = Running._conclude

    def wrong(self: Running, effects: Effects) -> None:
        conclude(self, effects)
        if effects.instance.last is effects:
            self._hosted.out += [item for item in effects.items if isinstance(item, Answer)]

    return patched(Running, "_conclude", wrong)


def effects_before_commit() -> contextlib.AbstractContextManager[type[Simulation]]:
    """What an entity sends goes out when the command has run, not when its commit is durable."""
    conclude = Running._conclude

    def wrong(self: Running, effects: Effects) -> None:
        conclude(self, effects)
        if effects.instance.last is effects:
            for item in [one for one in effects.items if isinstance(one, Forward)]:
                effects.items.remove(item)
                self._release.forward(item)

    return patched(Running, "_conclude", wrong)


@contextlib.contextmanager
def only_dirty_entities_dropped() -> Iterator[type[Simulation]]:
    """After a loss, entities without records under way stay in memory until the slice is back."""
    of, route = Residents.of, Routing._route

    def wrong_of(self: Residents, slice_: HostedSlice) -> list[Instance]:
        return [one for one in of(self, slice_) if not one.can_leave]

    def wrong_route(self: Routing, served: HostedType, turn: Turn) -> None:
        slice_ = self._hosted.slice_for(served, turn.command.entity_id)
        if slice_.writer.owned:
            route(self, served, turn)
        elif slice_.assigned:
            slice_.waiting.append(turn)
        else:
            self._loss.send_on(slice_, turn)

    with patch.object(Residents, "of", wrong_of), patch.object(Routing, "_route", wrong_route):
        yield Simulation


def snapshot_of_uncommitted_state() -> contextlib.AbstractContextManager[type[Simulation]]:
    """The state row is written when the command has run, at the offset its record ought to get."""
    conclude = Running._conclude

    def wrong(self: Running, effects: Effects) -> None:
        conclude(self, effects)
        writer = effects.instance.slice.writer
        if effects.row is not None and effects.instance.last is effects:
            offset = writer.head + sum(len(one.packed) for one in _submissions(writer)) - 1
            self._hosted.out.append(WriteStates(writer.key, (effects.row.at(offset),)))

    return patched(Running, "_conclude", wrong)


def command_id_forgotten_at_passivation() -> contextlib.AbstractContextManager[type[Simulation]]:
    """State rows carry no command ids: what is recovered from one knows none before it."""
    at = Kept.at

    def wrong(self: Kept, offset: int) -> StateRow:
        return at(self._replace(known=None), offset)

    return patched(Kept, "at", wrong)


def log_not_asked_for_forgotten_ids() -> contextlib.AbstractContextManager[type[Simulation]]:
    """What is sent again runs where its id is not remembered, however many came after it."""
    return patched(Running, "may_be_persisted", lambda self, instance, turn: False)


# --- in the slice writer ---
def absent_taken_as_failed() -> contextlib.AbstractContextManager[type[Simulation]]:
    """No row after an unknown append: taken for a failure, though it may still be applied."""
    read = SliceWriter._on_head_read

    def wrong(self: SliceWriter, head: Head | None, now_us: int) -> list[Action]:
        if head is not None and head != (self.head, self.epoch):
            return read(self, head, now_us)
        submissions = [*self._in_flight, *self._queue]
        self._in_flight, self._commit = [], None
        self._queue.clear()
        self._rest()
        first = {one.entity_id: one for one in reversed(submissions)}
        return [
            NotWritten(
                self.key, culprit, "not there",
                [one for one in submissions if one.entity_id == entity_id and one is not culprit],
            )
            for entity_id, culprit in first.items()
        ]  # fmt: skip

    return patched(SliceWriter, "_on_head_read", wrong)


def resend_with_new_id() -> contextlib.AbstractContextManager[type[Simulation]]:
    """The commit is sent again under another write_id: its first send is not recognised."""
    operate = SliceWriter._operate

    def wrong(self: SliceWriter, now_us: int) -> list[Action]:
        if self.phase is Phase.APPENDING and self._unresolved and self._commit is not None:
            self._commit = replace(self._commit, write_id=self._new_id())
            self._commit.checksum = checksum_of(self._commit)
        return operate(self, now_us)

    return patched(SliceWriter, "_operate", wrong)


def commit_time_from_the_clock_alone() -> contextlib.AbstractContextManager[type[Simulation]]:
    """A commit's time is its owner's clock, whatever time the commit before it has."""
    append_next = SliceWriter._append_next

    def wrong(self: SliceWriter, now_us: int) -> list[Action]:
        self._time_us = 0
        return append_next(self, now_us)

    return patched(SliceWriter, "_append_next", wrong)


def refused_after_unknown() -> contextlib.AbstractContextManager[type[Simulation]]:
    """Refused is taken for certain while an earlier send of the commit is unresolved."""
    on_appended = SliceWriter.on_appended

    def wrong(self: SliceWriter, answer: Appended, now_us: int) -> list[Action]:
        if answer.outcome is Outcome.REFUSED:
            self._unresolved = False
        return on_appended(self, answer, now_us)

    return patched(SliceWriter, "on_appended", wrong)


@contextlib.contextmanager
def row_read_before_head() -> Iterator[type[Simulation]]:
    """First the row, then the head: an append applied between the two counts as never written.

    With a pause between the reads, as a loop that retries has; the window is there without it too.
    """
    operate, on_result = SliceWriter._operate, SliceWriter.on_result
    rows: dict[SliceWriter, Commit | None] = {}

    def wrong_operate(self: SliceWriter, now_us: int) -> list[Action]:
        actions = operate(self, now_us)
        if self.phase is Phase.READING_HEAD and self not in rows:
            return [CommitAt(self.key, self.head, self._attempt)]
        return actions

    def wrong_on_result(self: SliceWriter, result: Result, now_us: int) -> list[Action]:
        if self.phase is not Phase.READING_HEAD or result.action.attempt != self._attempt:
            return on_result(self, result, now_us)
        if isinstance(result, FoundCommit):
            rows[self] = result.commit
            return self._go(Phase.READING_HEAD, now_us, failures=6)
        head = getattr(result, "head", None)
        absent = self in rows and rows.pop(self) is None
        if absent and head is not None and head.epoch > self.epoch:
            return self._stand_down("fenced", now_us, head.epoch)
        return on_result(self, result, now_us)

    with (
        patch.object(SliceWriter, "_operate", wrong_operate),
        patch.object(SliceWriter, "on_result", wrong_on_result),
    ):
        yield Simulation


# --- in the journal ---
class _EpochNotCompared(SimulatedJournal):
    def _compare_and_append(self, commit: Commit) -> Outcome:
        here = self.memory.head_at(commit.key, commit.base_offset)
        if here is not None and here.head == commit.base_offset:
            segment = commit.base_offset // self._segment_records
            row = _sealed(*commit.key, segment, here.head, commit.epoch)
            self.memory._storage.statics[commit.key, segment] = row
        return super()._compare_and_append(commit)


class _NoTail(SimulatedJournal):
    def _tail(self, key: SliceKey, mark: int, until_offset: int) -> list[Commit]:
        return []


class _LateStateWins(SimulatedJournal):
    def _write_state(self, key: SliceKey, row: StateRow) -> None:
        self.memory.delete_state(key, row.entity_id)
        super()._write_state(key, row)


class _MarkOverUnindexed(SimulatedJournal):
    def _advance_index(self, action: AdvanceIndex) -> Steps:
        tables = self.memory._storage
        for commit in action.recent:
            for row in index_rows_of(commit):
                rows = tables.index.setdefault((action.key, row.entity_id), {})
                rows[row.base_offset] = _sealed(*action.key, *row)
            yield
        mark = max(action.until_offset, self.memory.index_mark(action.key))
        tables.marks[action.key] = _sealed(*action.key, mark)


def epoch_not_compared() -> contextlib.AbstractContextManager[type[Simulation]]:
    """An append compares the head alone: a zombie that finds it unmoved goes on writing."""
    return replaced(journal_class=_EpochNotCompared)


def index_read_without_the_tail() -> contextlib.AbstractContextManager[type[Simulation]]:
    """Recovery believes the index alone, which ends at its mark."""
    return replaced(journal_class=_NoTail)


def late_latest_state_wins() -> contextlib.AbstractContextManager[type[Simulation]]:
    """A state row is overwritten whatever its offset."""
    return replaced(journal_class=_LateStateWins)


def mark_over_an_unindexed_range() -> contextlib.AbstractContextManager[type[Simulation]]:
    """The mark is raised though only the commits at hand were indexed."""
    return replaced(journal_class=_MarkOverUnindexed)


def _submissions(writer: SliceWriter) -> list[Any]:
    return [*writer._in_flight, *writer._queue]


BUGS: dict[str, Bug] = {
    bug.__name__: bug
    for bug in (
        *asks.BUGS, *durable.BUGS, *filters.BUGS, *projection.BUGS, *reads.BUGS,
        absent_taken_as_failed, acknowledge_before_commit, command_id_forgotten_at_passivation,
        commit_time_from_the_clock_alone, effects_before_commit, epoch_not_compared,
        index_read_without_the_tail, late_latest_state_wins,
        log_not_asked_for_forgotten_ids, mark_over_an_unindexed_range, only_dirty_entities_dropped,
        refused_after_unknown, resend_with_new_id, row_read_before_head,
        snapshot_of_uncommitted_state,
    )
}  # fmt: skip

NEEDS: dict[str, Callable[[Plan], bool]] = {
    **dict.fromkeys([bug.__name__ for bug in durable.BUGS], lambda plan: plan.durable),
    **dict.fromkeys([bug.__name__ for bug in asks.BUGS], lambda plan: plan.asks),
    "last_state_left_out": lambda plan: plan.latest,
    "single_events_bring_those_before": lambda plan: plan.filters == "events",
    "tags_not_asked": lambda plan: plan.filters != "ids",
    "tags_taken_for_all_of_an_entity": lambda plan: plan.filters == "tags",
    "trimmed_part_passed_over": lambda plan: plan.trims,
}
"""What a seed must be about to meet a bug; the others meet theirs whatever they are about."""


def may_meet(bug: str, seed: int) -> bool:
    return bug not in NEEDS or NEEDS[bug](plan_of(seed))
