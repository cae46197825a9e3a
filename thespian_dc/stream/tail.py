"""One read of each slice's log for all consumers of a stream: a bounded cache of commits, filled by
reads and pushes.

Everything happens on the loop's thread, but for the reads themselves, which run in a pool with all
that is synchronous in a stream's view. Laws:
- What `take` returns is contiguous from the offset asked for.
- A pushed commit is taken only where it goes on from the known end; else it only says that there is
  more to read. Reading is the truth: without any push everything arrives, a poll later.
- The cache holds at most `bytes_max` bytes of bodies. What leaves first is what no call comes to
  any more, then what is farthest ahead of the next call that will come to it.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right, insort
from concurrent.futures import ThreadPoolExecutor
from inspect import iscoroutinefunction
from typing import NamedTuple, Protocol, cast

from thespian_dc.journal.api import Journal
from thespian_dc.model.errors import JournalUnavailableError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit, checksum_of, records_of
from thespian_dc.projection.api import CommitView
from thespian_dc.shell.outages import OutageLog
from thespian_dc.stream.transform import AsyncView, View, whole_commit

log = logging.getLogger(__name__)

CACHE_BYTES_MAX = 8 << 20
PLACES_MAX = 8
"""Of calls in one slice that a read leaves room for."""
ROOM_SHARE = 8
"""When the cache is full, this part of it is emptied at once."""
COMMIT_BYTES = 500
"""What a cached commit takes beside its body, roughly."""
READ_BYTES = (16 << 10, 512 << 10)
"""Least and greatest size of one read; between them a read takes its slice's share of half the
cache."""
POLL_MS = (5, 100)
"""Pause after a poll that found something, and the greatest, reached by doubling while nothing
comes."""


class Waiter(Protocol):
    """A call that wants more of a slice."""

    def on_ready(self, slice_: int) -> None:
        """There may be something now: take again."""

    def on_read_error(self, slice_: int, error: Exception) -> None:
        """What it wants cannot be read, now and later."""


class _Slice:
    __slots__ = ("again", "bases", "body_bytes", "calls", "end", "reading", "views", "waiters")

    def __init__(self) -> None:
        self.bases: list[int] = []  # of the cached commits, sorted
        self.views: dict[int, CommitView] = {}
        self.end = 0  # the greatest offset known to be written
        self.waiters: dict[Waiter, int] = {}  # what each wants next
        self.calls: dict[Waiter, int] = {}  # where each is, as it last asked
        self.reading: set[int] = set()  # offsets of reads under way
        self.body_bytes = 1000.0  # of a commit, as the last reads found them
        self.again = False  # one of them began before what is known to be there now


class _Read(NamedTuple):
    """What a read found. error: what stands behind the last of `views` and `commits`. commits: of
    which an asynchronous view is still to be made."""

    slice: int
    offset: int
    views: list[CommitView]
    error: Exception | None
    commits: list[Commit]


class Tail:
    """The logs of one entity type, as one stream (or several without transform) shows them."""

    def __init__(
        self,
        journal: Journal,
        entity_type: str,
        slices: int,
        pool: ThreadPoolExecutor,
        view: View | AsyncView = whole_commit,
        bytes_max: int = CACHE_BYTES_MAX,
    ) -> None:
        self.entity_type, self.slices = entity_type, slices
        self._journal, self._pool, self.view, self._bytes_max = journal, pool, view, bytes_max
        self._is_async = iscoroutinefunction(view)
        self._showing: set[asyncio.Task[None]] = set()  # bounded by the reads under way
        self._logs = [_Slice() for _ in range(slices)]
        self._cached_bytes = 0  # of all views, with COMMIT_BYTES each
        self._awake = asyncio.Event()
        self._poll_ms = POLL_MS[0]
        self._outage = OutageLog(log, "journal")
        self.reads = 0
        """Reads of the journal so far."""
        self.commits_read = 0
        """Commits that these reads found."""

    # --- for calls ---

    def head(self, slice_: int) -> int:
        """The slice's head as far as it is known here."""
        return self._logs[slice_].end

    def know_head(self, slice_: int, head: int) -> None:
        """Somebody read the slice's head."""
        log_ = self._logs[slice_]
        log_.end = max(log_.end, head)

    def take(self, slice_: int, offset: int, bytes_max: int, call: Waiter) -> list[CommitView]:
        """Cached commits from the one that covers `offset`, about bytes_max bytes; [] if it is not
        here."""
        cached = self._logs[slice_]
        cached.calls[call] = offset
        index = bisect_right(cached.bases, offset) - 1
        taken: list[CommitView] = []
        size = 0
        while 0 <= index < len(cached.bases) and size < bytes_max:
            view = cached.views[cached.bases[index]]
            if not view.first_offset <= offset < view.end_offset:
                break
            taken.append(view)
            size += len(view.body)
            offset, index = view.end_offset, index + 1
        return taken

    def want(self, slice_: int, offset: int, waiter: Waiter) -> None:
        """Call waiter.on_ready once there is something at `offset`."""
        log_ = self._logs[slice_]
        log_.waiters[waiter] = offset
        if offset < log_.end:
            self._read_soon(slice_, offset)
        else:
            self._awake.set()

    def forget(self, waiter: Waiter) -> None:
        """The call ended."""
        for log_ in self._logs:
            log_.waiters.pop(waiter, None)
            log_.calls.pop(waiter, None)

    # --- for hosts ---

    def push(self, commit: Commit) -> None:
        """A fresh commit of this entity type, durable already: a hint."""
        slice_ = commit.key.slice
        if slice_ >= self.slices:
            return
        log_ = self._logs[slice_]
        goes_on = commit.base_offset == log_.end and self.view is whole_commit
        if goes_on and checksum_of(commit) == commit.checksum:
            self._put(slice_, whole_commit(commit))
            self._make_room()
        self.push_head(slice_, commit.end_offset)

    def push_head(self, slice_: int, head: int) -> None:
        """The slice is written up to here: whoever waits for it should read."""
        if slice_ < self.slices:
            self.know_head(slice_, head)
            self._notify(slice_)

    # --- reading ---

    async def follow(self) -> None:
        """Poll for what waiters want, for ever; cancelled when the server stops."""
        try:
            while True:
                await self._poll()
        finally:
            for task in self._showing:
                task.cancel()

    async def _poll(self) -> None:
        wanted = [
            (slice_, offset)
            for slice_, log_ in enumerate(self._logs)
            for offset in set(log_.waiters.values()) - log_.reading
        ]
        self._awake.clear()
        if wanted:
            found = await self._read_all(wanted)
            self._poll_ms = POLL_MS[0] if found else min(2 * self._poll_ms, POLL_MS[1])
            await asyncio.sleep(self._poll_ms / 1000)
        else:
            await self._awake.wait()

    async def _read_all(self, wanted: list[tuple[int, int]]) -> bool:
        sized = [(slice_, offset, self._read_bytes(slice_)) for slice_, offset in wanted]
        for slice_, offset in wanted:
            self._logs[slice_].reading.add(offset)
        loop = asyncio.get_running_loop()
        reads = await loop.run_in_executor(self._pool, lambda: [self._read(*one) for one in sized])
        for read in reads:
            self._on_found(read)
        return any(read.views or read.commits for read in reads)

    def _read_soon(self, slice_: int, offset: int) -> None:
        log_ = self._logs[slice_]
        if offset in log_.reading:
            log_.again = True
            return
        log_.reading.add(offset)
        future = asyncio.get_running_loop().run_in_executor(
            self._pool, self._read, slice_, offset, self._read_bytes(slice_)
        )

        def on_done(done: asyncio.Future[_Read]) -> None:
            if not done.cancelled():
                self._on_found(done.result())

        future.add_done_callback(on_done)

    def _read(self, slice_: int, offset: int, bytes_max: int) -> _Read:
        """In the pool. Damage and a failing transform show what stands before them first."""
        views: list[CommitView] = []
        commits: list[Commit] = []
        key = SliceKey(self.entity_type, slice_)
        try:
            for commit in self._journal.read(key, offset, bytes_max):
                if checksum_of(commit) != commit.checksum:
                    records_of(commit)  # raises the damage by name
                if self._is_async:
                    commits.append(commit)
                else:
                    views.append(cast("View", self.view)(commit))
        except Exception as error:  # noqa: BLE001 - the consumer that asked is told
            return _Read(slice_, offset, views, error, commits)
        return _Read(slice_, offset, views, None, commits)

    def _read_bytes(self, slice_: int) -> int:
        """So much that the reads for all slices, and for calls at several places in each, fit into
        the cache together: what is read for a consumer must not be gone again before its turn
        comes."""
        log_ = self._logs[slice_]
        body, places = log_.body_bytes, min(len(set(log_.calls.values())), PLACES_MAX) or 1
        share = self._bytes_max / (2 * self.slices * places) * body / (body + COMMIT_BYTES)
        return int(min(max(share, READ_BYTES[0]), READ_BYTES[1]))

    def _on_found(self, read: _Read) -> None:
        if not read.commits:
            self._on_read(read)
            return
        task = asyncio.create_task(self._show(read))
        self._showing.add(task)
        task.add_done_callback(self._showing.discard)

    async def _show(self, read: _Read) -> None:
        """What the transform makes of them, one after another."""
        view, error = cast("AsyncView", self.view), read.error
        try:
            for commit in read.commits:
                read.views.append(await view(commit))
        except Exception as failed:  # noqa: BLE001 - the consumer that asked is told
            error = failed
        self._on_read(read._replace(error=error))

    def _on_read(self, read: _Read) -> None:
        self.reads += 1
        self.commits_read += len(read.views)
        log_ = self._logs[read.slice]
        log_.reading.discard(read.offset)
        for view in read.views:
            self._put(read.slice, view)
        self._make_room()
        if isinstance(read.error, JournalUnavailableError):
            self._outage.failed(read.error)
        else:
            self._outage.turn()
            if read.error is not None and not read.views:
                for waiter in [w for w, offset in log_.waiters.items() if offset == read.offset]:
                    del log_.waiters[waiter]
                    waiter.on_read_error(read.slice, read.error)
        if read.views:
            found = sum(len(view.body) for view in read.views) / len(read.views)
            log_.body_bytes = (log_.body_bytes + found) / 2
            self._notify(read.slice)
        if log_.again:
            log_.again = False
            for offset in {offset for offset in log_.waiters.values() if offset < log_.end}:
                self._read_soon(read.slice, offset)

    def _put(self, slice_: int, view: CommitView) -> None:
        log_ = self._logs[slice_]
        log_.end = max(log_.end, view.end_offset)
        if view.first_offset in log_.views:
            return
        log_.views[view.first_offset] = view
        insort(log_.bases, view.first_offset)
        self._cached_bytes += len(view.body) + COMMIT_BYTES

    def _make_room(self) -> None:
        """Down to the bound, and some more at once: looking at all of them has its price."""
        if self._cached_bytes <= self._bytes_max:
            return
        ahead: list[tuple[float, int, int]] = []
        for slice_, log_ in enumerate(self._logs):
            places = sorted(set(log_.calls.values()))
            for base in log_.bases:
                behind = bisect_right(places, log_.views[base].end_offset - 1) - 1
                distance = base - places[behind] if behind >= 0 else float("inf")
                ahead.append((distance, slice_, base))
        ahead.sort(reverse=True)
        room = self._bytes_max - self._bytes_max // ROOM_SHARE
        for _, slice_, base in ahead[:-1]:  # one stays, however large it is
            if self._cached_bytes <= room:
                break
            log_ = self._logs[slice_]
            self._cached_bytes -= len(log_.views.pop(base).body) + COMMIT_BYTES
            del log_.bases[bisect_right(log_.bases, base) - 1]

    def _notify(self, slice_: int) -> None:
        log_ = self._logs[slice_]
        ready = [waiter for waiter, offset in log_.waiters.items() if offset < log_.end]
        for waiter in ready:
            del log_.waiters[waiter]
            waiter.on_ready(slice_)
