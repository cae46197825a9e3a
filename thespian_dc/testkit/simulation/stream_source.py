"""A simulated projection's source over a stream: one `ConsumerCore` for each call, as
stream/client.py and stream/conversation.py are. It dials one of several producers; when a call
ends it dials another, from what was handed over last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thespian_dc.model.criteria import FilterInForce, VersionedFilter
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.history import History
from thespian_dc.model.position import Position
from thespian_dc.model.stream_errors import MalformedMessageError, PeerUnavailableError
from thespian_dc.projection.api import SourceBatch, SourceDescription
from thespian_dc.stream.batches import cost_of, read_batch
from thespian_dc.stream.consumer_core import ConsumerCore, Reconnect
from thespian_dc.testkit.simulation.call import Call
from thespian_dc.testkit.simulation.journal import SimulatedJournal
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.producer import SimulatedProducer
from thespian_dc.testkit.simulation.source import Ears, effects_of
from thespian_dc.testkit.simulation.stream_law import StreamLaw
from thespian_dc.testkit.simulation.stream_lookups import StreamLookUps
from thespian_dc.wire import streams_pb2 as pb
from thespian_dc.wire.conversion import (
    Beat,
    Credit,
    Started,
    read_from_producer,
    write_from_consumer,
)

WINDOW = Credit(1_200, 8)
"""Small: consumers are to wait for it."""
HEARTBEAT_MS = 250
TICK_US = 60_000
REFUSED_US = (500, 3_000)
RECONNECT_MS = (20, 400)
ROOM_US = 10_000


class StreamSource:
    """Of a stream that `producers` serve. One source is started once."""

    def __init__(
        self, process: Process, network: Network, journal: SimulatedJournal, law: StreamLaw,
        producers: Sequence[SimulatedProducer], entity_type: str, latest: bool = False,
    ) -> None:  # fmt: skip
        self._process, self._network, self._law = process, network, law
        self._producers = producers
        self._stopped = False
        self._reconnect = Reconnect(RECONNECT_MS)
        self._handed_back: list[Credit] = []  # bounded by the window
        self._call: Call | None = None
        self._core: ConsumerCore | None = None
        self._peer = ""
        self._described = False
        self._history = History.LATEST if latest else History.FULL
        self.look_up = StreamLookUps(process, network, producers, self._history).look_up

    def start(
        self,
        journal_id: str,
        positions: Mapping[int, Position],
        wanted: VersionedFilter,
        slices: Sequence[int],
        ears: Ears,
    ) -> None:
        self._ears, self._wanted, self._slices = ears, wanted, slices
        self._journal_id, self._positions = journal_id, dict(positions)
        self._dial(Credit(0, 0))
        self._process.after(TICK_US, self._tick)

    def change_filter(self, wanted: VersionedFilter) -> None:
        self._wanted = wanted
        if self._core is not None:
            self._core.change_filter(wanted)
        self._write()

    def handled(self, batch: SourceBatch) -> None:
        self._law.handled(self, batch)
        self._handed_back.append(cost_of(batch))
        self._take_back()
        self._write()

    def stop(self) -> None:
        self._stopped = True
        self._law.stopped(self)
        self._hang_up()

    @property
    def call(self) -> Call | None:
        """The open one."""
        return self._call

    # --- a call ---

    def _dial(self, outstanding: Credit) -> None:
        world = self._process.world
        if self._stopped:
            return
        core = self._core = self._core_for(outstanding)
        producer = world.rng.choice(self._producers)
        if not producer.alive or not self._network.passes(self._process.name, producer.name):
            error = PeerUnavailableError(producer.name, "nobody listens")
            self._process.after(world.between(*REFUSED_US), self._failed, core, error)
            return
        if self._peer and self._peer != producer.name:
            world.hit("stream: failed over to another node")
        self._peer = producer.name
        if any(one.serves(self._process.name) for one in self._producers):
            world.hit("stream: two calls at once")
        call = Call(world, self._network, self._process, producer)
        producer.enter(producer.incarnation, producer.accept, call.producer)
        self._open(core, call)

    def _open(self, core: ConsumerCore, call: Call) -> None:
        """Say what is wanted."""
        self._call = call
        call.consumer.on_message = lambda message: self._on_message(core, message)
        call.consumer.on_ended = lambda: self._on_ended(core, call)
        call.consumer.send(write_from_consumer(core.first("")))
        core.on_sent(self._process.world.now_us)

    def _core_for(self, outstanding: Credit) -> ConsumerCore:
        return ConsumerCore(
            "simulated", self._process.name, self._journal_id, self._positions, outstanding,
            "a producer", HEARTBEAT_MS, self._process.world.now_us, wanted=self._wanted,
            slices=self._slices, window=WINDOW, history=self._history,
        )  # fmt: skip

    def _on_ended(self, core: ConsumerCore, call: Call) -> None:
        why = call.consumer.why
        self._failed(core, why or PeerUnavailableError(self._peer, "the call broke"))

    def _hang_up(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.consumer.close()

    def _failed(self, core: ConsumerCore, error: ThespianDcError) -> None:
        """This call is over."""
        if self._stopped or core is not self._core:
            return
        world = self._process.world
        world.hit(f"stream: {type(error).__name__} at the consumer")
        self._hang_up()
        self._positions = core.positions
        self._core = None
        if not error.retryable:
            self._ears.failed(error)
            return
        if core.started:
            self._reconnect.on_worked()
        pause_us = self._reconnect.pause_ms(world.rng.random()) * 1_000
        self._process.after(pause_us, self._dial_again, core)

    def _dial_again(self, before: ConsumerCore) -> None:
        for cost in self._handed_back:
            before.on_handled(cost)
        self._handed_back.clear()
        if self._stopped:
            return
        if not before.has_room:
            self._process.world.hit("stream: waited with its call for room")
            self._process.after(ROOM_US, self._dial_again, before)
            return
        if before.outstanding != (0, 0):
            self._process.world.hit("stream: dialled with batches unhandled")
        self._dial(before.outstanding)

    # --- what comes ---

    def _on_message(self, core: ConsumerCore, received: bytes) -> None:
        if self._stopped or core is not self._core:
            return
        try:
            self._take(core, read_from_producer(received))
        except ThespianDcError as error:
            self._failed(core, error)
        else:
            self._write()

    def _take(self, core: ConsumerCore, message: object) -> None:
        world = self._process.world
        if isinstance(message, Beat):
            core.on_beat(world.now_us)
        elif isinstance(message, Started):
            if core.on_started(message, world.now_us):
                self._describe(message)
            else:
                self._failed(core, PeerUnavailableError(self._peer, "it has more slices"))
        elif isinstance(message, FilterInForce):
            world.hit("stream: filter in force")
            self._ears.in_force(core.on_in_force(message, world.now_us))
        elif isinstance(message, pb.Batch):
            batch = core.on_batch(read_batch("a simulated batch", message), world.now_us)
            if batch is None:
                world.hit("stream: duplicate dropped")
            else:
                world.hit("stream: batch handed over")
                self._law.handed_over(self, batch)
                self._ears.batch(batch, effects_of(batch))
        else:
            raise MalformedMessageError("a simulated stream", f"{message} has no place in it")

    def _describe(self, started: Started) -> None:
        if not self._described:
            self._described, self._journal_id = True, started.journal_id
            self._ears.started(
                SourceDescription(started.journal_id, started.entity_type, started.slices)
            )

    # --- what goes ---

    def _take_back(self) -> None:
        if self._core is not None:
            for cost in self._handed_back:
                self._core.on_handled(cost)
            self._handed_back.clear()

    def _tick(self) -> None:
        if self._stopped:
            return
        core = self._core
        if core is not None and self._call is not None:
            try:
                core.check_alive(self._process.world.now_us)
            except ThespianDcError as error:
                self._failed(core, error)
            else:
                self._write()
        self._process.after(TICK_US, self._tick)

    def _write(self) -> None:
        core, call, now_us = self._core, self._call, self._process.world.now_us
        if core is None or call is None:
            return
        wanted, credit = core.take_filter(), core.take_credit()
        if wanted is not None:
            self._process.world.hit("stream: filter changed on an open call")
        beat = Beat(now_us) if credit is None and core.beat_due(now_us) else None
        for message in (wanted, credit, beat):
            if message is not None:
                call.consumer.send(write_from_consumer(message))
                core.on_sent(now_us)
