"""What a stream shows of a commit: all of it as it is stored, or what its transform makes of each
event.

Laws:
- What is shown keeps the order, the ids and the tags of what is stored.
- An event that cannot be decoded, shown or encoded, or whose type nobody mapped, is an error that
  names it; nothing is left out but what a transform leaves out.
- Asynchronous transforms run at most PARALLEL at a time; their order is that of the events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterator, Sequence
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Protocol

import msgpack

from thespian_dc.codec.api import Registry
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.record import (
    CHANGE_META,
    CONTROL,
    Commit,
    Record,
    pack_record,
    records_of,
    shown_as,
)
from thespian_dc.model.settings import Stream
from thespian_dc.model.stream_errors import TransformError, UnmappedEventError
from thespian_dc.model.transformation import Function, How, Step, Transformation, functions_of
from thespian_dc.model.user_code import RAISED
from thespian_dc.projection.api import CommitView, body_of

PARALLEL = 16
"""Asynchronous transforms of one commit that run side by side."""
TRANSFORM_S = 30.0
"""An asynchronous transform that takes longer has failed."""
_HEADER_BYTES = 5
_AS_STORED = object()
Event = tuple[int, Record, Envelope[Any]]
"""Index in its commit, the stored record, the original event."""


class View(Protocol):
    """How a stream sees commits. wanted: indexes of records; None for all. From any thread."""

    def __call__(self, commit: Commit, wanted: Container[int] | None = None) -> CommitView: ...


class AsyncView(Protocol):
    """The same, on an event loop."""

    async def __call__(
        self, commit: Commit, wanted: Container[int] | None = None
    ) -> CommitView: ...


def entity_type_of(stream: Stream) -> str:
    """The entity type a stream shows; SettingsError where its `entity` names none."""
    name = stream.entity if isinstance(stream.entity, str) else stream.entity.__dict__.get(
        "entity_type", getattr(stream.entity, "entity_type", "")
    )  # fmt: skip
    if not isinstance(name, str) or not name:
        raise SettingsError(f"stream {stream.stream_id}: {stream.entity!r} has no entity_type")
    return name


def view_for(stream: Stream) -> View | AsyncView:
    """How this stream sees commits: asynchronous where one of its functions is. Raises
    SettingsError where a transform lacks what it decodes with."""
    if stream.transform is None:
        return whole_commit
    if isinstance(stream.entity, str):
        raise SettingsError(
            f"stream {stream.stream_id}: a transform needs the entity class, not its type's name, "
            "to decode the stored events"
        )
    stored, public = stored_registry(stream.entity), Registry(stream.events)
    transforming = Transforming(stream.stream_id, stream.transform, stored, public)
    return transforming.view_async if is_async(stream) else transforming.view


def is_async(stream: Stream) -> bool:
    """Does this stream's transform need an event loop?"""
    return any(map(iscoroutinefunction, functions_of(stream.transform)))


def stored_registry(entity: type) -> Registry:
    """Decodes all that an entity class stores as events and states."""
    events, states, upcasters = (
        getattr(entity, name, ()) for name in ("events", "states", "upcasters")
    )
    types = dict.fromkeys([*events, *states])  # a durable state may have no change event
    return Registry(types, upcasters=upcasters)


def whole_commit(commit: Commit, wanted: Container[int] | None = None) -> CommitView:
    """The stored bytes, undecoded."""
    if wanted is None:
        return CommitView(
            commit.base_offset, commit.end_offset, commit.write_id, commit.time_us, commit.body
        )
    shown, start = [], _HEADER_BYTES
    for index, (_, length, _) in enumerate(msgpack.unpackb(commit.heads)):
        if index in wanted:
            shown.append((index, commit.body[start : start + length]))
        start += length
    return view_of(commit, shown)


def view_of(commit: Commit, shown: Sequence[tuple[int, bytes]]) -> CommitView:
    """The commit with these (index, packed record), in order, and nothing else."""
    whole = len(shown) == commit.count
    return CommitView(
        commit.base_offset, commit.end_offset, commit.write_id, commit.time_us,
        body_of([packed for _, packed in shown]),
        () if whole else tuple(index for index, _ in shown),
    )  # fmt: skip


class Originals:
    """Decodes the events of commits, as they are stored."""

    def __init__(self, stream_id: str, stored: Registry) -> None:
        self._stream_id, self._stored = stream_id, stored

    def events(self, commit: Commit, wanted: Container[int] | None) -> Iterator[Event]:
        """All wanted but control records, decoded one by one."""
        key = commit.key
        for index, record in enumerate(records_of(commit)):
            if record.kind == CONTROL or (wanted is not None and index not in wanted):
                continue
            manifest, stored = shown_as(record.kind, record.manifest, record.payload, record.meta)
            event = Envelope[Any](
                None, key.entity_type, record.entity_id, record.seq_nr, key.slice,
                commit.base_offset + index, commit.time_us, list(record.tags), manifest,
                record.meta,
            )  # fmt: skip
            try:
                event.payload = self._stored.decode(manifest, stored)
            except RAISED as error:  # upcasters are users' code, too
                raise self.named(event, error) from error
            yield index, record, event

    def named(self, event: Envelope[Any], error: BaseException) -> Exception:
        """The error that says which event it was."""
        if isinstance(error, UnmappedEventError | TransformError):
            return error
        cause = f"{type(error).__name__}: {error}".rstrip(": ")
        return TransformError(self._stream_id, event.entity_id, event.slice, event.offset, cause)


class Transforming(Originals):
    """Finds the step of each event, and packs what it returned under the same ids and tags."""

    def __init__(
        self,
        stream_id: str,
        transform: Function | Transformation,
        stored: Registry,
        public: Registry,
    ) -> None:
        super().__init__(stream_id, stored)
        self._public = public
        self._steps: dict[type, Step] = {}
        rest: Function | None
        if isinstance(transform, Transformation):
            self._steps, rest = {step.kind: step for step in transform.steps}, transform.rest
        else:
            rest = transform
        self._rest = None if rest is None else Step(object, How.ENVELOPE, rest)

    def view(self, commit: Commit, wanted: Container[int] | None = None) -> CommitView:
        """What passes; TransformError or UnmappedEventError names the event that does not."""
        shown = []
        for index, record, event in self.events(commit, wanted):
            try:
                packed = self._packed(record, event, self._answer(event))
            except RAISED as error:
                raise self.named(event, error) from error
            if packed is not None:
                shown.append((index, packed))
        return view_of(commit, shown)

    async def view_async(self, commit: Commit, wanted: Container[int] | None = None) -> CommitView:
        """The same where functions are asynchronous."""
        events = list(self.events(commit, wanted))
        shown = []
        for start in range(0, len(events), PARALLEL):
            group = events[start : start + PARALLEL]
            answers = await asyncio.gather(
                *(self._awaited(event) for _, _, event in group), return_exceptions=True
            )
            for (index, record, event), answer in zip(group, answers, strict=True):
                try:
                    if isinstance(answer, BaseException):
                        raise answer
                    packed = self._packed(record, event, answer)
                except RAISED as error:
                    raise self.named(event, error) from error
                if packed is not None:
                    shown.append((index, packed))
        return view_of(commit, shown)

    def _answer(self, event: Envelope[Any]) -> Any:
        """What the event's step returns: a payload, None, _AS_STORED, or something to await."""
        step = self._steps.get(type(event.payload), self._rest)
        if step is None:
            raise UnmappedEventError(
                self._stream_id, event.manifest, event.entity_id, event.slice, event.offset
            )
        if step.function is None:
            return _AS_STORED if step.how is How.IDENTITY else None
        return step.function(event.payload if step.how is How.PAYLOAD else event)

    async def _awaited(self, event: Envelope[Any]) -> Any:
        try:
            answer = self._answer(event)
            if isawaitable(answer):
                async with asyncio.timeout(TRANSFORM_S):
                    answer = await answer
        except SystemExit as error:  # out of a task it would end the loop of all streams
            raise self.named(event, error) from error
        return answer

    def _packed(self, record: Record, event: Envelope[Any], answer: Any) -> bytes | None:
        if answer is None:
            return None
        if answer is _AS_STORED:
            manifest, encoded = shown_as(record.kind, record.manifest, record.payload, record.meta)
        else:
            manifest, encoded = self._public.encode(answer)
        # Command ids, replies and unshown change events stay at home.
        meta = {name: it for name, it in (record.meta or {}).items() if name != CHANGE_META}
        shown = record._replace(manifest=manifest, payload=encoded, meta=meta or None)
        return pack_record(shown._replace(command_id="", reply=None))
