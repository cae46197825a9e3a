"""Which faults a run meets, and when. Drawn from the seed; at least one crash hits an append."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from thespian_dc.model.ids import SliceKey
from thespian_dc.testkit.simulation.call import End
from thespian_dc.testkit.simulation.client import RoutedClient, SimulatedClient
from thespian_dc.testkit.simulation.consumer import SimulatedConsumer
from thespian_dc.testkit.simulation.counter import Counter
from thespian_dc.testkit.simulation.host import RESTART_US, Doubt
from thespian_dc.testkit.simulation.journal import JOURNAL, SimulatedJournal
from thespian_dc.testkit.simulation.member import SimulatedMember
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.producer import SimulatedProducer
from thespian_dc.testkit.simulation.stream_source import StreamSource
from thespian_dc.testkit.simulation.world import World

ZOMBIE_US = (2_500_000, 7_000_000)
"""Longer than it takes the others to think a member dead."""
STALL_US = (20_000, 600_000)
CUT_US = (200_000, 4_000_000)
OVERLOAD_US = (400_000, 2_000_000)
WANT = 0.15
"""How often a call breaks just when a producer waits for credit."""
SLOW_US = (1_000_000, 4_000_000)
PAUSED_US = (100_000, 4_000_000)
EVERY_US = (300_000, 1_500_000)
DOUBT = 0.7
"""How often somebody else claims a slice just when its owner does not know what became of an
append."""
IN_DOUBT = " while an append is in doubt"
DOUBT_US = 800_000
DOUBT_REFUSED = 0.3
"""And how often the journal refuses what that owner sends next."""
DOUBT_PARTED = 0.4
"""And how often that owner is parted from the journal just then, and a client with it, where the
journal has the append."""
PARTED_US = (3_500_000, 5_000_000)
CHANGED_US = range(400_000, 1_800_000, 200_000)
LOOKED_US = range(2_900_000, 3_400_000, 100_000)
"""When, after they were parted, another client changes an entity of that append, and that client
looks at it."""


class FaultPlan:
    """Strikes at random moments until the world is not faulty any more."""

    def __init__(
        self,
        world: World,
        network: Network,
        journal: SimulatedJournal,
        members: Sequence[SimulatedMember],
        consumers: Sequence[SimulatedConsumer],
        producers: Sequence[SimulatedProducer],
        clients: Sequence[SimulatedClient | RoutedClient],
        slices: int,
    ) -> None:
        self._world, self._network, self._journal = world, network, journal
        self._members, self._consumers, self._producers = members, consumers, producers
        self._client_names, self._slices = [client.name for client in clients], slices
        self._parted_until_us = 0
        self._lookers = [one for one in clients if isinstance(one, SimulatedClient)]
        self._strikes = [
            self._crash_in_append, self._crash_in_append, self._crash_before_action,
            self._zombie, self._zombie, self._compete, self._compete, self._overload,
            self._overload, self._overload, self._cut_journal, self._cut_client, self._part,
        ]  # fmt: skip
        self._stream_strikes = [
            self._crash_consumer, self._pause_consumer, self._second_consumer, self._rescale,
            self._slow_consumer, self._slow_consumer, self._break_call, self._break_call,
            self._crash_producer, self._pause_producer, self._cut_stream, self._cut_producer,
        ]  # fmt: skip

    def begin(self) -> None:
        """From now on. The first strike is a crash during an append, of whoever appends first."""
        for member in self._members:
            member.doom.in_append = True
            member.on_doubt = partial(self._in_doubt, member)
        for producer in self._producers:
            producer.on_want = self._in_want
        for strikes in (self._strikes, self._stream_strikes):
            self._world.after(self._world.between(*EVERY_US), self._strike, strikes)

    def _strike(self, strikes: Sequence[Callable[[], None]]) -> None:
        if not self._world.faulty:
            return
        self._world.rng.choice(strikes)()
        self._world.after(self._world.between(*EVERY_US), self._strike, strikes)

    def _member(self) -> SimulatedMember:
        return self._world.rng.choice(self._members)

    # --- members ---
    def _crash_in_append(self) -> None:
        self._member().doom.in_append = True

    def _crash_before_action(self) -> None:
        self._member().doom.actions = self._world.rng.randrange(30)

    def _zombie(self) -> None:
        member = self._member()
        if member.alive and not member.paused:
            self._world.hit("fault: member paused past the move of its slices")
            member.pause(self._world.between(*ZOMBIE_US))

    def _stall(self) -> None:
        """Shorter than anybody would notice."""
        self._world.hit("fault: member stalled")
        self._member().pause(self._world.between(*STALL_US))

    def _compete(self) -> None:
        member = self._member()
        if member.alive and not member.paused:
            slices = self._world.rng.sample(range(self._slices), 2)
            self._world.hit("fault: competing owner")
            member.compete([SliceKey(Counter.entity_type, slice_) for slice_ in slices])

    def _in_doubt(self, owner: SimulatedMember, doubt: Doubt) -> None:
        """The moment at which protocols go wrong: what is sent again is refused, or somebody else
        wants the slice now."""
        if not self._world.faulty:
            return
        applied = self._journal.head(doubt.key) > doubt.base_offset
        near = [one for one in self._lookers if one.sends_to(owner.name, doubt.key.slice)]
        parted = self._world.now_us < self._parted_until_us
        if applied and near and not parted and self._world.chance(DOUBT_PARTED):
            self._part_in_doubt(owner, self._world.rng.choice(near), doubt)
        elif self._world.chance(DOUBT_REFUSED):
            self._journal.refusing.add(owner.name)
        elif self._world.chance(DOUBT):
            delay_us = self._world.rng.randrange(DOUBT_US)
            what = "competing owner" + IN_DOUBT
            self._world.after(delay_us, self._claim, self._other(owner), doubt.key, what)

    def _claim(self, member: SimulatedMember, key: SliceKey, what: str) -> None:
        if self._world.faulty and member.alive and not member.paused:
            self._world.hit(f"fault: {what}")
            member.compete([key])

    # --- one side of a network that is parted ---
    def _part(self) -> None:
        """A member and a client lose the journal together, and others take slices: neither hears of
        it, and each hears the other."""
        member = self._member()
        self._world.hit("fault: member and client parted from the journal")
        self._part_off(member, self._world.rng.choice(self._lookers))
        slices = range(self._slices)
        self._claim_from(member, [SliceKey(Counter.entity_type, slice_) for slice_ in slices])

    def _part_in_doubt(self, owner: SimulatedMember, client: SimulatedClient, doubt: Doubt) -> None:
        """And an entity of the append is changed elsewhere before it is looked at here."""
        world = self._world
        world.hit("fault: owner parted from the journal" + IN_DOUBT)
        other = world.rng.choice([one for one in self._lookers if one is not client])
        self._part_off(owner, client)
        self._claim_from(owner, [doubt.key])
        entity_id = world.rng.choice(doubt.entity_ids)
        for at_us in CHANGED_US:
            world.after(at_us, other.change, entity_id)
        for at_us in LOOKED_US:
            world.after(at_us, client.look, entity_id)

    def _part_off(self, member: SimulatedMember, client: SimulatedClient) -> None:
        for_us = self._world.between(*PARTED_US)
        self._parted_until_us = self._world.now_us + for_us
        for one in (member.name, client.name):
            self._cut(one, JOURNAL, for_us)

    def _claim_from(self, owner: SimulatedMember, keys: Sequence[SliceKey]) -> None:
        """Another one wants these as long as they are parted."""
        other = self._other(owner)
        if other.alive:
            self._world.hit("fault: competing owner of what is parted")
            other.insist(keys, self._parted_until_us - self._world.now_us)

    def _other(self, owner: SimulatedMember) -> SimulatedMember:
        """One that runs, if any does."""
        others = [one for one in self._members if one is not owner]
        running = [one for one in others if one.alive and not one.paused]
        return self._world.rng.choice(running or others)

    # --- the journal and links to it ---
    def _overload(self) -> None:
        """And meanwhile others want its slices, and members stall: who writes must find out."""
        for_us = self._world.between(*OVERLOAD_US)
        self._world.hit("fault: journal overloaded")
        self._world.note("the journal is overloaded")
        self._journal.overload(for_us)
        for _ in range(4):
            self._world.after(self._world.rng.randrange(for_us), self._compete)
            self._world.after(self._world.rng.randrange(for_us), self._stall)

    def _cut_journal(self) -> None:
        self._cut(self._member().name, JOURNAL)

    def _cut_client(self) -> None:
        self._cut(self._member().name, self._world.rng.choice(self._client_names))

    def _cut(self, one: str, other: str, for_us: int | None = None) -> None:
        self._network.cut(one, other)
        self._world.note(f"{one} and {other} are cut off")
        for_us = self._world.between(*CUT_US) if for_us is None else for_us
        self._world.after(for_us, self._network.heal, one, other)

    # --- consumers ---
    def _consumer(self) -> SimulatedConsumer:
        return self._world.rng.choice(self._consumers)

    def _crash_consumer(self) -> None:
        consumer = self._consumer()
        if consumer.alive:
            self._world.hit("fault: consumer crash")
            consumer.crash(self._world.between(*RESTART_US))

    def _pause_consumer(self) -> None:
        consumer = self._consumer()
        if consumer.alive and not consumer.paused:
            self._world.hit("fault: consumer paused")
            consumer.pause(self._world.between(*ZOMBIE_US))

    def _second_consumer(self) -> None:
        """Another worker takes all slices: the others are fenced."""
        consumer = self._consumer()
        if consumer.alive and not consumer.paused:
            self._world.hit("fault: competing consumer")
            consumer.compete()

    def _rescale(self) -> None:
        """A worker less for a while, or it stops for good and another one begins."""
        consumer = self._consumer()
        if consumer.alive and not consumer.leaving:
            self._world.hit("projection: rescaled")
            consumer.leave()

    def _slow_consumer(self) -> None:
        """And meanwhile its calls break again and again."""
        self._world.hit("fault: slow handler")
        slow_us, consumer = self._world.rng.randrange(*SLOW_US), self._consumer()
        consumer.slow_until_us = self._world.now_us + slow_us
        for _ in range(4):
            self._world.after(self._world.rng.randrange(slow_us), self._break_call_of, consumer)

    # --- streams ---
    def _break_call(self) -> None:
        """At any point, and whether or not its ends hear of it."""
        self._break_call_of(self._consumer())

    def _break_call_of(self, consumer: SimulatedConsumer) -> None:
        source = consumer.source
        if self._world.faulty and isinstance(source, StreamSource) and source.call:
            self._world.hit("fault: call broken")
            source.call.breaks()

    def _in_want(self, end: End) -> None:
        """The window is used up: the next call must not grant more of it."""
        if self._world.faulty and not end.call.broken and self._world.chance(WANT):
            self._world.hit("fault: call broken while it waits for credit")
            end.call.breaks()

    def _producer(self) -> SimulatedProducer:
        return self._world.rng.choice(self._producers)

    def _crash_producer(self) -> None:
        producer = self._producer()
        if producer.alive:
            self._world.hit("fault: producer crash")
            producer.crash(self._world.between(*RESTART_US))

    def _pause_producer(self) -> None:
        producer = self._producer()
        if producer.alive and not producer.paused:
            self._world.hit("fault: producer paused")
            producer.pause(self._world.between(*PAUSED_US))

    def _cut_stream(self) -> None:
        self._cut(self._producer().name, self._consumer().name)

    def _cut_producer(self) -> None:
        self._cut(self._producer().name, JOURNAL)
