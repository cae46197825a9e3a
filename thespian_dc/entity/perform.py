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
    LookedUp,
    LookUp,
    Recover,
    Recovered,
    Result,
    Retrace,
    Retraced,
    StatesWritten,
    WriteStates,
)
from thespian_dc.entity.retracing import retrace
from thespian_dc.journal.api import Journal
from thespian_dc.model.errors import JournalError, JournalUnavailableError
from thespian_dc.slices.actions import Failed, Operation
from thespian_dc.slices.perform import perform as perform_operation

LOOK_UP_RECORDS = 500


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
        case LookUp():
            try:
                return _look_up(journal, action)
            except JournalUnavailableError:
                raise
            except JournalError as error:
                return LookedUp(action, {}, error)
        case Retrace():
            return _retrace(journal, action)
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


def _retrace(journal: Journal, action: Retrace) -> Retraced:
    try:
        return Retraced(action, retrace(journal, action))
    except JournalUnavailableError:
        raise
    except JournalError as error:
        return Retraced(action, [], error)


def _look_up(journal: Journal, action: LookUp) -> LookedUp:
    """From the entity's last record backwards, in pieces that double."""
    found: dict[str, tuple[int, bytes | None]] = {}
    until_seq_nr, size = action.seq_nr + 1, LOOK_UP_RECORDS
    while until_seq_nr > 1:
        first = max(1, until_seq_nr - size)
        records = journal.read_entity(
            action.key, action.entity_id, first, action.until_offset, until_seq_nr
        )
        for one in records:
            id_ = one.record.command_id
            if id_ in action.command_ids:
                found[id_] = (one.record.seq_nr, one.record.reply)
        if records[0].offset <= action.since or len(found) == len(action.command_ids):
            break
        until_seq_nr, size = first, size * 2
    return LookedUp(action, found)
