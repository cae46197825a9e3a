"""The cache that many consumers read a slice's log through: bounded in bytes, contiguous, complete;
with asynchronous views too."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from thespian_dc.journal.memory import MemoryJournal, MemoryStorage
from thespian_dc.model import outage
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit
from thespian_dc.projection.api import CommitView
from thespian_dc.stream import tail as module
from thespian_dc.stream.tail import Tail
from thespian_dc.stream.transform import whole_commit
from thespian_dc.testkit.journal_cases.storage import SLICES, TYPE, Writer

CACHE = 512 << 10
WITHIN_S = 30


@pytest.fixture
def journal() -> MemoryJournal:
    """Three MiB in commits from 20 bytes to 60 KiB."""
    journal = MemoryJournal("memory:tail", MemoryStorage(1 << 10))
    journal.slices(TYPE, SLICES)
    rng = random.Random(7)
    for slice_ in range(SLICES):
        writer = Writer(journal, SliceKey(TYPE, slice_)).take_over()
        for _ in range(60):
            size = rng.choice([20, 1_000, 9_000, 60_000])
            writer.write(*"abc", payload=b"p" * (size // 3))
    return journal


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


class Reader:
    """A call: reads all slices from the beginning, a batch at a time, in turns with others."""

    def __init__(self, tail: Tail, heads: dict[int, int]) -> None:
        self.tail, self.heads = tail, heads
        self.offsets = dict.fromkeys(heads, 0)
        self.ready = asyncio.Event()
        self.errors: list[Exception] = []

    def on_ready(self, slice_: int) -> None:
        self.ready.set()

    def on_read_error(self, slice_: int, error: Exception) -> None:
        self.errors.append(error)
        self.ready.set()

    async def pause(self) -> None:
        """Between two batches."""
        await asyncio.sleep(0)

    async def read_all(self, after_each: Callable[[], None], turns: int = 0) -> None:
        """turns: of the loop, before it begins."""
        for _ in range(turns):
            await asyncio.sleep(0)
        while self.offsets != self.heads and not self.errors:
            self.ready.clear()
            moved = False
            for slice_ in self.heads:
                offset = self.offsets[slice_]
                views = self.tail.take(slice_, offset, 4_000, self)
                for view in views:
                    assert view.first_offset <= offset < view.end_offset
                    offset = view.end_offset
                moved |= bool(views)
                self.offsets[slice_] = offset
                after_each()
                if not views and offset < self.heads[slice_]:
                    self.tail.want(slice_, offset, self)
            await (self.pause() if moved else self.ready.wait())


def run(
    tail_of: Callable[[], Tail], readers: int, after_each: Callable[[Tail], None],
    apart: int = 0, kind: type[Reader] = Reader,
) -> Any:  # fmt: skip
    """Read the log with so many readers, beginning so many turns of the loop apart; returns the
    tail and the readers."""

    async def main() -> Any:
        tail = tail_of()
        heads = {s: tail._journal.find_head(SliceKey(TYPE, s)).head for s in range(SLICES)}
        following = asyncio.create_task(tail.follow())
        calls = [kind(tail, heads) for _ in range(readers)]
        async with asyncio.timeout(WITHIN_S):
            await asyncio.gather(
                *(c.read_all(lambda: after_each(tail), apart * n) for n, c in enumerate(calls))
            )
        following.cancel()
        return tail, calls

    return asyncio.run(main())


def held(tail: Tail) -> list[int]:
    """Bytes of each cached body."""
    return [len(view.body) for log in tail._logs for view in log.views.values()]


def test_the_cache_never_holds_more_than_its_bytes(
    journal: MemoryJournal, pool: ThreadPoolExecutor
) -> None:
    """But for one commit that is larger than the whole: that one goes alone."""
    most = 0

    def check(tail: Tail) -> None:
        nonlocal most
        sizes = held(tail)
        most = max(most, sum(sizes))
        assert sum(sizes) + module.COMMIT_BYTES * len(sizes) <= CACHE or len(sizes) == 1
        assert sum(len(log.bases) for log in tail._logs) == len(sizes)

    _, calls = run(lambda: Tail(journal, TYPE, SLICES, pool, bytes_max=CACHE), 3, check)
    assert all(call.offsets == call.heads for call in calls)
    assert most > CACHE // 2  # it was full


@pytest.mark.parametrize("readers", [1, 5])
def test_a_cache_smaller_than_what_is_read_at_once_is_slow_and_never_stuck(
    journal: MemoryJournal, pool: ThreadPoolExecutor, readers: int
) -> None:
    """Of a page that does not fit, the part that somebody waits for stays."""
    _, calls = run(
        lambda: Tail(journal, TYPE, SLICES, pool, bytes_max=60 << 10), readers, lambda _: None
    )
    assert all(call.offsets == call.heads for call in calls)


async def later(commit: Commit, wanted: Container[int] | None = None) -> CommitView:
    await asyncio.sleep(0)
    return whole_commit(commit, wanted)


@pytest.mark.parametrize("view", [whole_commit, later])
def test_readers_at_the_same_place_share_what_was_read(
    journal: MemoryJournal, pool: ThreadPoolExecutor, view: Any
) -> None:
    """Also where a transform, perhaps an asynchronous one, stands between: it runs once."""
    alone, _ = run(lambda: Tail(journal, TYPE, SLICES, pool, view), 1, lambda _: None)
    ten, calls = run(lambda: Tail(journal, TYPE, SLICES, pool, view), 10, lambda _: None)
    assert alone.commits_read >= 60 * SLICES
    assert ten.commits_read <= 1.5 * alone.commits_read
    assert all(call.offsets == call.heads for call in calls)


class Strolling(Reader):
    """Stops at random between batches: readers drift apart and together again."""

    rng = random.Random(3)

    async def pause(self) -> None:
        for _ in range(self.rng.randrange(40)):
            await asyncio.sleep(0)


@pytest.mark.parametrize(("apart", "times"), [(200, 4), (600, 10)])
def test_readers_that_are_apart_do_not_take_the_cache_from_each_other(
    pool: ThreadPoolExecutor, apart: int, times: int
) -> None:
    """Spread over about what the cache holds, and over more: there the ten read two to six times
    the log, as threads happen to run, and never more than each by itself. Where the oldest left
    first, each that fell behind drove out what the next one needed: twenty times the log was
    read."""
    journal = MemoryJournal("memory:drift", MemoryStorage(1 << 10))
    journal.slices(TYPE, SLICES)
    for slice_ in range(SLICES):
        writer = Writer(journal, SliceKey(TYPE, slice_)).take_over()
        for _ in range(300):
            writer.write("a", payload=b"p" * 4_000)
    ten, calls = run(
        lambda: Tail(journal, TYPE, SLICES, pool, bytes_max=1_500_000), 10, lambda _: None, apart,
        Strolling,
    )  # fmt: skip
    assert all(call.offsets == call.heads for call in calls)
    assert ten.commits_read <= times * 300 * SLICES


def failing_at(offset: int) -> Callable[..., Awaitable[CommitView]]:
    async def view(commit: Commit, wanted: Container[int] | None = None) -> CommitView:
        if commit.key.slice == 2 and commit.base_offset == offset:
            raise ValueError("unlucky")
        return await later(commit)

    return view


def test_what_stands_before_an_asynchronous_failure_is_shown(
    journal: MemoryJournal, pool: ThreadPoolExecutor
) -> None:
    view: Any = failing_at(90)
    _, (call,) = run(lambda: Tail(journal, TYPE, SLICES, pool, view), 1, lambda _: None)
    assert [str(error) for error in call.errors] == ["unlucky"]
    assert call.offsets[2] == 90


def test_a_journal_that_does_not_answer_is_one_line_and_one_when_it_does_again(
    journal: MemoryJournal, pool: ThreadPoolExecutor,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It was one at each read: of each slice, ten times a second."""
    monkeypatch.setattr(outage, "CALM_US", 0)

    async def main() -> None:
        tail = Tail(journal, TYPE, SLICES, pool)
        call = Reader(tail, dict.fromkeys(range(SLICES), 1))
        journal._closed = True
        for slice_ in range(SLICES):
            tail.want(slice_, 0, call)
        following = asyncio.create_task(tail.follow())
        async with asyncio.timeout(WITHIN_S):
            while tail.reads < 3 * SLICES:
                await asyncio.sleep(0)
            journal._closed = False
            await call.ready.wait()
        following.cancel()
        assert not call.errors

    asyncio.run(main())
    first, again = [one for one in caplog.records if one.name == "thespian_dc.stream.tail"]
    assert (first.message, again.message) == ("journal_unavailable", "journal_answers_again")
    assert "was closed" in first.__dict__["reason"]
