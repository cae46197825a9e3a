"""What a slice writer asks its shell to do, and what comes back. Pure.

Each action names the journal method that performs it (`slices/perform.py` does exactly that); its
result carries the action, so that a late answer to an earlier attempt is recognised and dropped by
the writer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from thespian_dc.journal.api import Head, Owner
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit


class Submission(NamedTuple):
    """One command's records: appended all together or not at all. `ticket` is the submitter's,
    returned untouched."""

    entity_id: str
    packed: tuple[bytes, ...]
    size_bytes: int
    ticket: Any


# --- to the journal; `attempt` counts the writer's operations, so that a stale answer is recognised
# ---
class Claim(NamedTuple):
    """journal.claim(key, member_id, token, seen_epoch) -> Claimed"""

    key: SliceKey
    member_id: str
    token: bytes
    seen_epoch: int | None
    attempt: int


class ReadOwner(NamedTuple):
    """journal.owner(key) -> FoundOwner: whether a claim without an answer was given to us"""

    key: SliceKey
    attempt: int


class FindHead(NamedTuple):
    """journal.find_head(key) -> FoundHead"""

    key: SliceKey
    attempt: int


class Install(NamedTuple):
    """journal.install(key, head, epoch) -> Installed"""

    key: SliceKey
    head: int
    epoch: int
    attempt: int


class HeadAt(NamedTuple):
    """journal.head_at(key, base_offset) -> FoundHead (value may be None)"""

    key: SliceKey
    base_offset: int
    attempt: int


class CommitAt(NamedTuple):
    """journal.commit_at(key, base_offset) -> FoundCommit"""

    key: SliceKey
    base_offset: int
    attempt: int


class LastCommit(NamedTuple):
    """journal.read(key, head - 1) -> FoundCommit: the last commit below `head`, None where it is
    trimmed"""

    key: SliceKey
    head: int
    attempt: int


class Append(NamedTuple):
    """journal.append([commit]) -> Appended, by write_id. Shells gather the Appends of one input
    into one call."""

    commit: Commit


Operation = Claim | ReadOwner | FindHead | Install | HeadAt | CommitAt | LastCommit
"""Asked of the journal one at a time per writer; each comes back once as a Result, or not at
all."""


# --- results; a JournalUnavailableError comes back as Failed(action, reason) ---
class Claimed(NamedTuple):
    """owner: who holds the highest epoch after the claim; ours only if the token is the
    action's."""

    action: Claim
    owner: Owner


class FoundOwner(NamedTuple):
    action: ReadOwner
    owner: Owner | None


class FoundHead(NamedTuple):
    action: FindHead | HeadAt
    head: Head | None


class Installed(NamedTuple):
    action: Install
    installed: bool


class FoundCommit(NamedTuple):
    action: CommitAt | LastCommit
    commit: Commit | None


class Failed(NamedTuple):
    """The journal was not available: nothing is known of the outcome."""

    action: Any
    reason: str


Result = Claimed | FoundOwner | FoundHead | Installed | FoundCommit | Failed


# --- to the writer's owner (the host core) ---
class Owned(NamedTuple):
    """The slice is ours from `head` on, under `epoch`: entities may be recovered and served,
    records submitted."""

    key: SliceKey
    head: int
    epoch: int


class Durable(NamedTuple):
    """The commit is in the log; its submissions, in order."""

    key: SliceKey
    commit: Commit
    submissions: list[Submission]


class Lost(NamedTuple):
    """The slice is not ours (any more). Drop every entity of it: another writer may have touched
    any.

    submissions: in flight and queued, in order; certainly none of them is in the log: their
    commands may run again. unknown: those that may be in the log: their commit was trimmed before
    it could be read back, or the journal refuses it while an earlier send of it is unresolved.
    Answer that, or, for a command with an id, run it again once the slice is ours under a new
    epoch: the id decides. epoch: the highest one seen there, 0 if none. Also the answer to an
    `acquire` in which another was quicker, and to `release` (both lists empty).
    """

    key: SliceKey
    reason: str
    submissions: list[Submission]
    unknown: list[Submission]
    epoch: int


class NotWritten(NamedTuple):
    """`submission` was refused for certain, alone and repeatedly (too large, …): it is not in the
    log and never will be.

    behind: those of the same entity that were queued after it, in order; not in the log, taken
    from the queue. The entity's memory is ahead of the log: drop it and run the commands of
    `behind` again. The slice is kept; what other entities submitted stays queued and is written.
    """

    key: SliceKey
    submission: Submission
    reason: str
    behind: list[Submission]


Action = Operation | Append | Owned | Durable | Lost | NotWritten
