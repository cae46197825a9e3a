"""What the unary questions about a stream are answered: events of one entity, heads, positions of
a time; and the answers as they arrive, checked. The journal is read in the readers' pool.

An entity's events are shown as the stream shows them: what its filter withholds and its transform
drops is counted by `complete_through`, and nothing else tells of it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from inspect import iscoroutinefunction
from typing import cast

from thespian_dc.entity.api import want_states
from thespian_dc.journal.api import Journal
from thespian_dc.model.errors import JournalDivergedError, TrimmedError
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.replica_errors import NotAReplicaStreamError
from thespian_dc.model.stream_errors import (
    MalformedMessageError,
    ProtocolVersionError,
    SliceOutOfRangeError,
)
from thespian_dc.projection.api import EntityReading, Facts, LookedUp, Lookup
from thespian_dc.stream.batches import read_part, write_part
from thespian_dc.stream.bookmarks import Place
from thespian_dc.stream.history import state_first
from thespian_dc.stream.open_stream import OpenStream
from thespian_dc.stream.transform import View
from thespian_dc.wire.conversion import OFFSET_MAX, PROTOCOL, Credit
from thespian_dc.wire.lookups import (
    ENTITY_IDS_MAX,
    EntityIds,
    EntityIdsRequest,
    EntityState,
    LookUpAnswer,
    LookUpRequest,
    Positions,
)

ANSWER_MAX = Credit(4 << 20, 10_000)
"""Of one answer, whatever limit was asked for; one event may be larger."""
PAGES_MAX = 4
"""Of stored states that are read for one answer, each of as many as ids were asked for."""


def check_protocol(spoken: int) -> None:
    """ProtocolVersionError."""
    if spoken != PROTOCOL:
        raise ProtocolVersionError(spoken, PROTOCOL)


def check_journal(stream: OpenStream, journal_id: str) -> None:
    """JournalDivergedError where positions are of another journal; "" is of any."""
    mine = stream.journal.journal_id
    if journal_id and journal_id != mine:
        reason = f"its id is {mine}, the positions are of {journal_id}"
        raise JournalDivergedError(f"stream {stream.stream_id}", 0, reason)


async def look_up(stream: OpenStream, request: LookUpRequest, pool: Executor) -> bytes:
    """The answer to a lookup; TrimmedError, JournalDivergedError, TransformError,
    ShownFilterChangedError."""
    check_protocol(request.protocol)
    check_journal(stream, request.journal_id)
    key = SliceKey(stream.entity_type, slice_of(request.entity_id, stream.slices))
    lookup = Lookup(
        request.entity_id, key.slice, request.from_seq_nr, request.until_seq_nr,
        request.from_offset,
    )  # fmt: skip
    limits = (
        min(asked or most, most) for asked, most in zip(request.limit, ANSWER_MAX, strict=True)
    )
    state, rest = await state_first(stream, lookup, request.history, pool)
    reading, view = EntityReading(stream.journal, key, rest, *limits), stream.view
    if stream.group is not None:
        stream.group.check_told(request.shown_version)
        view = stream.group.view_of(request.replica_id, cast("View", view))
    run = asyncio.get_running_loop().run_in_executor
    if not iscoroutinefunction(view):
        await run(pool, reading.add_all, cast("View", view))
    else:
        while found := await run(pool, reading.read):
            for one in found:
                commit = reading.commit_of(one)
                if not reading.add(one, None if commit is None else await view(commit)):
                    break
    answer = reading.answer()
    answer = answer._replace(lookup=lookup, commits=[*state, *answer.commits])
    return write_answer(stream.journal.journal_id, answer)


def heads(stream: OpenStream) -> Positions:
    """Where each slice ends now. Blocks."""
    journal, positions = stream.journal, {}
    for slice_ in range(stream.slices):
        key = SliceKey(stream.entity_type, slice_)
        positions[slice_] = journal.position_before(key, journal.find_head(key).head)
    return Positions(journal.journal_id, positions)


def entity_state(
    stream: OpenStream, entity_id: str, fresh: bool = False, shown_version: int | None = None
) -> EntityState:
    """The stored state of an entity as it is, of a replica stream; none where there is none, or the
    stream withholds the entity. fresh: whoever holds the entity stores its state as of now, soon
    after. NotAReplicaStreamError, ShownFilterChangedError. Blocks."""
    if stream.group is None:
        raise NotAReplicaStreamError(stream.stream_id, "its entities' states are for replicas only")
    slice_ = slice_of(entity_id, stream.slices)
    none = EntityState(stream.journal.journal_id, slice_, stream.group.generation)
    shown = stream.shown
    stream.group.check_told(shown_version)
    if not shown.passes_entity(entity_id):
        return none
    if fresh:
        want_states(stream.journal, stream.entity_type, [entity_id])
    row = stream.journal.read_state(SliceKey(stream.entity_type, slice_), entity_id)
    if row is None:
        return none
    return none._replace(seq_nr=row.seq_nr, offset=row.offset, body=row.body)


def entity_ids(stream: OpenStream, request: EntityIdsRequest) -> EntityIds:
    """The next entities of a slice that have a stored state, of a replica stream; those that the
    stream withholds are left out. Where it withholds many in a row there may be more without one
    that is named. NotAReplicaStreamError, SliceOutOfRangeError, ShownFilterChangedError. Blocks."""
    group, journal = stream.group, stream.journal
    if group is None:
        raise NotAReplicaStreamError(stream.stream_id, "its entities' states are for replicas only")
    if request.slice >= stream.slices:
        raise SliceOutOfRangeError(stream.stream_id, request.slice, stream.slices)
    shown = stream.shown
    group.check_told(request.shown_version)
    key = SliceKey(stream.entity_type, request.slice)
    limit = min(request.limit or ENTITY_IDS_MAX, ENTITY_IDS_MAX)
    after = group.bookmarks.find(request.resume, request.slice, otherwise=request.after)
    resume, more = b"", True
    for _ in range(PAGES_MAX):
        rows = journal.states(key, after, limit)
        more, after = len(rows) == limit, rows[-1].entity_id if rows else after
        ids = [row.entity_id for row in rows if shown.passes_entity(row.entity_id)]
        if ids or not more:
            break
    else:  # an id that is withheld must not stand in the next question
        resume = group.bookmarks.put(Place(request.slice, after))
    begins = first_offset(journal, key)
    return EntityIds(journal.journal_id, group.generation, tuple(ids), begins, more, resume)


def first_offset(journal: Journal, key: SliceKey) -> int:
    """Of the slice, the first that is there. Blocks."""
    try:
        journal.read(key, 0, bytes_max=1)
    except TrimmedError as trimmed:
        return trimmed.trimmed_to
    return 0


def position_at(stream: OpenStream, time_us: int) -> Positions:
    """Where each slice's first commit of that time or later begins. Blocks."""
    journal, positions = stream.journal, {}
    for slice_ in range(stream.slices):
        key = SliceKey(stream.entity_type, slice_)
        positions[slice_] = journal.position_before(key, journal.offset_at(key, time_us))
    return Positions(journal.journal_id, positions)


def write_answer(journal_id: str, looked_up: LookedUp) -> bytes:
    """The bytes of a LookUpAnswer."""
    lookup, commits, complete_through, below_offset, more = looked_up
    answer = LookUpAnswer(
        journal_id=journal_id, slice=lookup.slice, complete_through=complete_through,
        below_offset=below_offset, more=more,
    )  # fmt: skip
    for commit in commits:
        write_part(answer.commits, commit)
    return answer.SerializeToString()


def read_answer(lookup: Lookup, answer: LookUpAnswer) -> LookedUp:
    """An answer as it arrived, checked; MalformedMessageError, DamagedBatchError."""
    where = f"the answer to a lookup of {lookup.entity_id}"
    commits, end = [], lookup.from_offset
    for part in answer.commits:
        commit = read_part(where, part)
        if commit.first_offset < end or commit.end_offset <= commit.first_offset:
            raise MalformedMessageError(where, f"{commit.first_offset} does not follow {end}")
        try:
            ids = set(Facts(commit).ids)
        except (ValueError, TypeError, LookupError) as error:
            raise MalformedMessageError(where, f"it holds no records ({error})") from error
        if ids != {lookup.entity_id}:
            raise MalformedMessageError(where, "it holds records of others")
        commits.append(commit)
        end = commit.end_offset
    if answer.slice != lookup.slice or max(answer.complete_through, end) > OFFSET_MAX:
        raise MalformedMessageError(where, f"slice {answer.slice}, or a number beyond 63 bits")
    if answer.more and answer.complete_through < lookup.from_seq_nr:
        raise MalformedMessageError(where, "it says there is more and brings nothing")
    return LookedUp(lookup, commits, answer.complete_through, answer.below_offset, answer.more)
