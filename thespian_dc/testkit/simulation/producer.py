"""A simulated producer: one `ProducerCore` for each call, over one cache of the journal, as
stream/pull.py and stream/tail.py are. Several of them, on different nodes, serve the same journal.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from thespian_dc.model.errors import JournalDivergedError, ThespianDcError, TrimmedError
from thespian_dc.model.history import History
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.position import NO_WRITE_ID, START
from thespian_dc.model.record import Commit
from thespian_dc.model.stream_errors import PeerUnavailableError
from thespian_dc.projection.api import CommitView, Facts, FactsCache, Lookup, SourceBatch
from thespian_dc.stream.batches import write_batch
from thespian_dc.stream.lookups import write_answer
from thespian_dc.stream.producer_core import ProducerCore, check_first
from thespian_dc.stream.pull import is_before
from thespian_dc.stream.transform import View, whole_commit
from thespian_dc.testkit.simulation.call import End
from thespian_dc.testkit.simulation.journal import SimulatedJournal
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.source import ShortHistory, looked_up
from thespian_dc.testkit.simulation.stream_law import StreamLaw
from thespian_dc.testkit.simulation.world import World
from thespian_dc.wire.conversion import (
    PROTOCOL,
    Credit,
    Start,
    Started,
    read_from_consumer,
    write_beat,
    write_filter_in_force,
    write_started,
)
from thespian_dc.wire.lookups import read_look_up

TICK_US = 40_000
READ_BYTES = 2_000
READ_AGAIN_US = 300_000
CACHE_COMMITS = 64
BATCH_BYTES = 3_000
FIRST_ANSWER_US = 800_000


class Served:
    """One call, from its first message on."""

    def __init__(self, end: End, now_us: int) -> None:
        self.end, self.since_us = end, now_us
        self.core: ProducerCore | None = None
        self.consumer = ""
        self.begun = False
        self.waits: set[int] = set()  # slices of which nothing was at hand
        self.latest = False
        self.histories: dict[int, ShortHistory] = {}
        self.ready: dict[int, list[CommitView]] = {}  # of each slice's history, a page


class Cached:
    """What is at hand of one slice: contiguous commits, through a view."""

    def __init__(self, view: View = whole_commit) -> None:
        self._view = view
        self.bases: list[int] = []
        self.views: list[CommitView] = []
        self.head = 0
        self.asked_us: dict[int, int] = {}  # offsets that are being read, since when

    def take(self, offset: int) -> list[CommitView]:
        index = bisect_right(self.bases, offset) - 1
        taken, size = [], 0
        for view in self.views[index:] if index >= 0 else ():
            if view.end_offset > offset and size < BATCH_BYTES:
                taken.append(view)
                size += len(view.body)
        return taken

    def add(self, commits: Sequence[Commit]) -> None:
        for one in commits:
            if self.views and one.base_offset != self.views[-1].end_offset:
                if self.bases[0] <= one.base_offset < self.views[-1].end_offset:
                    continue
                self.bases, self.views = [], []
            self.bases.append(one.base_offset)
            self.views.append(self._view(one))
        del self.bases[:-CACHE_COMMITS], self.views[:-CACHE_COMMITS]
        self.head = max(self.head, self.views[-1].end_offset)


class SimulatedProducer(Process):
    """Of one node. `law` hears what is granted and sent."""

    def __init__(
        self,
        world: World,
        journal: SimulatedJournal,
        law: StreamLaw,
        name: str,
        entity_type: str,
        slices: int,
    ) -> None:
        super().__init__(world, name)
        self._journal, self._law = journal, law
        self._entity_type, self._slices = entity_type, slices
        self.on_want: Callable[[End], None] = lambda end: None
        """Told of a call in which something waits for credit."""

    def boot(self) -> None:
        self.calls: list[Served] = []
        self._facts = FactsCache(Facts)
        self._tail = [Cached() for _ in range(self._slices)]
        self.after(TICK_US, self._tick)

    def accept(self, end: End) -> None:
        """A consumer has dialled."""
        served = Served(end, self.world.now_us)
        self.calls.append(served)
        end.on_message = lambda message: self._on_message(served, message)
        end.on_ended = lambda: self._forget(served)

    def serves(self, consumer: str) -> int:
        """Calls of one consumer that this node believes in."""
        return sum(one.consumer == consumer for one in self.calls) if self.alive else 0

    # --- what comes ---

    def _on_message(self, served: Served, received: bytes) -> None:
        try:
            message, core = read_from_consumer(received), served.core
            if core is None:
                self._begin(served, check_first(Start, message))
                return
            if isinstance(message, Credit):
                self._law.granted(served.end, message)
            core.on_message(message, self.world.now_us)
        except ThespianDcError as error:
            self._end(served, error)
        else:
            self._pump(served)

    def _begin(self, served: Served, start: Start) -> None:
        served.core = self._core_for(start)
        served.consumer, served.latest = start.consumer, start.history is History.LATEST
        self._law.granted(served.end, start.credit)
        check = lambda: self._heads_for(start)  # noqa: E731
        self._journal.call(self.name, check, self.into(lambda found: self._start(served, found)))

    def _core_for(self, start: Start) -> ProducerCore:
        now_us = self.world.now_us
        return ProducerCore(start, self._slices, start.consumer, now_us, self._facts)

    def _heads_for(self, start: Start) -> dict[int, int] | ThespianDcError:
        """Heads of the slices, where the positions are of this log."""
        memory, heads = self._journal.memory, {}
        for slice_, at in (start.positions or dict.fromkeys(range(self._slices), START)).items():
            key = SliceKey(self._entity_type, slice_)
            heads[slice_] = head = memory.find_head(key).head
            known = at.write_id == NO_WRITE_ID or at.offset > head
            if at.offset > head or (not known and not is_before(memory, key, at, start.history)):
                self._law.refused(f"{key}: {at}, the head is {head}")
                return JournalDivergedError("stream simulated", at.offset, f"its head is {head}")
        return heads

    def _start(self, served: Served, found: dict[int, int] | ThespianDcError) -> None:
        if served not in self.calls or served.begun:
            return
        if isinstance(found, ThespianDcError):
            self._end(served, found)
            return
        assert served.core is not None
        served.begun = True
        if served.latest:
            self._begin_histories(served, found)
        for slice_, head in found.items():
            self._tail[slice_].head = max(head, self._tail[slice_].head)
        served.end.send(write_started(self._started(served, found)))
        self._pump(served)

    def _begin_histories(self, served: Served, heads: dict[int, int]) -> None:
        """One for each slice: each is over at another time."""
        memory, core = self._journal.memory, served.core
        assert core is not None
        for slice_, head in heads.items():
            key = SliceKey(self._entity_type, slice_)
            served.histories[slice_] = ShortHistory(memory, key, core.offset(slice_), head)

    def _started(self, served: Served, heads: dict[int, int]) -> Started:
        assert served.core is not None
        return Started(
            PROTOCOL, self._journal.memory.journal_id, self._entity_type, self._slices, heads,
            served.core.heartbeat_ms,
        )  # fmt: skip

    # --- what is asked beside calls ---

    def answer(self, question: bytes, back: Callable[[bytes], None]) -> None:
        """back gets the bytes of the answer, if the journal gives one."""
        asked = read_look_up(question)
        slice_, memory = slice_of(asked.entity_id, self._slices), self._journal.memory
        key, latest = SliceKey(self._entity_type, slice_), asked.history is History.LATEST
        lookup = Lookup(
            asked.entity_id, slice_, asked.from_seq_nr, asked.until_seq_nr, asked.from_offset
        )

        def read_all() -> bytes | None:
            found = looked_up(memory, key, lookup, latest, *asked.limit)
            return found and write_answer(memory.journal_id, found)

        def on_read(found: bytes | None) -> None:
            if found is not None:
                back(found)

        self._journal.call(self.name, read_all, self.into(on_read))

    # --- what goes ---

    def _tick(self) -> None:
        for slice_, head in enumerate(self._journal.heads(self._entity_type, self._slices)):
            self._tail[slice_].head = max(head, self._tail[slice_].head)
        for served in list(self.calls):
            if served.begun:
                self._look_again(served, range(self._slices))
                self._pump(served)
            elif self.world.now_us - served.since_us > FIRST_ANSWER_US:
                self._end(served, PeerUnavailableError(self.name, "its journal does not answer"))
        self.after(TICK_US, self._tick)

    def _look_again(self, served: Served, slices: Sequence[int]) -> None:
        core = served.core
        assert core is not None
        for slice_ in served.waits.intersection(slices):
            if core.offset(slice_) < self._tail[slice_].head:
                served.waits.discard(slice_)
                core.on_ready(slice_)

    def _pump(self, served: Served) -> None:
        """Send what may be sent now."""
        core, end, now_us = served.core, served.end, self.world.now_us
        if core is None or not served.begun or served not in self.calls:
            return
        try:
            while not end.is_full:
                answer = core.take_answer()
                if answer is not None:
                    end.send(write_filter_in_force(answer))
                    core.on_sent(now_us)
                if not self._send_one(served, core):
                    break
            if core._first_in_line is not None:
                self.world.hit("stream: waits for credit")
                self.on_want(end)
            if core.beat_due(now_us):
                self.world.hit("stream: beat of the producer")
                end.send(write_beat(now_us))
                core.on_sent(now_us)
        except ThespianDcError as error:
            self._end(served, error)

    def _send_one(self, served: Served, core: ProducerCore) -> bool:
        now_us = self.world.now_us
        held = core.held_long(now_us)
        if held is not None:
            self.world.hit("stream: position of what passes nothing")
            self._send(served, core, core.let_go(held, self._tail[held].head))
            return True
        for slice_ in core.turns():
            offset = core.offset(slice_)
            commits = self._at_hand(served, slice_, offset)
            if not commits:
                core.on_nothing(slice_)
                served.waits.add(slice_)
                self._read(slice_, offset)
                continue
            batch = core.form(slice_, commits, self._tail[slice_].head, now_us)
            if batch is not None:
                self._send(served, core, batch)
                return True
            if core.offset(slice_) > offset:
                return True
        return False

    def _at_hand(self, served: Served, slice_: int, offset: int) -> list[CommitView]:
        """Of the call's own way through the history, or of what all calls read."""
        while history := served.histories.get(slice_):
            ready = served.ready.get(slice_, [])
            ready = served.ready[slice_] = [one for one in ready if one.end_offset > offset]
            if ready:
                return ready
            assert served.core is not None
            page = history.next(SliceKey(self._entity_type, slice_), served.core.selector)
            if page is None:
                del served.histories[slice_]
            elif page:
                self.world.hit("stream: history read")
                served.ready[slice_] = page
            else:
                return []
        return self._tail[slice_].take(offset)

    def _send(self, served: Served, core: ProducerCore, batch: SourceBatch) -> None:
        times = served.end.send(write_batch(batch))
        for _ in range(times):
            self._law.sent(served.end, batch)
        if times > 1:
            self._law.doubled(served.end.call)
        core.on_sent(self.world.now_us)

    def _read(self, slice_: int, offset: int) -> None:
        """One read for all calls that want it."""
        tail, now_us = self._tail[slice_], self.world.now_us
        if offset >= tail.head or now_us - tail.asked_us.get(offset, 0) < READ_AGAIN_US:
            return
        tail.asked_us[offset] = now_us
        key = SliceKey(self._entity_type, slice_)

        def on_read(commits: Sequence[Commit]) -> None:
            tail.asked_us.pop(offset, None)
            if commits:
                tail.add(commits)
            for served in list(self.calls):
                if served.begun:
                    self._look_again(served, [slice_])
                    self._pump(served)

        self._journal.call(self.name, lambda: self._commits(key, offset), self.into(on_read))

    def _commits(self, key: SliceKey, offset: int) -> Sequence[Commit]:
        try:
            return self._journal.memory.read(key, offset, READ_BYTES)
        except TrimmedError as error:
            for served in self.calls:
                core = served.core
                if core is None or not served.begun or key.slice not in core.sent:
                    continue
                if core.offset(key.slice) == offset:
                    self.after(0, self.end_call, served, error)
            return ()

    # --- ends ---

    def end_call(self, served: Served, error: ThespianDcError) -> None:
        """Where it has not ended yet."""
        if served in self.calls:
            self._end(served, error)

    def _end(self, served: Served, error: ThespianDcError) -> None:
        """As a server ends a call: the consumer hears why, if it hears anything."""
        self.world.hit(f"stream: {type(error).__name__} at the producer")
        self._forget(served)
        served.end.other.why = error
        served.end.close()

    def _forget(self, served: Served) -> None:
        if served in self.calls:
            self.calls.remove(served)
        self._law.ended(served.end)
