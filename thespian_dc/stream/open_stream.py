"""The streams of a server: what all calls of one share, and what each shows. Lives on the stream
loop.

What a stream shows changes where another filter is set for it in the journal. Its tail is replaced
then: nothing that was judged by the former filter is shown any more. A filter that cannot be
evaluated closes the stream: it shows nothing, to anybody, until that is mended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from thespian_dc.journal.api import Journal
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.replication_settings import Replication
from thespian_dc.model.settings import Stream
from thespian_dc.model.stream_errors import StreamClosedError, UnknownStreamError
from thespian_dc.projection.api import Facts, FactsCache
from thespian_dc.stream.filter_registry import (
    StoredFilters,
    StreamFilter,
    announce_streams,
    stored_filters,
)
from thespian_dc.stream.leaving_out import ReplicaFacts
from thespian_dc.stream.producer_filter import ProducerFilter, withholding
from thespian_dc.stream.replica_group import ReplicaGroup
from thespian_dc.stream.tail import Tail
from thespian_dc.stream.transform import AsyncView, View, entity_type_of, view_for, whole_commit

if TYPE_CHECKING:
    from thespian_dc.stream.pull import PullCall

log = logging.getLogger(__name__)

FILTERS_POLL_S = 0.5
"""How often a producer looks whether another filter was set for one of its streams."""


class OpenStream:
    """One stream. Everything that shows events goes through `tail`, or `view` and `shown`.

    group: of a replica stream.
    """

    def __init__(
        self, setting: Stream, journal: Journal, slices: int, group: ReplicaGroup | None = None
    ) -> None:
        self.setting, self.journal, self.slices, self.group = setting, journal, slices, group
        self.stream_id, self.topic_prefix = setting.stream_id, setting.topic_prefix
        self.entity_type = entity_type_of(setting)
        self.unfiltered: View | AsyncView = view_for(setting)
        self.facts: FactsCache[Any] = FactsCache(Facts if group is None else ReplicaFacts)
        self.calls: set[PullCall] = set()  # bounded by the server's CALLS_MAX
        self.filter_set: StreamFilter | None = None
        self.shown: ProducerFilter
        self.view: View | AsyncView
        self.tail: Tail
        self.error: Exception | None = None
        """Why nothing may be shown at present: every call and question ends with it."""

    def check(self) -> None:
        """Raise what keeps the stream from being shown."""
        if self.error is not None:
            raise self.error

    def show_through(self, tail: Tail) -> None:
        """From now on nothing is shown but what this tail has."""
        before, self.tail, self.error = getattr(self, "tail", tail), tail, None
        if before is tail:
            return
        for slice_ in range(tail.slices):
            tail.know_head(slice_, before.head(slice_))
        for call in self.calls:
            before.forget(call)
            call.look_again()

    def close(self, error: Exception) -> None:
        """Show nothing until `show_through`."""
        self.error = error
        for call in list(self.calls):
            call.end(error)


class OpenStreams:
    """All streams of a server over one journal. `open` first, in a thread; the rest on the loop."""

    def __init__(self, journal: Journal, pool: ThreadPoolExecutor) -> None:
        self._journal, self._pool = journal, pool
        self._streams: dict[str, OpenStream] = {}
        self._brought: frozenset[str] = frozenset()
        self._stored = StoredFilters(0, {})
        # By what is shown: streams that show the same bytes share one cache.
        self._tails: dict[tuple[str, str], tuple[Tail, asyncio.Task[None]]] = {}
        self._following: list[asyncio.Task[None]] = []
        self.groups: dict[str, ReplicaGroup] = {}
        """By the ids of their replica streams."""

    def open(
        self,
        settings: Sequence[Stream],
        slices: int,
        brought: Sequence[Stream] = (),
        replication: Sequence[Replication] = (),
    ) -> None:
        """Record entity types that the journal does not know yet with this slice count, make the
        streams known there, and read which filters are set. brought: only pushed, found by nobody.
        Blocks. ReplicaIdChangedError."""
        counts = self._journal.slice_counts()
        self._brought = frozenset(one.stream_id for one in brought)
        replicas = {one.stream_id: one for one in replication}
        between = [Stream(one.stream_id, one.entity_type) for one in replication]
        for setting in (*settings, *brought, *between):
            name = entity_type_of(setting)
            if name not in counts:
                counts[name] = self._journal.slices(name, slices)
            group = None
            if setting.stream_id in replicas:
                one = replicas[setting.stream_id]
                group = ReplicaGroup(one, self._journal, counts[name], self._pool)
                group.begin()
                self.groups[one.stream_id] = group
            stream = OpenStream(setting, self._journal, counts[name], group)
            shown = None if group is None else group.setting.shown
            ProducerFilter(setting, shown)  # a wrong setting is an error at the start
            self._streams[setting.stream_id] = stream
        named = self._streams.keys() - self.groups.keys()
        self._stored = announce_streams(self._journal, sorted(named))

    def start(self) -> None:
        """Begin to read the logs and to look for changed filters."""
        for stream in self._streams.values():
            self._take_over(stream)
        self._following = [asyncio.create_task(self._follow_filters())]
        for group in self.groups.values():
            self._following.append(asyncio.create_task(self._follow(group)))
            self._following.append(asyncio.create_task(self._follow_shown(group)))

    async def stop(self) -> None:
        """End all that `start` began."""
        tasks = [task for _, task in self._tails.values()]
        tasks += self._following
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def by_id(self) -> Mapping[str, OpenStream]:
        return self._streams

    @property
    def tails(self) -> list[Tail]:
        """All that are read now."""
        return [tail for tail, _ in self._tails.values()]

    def find(self, stream_id: str) -> OpenStream:
        """UnknownStreamError, or what keeps the stream from being shown."""
        stream = self._streams.get(stream_id)
        if stream is None or stream_id in self._brought:
            raise UnknownStreamError(stream_id)
        stream.check()
        if stream.group is None:
            self._check_whole(stream.entity_type)
        return stream

    def _check_whole(self, entity_type: str) -> None:
        """ReplicaRecoveringError where the type's journal is known to lack events."""
        for group in self.groups.values():
            if group.entity_type == entity_type:
                group.check_open()

    async def _follow(self, group: ReplicaGroup) -> None:
        def end_consumers(error: Exception) -> None:
            for stream in self._streams.values():
                if stream.group is None and stream.entity_type == group.entity_type:
                    for call in list(stream.calls):
                        call.end(error)

        await group.follow(end_consumers)

    # --- filters that are set while we serve ---

    async def _follow_filters(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(FILTERS_POLL_S)
            try:
                stored = await loop.run_in_executor(self._pool, stored_filters, self._journal)
            except Exception as error:  # noqa: BLE001 - what is in force stays; asked again
                log.warning("stream_filters_unread", extra={"error": f"{error}"})
                continue
            if stored.version == self._stored.version:
                continue
            self._stored = stored
            for stream in self._streams.values():
                self._take_over(stream)
            self._drop_unused()

    async def _follow_shown(self, group: ReplicaGroup) -> None:
        """Of a replica stream."""
        while True:
            await asyncio.sleep(FILTERS_POLL_S)
            try:
                shown = await group.wanted_shown()
            except Exception as error:  # noqa: BLE001 - what is in force stays; asked again
                log.warning("shown_filter_unread", extra={"error": f"{error}"})
                continue
            if shown != group.shown:
                group.show(shown)  # readers are told before anything is sent through it
                self._take_over(self._streams[group.setting.stream_id])
                self._drop_unused()

    def _take_over(self, stream: OpenStream) -> None:
        """Show the stream through the filter that is set, where that is another one."""
        facts = {"stream_id": stream.stream_id}
        try:
            if stream.group is None:
                wanted = self._stored.filter_of(stream.stream_id)
            else:
                wanted = StreamFilter(*stream.group.shown)
            if wanted == stream.filter_set and stream.error is None:
                return
            stream.shown = ProducerFilter(stream.setting, wanted.filter)
            stream.view = withholding(stream.unfiltered, stream.shown)
            stream.show_through(self._tail_of(stream))
            stream.filter_set = wanted
            log.info("stream_filter", extra={**facts, "version": wanted.version})
        except ThespianDcError as error:
            log.error("stream_closed", extra={**facts, "error": f"{type(error).__name__}: {error}"})
            stream.close(StreamClosedError(stream.stream_id, f"its filter in the journal: {error}"))

    def _tail_of(self, stream: OpenStream) -> Tail:
        """The tail that shows what the stream's view shows; made where there is none."""
        shown = "" if stream.view is whole_commit else f"{stream.stream_id} {id(stream.view)}"
        key = (stream.entity_type, shown)
        if key not in self._tails:
            tail = Tail(self._journal, stream.entity_type, stream.slices, self._pool, stream.view)
            self._tails[key] = tail, asyncio.create_task(tail.follow())
        return self._tails[key][0]

    def _drop_unused(self) -> None:
        used = {id(stream.tail) for stream in self._streams.values() if stream.error is None}
        for key, (tail, task) in list(self._tails.items()):
            if id(tail) not in used:
                task.cancel()
                del self._tails[key]
