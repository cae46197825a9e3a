"""Replicas that exchange logs through LinkCore, in memory: what tests of links walk through at
random. An entity is its vector and the order in which it applied events; commands, answers, saved
cursors and reports are lost or late as the seed says.

K1 each (entity, origin, n) is applied once per replica, in its origin's order. K2 never before what
its vector names. K3 after healing, replicas with an entity in scope hold the same events of it. K4
so do the survivors of a replica lost for good.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from thespian_dc.entity.api import Absorbed, RemoteEvent, Replicated
from thespian_dc.model.ids import slice_of
from thespian_dc.model.position import START, Position
from thespian_dc.projection.api import CommitView, Lookup, SourceBatch
from thespian_dc.replication.link_actions import Action, Handled, LookUp, Submit
from thespian_dc.replication.link_core import LinkCore

NAMES, SLICES = "ABCD", 2
ENTITIES = ("x", "y", "u")
BATCH_EVENTS_MAX = 4
WINDOW_EVENTS = 40
LOOK_UP_AFTER_US = 300_000
STEP_US = 10_000


class BrokenError(AssertionError):
    """A law does not hold."""


@dataclass
class Link:
    """One replica's link to a peer: what it reads, and what is under way."""

    peer: Replica
    core: LinkCore
    at: dict[int, int]
    outstanding: int = 0
    to_entities: list[Submit] = field(default_factory=list)
    lookups: list[Lookup] = field(default_factory=list)


class Replica:
    """Durable: logs and saved. The rest is lost in a crash."""

    def __init__(self, name: str, world: World) -> None:
        self.name, self.world, self.scope = name, world, set(ENTITIES)
        self.logs: list[list[tuple[str, RemoteEvent]]] = [[] for _ in range(SLICES)]
        self.saved: dict[str, dict[int, Position]] = {}
        self.coming_in: dict[str, set[str]] = {}  # by peer: not read as a whole yet
        self.known: dict[str, dict[str, dict[int, int]]] = {}  # by peer: what it reported to have
        self.links: dict[str, Link] = {}

    def boot(self) -> None:
        """A process that knows what is durable."""
        self.vectors: dict[str, dict[str, int]] = {one: {} for one in ENTITIES}
        for log in self.logs:
            for entity_id, event in log:
                self.vectors[entity_id][event.meta[0]] = event.meta[1]
        self.links = {}
        for peer in self.world.replicas:
            if peer is not self and self.world.linked(self, peer):
                cursors = self.saved.get(peer.name, {})
                filtered = self.scope != set(ENTITIES)
                core = LinkCore(peer.name, SLICES, cursors, LOOK_UP_AFTER_US, filtered)
                at = {n: cursors.get(n, START).offset for n in range(SLICES)}
                link = self.links[peer.name] = Link(peer, core, at)
                self.perform(link, core.come_in(self.coming_in.get(peer.name, ())))

    # --- the entities ---

    def write(self, entity_id: str) -> None:
        if entity_id in self.scope:
            vector = self.vectors[entity_id]
            number, n = slice_of(entity_id, SLICES), vector.get(self.name, 0) + 1
            others = {replica: count for replica, count in vector.items() if replica != self.name}
            meta = [self.name, n, others, len(self.logs[number]), 0]
            self.apply(entity_id, RemoteEvent("", b"", (), meta))

    def apply(self, entity_id: str, event: RemoteEvent) -> None:
        origin, n, others, _, _ = event.meta
        mine = self.vectors[entity_id]
        if mine.get(origin, 0) != n - 1:
            raise BrokenError(f"K1: {entity_id} {origin} {n} at {self.name}, which has {mine}")
        if any(mine.get(one, 0) < count for one, count in others.items()):
            raise BrokenError(f"K2: {entity_id} {origin} {n} of {others} at {self.name}: {mine}")
        self.logs[slice_of(entity_id, SLICES)].append((entity_id, event))
        mine[origin] = n

    def absorb(self, entity_id: str, command: Any) -> Absorbed:
        assert isinstance(command, Replicated)
        mine, bug = self.vectors[entity_id], self.world.bug
        for index, event in enumerate(command.events):
            origin, n, others, _, _ = event.meta
            if n <= mine.get(origin, 0):
                if bug == "dedup_by_arrival":
                    self.apply(entity_id, event)
                continue
            wanted = {**others, origin: n - 1}
            lacking = [(one, n) for one, n in wanted.items() if mine.get(one, 0) < n]
            if lacking and bug != "no_wait":
                return Absorbed(index, "waits", lacking[0])
            self.apply(entity_id, event)
        return Absorbed(len(command.events))

    # --- the links ---

    def left_out(self, receiver: str, event: RemoteEvent, number: int) -> bool:
        """This replica, as the sender, leaves it out for the receiver."""
        bug, origin = self.world.bug, event.meta[0]
        if origin == receiver:
            return True
        if bug == "own_origin_only":
            return bool(origin != self.name)
        if bug in ("skip_linked_origins", "no_wait"):
            there, here = self.world.replica(receiver), self.world.replica(origin)
            return origin != self.name and self.world.linked(there, here)
        return bool(event.meta[3] < self.known.get(receiver, {}).get(origin, {}).get(number, 0))

    def pull(self, link: Link, number: int) -> None:
        log, base = link.peer.logs[number], link.at[number]
        until = min(len(log), base + self.world.rng.randint(1, BATCH_EVENTS_MAX))
        if until == base or link.outstanding >= WINDOW_EVENTS:
            return
        found: dict[str, list[Any]] = {}
        for entity_id, event in log[base:until]:
            wanted = entity_id in self.scope and not self.has(event, number)
            if wanted and not link.peer.left_out(self.name, event, number):
                found.setdefault(entity_id, []).append(event)
        view = CommitView(base, until, b"w", 0, b"")
        batch = SourceBatch(number, base, until, len(log), [view])
        link.at[number] = until
        link.outstanding += until - base
        self.perform(link, link.core.on_batch(batch, found, self.world.now_us))

    def has(self, event: RemoteEvent, number: int) -> bool:
        """It came by the link to its origin: what a receiver leaves out by itself."""
        link = self.links.get(event.meta[0])
        if (
            self.world.bug
            or link is None
            or link.core.coming_in
            or self.coming_in.get(event.meta[0])
        ):
            return False
        return bool(event.meta[3] < link.core.cursors()[number].offset)

    def perform(self, link: Link, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Submit):
                assert action.pending not in [one.pending for one in link.to_entities], "two"
                link.to_entities.append(action)
            elif isinstance(action, Handled):
                link.outstanding -= action.batch.next_offset - action.batch.base_offset
            elif isinstance(action, LookUp):
                link.lookups.append(action.lookup)

    def deliver(self, link: Link, rng: random.Random) -> None:
        """One command reaches its entity, or not; its answer comes back, or not."""
        if not link.to_entities:
            return
        submit = link.to_entities.pop(rng.randrange(len(link.to_entities)))
        entity_id, now_us = submit.pending.entity_id, self.world.now_us
        fate = rng.random() if self.world.faulty else 1.0
        if fate < 0.05:
            self.perform(link, link.core.on_failed(submit.pending, "lost", now_us))
            return
        answer = self.absorb(entity_id, submit.command)
        if fate < 0.1:
            self.perform(link, link.core.on_failed(submit.pending, "answer lost", now_us))
        else:
            self.perform(link, link.core.on_outcome(submit.pending, answer, now_us))
        if answer.through:
            for other in self.links.values():
                if other is not link:
                    self.perform(other, other.core.poke([entity_id], now_us))

    def look_up(self, link: Link, rng: random.Random) -> None:
        """One lookup is answered; a peer that cannot be reached says so."""
        if not link.lookups:
            return
        lookup = link.lookups.pop(rng.randrange(len(link.lookups)))
        if not self.world.up(self, link.peer):
            actions = link.core.on_look_up_failed(lookup.entity_id, "down", self.world.now_us)
            self.perform(link, actions)
            return
        log = link.peer.logs[lookup.slice]
        all_ = [event for entity_id, event in log if entity_id == lookup.entity_id]
        first = lookup.from_seq_nr - 1
        piece: list[Any] = all_[first : first + 3]
        through = first + len(piece)
        more = through < len(all_)
        actions = link.core.on_looked_up(lookup.entity_id, piece, through, len(log), more)
        self.perform(link, actions)

    def save(self) -> None:
        for name, link in self.links.items():
            self.saved[name] = link.core.cursors()
            self.coming_in[name] = set(link.core.coming_in)
            if self.world.bug == "position_before_apply":
                self.saved[name] = {n: Position(at, b"w") for n, at in link.at.items()}

    def report(self, peer: Replica) -> None:
        """Tell the peer how far this replica is in each origin's own log."""
        known = peer.known.setdefault(self.name, {})
        for origin, link in self.links.items():
            is_coming = self.coming_in.get(origin) or link.core.coming_in
            if is_coming and self.world.bug != "known_while_it_comes_in":
                continue  # of what comes into scope it has not all below
            at = {number: cursor.offset for number, cursor in link.core.cursors().items()}
            known[origin] = link.at if self.world.bug == "report_before_apply" else at

    def come_in(self, entity_id: str) -> None:
        """An entity comes into scope: each link reads it as a whole, over a new call that says
        nothing more of what may lack it."""
        self.scope.add(entity_id)
        for link in self.links.values():
            if self.world.bug != "known_while_it_comes_in":
                link.peer.known[self.name] = {}
            self.coming_in.setdefault(link.peer.name, set()).add(entity_id)
            self.perform(link, link.core.come_in([entity_id]))


class World:
    """Four replicas, as the seed says: all linked or in a chain, all of one scope or not."""

    def __init__(self, seed: int, bug: str = "") -> None:
        self.rng, self.bug = random.Random(seed), bug
        self.down: set[tuple[str, str]] = set()
        self.now_us, self.faulty = 0, True
        self.chain = seed % 3 == 1
        self.replicas = [Replica(name, self) for name in NAMES]
        if seed % 3 == 2:
            self.replicas[2].scope = {"x"}
        for one in self.replicas:
            one.boot()

    def replica(self, name: str) -> Replica:
        return self.replicas[NAMES.index(name)]

    def linked(self, one: Replica, other: Replica) -> bool:
        return not self.chain or abs(NAMES.index(one.name) - NAMES.index(other.name)) == 1

    def up(self, one: Replica, other: Replica) -> bool:
        return self.linked(one, other) and (one.name, other.name) not in self.down

    def step(self) -> None:
        rng = self.rng
        self.now_us += rng.randrange(2 * STEP_US)
        one, other = rng.sample(self.replicas, 2)
        link, action = one.links.get(other.name), rng.random()
        if action < 0.12:
            one.write(rng.choice(ENTITIES))
        elif action < 0.45 and link is not None and self.up(one, other):
            one.pull(link, rng.randrange(SLICES))
        elif action < 0.75 and link is not None:
            one.deliver(link, rng)
        elif action < 0.80 and link is not None:
            one.look_up(link, rng)
            one.perform(link, link.core.on_tick(self.now_us))
        elif action < 0.86 and self.up(one, other):
            one.report(other)
        elif action < 0.90:
            one.save()
        elif action < 0.92:
            one.boot()
        elif action < 0.96:
            self.down.add((one.name, other.name))
        elif self.down:
            self.down.discard(rng.choice(sorted(self.down)))
        if self.rng.random() < 0.002 and self.replicas[2].scope == {"x"}:
            self.replicas[2].come_in("y")

    def converge(self, replicas: list[Replica], check: str) -> None:
        """All is up, nothing more is lost: replicas come to hold the same events."""
        self.faulty = False
        self.down = {
            (one.name, other.name)
            for one in self.replicas for other in self.replicas if other not in replicas
        }  # fmt: skip
        for _ in range(60):
            self.now_us += 500_000
            for one in replicas:
                for link in one.links.values():
                    for number in range(SLICES) if self.up(one, link.peer) else ():
                        one.pull(link, number)
                    for _ in range(10):
                        one.deliver(link, self.rng)
                        one.look_up(link, self.rng)
                    one.perform(link, link.core.on_tick(self.now_us))
        for entity_id in ENTITIES:
            found = [one.vectors[entity_id] for one in replicas if entity_id in one.scope]
            if any(one != found[0] for one in found):
                raise BrokenError(f"{check}: {entity_id} differs: {found}")
        for one in replicas:
            for link in one.links.values():
                if link.peer in replicas:
                    done = [cursor.offset for cursor in link.core.cursors().values()]
                    if done != [len(log) for log in link.peer.logs] or not link.core.is_idle:
                        raise BrokenError(f"{check}: {one.name} has {link.peer.name} to {done}")
                    assert link.outstanding == 0, "credit is lost"

    def run(self, steps: int = 800) -> int:
        """All steps, then both convergences; how many events there are. BrokenError."""
        for _ in range(steps):
            self.step()
            for one in self.replicas:
                for link in one.links.values():
                    assert 0 <= link.outstanding <= WINDOW_EVENTS + BATCH_EVENTS_MAX
        self.converge(self.replicas[1:], "K4")
        self.converge(self.replicas, "K3")
        return sum(map(len, self.replicas[0].logs))
