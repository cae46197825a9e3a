"""A simulated source over a peer's replica stream, with the face of `RemoteSource`: what the real
links are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.position import Position
from thespian_dc.model.replication_handshake import Known, ReplicaStarted
from thespian_dc.model.stream_errors import PeerUnavailableError
from thespian_dc.projection.api import Lookup, LookUpFailed, SourceEvents
from thespian_dc.stream.consumer_core import ConsumerCore
from thespian_dc.stream.replica_call import ReplicaCall
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.replicas.ledger import Ledger
from thespian_dc.testkit.simulation.replicas.serving import ReplicaProducer
from thespian_dc.testkit.simulation.source import Ears
from thespian_dc.testkit.simulation.stream_law import StreamLaw
from thespian_dc.testkit.simulation.stream_source import HEARTBEAT_MS, WINDOW, StreamSource
from thespian_dc.wire.conversion import Credit, Started, write_from_consumer
from thespian_dc.wire.lookups import EntityIds, EntityState

ASK_TIMEOUT_US = 400_000


class ReplicaSource(StreamSource):
    """Of one run of a link."""

    def __init__(
        self, process: Process, network: Network, law: StreamLaw, peer: ReplicaProducer,
        replica: ReplicaCall,
    ) -> None:  # fmt: skip
        super().__init__(process, network, peer._journal, law, [peer], Ledger.entity_type)
        self._replica, self._to = replica, peer
        self.look_up = self._look_up
        self._events: SourceEvents
        self._shown_version: int | None = None
        self.trouble = ""

    def start(  # type: ignore[override]
        self,
        journal_id: str,
        positions: Mapping[int, Position],
        wanted: VersionedFilter,
        slices: Sequence[int] | None,
        events: SourceEvents,
    ) -> None:
        self._events = events
        ears = Ears(
            events.started, lambda batch, _: events.batch(batch), events.filter_in_force,
            events.failed,
        )  # fmt: skip
        if slices is not None and len(slices) < self._to._slices:
            self._process.world.hit("link: reads some of a peer's slices")
        super().start(journal_id, positions, wanted, slices, ears)  # type: ignore[arg-type]

    def send_known(self, known: Known) -> None:
        """See RemoteSource."""
        if self._core is not None:
            self._core.know(known)
            self._write()

    def _core_for(self, outstanding: Credit) -> ConsumerCore:
        return ConsumerCore(
            "replica:ledger", self._process.name, self._journal_id, self._positions, outstanding,
            self._to.name, HEARTBEAT_MS, self._process.world.now_us, wanted=self._wanted,
            slices=self._slices, window=WINDOW, replica=self._replica.start(),
            replica_expected=self._replica.peer_id,
        )  # fmt: skip

    def _take(self, core: ConsumerCore, message: object) -> None:
        if isinstance(message, ReplicaStarted):
            self._said(core.on_replica(message, self._process.world.now_us))
            return
        super()._take(core, message)
        if isinstance(message, Started) and core is self._core:
            self.trouble = ""
            self._events.heads(message.heads)
            if message.replica is not None:
                self._said(message.replica)

    def _said(self, said: ReplicaStarted) -> None:
        self._shown_version = said.shown.version
        self._replica.on_started(said)

    def _failed(self, core: ConsumerCore, error: ThespianDcError) -> None:
        if core is self._core:
            self.trouble = str(error)
        super()._failed(core, error)

    def _write(self) -> None:
        core, call = self._core, self._call
        known = None if core is None or call is None else core.take_known()
        if core is not None and call is not None and known is not None:
            call.consumer.send(write_from_consumer(known))
            core.on_sent(self._process.world.now_us)
        super()._write()

    # --- questions ---

    def _look_up(self, lookup: Lookup, on_answer: Callable[[Any], None]) -> None:
        told = self._shown_version
        self._ask("LookUp", lookup, lambda to: to.look_up(self._own, told, lookup), on_answer)

    def entity_state(self, entity_id: str, fresh: bool, on_answer: Callable[[Any], None]) -> None:
        """See RemoteSource."""
        lookup, told = Lookup(entity_id, -1, 1), self._shown_version

        def question(to: ReplicaProducer) -> EntityState:
            return to.entity_state(told, entity_id, fresh)

        self._ask("EntityState", lookup, question, on_answer)

    def entity_ids(self, slice_: int, after: str, on_answer: Callable[[Any], None]) -> None:
        """See RemoteSource."""
        lookup = Lookup("", slice_, 1)
        told = self._shown_version

        def question(to: ReplicaProducer) -> EntityIds:
            return to.entity_ids(self._own, told, slice_, after)

        self._ask("EntityIds", lookup, question, on_answer)

    def _ask(
        self, what: str, lookup: Lookup, question: Callable[[ReplicaProducer], Any],
        on_answer: Callable[[Any], None],
    ) -> None:  # fmt: skip
        self._process.world.hit(f"link: {what}")
        answered = partial(self._answered, lookup, on_answer)
        self._ask_peer(question, answered)

    def _ask_peer(
        self, question: Callable[[ReplicaProducer], Any], answered: Callable[[Any], None]
    ) -> None:
        ask(self._process, self._network, self._to, question, answered)

    @property
    def _own(self) -> str:
        return self._process.name.partition(":")[0]

    def _answered(self, lookup: Lookup, on_answer: Callable[[Any], None], found: Any) -> None:
        if not self._stopped:
            on_answer(LookUpFailed(lookup, found) if isinstance(found, Exception) else found)


def ask(
    process: Process,
    network: Network,
    to: ReplicaProducer,
    question: Callable[[ReplicaProducer], Any],
    on_answer: Callable[[Any], None],
) -> None:
    """A question that is no part of a call; on_answer is called once, with an error where no answer
    comes."""
    heard = once(on_answer)
    take = process.into(heard)

    def back(found: Any) -> None:
        network.send(to.name, process.name, take, found)

    def there() -> None:
        to.enter(to.incarnation, to.ask, question, back)

    network.send(process.name, to.name, there, once=True)
    silence = PeerUnavailableError(to.name, "no answer came")
    process.after(ASK_TIMEOUT_US, heard, silence)


def once(act: Callable[[Any], None]) -> Callable[[Any], None]:
    """Calls `act` the first time, and does nothing later."""
    called = False

    def first(found: Any) -> None:
        nonlocal called
        if not called:
            called = True
            act(found)

    return first
