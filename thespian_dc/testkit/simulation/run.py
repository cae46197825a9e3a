"""One seed: build the world, let it run under faults, let it come to rest, judge it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thespian_dc.testkit.simulation.checker import Checker
from thespian_dc.testkit.simulation.client import RoutedClient, SimulatedClient
from thespian_dc.testkit.simulation.consumer import SimulatedConsumer
from thespian_dc.testkit.simulation.counter import Counter as CounterEntity
from thespian_dc.testkit.simulation.faults import FaultPlan
from thespian_dc.testkit.simulation.history import History
from thespian_dc.testkit.simulation.journal import SimulatedJournal
from thespian_dc.testkit.simulation.member import SimulatedMember
from thespian_dc.testkit.simulation.network import Network, NetworkFaults
from thespian_dc.testkit.simulation.oracle import ORACLES, Oracle
from thespian_dc.testkit.simulation.outcome import Outcome
from thespian_dc.testkit.simulation.plan import plan_of
from thespian_dc.testkit.simulation.positions import SimulatedPositions
from thespian_dc.testkit.simulation.producer import SimulatedProducer
from thespian_dc.testkit.simulation.source import JournalSource
from thespian_dc.testkit.simulation.stream_law import StreamLaw
from thespian_dc.testkit.simulation.stream_source import WINDOW, StreamSource
from thespian_dc.testkit.simulation.tally import Tally
from thespian_dc.testkit.simulation.trimmer import Trimmer
from thespian_dc.testkit.simulation.wishes import Wishes
from thespian_dc.testkit.simulation.world import World

LATEST_US = 10_000_000
"""Nothing that was sent under faults is later than this."""
QUIET_US = 250_000


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a run is. faulty_us: how long faults strike; rest_us: until when all is well."""

    members: int = 3
    clients: int = 2
    producers: int = 2
    entities: int = 60
    slices: int = 4
    segment_records: int = 16
    calm_us: int = 2_000_000
    faulty_us: int = 10_000_000
    rest_us: int = 60_000_000
    pause_us: int = 60_000


class Simulation:
    """The parts of one run. A seeded bug replaces classes here (bugs.py)."""

    journal_class = SimulatedJournal
    positions_class = SimulatedPositions
    consumer_class = SimulatedConsumer
    member_class = SimulatedMember

    def __init__(self, seed: int, shape: Shape | None = None) -> None:
        self.shape = shape = shape or Shape()
        plan = self.plan = plan_of(seed)
        world = self.world = World(seed)
        network = self.network = Network(world, NetworkFaults())
        self.history = History()
        self.journal = self.journal_class(world, network, shape.segment_records)
        self.journal.memory.slices(CounterEntity.entity_type, shape.slices)
        self.positions = self.positions_class()
        self.checker = Checker(
            self.history,
            self.journal,
            self.positions,
            CounterEntity.entity_type,
            shape.slices,
            plan,
            world.hit,
        )
        clients: dict[str, Any] = {}
        by_name: dict[str, SimulatedMember] = {}
        self.members = [
            self.member_class(
                world,
                network,
                self.journal,
                clients,
                by_name,
                f"m{n}",
                shape.slices,
                Tally if plan.durable else CounterEntity,
            )
            for n in range(shape.members)
        ]
        self.oracles = {name: Oracle(world, name) for name in ORACLES}
        for member in self.members:
            member.oracles = self.oracles
        by_name |= {member.name: member for member in self.members}
        entity_ids = [f"e{n}" for n in range(shape.entities)]
        self.wishes = Wishes(world, self.positions, entity_ids, plan.filters)
        self.clients = [
            kind(
                world, network, self.journal, by_name, self.history, f"client{n}", shape.slices,
                entity_ids, shape.pause_us, plan,
            )
            for n, kind in enumerate([SimulatedClient] * shape.clients + [RoutedClient])
        ]  # fmt: skip
        clients.update({client.name: client for client in self.clients})
        self.law = StreamLaw(self.history, WINDOW)
        self.producers = [
            SimulatedProducer(
                world, self.journal, self.law, f"p{n}", CounterEntity.entity_type, shape.slices
            )
            for n in range(shape.producers)
        ]
        kinds: list[Callable[[SimulatedConsumer], JournalSource | StreamSource]]
        kinds = [self._from_journal, self._from_stream, self._from_stream]
        self.consumers = [
            self.consumer_class(
                world,
                self.positions,
                f"consumer{n}",
                shape.slices,
                kind,
                self.checker.sink,
            )
            for n, kind in enumerate(kinds)
        ]

    def _from_journal(self, consumer: SimulatedConsumer) -> JournalSource:
        shape, entity_type = self.shape, CounterEntity.entity_type
        return JournalSource(
            consumer, self.network, self.journal, entity_type, shape.slices, self.plan.latest
        )

    def _from_stream(self, consumer: SimulatedConsumer) -> StreamSource:
        return StreamSource(
            consumer, self.network, self.journal, self.law, self.producers,
            CounterEntity.entity_type, self.plan.latest,
        )  # fmt: skip

    def run(self) -> Outcome:
        """Calm, faults, rest, judgement."""
        world, shape, plan = self.world, self.shape, self.plan
        for process in (
            *self.oracles.values(),
            *self.members,
            *self.clients,
            *self.producers,
            *self.consumers,
        ):
            process.start()
        self.wishes.begin()
        world.run(shape.calm_us)
        world.faulty = True
        FaultPlan(
            world, self.network, self.journal, self.members, self.consumers, self.producers,
            self.clients, shape.slices,
        ).begin()  # fmt: skip
        if plan.trims:
            Trimmer(world, self.journal, self.positions, self.checker.keys).begin()
        world.run(shape.faulty_us)
        self._come_to_rest()
        self.law.check([
            source.call.producer for source in (one.source for one in self.consumers)
            if isinstance(source, StreamSource) and source.call is not None
        ])  # fmt: skip
        self.checker.check()
        return self.outcome()

    def _come_to_rest(self) -> None:
        """No faults from here on: every command must be answered, every record handled."""
        world = self.world
        world.faulty = False
        self.wishes.rest()
        self.checker.sink.resting = True
        self.network.heal_all()
        self.journal.refusing.clear()
        for client in self.clients:
            client.sending = False
        for member in self.members:
            member.doom.actions, member.doom.in_append = None, False
        # First what was late arrives: an older write, a command that nobody waits for any more.
        world.run(LATEST_US)
        until_us = world.now_us + self.shape.rest_us
        while world.now_us < until_us and not (self._finishes() and self._finishes()):
            world.run(QUIET_US)
        for what in self._unfinished():
            self.history.breaks("liveness", what)

    def _finishes(self) -> bool:
        """Nothing is left now and a little later: what is on its way arrives meanwhile."""
        heads = self._heads()
        if self._unfinished():
            return False
        self.world.run(QUIET_US)
        return heads == self._heads() and not self._unfinished()

    def _unfinished(self) -> list[str]:
        left = [
            f"{sent.nonce} to {sent.entity_id} is not answered"
            for sent in self.history.sent.values() if not sent.ended
        ]  # fmt: skip
        for slice_, head in self._heads().items():
            row = self.positions.rows.get(slice_)
            at = row.position.offset if row else 0
            if at != head:
                left.append(f"slice {slice_}: the position is {at}, the head is {head}")
        unhandled, owed = self.checker.sink.unhandled(), len(self.positions.debts)
        if unhandled or owed:
            left.append(f"{unhandled} records without an effect, {owed} owed")
        return left

    def _heads(self) -> dict[int, int]:
        keys = self.checker.keys
        return {key.slice: self.journal.memory.find_head(key).head for key in keys}

    def _changed(self) -> int:
        """How many entities have acknowledged a change."""
        return len({
            sent.entity_id for sent in self.history.sent.values()
            if sent.amounts and any(told.seen is not None for told in sent.told)
        })  # fmt: skip

    def outcome(self) -> Outcome:
        """As far as it has run."""
        world = self.world
        return Outcome(
            world.seed, world.steps, self._changed(), len(self.history.sent),
            sum(self._heads().values()), world.hits, self.history.broken, list(world.trace),
            str(self.plan),
        )  # fmt: skip
