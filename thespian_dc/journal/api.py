"""The journal contract: what a backend promises. One conformance suite (testkit/journal_kit.py)
proves it for each. Long because the whole contract stands in one place, and is the room's door.

Laws every backend keeps:
- A slice log is a gapless sequence of records in commits; only `append` and `install` change (head,
  epoch), each by one linearizable compare-and-set. Nothing else writes the log (trimming deletes
  whole commits below a mark).
- An outcome that is not known is answered UNKNOWN (append) or raised as JournalUnavailableError
  (all else), never guessed. No backend re-sends a conditional write by itself.
- All methods block and may be called from any thread, but for `append`, which may answer later from
  a thread of the driver. A journal is opened inside the process that uses it and is never carried
  over a fork.
- `time_us`, tokens and write ids come from the caller: a backend has no clock and no randomness of
  its own.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import NO_WRITE_ID, Position
from thespian_dc.model.record import Commit, Record

_Result = TypeVar("_Result")
SQLITE_ID = 0x7464636A
"""`application_id` of a journal's SQLite file, "tdcj": says to `file` and to us whose it is."""


class Head(NamedTuple):
    """A slice's head (the offset of the next record) and the epoch that may append there."""

    head: int
    epoch: int


class Outcome(enum.Enum):
    """DONE: durable. CONFLICT: (head, epoch) was another; this send wrote nothing. REFUSED: this
    send was certainly not executed (overload, too large). UNKNOWN: it may have been written, or be
    written later."""

    DONE = "done"
    CONFLICT = "conflict"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Appended(NamedTuple):
    """The answer to one commit. `reason` says why for REFUSED and UNKNOWN."""

    commit: Commit
    outcome: Outcome
    reason: str = ""


class Owner(NamedTuple):
    """Who holds a slice: the highest epoch ever given out, the member it was given to, and the
    claim's token."""

    epoch: int
    member_id: str
    token: bytes


class Member(NamedTuple):
    """A live host of entities, as it announced itself. `beat` grows with every announcement: a
    member whose beat stands still for long enough, by the observer's own clock, is taken for
    dead. member_id: `place.incarnation`, or an id without a dot; of one place one lives at a
    time."""

    member_id: str
    address: str
    node: str
    entity_types: tuple[str, ...]
    beat: int
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class StateRow:
    """An entity's state as of `offset`: a snapshot, or the latest state of a durable-state entity.

    `body` is opaque here (the entity room packs state, revision, known command ids); its checksum
    is kept by the backend and a row that does not match it is treated as absent by `read_state`
    (recovery falls back to replay) and reported by `verify`.
    """

    entity_id: str
    seq_nr: int
    offset: int
    body: bytes


class Found(NamedTuple):
    """A record with its place and time, and the write_id of its commit."""

    offset: int
    time_us: int
    record: Record
    write_id: bytes = NO_WRITE_ID


class Entry(NamedTuple):
    """A value of the registry with its version (0 = absent)."""

    version: int
    value: Any


class Journal(Protocol):
    """All slice logs of one node's database, and what is derived from them."""

    url: str
    journal_id: str
    """Drawn once when the journal was created, kept for ever; a copy of a journal keeps it."""
    commit_bytes_max: int
    """A host does not put more than this into one commit unless a single command needs it."""
    command_bytes_max: int
    """Hard limit of one command's events together; more is TooLargeError, unwritten."""
    appends_at_once: int
    """So many slices of a host have an append under way at most; SLICES_MAX: all may."""

    # --- registry ---
    def slices(self, entity_type: str, wanted: int) -> int:
        """Record `wanted` as the type's slice count on first use; SliceCountDiffersError if another
        is recorded. A host calls it before anything else of the type."""

    def slice_counts(self) -> dict[str, int]:
        """Slice counts of all recorded entity types."""

    def claim(
        self, key: SliceKey, member_id: str, token: bytes, seen_epoch: int | None = None
    ) -> Owner:
        """Give `member_id` the next epoch of the slice by compare-and-set and return it.

        `token` is unique per call: an unknown answer is read back and ours only if the token stands
        there. seen_epoch: claim only if the registry's epoch still is this (None: whatever it is).
        When somebody else was quicker, their Owner is returned: compare the token. An epoch alone
        permits nothing: `install` it.
        """

    def owner(self, key: SliceKey) -> Owner | None:
        """Who last claimed the slice (linearizable read), or None."""

    def owners(self, entity_type: str) -> dict[int, Owner]:
        """The last claims of all slices of a type, possibly a little old: for routing, never for
        safety."""

    def announce(self, member: Member) -> None:
        """Insert or overwrite the member's row."""

    def members(self) -> list[Member]:
        """All announced members."""

    def forget(self, member_id: str) -> None:
        """Remove a member's row (a clean stop, or one dead for long)."""

    def entry(self, name: str) -> Entry:
        """A registry value (filters, replicas, management); version 0 and value None where
        absent."""

    def put_entry(
        self, name: str, expected_version: int, value: Any, lightly: bool = False
    ) -> bool:
        """Write iff the version is `expected_version`, else False. `value`: msgpack-able. lightly:
        a loss of the machine's power may take it back as long as nothing else was written after it;
        it need not wait for a disk."""

    # --- the log ---
    def find_head(self, key: SliceKey) -> Head:
        """The slice's head and the epoch in force there; serial reads, following segments forward.
        (0, 0) if new.

        Reads of two segments are two operations: what it returns may be outdated at once. Safe,
        because `install` and `append` compare.
        """

    def head_at(self, key: SliceKey, base_offset: int) -> Head | None:
        """(head, epoch) of the segment that a commit at `base_offset` belongs to; serial read.
        None: nothing there.

        Used to resolve an unknown append. Read this before `commit_at`: a head above `base_offset`
        makes that row immutable.
        """

    def install(self, key: SliceKey, head: int, epoch: int) -> bool:
        """Set `epoch` where the next append would go, iff the head there is `head` and the epoch
        there is lower.

        For a segment nobody appended to yet: iff nothing is there. True: from now on no lower epoch
        can append. False: not installed. JournalUnavailableError: unknown; read back with
        `head_at(key, head)`.
        """

    def append(self, commits: Sequence[Commit], on_appended: Callable[[Appended], None]) -> None:
        """Append each commit iff its slice's (head, epoch) is (commit.base_offset, commit.epoch).

        At most one commit per slice and call, and at most one per slice in flight. Each commit is
        all or nothing, and independent of the others. on_appended is called once per commit: before
        this returns, or later from any thread.
        """

    def append_at_once(self, commits: Sequence[Commit]) -> list[Appended] | None:
        """The same where nobody needs to be waited for, on the caller's thread and only as long as
        a commit takes. None, with nothing done: another writer is at work, or there is a server."""

    def commit_at(self, key: SliceKey, base_offset: int) -> Commit | None:
        """The row that starts at `base_offset`, unchecked, or None."""

    def read(self, key: SliceKey, from_offset: int, bytes_max: int = 1 << 20) -> list[Commit]:
        """Commits in order from the one that covers `from_offset`, about bytes_max bytes (at least
        one if there is one).

        Contiguous; stops before a hole, and GapError where `from_offset` itself is in one. Empty at
        and above the head. TrimmedError below the trim mark. Checksums are the
        reader's to check (`records_of`), so that a damaged row can be forwarded and named.
        """

    def read_entity(
        self, key: SliceKey, entity_id: str, from_seq_nr: int = 1, until_offset: int | None = None,
        until_seq_nr: int | None = None,
    ) -> list[Found]:  # fmt: skip
        """The entity's records with from_seq_nr <= seq_nr < until_seq_nr (default: all) below
        until_offset (default: the head), in order.

        Goes mark, then index, then the log from that mark: complete by construction. Contiguity of
        seq_nr is checked: GapError. CorruptRecordError where one of its records is damaged.
        TrimmedError where one of those asked for was trimmed.
        """

    def entity_ids(self, entity_type: str, after: str = "", limit: int = 1000) -> list[str]:
        """Ids of entities with indexed records, each once, in a stable order, greater than `after`;
        for tools."""

    def offset_at(self, key: SliceKey, time_us: int) -> int:
        """The base offset of the first commit with time_us >= the given time; the head where there
        is none."""

    def position_before(self, key: SliceKey, offset: int) -> Position:
        """The Position with this offset: looks up the write_id of the commit that covers offset -
        1.

        JournalDivergedError where offset is above the head. Works at the trim mark too.
        """

    def trim(self, key: SliceKey, until_offset: int) -> int:
        """Delete whole commits that end at or below `until_offset`; returns the new trim mark.

        Stops at the index mark: what is not indexed yet could not be indexed afterwards.
        CorruptRecordError where a commit to be deleted is damaged: nothing of it is deleted.
        """

    # --- derived from the log: written after the commit is durable, ordered by offset ---
    derived_index: bool
    """True: the index is a derived table and hosts must call advance_index. False: `append` itself
    keeps it."""

    def index_mark(self, key: SliceKey) -> int:
        """Every index row of records below this offset is durable."""

    def advance_index(self, key: SliceKey, until_offset: int, recent: Sequence[Commit] = ()) -> int:
        """Index mark..until_offset, taking commits from `recent` where it has them and from the log
        elsewhere, and only then raise the mark; returns the mark, which never falls. until_offset
        is at a commit's end; GapError above the head."""

    def write_states(self, key: SliceKey, rows: Sequence[StateRow]) -> None:
        """Store states; one with a lower offset than the stored one never wins, however late it
        arrives."""

    def read_state(self, key: SliceKey, entity_id: str) -> StateRow | None:
        """The newest stored state; None where there is none or its checksum does not match."""

    def read_states(self, key: SliceKey, entity_ids: Collection[str]) -> dict[str, StateRow]:
        """`read_state` of several entities at once; those without a sound one are left out."""

    def states(self, key: SliceKey, after: str = "", limit: int = 1000) -> list[StateRow]:
        """Stored states of a slice, each entity once, in a stable order, from the one behind entity
        `after` on ("" for the first); [] at the end. Those that do not match their checksum are
        left out. May read the keys of other slices: for what is rare."""

    def delete_state(self, key: SliceKey, entity_id: str) -> None:
        """Forget a stored state (tools, tests); recovery replays."""

    # --- care ---
    def verify(self, entity_type: str | None = None) -> list[Exception]:
        """Read everything and return what is wrong: damage, holes in offsets, in seq_nr, index and
        state rows that do not match. Empty: sound."""

    def close(self) -> None:
        """Release connections; the journal cannot be used afterwards. Idempotent."""


def append_wait(
    journal: Journal, commits: Sequence[Commit], timeout_s: float = 30.0
) -> list[Appended]:
    """Append and wait for all answers, in the order of `commits`; for tools and tests."""
    from threading import Event

    answers: dict[bytes, Appended] = {}
    complete = Event()

    def on_appended(answer: Appended) -> None:
        answers[answer.commit.write_id] = answer
        if len(answers) == len(commits):
            complete.set()

    journal.append(commits, on_appended)
    if not complete.wait(timeout_s):
        return [answers.get(c.write_id, Appended(c, Outcome.UNKNOWN, "no answer")) for c in commits]
    return [answers[c.write_id] for c in commits]


def change_entry(
    journal: Journal, name: str, change: Callable[[Entry], tuple[Any, _Result]],
    lightly: bool = False,
) -> _Result:  # fmt: skip
    """Put what `change` makes of a registry value in its place; again where somebody else was
    quicker. change: (value to be stored, what is returned here); the same value: nothing is
    written; what it raises passes through, with nothing written. lightly: see `put_entry`.
    Blocks."""
    while True:
        before = journal.entry(name)
        value, result = change(before)
        if value == before.value or journal.put_entry(name, before.version, value, lightly):
            return result


def open_journal(url: str, create: bool = True) -> Journal:
    """Open the journal a URL names. Lazy imports: a missing driver is MissingExtraError, a bad URL
    JournalUrlError.

    sqlite:///relative/path or sqlite:////absolute/path (schema made on first use when `create`) ·
    memory: (one per process and name: `memory:name`) ·
    cassandra://host[,host][:port]/keyspace?local_dc=…&consistency=… (schema only by `thespian-dc
    schema apply`; SchemaError otherwise).
    """
    from thespian_dc.model.errors import JournalUrlError

    scheme = url.split(":", 1)[0]
    if scheme == "memory":
        from thespian_dc.journal.memory import open_memory

        return open_memory(url)
    if scheme == "sqlite":
        from thespian_dc.journal.sqlite.open import open_sqlite

        return open_sqlite(url, create)
    if scheme == "cassandra":
        from thespian_dc.journal.cassandra.open import open_cassandra

        return open_cassandra(url)
    raise JournalUrlError(url, f"no journal is called {scheme!r}")


class Schema(NamedTuple):
    """What stands in a server about a journal's schema. found: its version before this call."""

    found: int
    version: int
    journal_id: str
    home_dc: str
    segment_records: int


class ServerFacts(NamedTuple):
    """What servers say about themselves; nothing is refused and nothing is written.

    servers: (address, data centre, release, paxos_variant) of each, "" where it does not say.
    data_centre: the one this client works in. schema: None where there is no complete one.
    schema_wanted: the version that this program needs.
    """

    servers: tuple[tuple[str, str, str, str], ...]
    data_centre: str
    schema: Schema | None
    schema_wanted: int


def apply_schema(url: str) -> Schema | None:
    """Make what the journal's schema lacks; None: an embedded journal, which makes its own."""
    if not _on_a_server(url):
        return None
    from thespian_dc.journal.cassandra.facts import schema_applied

    return schema_applied(url)


def check_schema(url: str) -> Schema | None:
    """SchemaError or HomeDataCentreError where it does not fit; None: an embedded journal that
    fits, or is not there yet."""
    if not _on_a_server(url):
        _check_embedded(url)
        return None
    from thespian_dc.journal.cassandra.facts import schema_checked

    return schema_checked(url)


def _check_embedded(url: str) -> None:
    from thespian_dc.model.errors import SchemaError

    try:
        open_journal(url, create=False).close()
    except SchemaError as error:
        if error.found:
            raise


def server_facts(url: str) -> ServerFacts | None:
    """What `thespian-dc doctor` looks at; None: an embedded journal."""
    if not _on_a_server(url):
        return None
    from thespian_dc.journal.cassandra.facts import facts_of

    return facts_of(url)


def cassandra_access() -> Any:
    """The module by which a consumer's own tables in a Cassandra are reached: open_access(url),
    for_schema(url), refused(error). MissingExtraError where the driver is not there."""
    from thespian_dc.model.errors import MissingExtraError

    try:
        from thespian_dc.journal.cassandra import consumer_access
    except ImportError as error:
        raise MissingExtraError("positions in Cassandra", "cassandra") from error
    return consumer_access


def _on_a_server(url: str) -> bool:
    from thespian_dc.model.errors import JournalUrlError

    scheme = url.split(":", 1)[0]
    if scheme not in ("cassandra", "sqlite", "memory"):
        raise JournalUrlError(url, f"no journal is called {scheme!r}")
    return scheme == "cassandra"
