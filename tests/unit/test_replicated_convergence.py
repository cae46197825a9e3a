"""Replicas that exchange logs in random interleavings, with restarts, lost cursors, lost commits
and duplicates: what each has, and that they become equal."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.crdt_world import KINDS, Event, Kind
from tests.unit.host_core import SECOND, Host
from tests.unit.replicas import Replica, group, settle
from tests.unit.replicated_entities import Chronicle, Noted, Write
from thespian_dc import ReplicatedEventSourcedActor
from thespian_dc.crdt.api import CRDT_TYPES
from thespian_dc.entity.causality import judge
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.protocol import Absorbed, RemoteEvent, Replicated
from thespian_dc.model.replication import ORIGIN_META, ReplicaMeta, meta_of, remote_meta
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.slices.actions import Append

IDS = ("ap", "eu", "us")
EXAMPLES = settings(max_examples=12, deadline=None)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
replica_numbers = st.integers(0, len(IDS) - 1)
CHORES = ("pull", "pull", "pull", "again", "restart", "rest")


def entity_of(kind: Kind) -> type:
    """Its state: the value, and the flag of every event in the order in which they were applied."""

    class Held(ReplicatedEventSourcedActor):
        entity_type = "held"
        events = CRDT_TYPES
        snapshot_every = 3

        def empty_state(self) -> Any:
            return (kind.empty, ())

        def receiveMsg_tuple(self, action: tuple[Any, ...], sender: Any) -> None:
            operation = kind.prepare(self.state[0], self.replica_id, action)
            self.persist(operation).then_reply(lambda _: operation)

        def apply_event(self, state: Any, event: Any) -> Any:
            value, flags = state
            return (value.apply(event), (*flags, self.concurrent))

    return Held


class World:
    """The history of what the replicas did, beside the replicas."""

    def __init__(self, kind: Kind) -> None:
        self.kind, self.replicas = kind, group(entity_of(kind), *IDS)
        self.history: list[Event] = []
        self.numbers: dict[tuple[str, int], int] = {}

    def act(self, replica: Replica, action: tuple[Any, ...]) -> None:
        vector = replica.vector()
        past = frozenset(
            self.numbers[origin, n]
            for origin, count in vector.items()
            for n in range(1, count + 1)
        )
        operation = replica.ask(action)
        self.numbers[replica.id, vector.get(replica.id, 0) + 1] = len(self.history)
        self.history.append(Event(len(self.history), replica.id, past, action, operation))

    def chore(self, what: str, replica: Replica, peer: Replica, events_max: int) -> None:
        if what == "restart":
            replica.restart()
        elif what == "rest":
            replica.local.tick(10_000_000)
        elif what == "again":
            replica.cursors.clear()
        elif replica is not peer:
            replica.pull(peer, events_max)


def check_log(replica: Replica) -> None:
    """Each event once, in causal order, with the flag that its place says."""
    here: dict[str, int] = {}
    flags = []
    for found in replica.records():
        meta = meta_of(found.record.meta, replica.id, found.record.seq_nr, 0, b"")
        verdict = judge(here, meta.origin, meta.n, meta.others)
        assert verdict.is_new, "twice, or before its cause"
        assert verdict.concurrent == meta.concurrent
        assert not (meta.concurrent and meta.origin == replica.id)
        flags.append(meta.concurrent)
        here[meta.origin] = meta.n
    assert tuple(replica.state()[1]) == tuple(flags)
    assert replica.vector() == here


@every_kind
@EXAMPLES
@given(data=st.data())
def test_any_interleaving_converges(kind: Kind, data: st.DataObject) -> None:
    """To what the history alone says; and a snapshot with its tail is the full replay."""
    world = World(kind)
    actions = st.tuples(replica_numbers, kind.actions)
    chores = st.tuples(
        st.sampled_from(CHORES), replica_numbers, replica_numbers, st.integers(1, 3)
    )
    for step in data.draw(st.lists(st.one_of(actions, chores), min_size=10, max_size=25)):
        match step:
            case (str(what), one, other, events_max):
                world.chore(what, world.replicas[one], world.replicas[other], events_max)
            case (one, action):
                world.act(world.replicas[one], action)
    settle(*world.replicas)
    for replica in world.replicas:
        check_log(replica)
        value, content = replica.state(), replica.content()
        assert kind.shown(value[0]) == kind.expected(world.history)
        replica.restart()
        assert (replica.state(), replica.content()) == (value, content), "snapshot and tail"
        replica.local.journal.delete_state(replica.key(), "x")
        replica.restart()
        assert (replica.state(), replica.content()) == (value, content), "full replay"
    assert len({tuple(sorted(one.vector().items())) for one in world.replicas}) == 1


# --- a host that loses what it had not written ---
def remote(n: int, seen: int) -> RemoteEvent:
    """a's event n, written when it had seen so many of b's."""
    encoded = EntityType.of(Chronicle, importable=False).registry.encode(Noted(f"a{n}"))
    others = {"b": seen} if seen else {}
    return RemoteEvent(*encoded, [], remote_meta(ReplicaMeta("a", n, others, n, n)))


class Fallible:
    """Replica b: hosts of one slice, one after the other; each is lost with whatever it had under
    way. Senders send again what was not answered."""

    def __init__(self, random: Random) -> None:
        self.random, self.hosts = random, 0
        self.open: dict[int, Any] = {}
        self.begin(None)

    def begin(self, before: Host | None) -> None:
        self.hosts += 1
        journal, ended_us = (before.journal, before.now_us) if before else (None, 0)
        self.host: Host = Host(
            Chronicle, journal=journal, member_id=f"m{self.hosts}", start_us=ended_us + SECOND,
            replication=[Replication(Chronicle, "b", [Peer("a")])],
        ).own()  # fmt: skip
        for message, id_ in [*self.open.values()]:
            self.send(message, id_)

    def send(self, message: Any, id_: str) -> None:
        command = self.host.command(Chronicle, "x", message, id_)
        [number] = self.host.send(command._replace(epoch=-1))
        self.open = {k: v for k, v in self.open.items() if v != (message, id_)}
        self.open[number] = (message, id_)

    def step(self) -> None:
        if self.random.random() < 0.15:
            if self.random.random() < 0.5:  # the commit gets there, its answer does not
                self.host.step(Append)
            self.begin(self.host)
        else:
            self.host.step()
        self.collect()

    def collect(self) -> None:
        for number in [number for number in self.open if number in self.host.answers]:
            message, id_ = self.open.pop(number)
            answer = self.host.answers[number]
            if isinstance(answer, Absorbed) and answer.through < len(message.events):
                self.send(Replicated(message.events[answer.through :]), id_)


@settings(max_examples=60, deadline=None)
@given(random=st.randoms(use_true_random=False))
def test_lost_commits_cost_nothing_and_double_nothing(random: Random) -> None:
    """Each event of the other replica once, in its order; each command once; also where everything
    is sent several times."""
    world = Fallible(random)
    events = [remote(n, 0) for n in range(1, 13)]
    commands = iter(range(1, 9))
    for _ in range(60):
        draw = random.random()
        if draw < 0.3:
            first = random.randrange(len(events))
            world.send(Replicated(tuple(events[first : first + random.randrange(1, 6)])), "r")
        elif draw < 0.45 and (number := next(commands, None)):
            world.send(Write((f"b{number}",)), f"id-{number}")
        else:
            world.step()
        world.open = dict([*world.open.items()][-20:])
    world.send(Replicated(tuple(events)), "r")
    for _ in range(2000):
        if not world.open:
            break
        world.host.until(lambda: not world.host.pending, steps=50)
        world.collect()
    assert not world.open
    stored = world.host.journal.read_entity(world.host.keys[0], "x")
    metas = [meta_of(one.record.meta, "b", one.record.seq_nr, 0, b"") for one in stored]
    assert [meta.n for meta in metas if meta.origin == "a"] == list(range(1, 13))
    own = [meta.n for meta in metas if meta.origin == "b"]
    assert own == list(range(1, len(own) + 1))
    ids = [one.record.command_id for one in stored if one.record.command_id]
    assert len(ids) == len(set(ids)) == len(own)
    assert all(ORIGIN_META in (one.record.meta or {}) for one in stored)
