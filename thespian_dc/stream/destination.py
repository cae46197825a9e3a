"""The receiving end of Push: which origins are let in, and one call of each. Runs on the stream
loop; what is written is written by the destination's thread.

Laws:
- An origin is who its certificate says, not who it says it is; who is not listed, and what is not
  taken here, is answered alike.
- A call ends before another one of the same origin and stream begins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from thespian_dc.journal.api import Journal
from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.push_errors import OriginRefusedError
from thespian_dc.model.record import Commit
from thespian_dc.model.settings import Destination
from thespian_dc.projection.api import SourceBatch
from thespian_dc.shell.clock import now_us
from thespian_dc.stream.consumer_core import HEARTBEAT_MS, ConsumerCore
from thespian_dc.stream.conversation import Conversation, Ears
from thespian_dc.stream.destination_events import DestinationEvents
from thespian_dc.stream.destination_filters import begin_destination_filter
from thespian_dc.stream.destination_thread import DestinationWriter
from thespian_dc.stream.gate import Gate
from thespian_dc.stream.identity import Caller
from thespian_dc.stream.producer_core import check_first
from thespian_dc.stream.pull import first_message
from thespian_dc.stream.push_progress import PushProgress
from thespian_dc.wire.conversion import Credit, Offer, read_from_producer

log = logging.getLogger(__name__)


class Destinations:
    """All of a server over one journal. `open` first, in a thread; the rest on the loop."""

    def __init__(
        self,
        service: str,
        journal: Journal,
        settings: Sequence[Destination],
        published: Callable[[Sequence[Commit]], None],
    ) -> None:
        self.service = service
        self._journal, self._published = journal, published
        self._settings = {one.stream_id: one for one in settings}
        self._writers: dict[str, DestinationWriter] = {}
        self.calls: set[DestinationCall] = set()  # bounded by the server's calls

    def open(self, slices: int) -> None:
        """Record the entity types with this slice count where the journal does not know them, and
        the filters; begin the writers. Blocks. SettingsError, JournalError."""
        counts = self._journal.slice_counts()
        events: dict[str, dict[str, DestinationEvents]] = {}
        for one in self._settings.values():
            begin_destination_filter(self._journal, one.stream_id, one.filter)
            events.setdefault(one.entity_type, {})[one.stream_id] = DestinationEvents(one)
        for name, by_stream in events.items():
            count = counts.get(name) or self._journal.slices(name, slices)
            writer = DestinationWriter(self._journal, name, count, by_stream, self._published)
            self._writers[name] = writer
        for writer in self._writers.values():
            writer.start()

    def stop(self, within_s: float) -> None:
        """End the writers; the calls ended before. Blocks."""
        for writer in self._writers.values():
            writer.stop(within_s)

    def find(self, offer: Offer, proved: frozenset[str]) -> tuple[Destination, DestinationWriter]:
        """Where this is written; OriginRefusedError for what this peer may not push."""
        setting = self._settings.get(offer.stream_id)
        reason = ""
        if setting is None:
            reason = "no such destination"
        elif offer.origin not in setting.origins:
            reason = "the origin is not listed"
        else:
            identity = setting.origins[offer.origin]
            if identity and identity not in proved:
                reason = f"the origin is bound to {identity!r}, the peer showed {sorted(proved)}"
        if setting is None or reason:
            facts = {"stream_id": offer.stream_id, "origin": offer.origin, "reason": reason}
            log.warning("push_refused", extra=facts)  # the peer is not told which it was
            raise OriginRefusedError(offer.stream_id, offer.origin)
        return setting, self._writers[setting.entity_type]

    def facts(self) -> dict[str, Any]:
        """pushed: open calls as "stream of origin"; written: events stored so far.

        received: of each call that began: stream_id, origin; filter_version in force here;
        positions: by slice of the source, below which all that passes is in the log; heads: the
        source's, as last heard; lag: how many records stand between the two, also such as will not
        pass; lag_s: by slice, the age of the last commit written (0.0 where nothing is known to
        wait, or nothing came in this call).
        """
        calls = sorted(self.calls, key=lambda one: one.shown)
        return {
            "pushed": [one.shown for one in calls],
            "written": sum(writer.written for writer in self._writers.values()),
            "received": [
                one.facts(writer) for one in calls
                if (writer := self._writers[one.setting.entity_type]).serves(one)
            ],
        }  # fmt: skip


async def offered(context: Any) -> Offer:
    """The first message of a pushed call; WrongFirstMessageError, ProtocolVersionError."""
    received = await first_message(context)
    return check_first(Offer, None if received is None else read_from_producer(received))


class DestinationCall:
    """One call. Implements pushed_call.PushedCall."""

    setting: Destination

    def __init__(
        self, destinations: Destinations, gate: Gate, caller: Caller, context: Any, offer: Offer
    ) -> None:
        self._destinations, self._context, self.offer = destinations, context, offer
        self._gate, self._caller = gate, caller
        self._loop = asyncio.get_running_loop()
        self._began: asyncio.Future[Any] = self._loop.create_future()
        self._ended: asyncio.Future[Any] = self._loop.create_future()
        self._talk: Conversation | None = None
        self._changed: VersionedFilter | None = None  # since it began
        self.shown = ""
        """What it brings from whom, once it said so."""
        self._heads: dict[int, int] = {}  # of the source, as last heard; replaced, never changed

    async def run(self) -> None:
        """Until the producer ends the call; raises what is to end it otherwise."""
        offer = self.offer
        await self._gate.intercept(
            "Push", offer.stream_id, offer.origin, self._caller, self._context
        )
        self.setting, writer = self._destinations.find(offer, self._caller.identities)
        self.shown = f"{offer.stream_id} of {offer.origin}"
        self._destinations.calls.add(self)
        writer.open(self)
        talking: asyncio.Task[None] | None = None
        try:
            await asyncio.wait({self._began, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            if not self._ended.done():
                talking = asyncio.create_task(self._converse(writer, *self._began.result()))
                over: set[asyncio.Future[Any]] = {talking, self._ended}
                await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
            if self._ended.done():
                self._ended.result()
            assert talking is not None
            talking.result()
        finally:
            self._destinations.calls.discard(self)
            writer.close(self)
            self._ended.cancel()  # nobody needs another end
            if talking is not None:
                talking.cancel()
                await asyncio.gather(talking, return_exceptions=True)

    async def _converse(
        self, writer: DestinationWriter, progress: PushProgress, wanted: VersionedFilter
    ) -> None:
        offer, peer = self.offer, self._context.peer()
        core = ConsumerCore(
            offer.stream_id, self._destinations.service, offer.journal_id, progress.positions,
            Credit(0, 0), peer, HEARTBEAT_MS, now_us(), self.setting.history,
            wanted,
        )  # fmt: skip
        if self._changed is not None:
            core.change_filter(self._changed)

        def came(batch: SourceBatch) -> None:
            self._know({batch.slice: batch.head})
            writer.take(self, batch)

        ears = Ears(lambda started: self._know(started.heads), came, _nothing)
        self._talk = Conversation(core, self._context, ears, offer.stream_id, peer)
        await self._talk.run()

    def _know(self, heads: Mapping[int, int]) -> None:
        more = {slice_: max(at, self._heads.get(slice_, 0)) for slice_, at in heads.items()}
        self._heads = {**self._heads, **more}

    def facts(self, writer: DestinationWriter) -> dict[str, Any]:
        """See Destinations.facts."""
        offer, heads, written = self.offer, self._heads, writer.written_of(self)
        lags = {slice_: heads.get(slice_, 0) - at for slice_, at in written.positions.items()}
        now = now_us()
        return {
            "stream_id": offer.stream_id,
            "origin": offer.origin,
            "filter_version": written.filter_version,
            "positions": dict(written.positions),
            "heads": heads,
            "lag": sum(lag for lag in lags.values() if lag > 0),
            "lag_s": {
                slice_: max(0, now - written.times_us[slice_]) / 1e6
                if lag > 0 and slice_ in written.times_us else 0.0
                for slice_, lag in lags.items()
            },
        }  # fmt: skip

    # --- what the writer says, from its thread ---

    def begin(self, progress: PushProgress, wanted: VersionedFilter) -> None:
        """See PushedCall."""
        self._soon(self._began, (progress, wanted))

    def end(self, error: Exception) -> None:
        """See PushedCall. Its first error counts."""
        self._soon(self._ended, error)

    def handled(self, cost: Credit) -> None:
        """See PushedCall."""
        self._loop.call_soon_threadsafe(self._handled, cost)

    def change_filter(self, wanted: VersionedFilter) -> None:
        """See PushedCall."""
        self._loop.call_soon_threadsafe(self._change_filter, wanted)

    def _soon(self, future: asyncio.Future[Any], value: Any) -> None:
        self._loop.call_soon_threadsafe(_settle, future, value)

    def _handled(self, cost: Credit) -> None:
        if self._talk is not None:
            self._talk.handled(cost)
            self._talk.wake()

    def _change_filter(self, wanted: VersionedFilter) -> None:
        self._changed = wanted
        if self._talk is not None:
            self._talk.core.change_filter(wanted)
            self._talk.wake()


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if future.done():
        return
    if isinstance(value, Exception):
        future.set_exception(value)
    else:
        future.set_result(value)


def _nothing(_: Any) -> None:
    """Nobody needs to know."""
