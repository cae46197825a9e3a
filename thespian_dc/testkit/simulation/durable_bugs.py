"""Mistakes to put into durable states and what consumers get of them; see bugs.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from thespian_dc.entity.actor import DurableStateActor
from thespian_dc.entity.effects import Chain, Effects
from thespian_dc.entity.recording import Recorded
from thespian_dc.model.record import DELETED_MANIFEST
from thespian_dc.projection.history import SliceHistory
from thespian_dc.testkit.simulation import source
from thespian_dc.testkit.simulation.bug import Bug, patched
from thespian_dc.testkit.simulation.run import Simulation


def revision_not_compared() -> contextlib.AbstractContextManager[type[Simulation]]:
    """A change is persisted whatever revision it expects."""
    changes = DurableStateActor._changes

    def wrong(self: DurableStateActor, what: str, expected_revision: int | None) -> Effects:
        return changes(self, what, None)

    return patched(DurableStateActor, "_changes", wrong)


def deleted_state_stays_in_memory() -> contextlib.AbstractContextManager[type[Simulation]]:
    """The record that deletes is written, and the entity goes on with the state it had."""

    def wrong(
        self: DurableStateActor, change_event: Any = None, *, expected_revision: int | None = None
    ) -> Chain:
        effects = self._changes("delete", expected_revision)
        change = self._encoded(change_event)
        return effects.persist([Recorded(change_event, DELETED_MANIFEST, b"", self.state, change)])

    return patched(DurableStateActor, "delete", wrong)


@contextlib.contextmanager
def state_shown_in_place_of_its_change_event() -> Iterator[type[Simulation]]:
    """Handlers get the state of a record, though it has a change event."""

    def wrong(_: int, manifest: str, payload: bytes, __: Any) -> tuple[str, bytes]:
        return manifest, payload

    with patch.object(source, "shown_as", wrong):
        yield Simulation


def last_state_left_out() -> contextlib.AbstractContextManager[type[Simulation]]:
    """Of an entity whose state is brought for all before it, the state itself is forgotten."""
    choose = SliceHistory._choose

    def wrong(self: SliceHistory, *page: Any) -> Any:
        return choose(self, *page)._replace(states=())

    return patched(SliceHistory, "_choose", wrong)


BUGS: tuple[Bug, ...] = (
    deleted_state_stays_in_memory, last_state_left_out, revision_not_compared,
    state_shown_in_place_of_its_change_event,
)  # fmt: skip
