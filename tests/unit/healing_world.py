"""A log, a producer that filters it, and a projection that heals: for property tests.

The projection performs what Healing says, as run.py does, over a store that survives crashes. What
must have been handled is found by `judge_all` from the log and from what the producer did alone; it
shares nothing with the cores, not even the evaluation of filters.
"""

from __future__ import annotations

import copy
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from thespian_dc.model.criteria import Criteria, Exclude, Filter, Include, VersionedFilter
from thespian_dc.projection.api import CommitView, LookedUp, Lookup
from thespian_dc.projection.healing import Healing
from thespian_dc.projection.memory import Debt, Mark, SliceMemory, StoredMemory

ENTITIES = ["a", "b", "c"]
TAGS = ["red", "blue"]
PAGE = 3


class Event(NamedTuple):
    entity_id: str
    seq_nr: int
    offset: int
    tags: tuple[str, ...]
    withheld: bool


class Handled(NamedTuple):
    entity_id: str
    seq_nr: int
    offset: int


@dataclass
class Stored:
    """The consumer's database."""

    position: int = 0
    baseline: int = 0
    memory: SliceMemory | None = None
    filters: dict[int, Filter] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    debts: dict[str, Debt] = field(default_factory=dict)
    handled: list[Handled] = field(default_factory=list)


def selects(criteria: Criteria, event: Event) -> bool:
    tags = set(criteria.tags) & set(event.tags)
    return event.entity_id in criteria.entity_ids or bool(criteria.regexes) or bool(tags)


def passes(wanted: Filter, event: Event) -> bool:
    """Exclude first, include overrides. (The only regex of these tests matches everything.)"""
    return selects(wanted.include, event) or not selects(wanted.exclude, event)


def passes_by_id(wanted: Filter, event: Event) -> bool:
    """Whatever its tags were."""
    if event.entity_id in wanted.include.entity_ids:
        return True
    by_id = event.entity_id in wanted.exclude.entity_ids or bool(wanted.exclude.regexes)
    return not by_id and not wanted.exclude.tags


class World:
    """One slice. Each method is a step that a test may take at any time."""

    def __init__(self, rng: random.Random, baseline: int = 0) -> None:
        self.rng = rng
        self.log: list[Event] = []
        self.seq_nrs: dict[str, int] = defaultdict(int)
        self.wanted = VersionedFilter(0, Filter())
        """The desired filter, stored before anybody is told."""
        self.stored = Stored(position=baseline, baseline=baseline)
        self.included: dict[int, tuple[str, ...]] = {}
        # What the producer did, for the judge: under which filter each offset passed it last
        # before the position moved over it.
        self.evaluated: dict[int, Filter] = {}
        self.in_force: list[tuple[str, int, int]] = []  # (id, below offset, from_seq_nr)
        self.now_us = 0
        # The producer's end of the call: what it was told, what it applies, how far it has read.
        self.told = self.producer = self.wanted
        self.read = baseline
        self.begin()

    # --- the producer ---

    def append(self, entity_id: str, tags: tuple[str, ...], withheld: bool) -> None:
        self.seq_nrs[entity_id] += 1
        event = Event(entity_id, self.seq_nrs[entity_id], len(self.log), tags, withheld)
        self.log.append(event)

    def change(self, wanted: Filter) -> None:
        """Somebody stores another filter; the projection tells its source."""
        self.wanted = VersionedFilter(self.wanted.version + 1, wanted)
        self.healing.on_filter(self.wanted)
        self.told = self.wanted

    def send(self) -> None:
        """The producer takes note of a filter, or forms the next batch; both come in order."""
        if self.told.version != self.producer.version:
            self.producer = self.told
            self.inbox.append(("in force", self.producer.version, self.read, self.producer.filter))
            return
        until = min(len(self.log), self.read + self.rng.randint(1, 5))
        if until > self.read:
            events = [e for e in self.log[self.read : until] if self.shows(e)]
            self.inbox.append(("batch", self.producer.version, self.read, until, events,
                               self.producer.filter))  # fmt: skip
            self.read = until

    def shows(self, event: Event) -> bool:
        return not event.withheld and passes(self.producer.filter, event)

    def look_up(self, lookup: Lookup) -> LookedUp:
        last = lookup.until_seq_nr or 10**9
        mine = [e for e in self.log if e.entity_id == lookup.entity_id
                and lookup.from_seq_nr <= e.seq_nr <= last]  # fmt: skip
        page = mine[:PAGE]
        commits = [
            CommitView(e.offset, e.offset + 1, b"", e.seq_nr, b"x")
            for e in page if not e.withheld and e.offset >= lookup.from_offset
        ]  # fmt: skip
        more = len(mine) > len(page)
        through = page[-1].seq_nr if page else lookup.from_seq_nr - 1
        return LookedUp(lookup, commits, through, len(self.log), more)

    # --- the projection ---

    def begin(self) -> None:
        """A run: all that was in memory is gone."""
        stored = self.stored
        self.healing = Healing(marks_max=2)
        slices = {0: stored.memory} if stored.memory else {}
        if not slices and stored.baseline:
            slices = {0: SliceMemory(stored.baseline)}
        marks = {one: mark for one, mark in stored.marks.items() if one in stored.debts}
        debts = {one: (0, debt) for one, debt in stored.debts.items()}
        self.healing.on_loaded(StoredMemory(slices, dict(stored.filters), debts, marks))
        self.healing.on_filter(self.wanted)
        self.inbox: list[tuple] = []  # type: ignore[type-arg]
        self.answers: list[LookedUp] = []
        self.lookups: list[Lookup] = []
        self.reconnect(stored.position)

    def reconnect(self, position: int | None = None) -> None:
        """The call breaks: the source asks again from the last batch it handed over."""
        if position is None:
            batches = [item for item in self.inbox if item[0] == "batch"]
            position = batches[-1][3] if batches else self.stored.position
        self.told = self.producer = self.wanted
        self.read = position
        if self.wanted.version:
            self.inbox.append(("in force", self.wanted.version, position, self.wanted.filter))

    def take(self, crash: bool, raises: bool) -> None:
        """Handle the next item of the inbox in a transaction."""
        if self.inbox:
            item = self.inbox.pop(0)
            if item[0] == "batch":
                self._on_batch(item, crash, raises)
            else:
                self._on_in_force(item, crash)

    def ask(self) -> None:
        self.now_us += 10_000_000
        self.lookups += self.healing.due(self.now_us, lambda _: False)

    def answer(self, fails: bool, crash: bool, raises: bool) -> None:
        if not self.lookups:
            return
        lookup = self.lookups.pop(self.rng.randrange(len(self.lookups)))
        if fails:
            self.healing.on_failed(lookup, self.now_us)
            return
        answer = self.look_up(lookup)
        if self.healing.is_asked(answer):
            self._on_answer(answer, crash, raises)

    def _on_batch(self, item: tuple, crash: bool, raises: bool) -> None:  # type: ignore[type-arg]
        _, version, base, until, events, wanted = item
        reached = self.stored.position
        if until <= reached:
            return
        assert base <= reached
        healing, done = self.healing, list[Handled]()
        if healing.lets_all_pass(0, version):
            done = [Handled(*e[:3]) for e in events if e.offset >= reached]
        else:
            healing.on_version(0, version, reached)
            self._load({e.entity_id for e in events})
            for event in events:
                if event.offset < reached:
                    continue
                if healing.judge(0, version, *event[:3]):
                    if raises and self.rng.random() < 0.5:
                        healing.settle(False)
                        until = event.offset
                        break
                    done.append(Handled(*event[:3]))
        if self._commit(done, until, crash):
            self.evaluated |= dict.fromkeys(range(reached, until), wanted)
            if until < item[3]:
                self.begin()

    def _on_in_force(self, item: tuple, crash: bool) -> None:  # type: ignore[type-arg]
        _, version, start, wanted = item
        healing = self.healing
        if healing.lets_all_pass(0, version):
            return
        included = healing.on_in_force(version)
        healing.on_version(0, version, self.stored.position)
        self._load(set(included))
        healing.include(0, version, start, included)
        if self._commit([], self.stored.position, crash):
            replays = dict(wanted.from_seq_nrs)
            self.in_force += [(one, start, replays.get(one, 0)) for one in included]

    def _on_answer(self, answer: LookedUp, crash: bool, raises: bool) -> None:
        healing, done = self.healing, list[Handled]()
        entity_id = answer.lookup.entity_id
        for commit in answer.commits:
            event = Handled(entity_id, commit.time_us, commit.first_offset)
            if healing.judge_owed(0, *event):
                if raises and self.rng.random() < 0.5:
                    healing.settle(False)
                    if self._commit(done, self.stored.position, crash):
                        self.begin()
                    return
                done.append(event)
        healing.on_paid(answer)
        if self._commit(done, self.stored.position, crash):
            healing.on_answered(answer, self.now_us)

    def _load(self, entity_ids: set[str]) -> None:
        missing = self.healing.missing(sorted(entity_ids))
        found = {one: self.stored.marks[one] for one in missing if one in self.stored.marks}
        self.healing.on_marks(0, missing, found)

    def _commit(self, done: list[Handled], position: int, crash: bool) -> bool:
        """All or nothing; a crash is before the commit (nothing is kept) or right after it."""
        changes = self.healing.changes()
        if crash and self.rng.random() < 0.5:
            self.begin()
            return False
        stored = copy.deepcopy(self.stored)
        for memory in changes.slices.values():
            stored.memory = memory.copy()
        stored.filters |= changes.filters
        stored.marks |= {one: mark for _, one, mark in changes.marks}
        for _, one, debt in changes.debts:
            if debt is None:
                del stored.debts[one]
            else:
                stored.debts[one] = debt
        stored.handled += done
        stored.position = position
        self.stored = stored
        self.healing.on_committed()
        if crash:
            self.begin()
        return True

    # --- the end ---

    def settle(self) -> None:
        """Everything that is under way arrives; nothing fails any more."""
        for _ in range(10_000):
            self.send()
            self.take(crash=False, raises=False)
            self.ask()
            self.answer(fails=False, crash=False, raises=False)
            quiet = not self.inbox and not self.lookups and self.read == len(self.log)
            if quiet and not self.stored.debts and self.told.version == self.producer.version:
                return
        raise AssertionError(f"not settled: {self.stored.debts}")


def judge_all(world: World) -> None:
    """I3, from the log and what the producer let pass alone."""
    handled: dict[str, list[Handled]] = defaultdict(list)
    for one in world.stored.handled:
        handled[one.entity_id].append(one)
    for entity_id in ENTITIES:
        mine = [one.seq_nr for one in handled[entity_id]]
        assert mine == sorted(set(mine)), f"{entity_id} was handled out of order or twice: {mine}"
        log = [event for event in world.log if event.entity_id == entity_id]
        needed, allowed = _needed(world, log)
        assert needed <= set(mine), f"{entity_id}: {sorted(needed - set(mine))} were skipped"
        assert set(mine) <= allowed, f"{entity_id}: {sorted(set(mine) - allowed)} were not wanted"


def _needed(world: World, log: list[Event]) -> tuple[set[int], set[int]]:
    """seq_nrs that must be, and that may be handled."""
    shown = [e for e in log if e.offset >= world.stored.baseline and not e.withheld]
    needed, allowed, alone = set[int](), set[int](), list[Event]()
    for event in shown:
        wanted = world.evaluated.get(event.offset)
        if wanted is None or not passes(wanted, event):
            continue
        earlier = {e.seq_nr for e in shown if e.offset < event.offset}
        allowed |= earlier | {event.seq_nr}
        needed.add(event.seq_nr)
        if wanted.events_only and not passes_by_id(wanted, event):
            alone.append(event)  # nothing before it is owed any more
        else:
            needed |= {nr for nr in earlier if nr > max([0, *(e.seq_nr for e in alone)])}
    for entity_id, below, from_seq_nr in world.in_force:
        if log and entity_id == log[0].entity_id:
            last = max([0, *(e.seq_nr for e in alone if e.offset < below)])
            needed |= {e.seq_nr for e in shown if e.offset < below and e.seq_nr > last}
            allowed |= {e.seq_nr for e in log if e.offset < below and not e.withheld
                        and (e in shown or 0 < from_seq_nr <= e.seq_nr)}  # fmt: skip
    given_up = max([0, *(nr for one, _, nr in world.in_force if log and one == log[0].entity_id)])
    return {nr for nr in needed if nr >= given_up}, allowed


def random_filter(rng: random.Random) -> Filter:
    """Of every kind, also none, and one that only includes."""
    out = rng.choice([Filter(), Exclude.all(), Exclude.entity_ids("a"), Exclude.tags("red"),
                      Exclude.entity_ids("a", "b")])  # fmt: skip
    if rng.random() < 0.5:
        out += Include.tags(rng.choice(TAGS), events_only=rng.random() < 0.5)
    if rng.random() < 0.5:
        from_seq_nr = rng.choice([0, 0, 1, 3])
        out += Include.entity_ids(rng.choice(ENTITIES), from_seq_nr=from_seq_nr)
    return out


def random_run(seed: int, steps: int = 80) -> World:
    """A settled world after so many random steps."""
    rng = random.Random(seed)
    before = rng.randint(0, 6)
    world = World(rng, rng.randint(0, before))
    for _ in range(before):
        world.append(rng.choice(ENTITIES), tuple(rng.sample(TAGS, rng.randint(0, 2))), False)
    for _ in range(steps):
        crash, raises = rng.random() < 0.1, rng.random() < 0.1
        step = rng.random()
        if step < 0.25:
            tags = tuple(rng.sample(TAGS, rng.randint(0, 2)))
            world.append(rng.choice(ENTITIES), tags, rng.random() < 0.2)
        elif step < 0.32:
            world.change(random_filter(rng))
        elif step < 0.55:
            world.send()
        elif step < 0.75:
            world.take(crash, raises)
        elif step < 0.85:
            world.ask()
        elif step < 0.96:
            world.answer(rng.random() < 0.2, crash, raises)
        else:
            rng.choice([world.reconnect, world.begin])()
    world.settle()
    return world
