"""A replica's end of the calls that its peers open, and its answers to their questions: the real
`ReplicaGroup`, one `ProducerCore` a call.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from thespian_dc.entity.role_registry import known_roles
from thespian_dc.journal.api import Journal
from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.errors import JournalDivergedError, ThespianDcError, TrimmedError
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.position import START
from thespian_dc.model.replication_handshake import Known
from thespian_dc.model.replication_settings import Replication
from thespian_dc.model.settings import Stream
from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.projection.api import EntityReading, FactsCache, LookedUp, Lookup
from thespian_dc.stream import lookups
from thespian_dc.stream.leaving_out import ReplicaFacts
from thespian_dc.stream.producer_core import ProducerCore
from thespian_dc.stream.producer_filter import ProducerFilter, withholding
from thespian_dc.stream.replica_group import ReplicaGroup, ReplicaReading
from thespian_dc.stream.transform import View, whole_commit
from thespian_dc.testkit.simulation.producer import Cached, Served, SimulatedProducer
from thespian_dc.testkit.simulation.replicas.edges import Calling, Lines
from thespian_dc.testkit.simulation.replicas.ledger import Ledger
from thespian_dc.testkit.simulation.replicas.site import Site
from thespian_dc.testkit.simulation.stream_law import StreamLaw
from thespian_dc.wire.conversion import Start, Started, read_from_consumer, write_replica
from thespian_dc.wire.lookups import EntityIds, EntityIdsRequest, EntityState

PAGE_EVENTS = 4
PAGE_BYTES = 2_000
IDS = 3
NEWS_US = 500_000
ANSWER_US = (200, 5_000)
TYPE = Ledger.entity_type
T = TypeVar("T")


class SimulatedGroup(ReplicaGroup):
    """The journal answers at once."""

    def __init__(self, setting: Replication, journal: Journal, slices: int) -> None:
        super().__init__(setting, journal, slices, None)  # type: ignore[arg-type]
        self._its_journal = journal
        self.begin()

    async def _run(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        return ask(*arguments)

    def look(self) -> None:
        """As `follow` does at each turn."""
        before = self.roles
        self.roles = known_roles(self._its_journal, self.entity_type)
        if self.roles != before:
            self._spread()
        for reading in list(self._readers.values()):
            at_once(reading.note_seen())


class ReadingCall:
    """One reader, as its group knows it."""

    def __init__(self, producer: ReplicaProducer, served: Served) -> None:
        self._producer, self._served = producer, served
        self.reading: ReplicaReading
        self.shown: VersionedFilter
        """As it was told last."""

    def end(self, error: Exception) -> None:
        assert isinstance(error, ThespianDcError)
        self._producer.after(0, self._producer.end_call, self._served, error)

    def wake(self) -> None:
        """It is looked at every tick."""


class ReplicaProducer(SimulatedProducer):
    """Of one replica."""

    def __init__(self, site: Site, law: StreamLaw) -> None:
        super().__init__(site.world, site.journal, law, f"{site.name}:serves", TYPE, site.slices)
        self._site, self.replica_id = site, site.name

    def boot(self) -> None:
        super().boot()
        self._facts = FactsCache(ReplicaFacts)
        self._group = SimulatedGroup(self._site.setting, self._journal.memory, self._slices)
        self._show()
        self._readers: dict[Served, ReadingCall] = {}
        self.lines = Lines(self)
        network = self._site.network
        self._calling = [Calling(self, network, one.serves) for one in self._site.called]
        self.after(NEWS_US, self._follow)

    def crash(self, restart_after_us: int | None = None) -> None:
        if self.alive:
            self.lines.crash()
            for one in self._calling:
                one.crash()
        super().crash(restart_after_us)

    def check_retired(self, replica_id: str) -> None:
        """See ReplicaGroup."""
        self._group.check_retired(replica_id)

    # --- calls ---

    def _begin(self, served: Served, start: Start) -> None:
        if start.replica is None:
            raise MalformedMessageError("a Start", "it does not say which replica asks")
        self._group.check_retired(start.replica.replica_id)
        call = self._readers[served] = ReadingCall(self, served)
        call.reading = at_once(self._group.open(start.replica))
        call.shown = call.reading.begun.shown
        self._group.attend(call, call.reading)
        super()._begin(served, start)

    def _core_for(self, start: Start) -> ProducerCore:
        reading = next(
            one.reading for one in self._readers.values() if one.reading.start is start.replica
        )
        return ProducerCore(
            start, self._slices, start.consumer, self.world.now_us, self._facts,
            leaving_out=reading.leaving_out,
        )  # fmt: skip

    def _heads_for(self, start: Start) -> dict[int, int] | ThespianDcError:
        """As stream/pull.py checks positions."""
        reading = next(
            (one.reading for one in self._readers.values() if one.reading.start is start.replica),
            None,
        )
        memory, heads = self._journal.memory, {}
        if start.journal_id and start.journal_id != memory.journal_id:
            return JournalDivergedError("replica stream", 0, f"its id is {memory.journal_id}")
        for slice_, at in (start.positions or dict.fromkeys(range(self._slices), START)).items():
            key = SliceKey(TYPE, slice_)
            heads[slice_] = head = memory.find_head(key).head
            if reading is None or not reading.trusts_positions:
                continue
            try:
                wrong = at.offset > head or (
                    at.write_id and memory.position_before(key, at.offset).write_id != at.write_id
                )
            except TrimmedError as error:
                return error
            if wrong:
                self.world.hit("replica: a peer knows more of a log than there is")
                at_once(self._group.note_diverged(reading.start.replica_id))
                return JournalDivergedError(f"replica stream {key}", at.offset, f"{head}")
        return heads

    def _started(self, served: Served, heads: dict[int, int]) -> Started:
        begun = self._readers[served].reading.begun
        return super()._started(served, heads)._replace(replica=begun)

    def _on_message(self, served: Served, received: bytes) -> None:
        super()._on_message(served, received)
        call = self._readers.get(served)
        if call is None or not served.begun or served not in self.calls:
            return
        try:
            message = read_from_consumer(received)
            if isinstance(message, Known):
                at_once(call.reading.on_known(message))
        except ThespianDcError as error:
            self.end_call(served, error)

    def _pump(self, served: Served) -> None:
        call = self._readers.get(served)
        if call is not None and served.begun and not served.end.is_full:
            changed = at_once(call.reading.take_change())
            if changed is not None:
                self.world.hit("replica: told while the call is open")
                if changed.shown != call.shown:
                    self.world.hit("replica: told that it shows something else")
                    call.shown = changed.shown
                served.end.send(write_replica(changed))
        super()._pump(served)

    def _forget(self, served: Served) -> None:
        super()._forget(served)
        call = self._readers.pop(served, None)
        if call is not None:
            self._group.forget(call)

    def _follow(self) -> None:
        self._group.look()
        self.lines.end_retired()
        wanted = at_once(self._group.wanted_shown())
        if wanted != self._group.shown:
            self._group.show(wanted)  # readers are told before anything is sent through it
            self._show()
        self.after(NEWS_US, self._follow)

    def _show(self) -> None:
        """As OpenStream.show_through: nothing that was read through another filter is sent."""
        shown = self._filter = ProducerFilter(
            Stream(self._site.setting.stream_id, TYPE), self._group.shown.filter
        )
        self._view = cast("View", withholding(whole_commit, shown))
        heads = [one.head for one in self._tail]
        self._tail = [Cached(self._view) for _ in heads]
        for cached, head in zip(self._tail, heads, strict=True):
            cached.head = head
        for served in self.calls:
            if served.core is not None:
                served.waits.clear()
                served.core.look_again()

    # --- questions ---

    def heads(self) -> dict[int, int]:
        """Of all slices, now."""
        return dict(enumerate(self._site.heads()))

    def look_up(self, peer: str, told: int | None, lookup: Lookup) -> LookedUp:
        """A page of an entity's events, as this peer sees them, which was told of this version of
        what is shown; TrimmedError, ShownFilterChangedError."""
        self._group.check_told(told)
        key = SliceKey(TYPE, slice_of(lookup.entity_id, self._slices))
        reading = EntityReading(self._journal.memory, key, lookup, PAGE_BYTES, PAGE_EVENTS)
        reading.add_all(self._group.view_of(peer, self._view))
        return reading.answer()

    def entity_state(self, told: int | None, entity_id: str, fresh: bool) -> EntityState:
        """The stored state of an entity. Hosts hear at once which are wanted."""
        if fresh:
            self.world.hit("replica: a fresh state is wanted")
            for host in self._site.hosts:
                host.keep_states([entity_id])
        return lookups.entity_state(self._open, entity_id, fresh, told)

    def entity_ids(self, peer: str, told: int | None, slice_: int, after: str) -> EntityIds:
        """The next entities of which there is one."""
        request = EntityIdsRequest("", slice_, after, IDS, peer, shown_version=told)
        while (found := lookups.entity_ids(self._open, request)).more and not found.ids:
            request = request._replace(resume=found.resume)
        return found

    @property
    def _open(self) -> Any:
        """What these functions need of an OpenStream."""
        return SimpleNamespace(
            stream_id=self._site.setting.stream_id, entity_type=TYPE, slices=self._slices,
            journal=self._journal.memory, group=self._group, shown=self._filter,
        )  # fmt: skip

    def ask(
        self, question: Callable[[ReplicaProducer], Any], answer: Callable[[Any], None]
    ) -> None:
        """Answer it, or the error, after a while; never where this process does not run."""
        try:
            found: Any = question(self)
        except ThespianDcError as error:
            found = error
        self.after(self.world.between(*ANSWER_US), answer, found)


def at_once(run: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        run.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError(f"{run} waits")
