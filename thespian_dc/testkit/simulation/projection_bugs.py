"""Mistakes to put into projections and the ends of streams; see bugs.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.stream_errors import StreamGapError
from thespian_dc.projection.api import SourceBatch
from thespian_dc.projection.core import Move, ProjectionCore
from thespian_dc.projection.healing import Healing
from thespian_dc.projection.memory import SliceMemory, Start, StoredMemory
from thespian_dc.stream.consumer_core import ConsumerCore
from thespian_dc.stream.producer_core import ProducerCore
from thespian_dc.testkit.simulation.bug import Bug, patched, replaced
from thespian_dc.testkit.simulation.consumer import SimulatedConsumer
from thespian_dc.testkit.simulation.positions import Effect, SimulatedPositions
from thespian_dc.testkit.simulation.run import Simulation
from thespian_dc.wire.conversion import Credit


# --- in the consumer ---
class _PositionFirst(SimulatedConsumer):
    def _store(
        self,
        effects: list[Effect],
        moves: list[Move],
        checks: Sequence[tuple[int, int, int]] = (),
    ) -> None:
        super()._store([], moves, checks)
        self.after(60_000, self._positions.effects.extend, effects)


class _NotCompared(SimulatedPositions):
    def _compare(self, rows: Sequence[tuple[int, int, int]]) -> None:
        """Whatever the row says."""


def position_before_effect() -> contextlib.AbstractContextManager[type[Simulation]]:
    """The position is stored first and the effects a moment later."""
    return replaced(consumer_class=_PositionFirst)


def stale_worker_commits() -> contextlib.AbstractContextManager[type[Simulation]]:
    """A consumer that lost its slice goes on: its writes compare neither epoch nor offset."""
    return replaced(positions_class=_NotCompared)


def position_past_an_unhealed_entity() -> contextlib.AbstractContextManager[type[Simulation]]:
    """The position passes an event of an entity that is owed others, and no debt is stored."""
    changes = Healing.changes
    return patched(Healing, "changes", lambda self: changes(self)._replace(debts=[]))


def filter_versions_forgotten_at_restart() -> contextlib.AbstractContextManager[type[Simulation]]:
    """A new run believes that its slices were never filtered since marks began."""
    on_loaded = Healing.on_loaded

    def wrong(self: Healing, stored: StoredMemory) -> None:
        slices = {
            slice_: SliceMemory(one.baseline, one.began, [Start(one.began, 0)])
            for slice_, one in stored.slices.items()
        }
        on_loaded(self, replace(stored, slices=slices))

    return patched(Healing, "on_loaded", wrong)


def jump_taken_as_loss() -> contextlib.AbstractContextManager[type[Simulation]]:
    """A jump in seq_nr ends the run as if the stream had lost something."""
    judge = Healing.judge

    def wrong(
        self: Healing, slice_: int, version: int, entity_id: str, seq_nr: int, offset: int,
        whole: bool,
    ) -> bool:  # fmt: skip
        self.settle(True)
        if seq_nr > self._memory.mark(entity_id).seq_nr + 1:
            raise StreamGapError(entity_id, self._memory.mark(entity_id).seq_nr + 1, seq_nr)
        return judge(self, slice_, version, entity_id, seq_nr, offset, whole)

    return patched(Healing, "judge", wrong)


# --- in the ends of a stream ---
def credit_leak() -> contextlib.AbstractContextManager[type[Simulation]]:
    """What is given back is rounded down: of single events nothing ever comes back."""
    take_credit = ConsumerCore.take_credit

    def wrong(self: ConsumerCore) -> Credit | None:
        credit = take_credit(self)
        return credit and Credit(credit.bytes & ~63, credit.events & ~1)

    return patched(ConsumerCore, "take_credit", wrong)


def credit_of_earlier_calls_forgotten() -> contextlib.AbstractContextManager[type[Simulation]]:
    """Each call grants the whole window, whatever of earlier calls is still to be handled."""
    first = ConsumerCore.first

    def wrong(self: ConsumerCore, correlation_id: str) -> Any:
        return first(self, correlation_id)._replace(credit=self._window)

    return patched(ConsumerCore, "first", wrong)


def called_with_the_window_used_up() -> contextlib.AbstractContextManager[type[Simulation]]:
    """A call that broke is begun again at once, and brings one commit more each time."""
    return patched(ConsumerCore, "has_room", property(lambda self: True))


def sent_beyond_the_credit() -> contextlib.AbstractContextManager[type[Simulation]]:
    """A producer sends whatever is there."""
    return patched(ProducerCore, "_may_send", lambda self, cost, alone=True: True)


def looked_through_under_the_old_filter() -> contextlib.AbstractContextManager[type[Simulation]]:
    """What nothing passed of is held, and goes out as if the new filter had been asked."""

    def wrong(self: ProducerCore, wanted: VersionedFilter) -> None:
        self._selector, self._answer_due = self._selector_of(wanted), True

    return patched(ProducerCore, "_change_filter", wrong)


@contextlib.contextmanager
def gap_taken_for_the_next_batch() -> Iterator[type[Simulation]]:
    """Both ends of the consumer take a batch above what they expect for the next one."""
    on_batch = ConsumerCore.on_batch
    handle = ProjectionCore.on_batch

    def wrong(self: ConsumerCore, batch: SourceBatch, now_us: int) -> SourceBatch | None:
        before = self.positions.get(batch.slice)
        if before is not None and batch.base_offset > before.offset:
            batch = batch._replace(base_offset=before.offset)
        return on_batch(self, batch, now_us)

    def wrong_handle(self: ProjectionCore, batch: SourceBatch) -> Any:
        reached = self._rows[batch.slice].reached.offset
        if batch.base_offset > reached:
            batch = batch._replace(base_offset=reached)
        return handle(self, batch)

    with (
        patch.object(ConsumerCore, "on_batch", wrong),
        patch.object(ProjectionCore, "on_batch", wrong_handle),
    ):
        yield Simulation


BUGS: tuple[Bug, ...] = (
    filter_versions_forgotten_at_restart, jump_taken_as_loss, position_before_effect,
    position_past_an_unhealed_entity, stale_worker_commits,
    called_with_the_window_used_up, credit_leak, credit_of_earlier_calls_forgotten,
    gap_taken_for_the_next_batch, looked_through_under_the_old_filter, sent_beyond_the_credit,
)  # fmt: skip
