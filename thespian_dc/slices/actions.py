"""What a slice writer asks its shell to do, and what comes back. Pure.

Each action names the journal method that performs it; its result carries the action, so that a late
answer to an earlier attempt is recognised and dropped by whoever does not wait for it any more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from thespian_dc.journal.api import Head, Owner
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit


class Entry(NamedTuple):
    """One command's records: appended all together or not at all. `ticket` is the submitter's,
    returned untouched."""

    entity_id: str
    packed: tuple[bytes, ...]
    size_bytes: int
    ticket: Any


# --- to the journal; `attempt` counts acquisitions, so that a stale answer is recognised ---
class Claim(NamedTuple):
    """journal.claim(key, member_id, token, seen_epoch) -> Claimed"""

    key: SliceKey
    member_id: str
    token: bytes
    seen_epoch: int | None
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


class Append(NamedTuple):
    """journal.append([commit]) -> the outcome, by write_id. Shells gather the Appends of one input
    into one call."""

    commit: Commit


# --- results; a JournalUnavailableError comes back as Failed(action, reason) ---
class Claimed(NamedTuple):
    action: Claim
    owner: Owner


class FoundHead(NamedTuple):
    action: FindHead | HeadAt
    head: Head | None


class Installed(NamedTuple):
    action: Install
    installed: bool


class FoundCommit(NamedTuple):
    action: CommitAt
    commit: Commit | None


class Failed(NamedTuple):
    """The journal was not available: nothing is known of the outcome."""

    action: Any
    reason: str


# --- to the writer's owner (the host core) ---
class Owned(NamedTuple):
    """The slice is ours from `head` on, under `epoch`: entities may be recovered and served."""

    key: SliceKey
    head: int
    epoch: int


class Durable(NamedTuple):
    """The commit is in the log; its entries, in order."""

    key: SliceKey
    commit: Commit
    entries: list[Entry]


class Lost(NamedTuple):
    """The slice is not ours any more; none of `entries` (in flight and queued, in order) is in the
    log. Drop every entity of the slice."""

    key: SliceKey
    reason: str
    entries: list[Entry]


class NotWritten(NamedTuple):
    """This entry alone was refused for certain (too large, …); all behind it that depends on it
    must run again."""

    key: SliceKey
    entry: Entry
    reason: str
