"""What the unary questions about a stream are answered: events of one entity, heads, positions of
a time. The journal is read in the readers' pool.

An entity's events are shown as the stream shows them: what its filter withholds and its transform
drops is counted by `complete_through`, and nothing else tells of it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from inspect import iscoroutinefunction
from typing import cast

from thespian_dc.journal.api import Found
from thespian_dc.model.errors import JournalDivergedError, TrimmedError
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.record import Commit, make_commit, pack_record
from thespian_dc.model.stream_errors import MalformedMessageError, ProtocolVersionError
from thespian_dc.projection.api import CommitView, LookedUp, Lookup
from thespian_dc.stream.batches import events_of, read_part, write_part
from thespian_dc.stream.open_stream import OpenStream
from thespian_dc.stream.selecting import Facts
from thespian_dc.stream.transform import View
from thespian_dc.wire import streams_pb2 as pb
from thespian_dc.wire.conversion import OFFSET_MAX, PROTOCOL, Credit
from thespian_dc.wire.lookups import LookUpAnswer, LookUpRequest, Positions

ANSWER_MAX = Credit(4 << 20, 10_000)
"""Of one answer, whatever limit was asked for; one event may be larger."""
READ_SEQ_NRS = 256
"""Records of an entity that are read at once."""
EXAMINED_MAX = 20_000
"""Records looked at for one answer: one with few events may be incomplete too."""


def check_protocol(spoken: int) -> None:
    """ProtocolVersionError."""
    if spoken != PROTOCOL:
        raise ProtocolVersionError(spoken, PROTOCOL)


class LookUp:
    """One answer in the making: `pieces` to show, each given to `add` as it is shown."""

    def __init__(self, stream: OpenStream, request: LookUpRequest) -> None:
        check_protocol(request.protocol)
        check_journal(stream, request.journal_id)
        self._stream, self._request = stream, request
        self.key = SliceKey(stream.entity_type, slice_of(request.entity_id, stream.slices))
        self._limit = Credit(
            min(request.limit.bytes or ANSWER_MAX.bytes, ANSWER_MAX.bytes),
            min(request.limit.events or ANSWER_MAX.events, ANSWER_MAX.events),
        )
        self._answer = pb.LookUpAnswer(
            journal_id=stream.journal.journal_id,
            slice=self.key.slice,
            complete_through=request.from_seq_nr - 1,
        )
        self._size = self._events = self._examined = 0

    def read(self) -> list[Found]:
        """The next records to be shown; [] for the end. Blocks."""
        journal, answer = self._stream.journal, self._answer
        if not answer.below_offset:  # first: what is written while we read is beyond it
            answer.below_offset = journal.find_head(self.key).head
        if answer.more:
            return []
        try:
            return self._read(answer.complete_through + 1)
        except TrimmedError as error:
            if self._request.from_offset < error.trimmed_to:
                raise
            left = self._first_left(answer.complete_through + 1)
            answer.complete_through = left - 1
            return self._read(left)

    def _read(self, begin: int, records: int = READ_SEQ_NRS) -> list[Found]:
        request = self._request
        end = begin + records
        if request.until_seq_nr:
            end = min(end, request.until_seq_nr + 1)
        if begin >= end:
            return []
        return self._stream.journal.read_entity(
            self.key, request.entity_id, begin, self._answer.below_offset, end
        )

    def _first_left(self, trimmed: int) -> int:
        """The entity's first seq_nr that is not trimmed; all before it is below from_offset."""
        step, left = 1, trimmed + 1
        while self._is_trimmed(left):
            trimmed, step = left, 2 * step
            left += step
        while left - trimmed > 1:
            middle = (trimmed + left) // 2
            if self._is_trimmed(middle):
                trimmed = middle
            else:
                left = middle
        return left

    def _is_trimmed(self, seq_nr: int) -> bool:
        try:
            self._read(seq_nr, 1)
        except TrimmedError:
            return True
        return False

    def add(self, found: Found, shown: CommitView | None) -> bool:
        """Count a record in; shown: None where it is below from_offset. False: it goes into the
        next answer."""
        answer = self._answer
        events = events_of(shown, shown.first_offset) if shown is not None else 0
        if shown is not None and events:
            size = self._size + len(shown.body)
            full = size > self._limit.bytes or self._events + events > self._limit.events
            if full and self._events:
                answer.more = True
                return False
            write_part(answer.commits, shown)
            self._size, self._events = size, self._events + events
        answer.complete_through = found.record.seq_nr
        self._examined += 1
        if self._examined >= EXAMINED_MAX:
            answer.more = True
            return False
        return True

    def commit_of(self, found: Found) -> Commit | None:
        """A commit with only this record, to be shown; None where it is below from_offset."""
        if found.offset < self._request.from_offset:
            return None
        packed = [(found.record.entity_id, pack_record(found.record))]
        return make_commit(self.key, found.offset, b"", 0, found.time_us, packed)

    def message(self) -> bytes:
        """The answer's bytes."""
        return self._answer.SerializeToString()


async def look_up(stream: OpenStream, request: LookUpRequest, pool: Executor) -> bytes:
    """The answer to a lookup; TrimmedError, JournalDivergedError, TransformError."""
    answer, view = LookUp(stream, request), stream.view
    run = asyncio.get_running_loop().run_in_executor
    if not iscoroutinefunction(view):
        await run(pool, _show_all, answer, cast("View", view))
        return answer.message()
    while found := await run(pool, answer.read):
        for one in found:
            commit = answer.commit_of(one)
            if not answer.add(one, None if commit is None else await view(commit)):
                break
    return answer.message()


def _show_all(answer: LookUp, view: View) -> None:
    while found := answer.read():
        for one in found:
            commit = answer.commit_of(one)
            if not answer.add(one, None if commit is None else view(commit)):
                break


def heads(stream: OpenStream) -> Positions:
    """Where each slice ends now. Blocks."""
    journal, positions = stream.journal, {}
    for slice_ in range(stream.slices):
        key = SliceKey(stream.entity_type, slice_)
        positions[slice_] = journal.position_before(key, journal.find_head(key).head)
    return Positions(journal.journal_id, positions)


def position_at(stream: OpenStream, time_us: int) -> Positions:
    """Where each slice's first commit of that time or later begins. Blocks."""
    journal, positions = stream.journal, {}
    for slice_ in range(stream.slices):
        key = SliceKey(stream.entity_type, slice_)
        positions[slice_] = journal.position_before(key, journal.offset_at(key, time_us))
    return Positions(journal.journal_id, positions)


def check_journal(stream: OpenStream, journal_id: str) -> None:
    """JournalDivergedError where positions are of another journal; "" is of any."""
    mine = stream.journal.journal_id
    if journal_id and journal_id != mine:
        reason = f"its id is {mine}, the positions are of {journal_id}"
        raise JournalDivergedError(f"stream {stream.stream_id}", 0, reason)


def read_answer(lookup: Lookup, answer: LookUpAnswer) -> LookedUp:
    """An answer as it arrived, checked; MalformedMessageError, DamagedBatchError."""
    where = f"the answer to a lookup of {lookup.entity_id}"
    commits, end = [], lookup.from_offset
    for part in answer.commits:
        commit = read_part(where, part)
        if commit.first_offset < end or commit.end_offset <= commit.first_offset:
            raise MalformedMessageError(where, f"{commit.first_offset} does not follow {end}")
        if set(Facts(commit).ids) != {lookup.entity_id}:
            raise MalformedMessageError(where, "it holds records of others")
        commits.append(commit)
        end = commit.end_offset
    if answer.slice != lookup.slice or max(answer.complete_through, end) > OFFSET_MAX:
        raise MalformedMessageError(where, f"slice {answer.slice}, or a number beyond 63 bits")
    return LookedUp(lookup, commits, answer.complete_through, answer.below_offset, answer.more)
