"""What a stream shows a consumer that wants no full history: stored states in the places of the
records they stand for. `projection/history.py` says which.

Each call reads its own way through the history; from the head that it found on it is a consumer
like every other, and reads what all read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from inspect import isawaitable
from typing import Any

from thespian_dc.codec.api import Registry
from thespian_dc.journal.api import StateRow
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.history import History
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import SNAPSHOT_META, make_commit
from thespian_dc.model.settings import Stream
from thespian_dc.model.state_body import unpack_state
from thespian_dc.model.stream_errors import HistoryRefusedError, TransformError
from thespian_dc.model.user_code import RAISED
from thespian_dc.projection.api import (
    Chosen,
    CommitView,
    Judge,
    Lookup,
    Placed,
    Restored,
    Selector,
    SliceHistory,
    body_of,
    pack_placed,
    spans_of,
    state_for_lookup,
)
from thespian_dc.stream.open_stream import OpenStream
from thespian_dc.stream.producer_core import ProducerCore
from thespian_dc.stream.producer_filter import ProducerFilter
from thespian_dc.stream.tail import Waiter
from thespian_dc.stream.transform import (
    TRANSFORM_S,
    AsyncView,
    View,
    entity_type_of,
    stored_registry,
)

REMEMBERED_MAX = 64_000
"""Entities whose states' places are remembered, over all slices of a call: about 10 MiB."""
PAGES_BYTES = 2 << 20
"""Of all slices' pages together."""
_PAGE_BYTES = (16 << 10, 256 << 10)
RETRY_S = 0.1


def check_history(stream: Stream, history: History) -> None:
    """HistoryRefusedError where this stream cannot give it."""
    refused: str | None = None
    if history is History.FROM_SNAPSHOTS and stream.from_snapshot is None:
        refused = "it has no from_snapshot, which would make an event of an entity's state"
    elif history is History.LATEST and not getattr(stream.entity, "_durable_state", False):
        refused = "only a durable-state entity, given as its class, has a last state"
    if refused is not None:
        raise HistoryRefusedError(stream.stream_id, history.name, refused)


class StateShower:
    """Makes records of stored states, as this stream shows them. shown: the stream's own filter,
    asked with the state as the payload."""

    def __init__(self, stream: Stream, view: View | AsyncView, shown: ProducerFilter) -> None:
        assert isinstance(stream.entity, type)
        self._stream, self._view, self._shown = stream, view, shown
        self._entity_type = entity_type_of(stream)
        self._stored = stored_registry(stream.entity)
        stored = () if stream.transform else self._stored.types
        self._public = Registry(dict.fromkeys([*stream.events, *stored]))

    @property
    def lets_all_pass(self) -> bool:
        return self._shown.lets_all_pass

    def passes(self, slice_: int, placed: Placed) -> bool:
        """May a state be seen at all? TransformError where the filter raises."""
        if self._shown.lets_all_pass:
            return True
        event = self._envelope(slice_, 0, placed)
        try:
            return self._shown.passes(event)
        except RAISED as error:
            raise self._named(event, error) from error

    async def show(self, slice_: int, time_us: int, placed: Placed) -> bytes | None:
        """The packed record; None where the stream leaves it out. TransformError."""
        function = self._stream.from_snapshot
        if function is None:
            return await self._shown_by_view(slice_, time_us, placed)
        event = self._envelope(slice_, time_us, placed)
        try:
            async with asyncio.timeout(TRANSFORM_S):
                answer = function(event)
                payload = await answer if isawaitable(answer) else answer
            if payload is None:
                return None
            manifest, encoded = self._public.encode(payload)
        except RAISED as error:
            raise self._named(event, error) from error
        return pack_placed(placed, manifest, encoded)

    async def _shown_by_view(self, slice_: int, time_us: int, placed: Placed) -> bytes | None:
        """As the stream shows the record of a state without a change event."""
        row = placed.row
        body = unpack_state(row.entity_id, row.body)
        packed = pack_placed(placed, body.manifest, body.payload)
        key = SliceKey(self._entity_type, slice_)
        commit = make_commit(key, row.offset, b"", 0, time_us, [(row.entity_id, packed)])
        seen: Any = self._view(commit)
        view: CommitView = await seen if isawaitable(seen) else seen
        return view.body[spans_of(view.body, 1)[0]] if view.body else None

    def _envelope(self, slice_: int, time_us: int, placed: Placed) -> Envelope[Any]:
        row = placed.row
        event = Envelope[Any](
            None, self._entity_type, row.entity_id, row.seq_nr, slice_, row.offset, time_us,
            list(placed.tags), "", {SNAPSHOT_META: True},
        )  # fmt: skip
        try:
            event.manifest, payload, *_ = unpack_state(row.entity_id, row.body)
            event.payload = self._stored.decode(event.manifest, payload)
        except RAISED as error:
            raise self._named(event, error) from error
        return event

    def _named(self, event: Envelope[Any], error: BaseException) -> TransformError:
        cause = f"its state: {type(error).__name__}: {error}".rstrip(": ")
        return TransformError(
            self._stream.stream_id, event.entity_id, event.slice, event.offset, cause
        )


async def state_first(
    stream: OpenStream, lookup: Lookup, history: History, pool: Executor
) -> tuple[list[CommitView], Lookup]:
    """What a lookup may begin with: the entity's state, where it is not older than what is wanted,
    and the lookup of what is behind it. HistoryRefusedError, TransformError."""
    check_history(stream.setting, history)
    if history is History.FULL:
        return [], lookup
    key = SliceKey(stream.entity_type, lookup.slice)
    row = await asyncio.get_running_loop().run_in_executor(
        pool, state_for_lookup, stream.journal, key, lookup.entity_id, lookup.from_seq_nr,
        lookup.from_offset,
    )  # fmt: skip
    shower = StateShower(stream.setting, stream.view, stream.shown)
    if row is None or not shower.passes(key.slice, Placed(row, ())):
        return [], lookup
    packed = await shower.show(key.slice, 0, Placed(row, ()))
    shown = [] if packed is None else [
        CommitView(row.offset, row.offset + 1, b"", 0, body_of([packed]))
    ]  # fmt: skip
    return shown, lookup._replace(from_seq_nr=row.seq_nr + 1, from_offset=row.offset + 1)


class CallHistory:
    """The histories of one call's slices. To a call it is what the stream's tail is: `take` what is
    there, `want` what is not. Runs on the stream loop, reads in the pool."""

    def __init__(
        self,
        stream: OpenStream,
        core: ProducerCore,
        heads: Mapping[int, int],
        pool: Executor,
    ) -> None:
        self._view, self._pool, self._core = stream.view, pool, core
        self._shower = StateShower(stream.setting, stream.view, stream.shown)
        self._judged_by = core.selector
        share = len(heads)
        page_bytes = min(max(PAGES_BYTES // share, _PAGE_BYTES[0]), _PAGE_BYTES[1])
        self._slices = {
            slice_: SliceHistory(
                stream.journal, SliceKey(stream.entity_type, slice_), core.offset(slice_), head,
                REMEMBERED_MAX // share, page_bytes,
            )
            for slice_, head in heads.items()
        }  # fmt: skip
        # One page of each slice, read and not yet sent.
        self._ready: dict[int, list[CommitView]] = {slice_: [] for slice_ in heads}
        self._reading: dict[int, asyncio.Task[None]] = {}  # bounded by the slices

    @property
    def active(self) -> bool:
        """Is any slice still in its history?"""
        return bool(self._slices)

    def covers(self, slice_: int, offset: int) -> bool:
        """Does this offset belong to the history still? Once it does not, it never does again."""
        history = self._slices.get(slice_)
        if history is None:
            return False
        if history.done and history.offset <= offset and slice_ not in self._reading:
            del self._slices[slice_], self._ready[slice_]
            return False
        return True

    def take(self, slice_: int, offset: int, bytes_max: int, call: Waiter) -> list[CommitView]:
        """What is there from this offset on: a page at most, whatever bytes_max is."""
        ready = self._ready[slice_] = [
            view for view in self._ready[slice_] if view.end_offset > offset
        ]
        return ready

    def want(self, slice_: int, offset: int, waiter: Waiter) -> None:
        """Call waiter.on_ready once there is more; offset: the end of what was taken."""
        if slice_ not in self._reading:
            self._reading[slice_] = asyncio.create_task(self._read(slice_, waiter))

    def close(self) -> None:
        """The call ended."""
        for task in self._reading.values():
            task.cancel()

    async def _read(self, slice_: int, waiter: Waiter) -> None:
        history = self._slices[slice_]
        try:
            loop = asyncio.get_running_loop()
            judge = self._judge(slice_)
            parts = await loop.run_in_executor(self._pool, history.next, judge)
            views = [await self._shown(slice_, part) for part in parts]
            if not views:  # a journal that is behind its own head: ask again, not at once
                await asyncio.sleep(RETRY_S)
        except Exception as error:  # noqa: BLE001 - the consumer is told
            waiter.on_read_error(slice_, error)
            return
        finally:
            del self._reading[slice_]
        self._ready[slice_] += views
        waiter.on_ready(slice_)

    def _judge(self, slice_: int) -> Judge | None:
        selector = self._core.selector
        if selector is not self._judged_by:  # another filter came: it may let other states pass
            self._judged_by = selector
            for history in self._slices.values():
                history.forget_places()
        if selector.lets_all_pass and self._shower.lets_all_pass:
            return None
        return partial(self._passes, slice_, selector)

    def _passes(self, slice_: int, selector: Selector, row: StateRow, tags: Sequence[str]) -> bool:
        if not selector.passes(row.entity_id, tags):
            return False
        return self._shower.passes(slice_, Placed(row, tags))

    async def _shown(self, slice_: int, part: Chosen | Restored) -> CommitView:
        if isinstance(part, Restored):
            states = await self._states(slice_, part.time_us, part.first_offset, part.states)
            body = body_of([packed for _, packed in states])
            return CommitView(
                part.first_offset, part.end_offset, part.write_id, part.time_us, body,
                tuple(index for index, _ in states),
            )  # fmt: skip
        seen: Any = self._view(part.commit, part.wanted)
        view: CommitView = await seen if isawaitable(seen) else seen
        if not part.states:
            return view
        states = await self._states(slice_, view.time_us, view.first_offset, part.states)
        return with_records(view, states)

    async def _states(
        self, slice_: int, time_us: int, first_offset: int, states: Sequence[Placed]
    ) -> list[tuple[int, bytes]]:
        shown = []
        for placed in states:
            packed = await self._shower.show(slice_, time_us, placed)
            if packed is not None:
                shown.append((placed.row.offset - first_offset, packed))
        return shown


def with_records(view: CommitView, added: Sequence[tuple[int, bytes]]) -> CommitView:
    """The view with these (index, packed record) in places where it has none."""
    count = view.end_offset - view.first_offset
    indexes = (view.kept or range(count)) if view.body else ()
    spans = spans_of(view.body, len(indexes)) if view.body else []
    merged = sorted(
        [*zip(indexes, (view.body[span] for span in spans), strict=True), *added],
        key=lambda pair: pair[0],
    )
    if not merged:
        return view
    whole = len(merged) == count
    kept = () if whole else tuple(index for index, _ in merged)
    return view._replace(body=body_of([packed for _, packed in merged]), kept=kept)
