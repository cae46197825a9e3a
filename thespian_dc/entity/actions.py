"""What a host core asks its shell to do beyond its slice writers' actions, and what comes back.
Pure.

To the journal: each action names the method that performs it (`entity/perform.py` does exactly
that); its result carries the action, so that a late one is recognised and dropped.
To the world: answers, messages, hints; nothing comes back but what the receivers send.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from thespian_dc.entity.protocol import EntityRef, Status
from thespian_dc.journal.api import Found, Owner, StateRow
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit, Record
from thespian_dc.model.replication import ReplicaMeta
from thespian_dc.slices import actions as slices


# --- to the journal ---
class Recover(NamedTuple):
    """The entity's state row (unless `replay`), then its records after it below until_offset
    -> Recovered.

    A state row at or above until_offset is not used: it belongs to a log this host has not seen.
    epoch: of the ownership that asked.
    """

    key: SliceKey
    entity_id: str
    until_offset: int
    epoch: int
    replay: bool = False


class LookUp(NamedTuple):
    """Which of these command ids have records of the entity with offsets since..until_offset (the
    first inclusive) -> LookedUp.

    seq_nr: of the entity's last record below until_offset. epoch: of the ownership that asked.
    """

    key: SliceKey
    entity_id: str
    command_ids: frozenset[str]
    since: int
    until_offset: int
    seq_nr: int
    epoch: int


class Retrace(NamedTuple):
    """The entity's records below until_offset that hold these events -> Retraced.

    replica: this one. wanted: (origin, first n, last n). seq_nr: of the entity's last record below
    until_offset. epoch: of the ownership that asked.
    """

    key: SliceKey
    entity_id: str
    replica: str
    wanted: tuple[tuple[str, int, int], ...]
    until_offset: int
    seq_nr: int
    epoch: int


class WriteStates(NamedTuple):
    """journal.write_states(key, rows) -> StatesWritten"""

    key: SliceKey
    rows: tuple[StateRow, ...]


class AdvanceIndex(NamedTuple):
    """journal.advance_index(key, until_offset, recent) -> IndexAdvanced"""

    key: SliceKey
    until_offset: int
    recent: tuple[Commit, ...]


class Confirm(NamedTuple):
    """journal.owner(key) -> Confirmed: is the slice still ours?"""

    key: SliceKey
    epoch: int


# --- results; an unavailable journal comes back as slices.actions.Failed(action, reason) ---
class Recovered(NamedTuple):
    """error: the journal holds something that cannot be read (damage, a gap); records is empty."""

    action: Recover
    row: StateRow | None
    records: list[Found]
    error: Exception | None = None


class LookedUp(NamedTuple):
    """found: (seq_nr, stored reply) by command id. error: the journal cannot say any more (trimmed,
    damaged); found is empty."""

    action: LookUp
    found: dict[str, tuple[int, bytes | None]]
    error: Exception | None = None


class Retraced(NamedTuple):
    """found: in the order of the log; what is trimmed is not in it. error: the log is damaged."""

    action: Retrace
    found: list[tuple[ReplicaMeta, Record]]
    error: Exception | None = None


class StatesWritten(NamedTuple):
    action: WriteStates


class IndexAdvanced(NamedTuple):
    action: AdvanceIndex


class Confirmed(NamedTuple):
    action: Confirm
    owner: Owner | None


# --- to the world; bodies are packed (shell/frames.py) at the moment of the call ---
class Answer(NamedTuple):
    """The outcome of a command for its asker. OK: value is what `pack_reply` makes of the reply.
    ERROR: an exception. NOT_OWNER: a Route. to: a ReplyAddress, or the ActorAddress of a raw
    sender."""

    to: Any
    status: Status
    value: Any


class Send(NamedTuple):
    """A packed message for an ordinary actor; it sees the host as its sender."""

    address: Any
    body: bytes


class Forward(NamedTuple):
    """A packed command for an entity that is not here. reply_to: as in Command; an answer to a
    ReplyAddress of this host comes back as `HostCore.on_answer`. since: as in Command, where others
    than this host may have had it; else None."""

    ref: EntityRef
    body: bytes
    reply_to: Any
    command_id: str
    since: int | None = None


class Settle(NamedTuple):
    """Find out when everything that this actor has sent so far has arrived, then call
    `HostCore.on_settled(address)`. An actor that is gone counts as settled."""

    address: Any


class Published(NamedTuple):
    """A fresh commit: a hint for producers."""

    commit: Commit


class Report(NamedTuple):
    """Something a person should see, for the log: a constant event name, the entity or slice, and
    what happened. failed: the entity, where it takes no commands for that."""

    event: str
    where: str
    what: str
    failed: EntityRef | None = None


JournalAction = Recover | LookUp | Retrace | WriteStates | AdvanceIndex | Confirm
WorldAction = Answer | Send | Forward | Settle | Published | Report
Action = slices.Operation | slices.Append | JournalAction | WorldAction
Result = slices.Result | Recovered | LookedUp | Retraced | StatesWritten | IndexAdvanced | Confirmed
