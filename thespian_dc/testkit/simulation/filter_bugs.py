"""Mistakes to put into filters by tags, topics and single events, and into lookups; see bugs.py."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from thespian_dc.model.passing import Evaluator
from thespian_dc.projection.api import EntityReading, LookedUp
from thespian_dc.projection.healing import Healing
from thespian_dc.projection.memory import Mark
from thespian_dc.testkit.simulation.bug import Bug, patched
from thespian_dc.testkit.simulation.run import Simulation


def tags_not_asked() -> contextlib.AbstractContextManager[type[Simulation]]:
    """A producer judges events by their entities alone."""

    def wrong(self: Evaluator, ids: Sequence[str], tags: Sequence[Sequence[str]]) -> list[int]:
        return [index for index, one in enumerate(ids) if self._of_entity[one] >= 0]

    return patched(Evaluator, "passing", wrong)


def tags_taken_for_all_of_an_entity() -> contextlib.AbstractContextManager[type[Simulation]]:
    """What no criterion names by id is thought to have passed whole, though tags chose of it."""

    def wrong(self: Evaluator, entity_id: str) -> bool:
        return self._of_entity[entity_id] >= 0

    return patched(Evaluator, "passes_by_entity", wrong)


def single_events_bring_those_before() -> contextlib.AbstractContextManager[type[Simulation]]:
    """What an event that was chosen for itself alone jumps over is looked up all the same."""

    def wrong(
        self: Healing, slice_: int, version: int, entity_id: str, mark: Mark, seq_nr: int,
        offset: int,
    ) -> bool:  # fmt: skip
        if seq_nr == mark.seq_nr + 1:
            return True
        return self._unfiltered(slice_, entity_id, mark.offset, offset)

    return patched(Healing, "_complete", wrong)


def page_of_a_lookup_taken_for_all() -> contextlib.AbstractContextManager[type[Simulation]]:
    """An answer that is full says that nothing is left."""
    answer = EntityReading.answer

    def wrong(self: EntityReading) -> LookedUp:
        found = answer(self)
        through = found.lookup.until_seq_nr or found.complete_through
        return found._replace(more=False, complete_through=through)

    return patched(EntityReading, "answer", wrong)


BUGS: tuple[Bug, ...] = (
    page_of_a_lookup_taken_for_all, single_events_bring_those_before, tags_not_asked,
    tags_taken_for_all_of_an_entity,
)  # fmt: skip
