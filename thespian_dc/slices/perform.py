"""Perform a slice writer's operation on a journal. The one place that maps actions to journal
methods.

Blocking, like the journal: a shell calls it on a thread of its own. Appends do not come here:
shells gather them into one `journal.append`.
"""

from __future__ import annotations

from typing import assert_never

from thespian_dc.journal.api import Journal
from thespian_dc.model.errors import JournalUnavailableError, TrimmedError
from thespian_dc.model.record import Commit
from thespian_dc.slices.actions import (
    Claim,
    Claimed,
    CommitAt,
    Failed,
    FindHead,
    FoundCommit,
    FoundHead,
    FoundOwner,
    HeadAt,
    Install,
    Installed,
    LastCommit,
    Operation,
    ReadOwner,
    Result,
)


def perform(journal: Journal, action: Operation) -> Result:
    """The action's result; Failed where the journal was not available. Other errors are raised."""
    try:
        return _perform(journal, action)
    except JournalUnavailableError as failed:
        return Failed(action, str(failed))


def _perform(journal: Journal, action: Operation) -> Result:
    match action:
        case Claim(key, member_id, token, seen_epoch):
            return Claimed(action, journal.claim(key, member_id, token, seen_epoch))
        case ReadOwner(key):
            return FoundOwner(action, journal.owner(key))
        case FindHead(key):
            return FoundHead(action, journal.find_head(key))
        case Install(key, head, epoch):
            return Installed(action, journal.install(key, head, epoch))
        case HeadAt(key, base_offset):
            return FoundHead(action, journal.head_at(key, base_offset))
        case CommitAt(key, base_offset):
            return FoundCommit(action, journal.commit_at(key, base_offset))
        case LastCommit():
            return FoundCommit(action, _last_commit(journal, action))
        case _:
            assert_never(action)


def _last_commit(journal: Journal, action: LastCommit) -> Commit | None:
    if action.head == 0:
        return None
    try:
        found = journal.read(action.key, action.head - 1, bytes_max=1)
    except TrimmedError:
        return None
    return found[0] if found else None
