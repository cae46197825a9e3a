"""The thread that writes what is pushed: owns the slices of one destination type and keeps its
calls' positions. A shell around PushCore, over DestinationSlices.

One node writes a type at a time: whoever has calls takes all slices over, by epoch, and serves no
call before it owns them all. A node that loses one ends its calls; the producers dial again, and
the log says what it has. All that comes while an append is under way forms the next commit.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from thespian_dc.journal.api import Appended, Journal
from thespian_dc.model.errors import JournalUnavailableError, ThespianDcError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import Position
from thespian_dc.model.push_errors import PushNotWrittenError
from thespian_dc.model.record import Commit
from thespian_dc.model.stream_errors import PeerUnavailableError
from thespian_dc.projection.api import SourceBatch
from thespian_dc.shell.clock import now_us
from thespian_dc.shell.outages import OutageLog
from thespian_dc.slices.actions import Submission
from thespian_dc.stream.batches import cost_of
from thespian_dc.stream.destination_baselines import Remembered, remembered
from thespian_dc.stream.destination_events import DestinationEvents
from thespian_dc.stream.destination_progress import KeptProgress, as_sent
from thespian_dc.stream.destination_slices import DestinationSlices, Told
from thespian_dc.stream.push_core import PushCore, Taken, done
from thespian_dc.stream.pushed_call import PushedCall, Serving, WrittenOf

log = logging.getLogger(__name__)

STORE_US = 200_000
"""How often positions are stored. What was written since comes again after a crash, and is
recognised by the log."""
LOOK_US = 500_000
"""How often is looked for another owner, while there are calls; for a changed filter too where the
journal is on a server."""
FILTERS_US = 50_000
"""How often for a changed filter in an embedded journal."""
INPUTS_MAX = 1_000
READERS = 8


class _Opened(NamedTuple):
    call: PushedCall


class _Came(NamedTuple):
    call: PushedCall
    batch: SourceBatch


class _Closed(NamedTuple):
    call: PushedCall


class DestinationWriter:
    """Writes one entity type. events: by stream id. published: is given fresh commits, which are
    durable. `open`, `take` and `close` may be called from any thread."""

    def __init__(
        self,
        journal: Journal,
        entity_type: str,
        slices: int,
        events: Mapping[str, DestinationEvents],
        published: Callable[[Sequence[Commit]], None],
    ) -> None:
        self._journal, self._entity_type, self._events = journal, entity_type, events
        self._published = published
        self._core = PushCore(slices, journal.commit_bytes_max)
        # bounded: each call's window, and an append per slice
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        told = Told(self._begin_waiting, self._on_durable, self._on_lost, self._on_not_written)
        self._slices = DestinationSlices(journal, entity_type, slices, self._inbox.put, told)
        self._waiting: list[PushedCall] = []
        self._serving: dict[PushedCall, Serving] = {}
        self._fresh: list[Commit] = []
        self._filters_every_us = LOOK_US if journal.derived_index else FILTERS_US
        self._outage = OutageLog(log, "destination_journal")
        self._look_us = self._filters_us = self._store_us = 0
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="destination reader")
        self._thread = Thread(target=self._main, name=f"writes {entity_type}", daemon=True)
        self.written = 0
        """Events written so far."""

    def start(self) -> None:
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """Store the positions and end."""
        self._inbox.put(None)
        self._thread.join(within_s)
        self._readers.shutdown(wait=False, cancel_futures=True)

    def open(self, call: PushedCall) -> None:
        """`begin` it once the slices are ours; or `end` it."""
        self._inbox.put(_Opened(call))

    def take(self, call: PushedCall, batch: SourceBatch) -> None:
        """Write a batch; `handled` follows. Of a call that was ended: nothing."""
        self._inbox.put(_Came(call, batch))

    def close(self, call: PushedCall) -> None:
        """The call is over."""
        self._inbox.put(_Closed(call))

    def serves(self, call: PushedCall) -> bool:
        """Was it begun, and is it not over? From any thread."""
        return call in self._serving

    def written_of(self, call: PushedCall) -> WrittenOf:
        """From any thread; nothing of a call that is not served."""
        serving = self._serving.get(call)
        return WrittenOf() if serving is None else serving.written()

    # --- the thread ---

    def _main(self) -> None:
        stopped = False
        while not stopped:
            inputs = self._next()
            stopped = None in inputs
            for one in inputs:
                self._step(partial(self._on, one))
            self._step(self._flush)
            self._step(partial(self._on_time, now_us(), stopped))
            if self._serving:  # else nothing is read
                self._outage.turn()

    def _step(self, work: Callable[[], None]) -> None:
        """What goes wrong ends the calls there are, and keeps nothing from the next step."""
        try:
            work()
        except JournalUnavailableError as error:  # what is under way finds out by itself
            self._outage.failed(error)
        except Exception as error:
            log.exception("destination_failed", extra={"entity_type": self._entity_type})
            self._end_all(f"{type(error).__name__}: {error}")

    def _next(self) -> list[Any]:
        due = self._slices.wakeups_us()
        if self._serving or self._waiting:
            due.append(now_us() + min(STORE_US, self._filters_every_us))
        wait_s = max(0.001, (min(due) - now_us()) / 1e6) if due else None
        inputs: list[Any] = []
        with suppress(Empty):
            inputs.append(self._inbox.get(timeout=wait_s))
            while len(inputs) < INPUTS_MAX:
                inputs.append(self._inbox.get_nowait())
        return inputs

    def _on(self, one: Any) -> None:
        match one:
            case _Opened(call):
                self._open(call)
            case _Came(call, batch):
                self._take(call, batch)
            case _Closed(call):
                self._close(call)
            case Appended():
                self._slices.on_appended(one)

    def _on_time(self, now: int, stopped: bool) -> None:
        self._slices.tick(now)
        if stopped or now - self._store_us >= STORE_US:
            self._store_us = now
            for serving in list(self._serving.values()):
                self._guarded(serving.call, serving.kept.store)
            self._slices.index()
        if self._serving and now - self._look_us >= LOOK_US:
            self._look_us = now
            self._slices.look_for_owners(now)
        if self._serving and now - self._filters_us >= self._filters_every_us:
            self._filters_us = now
            for serving in list(self._serving.values()):
                self._guarded(serving.call, partial(self._look_at_filter, serving))

    def _look_at_filter(self, serving: Serving) -> None:
        changed = serving.kept.changed_filter()
        if changed is not None:
            serving.call.change_filter(changed)

    # --- calls ---

    def _open(self, call: PushedCall) -> None:
        self._waiting.append(call)
        self._slices.acquire()
        self._begin_waiting()

    def _begin_waiting(self) -> None:
        if not self._slices.owned:
            return
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            self._guarded(call, partial(self._begin, call))

    def _begin(self, call: PushedCall) -> None:
        for other in list(self._serving.values()):
            mine, theirs = call.offer, other.call.offer
            if (mine.stream_id, mine.origin) == (theirs.stream_id, theirs.origin):
                other.kept.store()
                self._end(other.call, PeerUnavailableError(mine.origin, "it dialled again"))
        kept = KeptProgress(self._journal, call.offer)
        self._serving[call] = Serving(call, kept)
        call.begin(kept.progress, as_sent(kept.wanted))

    def _close(self, call: PushedCall) -> None:
        if call in self._waiting:
            self._waiting.remove(call)
        serving = self._serving.get(call)
        if serving is not None:
            self._guarded(call, serving.kept.store)
            self._serving.pop(call, None)

    def _guarded(self, call: PushedCall, work: Callable[[], None]) -> None:
        """What goes wrong ends this call, and no other."""
        try:
            work()
        except ThespianDcError as error:
            if isinstance(error, JournalUnavailableError):
                self._outage.failed(error)
            self._end(call, error)
        except Exception as error:
            log.exception("pushed_call_failed", extra={"stream_id": call.offer.stream_id})
            where = f"destination {call.offer.stream_id}"
            self._end(call, PeerUnavailableError(where, f"{type(error).__name__}: {error}"))

    def _end(self, call: PushedCall, error: Exception) -> None:
        self._serving.pop(call, None)
        call.end(error)

    def _end_all(self, reason: str) -> None:
        calls = [*self._serving, *self._waiting]
        self._waiting.clear()
        for call in calls:
            self._end(call, PeerUnavailableError(f"destination {call.offer.stream_id}", reason))

    # --- batches ---

    def _take(self, call: PushedCall, batch: SourceBatch) -> None:
        serving = self._serving.get(call)
        if serving is not None:
            self._guarded(call, partial(self._write, serving, batch))

    def _write(self, serving: Serving, batch: SourceBatch) -> None:
        call = serving.call
        pushed = self._events[call.offer.stream_id].pushed(call.offer, batch)
        self._recover(self._core.missing(pushed))
        # bounded by the call's window
        lane = serving.lanes.setdefault(batch.slice, deque())
        ends = Position(batch.next_offset, batch.commits[-1].write_id)
        taken = Taken(lane, batch.slice, ends, (serving, cost_of(batch), batch.commits[-1].time_us))
        for slice_, submission in self._core.take(taken, pushed):
            self._slices.submit(slice_, submission)
        self._on_done(done(lane))

    def _recover(self, entity_ids: Sequence[str]) -> None:
        """Read what the log holds of these, side by side where it is on a server."""
        if len(entity_ids) > 1 and self._journal.derived_index:
            found: Iterable[Remembered] = self._readers.map(self._remembered, entity_ids)
        else:
            found = map(self._remembered, entity_ids)
        for entity_id, (below, records) in zip(entity_ids, found, strict=True):
            self._core.on_recovered(entity_id, records, below)

    def _remembered(self, entity_id: str) -> Remembered:
        key = SliceKey(self._entity_type, self._core.slice_of(entity_id))
        return remembered(self._journal, key, entity_id, self._slices.head(key.slice))

    def _on_done(self, batches: Iterable[Taken]) -> None:
        for batch in batches:
            serving, cost, time_us = batch.token
            if serving.call in self._serving:  # of one that ended nothing counts any more
                serving.kept.move(batch.slice, batch.ends)
                serving.times_us[batch.slice] = time_us
                serving.call.handled(cost)

    # --- slices ---

    def _flush(self) -> None:
        self._slices.flush()
        fresh, self._fresh = self._fresh, []
        if fresh:
            self._published(fresh)

    def _on_durable(self, commit: Commit, submissions: Sequence[Submission]) -> None:
        self.written += commit.count
        self._fresh.append(commit)
        self._on_done(self._core.on_durable(submissions))

    def _on_lost(self, key: SliceKey, reason: str) -> None:
        self._core.on_lost(key.slice)
        self._end_all(f"{key} is written elsewhere ({reason})")

    def _on_not_written(
        self, submission: Submission, behind: Sequence[Submission], reason: str
    ) -> None:
        for batch in self._core.on_not_written(submission, behind):
            call = batch.token[0].call
            if call in self._serving:
                stream_id = call.offer.stream_id
                self._end(call, PushNotWrittenError(stream_id, submission.entity_id, reason))
