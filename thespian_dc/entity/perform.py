"""Perform a host core's journal action. The one place that maps them to journal methods.

Blocking, like the journal: a shell calls it on a thread of its own, many side by side. Appends do
not come here: shells gather them into one `journal.append`.
"""

from __future__ import annotations

from typing import assert_never

from thespian_dc.entity.actions import (
    AdvanceIndex,
    Confirm,
    Confirmed,
    IndexAdvanced,
    JournalAction,
    Recover,
    Recovered,
    Result,
    StatesWritten,
    WriteStates,
)
from thespian_dc.journal.api import Journal
from thespian_dc.model.errors import JournalError, JournalUnavailableError
from thespian_dc.slices.actions import Failed, Operation
from thespian_dc.slices.perform import perform as perform_operation


def perform(journal: Journal, action: JournalAction | Operation) -> Result:
    """The action's result; Failed where the journal was not available. Other errors are raised,
    but what keeps one entity from recovering: that is in Recovered.error."""
    if not isinstance(action, JournalAction):
        return perform_operation(journal, action)
    try:
        return _perform(journal, action)
    except JournalUnavailableError as failed:
        return Failed(action, str(failed))


def _perform(journal: Journal, action: JournalAction) -> Result:
    match action:
        case Recover():
            try:
                return _recover(journal, action)
            except JournalUnavailableError:
                raise
            except JournalError as error:
                return Recovered(action, None, [], error)
        case WriteStates(key, rows):
            journal.write_states(key, rows)
            return StatesWritten(action)
        case AdvanceIndex(key, until_offset, recent):
            journal.advance_index(key, until_offset, recent)
            return IndexAdvanced(action)
        case Confirm(key):
            return Confirmed(action, journal.owner(key))
        case _:
            assert_never(action)


def _recover(journal: Journal, action: Recover) -> Recovered:
    row = None if action.replay else journal.read_state(action.key, action.entity_id)
    if row is not None and row.offset >= action.until_offset:
        row = None
    after = row.seq_nr + 1 if row else 1
    until = action.until_offset
    records = journal.read_entity(action.key, action.entity_id, after, until) if until else []
    return Recovered(action, row, records)
