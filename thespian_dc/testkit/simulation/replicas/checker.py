"""Judge replicas from outside, by what their journals hold at each moment. It shares no code with
the cores: it reads records with msgpack and the payload codec alone.

While the run goes on: every append (K1: once, in its origin's order; K2: after what its vector
names; `concurrent` as it must be; a state never takes anything away), every stored cursor, every
answer. At rest: K3, and K4 of the survivors of a replica lost for good (the same events
everywhere), states equal to the fold of these events.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgpack

from thespian_dc.model.link_progress import progress_entry, progress_of
from thespian_dc.model.record import Commit
from thespian_dc.testkit.simulation.history import History
from thespian_dc.testkit.simulation.replicas.client import Asked
from thespian_dc.testkit.simulation.replicas.held import Held, Slots, Stored
from thespian_dc.testkit.simulation.replicas.ledger import (
    Applied,
    Change,
    Event,
    Ledger,
    counting,
    fold,
)
from thespian_dc.testkit.simulation.replicas.scope import Scopes
from thespian_dc.testkit.simulation.replicas.site import Site

EVENT, STATE, CONTROL = 0, 1, 2
FORKED = "$forked"
ALLOWED = frozenset((
    "ok", "unknown", "CommandNotWrittenError", "HostBusyError", "OutcomeUnknownError",
    "ReplicaRecoveringError", "ReplicaRetiredError", "StandbyError", "OriginForkedError",
))  # fmt: skip
"""What a client may be told."""


class ReplicaChecker:
    """Of one run; findings go to `history.broken`."""

    def __init__(self, history: History, sites: Mapping[str, Site], scopes: Scopes) -> None:
        self._history, self._sites, self._scopes = history, sites, scopes
        self.held = {name: Held(site.slices) for name, site in sites.items()}
        self.written: dict[tuple[str, str, int], Event] = {}
        self.forked: set[str] = set()
        self.parted: set[str] = set()
        self.put_back: set[str] = set()
        self.writers: dict[int, set[str]] = defaultdict(set)

    def _breaks(self, what: str, text: str) -> None:
        self._history.breaks(what, text)

    # --- while it runs ---

    def on_applied(self, site: Site, commit: Commit) -> None:
        """A commit is in the log of this replica's journal."""
        held, log = self.held[site.name], self.held[site.name].logs[commit.key.slice]
        if len(log) != commit.base_offset:
            self._breaks("log", f"{site.name} {commit.key}: {commit.base_offset} after {len(log)}")
        for fields in msgpack.unpackb(commit.body):
            log.append(self._take(site, held, fields, commit))

    def _take(self, site: Site, held: Held, fields: Any, commit: Commit) -> Stored | None:
        kind, entity_id, _, manifest, payload, _, _, _, meta = fields
        said: Any = (meta or {}).get("r")
        if kind == STATE:
            self._join(site, held.vectors[entity_id], entity_id, said)
            return None
        if kind == CONTROL and manifest == FORKED:
            self.forked.add(entity_id)
            if not self._scopes.may_fork:
                self._breaks("fork", f"{site.name} set {entity_id} aside: {said}")
            return None
        changed = site.type.registry.decode(manifest, payload)
        if type(said[0]) is int:
            event = self._local(site, held, entity_id, said, changed)
        else:
            event = self._remote(site, held, entity_id, said, changed)
        held.vectors[entity_id][event.origin] = event.n
        held.events[entity_id, event.origin, event.n] = event
        self._judge_late(site, held, (entity_id, event.origin, event.n), kind)
        return Stored(entity_id, event.origin, event.n, kind)

    def _judge_late(self, site: Site, held: Held, event: tuple[str, str, int], kind: int) -> None:
        """A late event is set aside by setting; one that is not late here only where a peer did."""
        is_late, sets_aside = event in held.late, self._sets_aside(site.name)
        if kind == CONTROL:
            site.world.hit("replica: late event set aside")
            by_others = any(event in one.aside for one in self.held.values())
            if not sets_aside or not (is_late or by_others):
                self._breaks("late", f"{site.name} set {event} aside")
            held.aside.add(event)
        elif is_late and sets_aside:
            self._breaks("late", f"{site.name} applied {event}, which came late")

    def _local(
        self, site: Site, held: Held, entity_id: str, said: Sequence[Any], changed: Any
    ) -> Event:
        n, others = said[0], said[1]
        mine = held.vectors[entity_id]
        before = {origin: count for origin, count in mine.items() if origin != site.name}
        where = f"{entity_id} {site.name} {n}"
        if n != mine.get(site.name, 0) + 1:
            self._breaks("K1", f"{where} is written where it has {mine}")
        if others != before:
            self._breaks("K2", f"{where} says that it has seen {others}, which is {before}")
        epoch = said[3] if len(said) > 2 else 0
        event = Event(site.name, n, {**others, site.name: n}, changed, epoch)
        known = self.written.get((entity_id, site.name, n), event)
        if known.changed != changed and not self._scopes.may_fork:
            self._breaks("fork", f"{where} is written twice")
        self.written[entity_id, site.name, n] = event
        held.flags[entity_id, site.name, changed.nonce].add(False)
        held.nonces[changed.nonce] = held.nonces.get(changed.nonce, 0) + 1
        self._lead(site, held, entity_id, site.name, epoch)
        self.writers[epoch].add(site.name)
        return event

    def _lead(self, site: Site, held: Held, entity_id: str, origin: str, epoch: int) -> bool:
        """Notes the leader; was this event late?"""
        latest = held.leaders.get(entity_id, (0, ""))
        late = epoch > 0 and (epoch, origin) < latest
        if epoch:
            held.leaders[entity_id] = max(latest, (epoch, origin))
            if late and origin == site.name:
                self._breaks("epoch", f"{site.name} wrote {entity_id} under {epoch} after {latest}")
        return late

    def _remote(
        self, site: Site, held: Held, entity_id: str, said: Sequence[Any], changed: Any
    ) -> Event:
        origin, n, others = said[:3]
        flag = bool(said[-1]) if len(said) in (6, 8) else False
        epoch = said[6] if len(said) > 6 else 0
        mine, where = held.vectors[entity_id], f"{entity_id} {origin} {n} at {site.name}"
        if n != mine.get(origin, 0) + 1:
            self._breaks("K1", f"{where}, which has {mine}")
        early = {r: c for r, c in others.items() if mine.get(r, 0) < c}
        if early:
            self._breaks("K2", f"{where}: it has {mine}, and not {early}")
        written = self.written.get((entity_id, origin, n))
        if (written is None or written.changed != changed) and not self._scopes.may_fork:
            self._breaks("event", f"{where} is not what {origin} wrote")
        late = self._lead(site, held, entity_id, origin, epoch)
        new_here = self._has_more(site, held, entity_id, origin, others)
        if flag != (new_here or late) and origin != site.name:
            self._breaks("concurrent", f"{where}: {flag}, it has {mine}, the event {others}")
        if flag:
            site.world.hit("replica: concurrent event")
        if late:
            site.world.hit("replica: late event")
            held.late.add((entity_id, origin, n))
        held.flags[entity_id, origin, changed.nonce].add(flag)
        if origin == site.name:  # it fetches what its journal lost
            site.world.hit("replica: own event fetched")
            held.nonces[changed.nonce] = held.nonces.get(changed.nonce, 0) + 1
        return Event(origin, n, {**others, origin: n}, changed, epoch)

    def _has_more(
        self, site: Site, held: Held, entity_id: str, origin: str, others: Mapping[str, int]
    ) -> bool:
        """Is something here that counts, and that the event's origin had not seen?"""
        mine = held.vectors[entity_id]
        if not any(c > others.get(r, 0) for r, c in mine.items() if r != origin):
            return False
        if not self._sets_aside(site.name):
            return True
        counts = counting(self._events(site.name, entity_id, mine))
        return any(e.n > others.get(e.origin, 0) for e in counts if e.origin != origin)

    def _join(self, site: Site, mine: Slots, entity_id: str, said: Sequence[Any]) -> None:
        vector = said[0]
        site.world.hit("replica: state taken over")
        lost = {r: c for r, c in mine.items() if vector.get(r, 0) < c}
        if lost:
            self._breaks("state", f"{entity_id} at {site.name}: {lost} is gone, it has {vector}")
        mine.update(vector)

    def on_put_back(self, site: Site) -> None:
        """This replica's journal is an older copy: begin again with what it holds."""
        held = self.held[site.name] = Held(site.slices)
        self.put_back.add(site.name)
        for key in site.keys:
            for commit in site.journal.memory.read(key, 0, 1 << 30):
                held.logs[key.slice] += [
                    self._take(site, held, fields, commit)
                    for fields in msgpack.unpackb(commit.body)
                ]

    def on_witnessed(self, applied: Applied) -> None:
        """An entity applies an event: on replay it must see what it saw then."""
        if not applied.recovering:
            return
        flags = self.held[applied.replica].flags
        known = flags.get((applied.entity_id, applied.origin, applied.nonce))
        # Where others are set aside meanwhile, it may be concurrent with nothing that is left.
        remade = not applied.concurrent and self._sets_aside(applied.replica)
        if known is not None and applied.concurrent not in known and not remade:
            self._breaks("concurrent", f"{applied} is another answer than {known}")

    def on_told(self, asked: Asked) -> None:
        """A client was told so: what is acknowledged is in the log, once."""
        if asked.told not in ALLOWED:
            self._breaks("answer", f"{asked.nonce} to {asked.entity_id} is told {asked.told}")
        if asked.told != "ok" or not isinstance(asked.message, Change):
            return
        there = self.held[asked.site].nonces.get(asked.nonce, 0)
        wanted = 2 if asked.message.what == "both" else 1
        if there != wanted:
            self._breaks("I1", f"{asked.nonce} is acknowledged and {there} times in the log")

    def on_stored(self, site: Site) -> None:
        """The registry was written: no cursor is beyond what is here or out of scope."""
        held = self.held[site.name]
        for peer in site.linked:
            entry = site.journal.memory.entry(progress_entry(Ledger.entity_type, peer))
            if held.seen.get(peer) == entry.version:
                continue
            held.seen[peer] = entry.version
            progress = progress_of(entry.value)
            if progress.filter.exclude.tags or progress.generation:
                continue
            judge = (progress.filter, progress.coming_in, progress.shown)
            for slice_, offset in progress.offsets.items():
                before, done = held.checked.get((peer, slice_), (judge, 0))
                first = min(done, offset) if before == judge else 0
                self._check_below(site, peer, slice_, first, offset, progress)
                held.checked[peer, slice_] = (judge, offset)

    def _check_below(
        self, site: Site, peer: str, slice_: int, first: int, offset: int, progress: Any
    ) -> None:
        # What a replica wrote before its journal was put back is left out for who has read as far
        # in what it wrote since, until that is noticed: in its next generation it comes again.
        passed = self.held[peer].logs[slice_][first:offset]
        if not passed:
            return
        vectors, gone = self.held[site.name].vectors, site.roles.fenced | self.put_back
        for one in passed:
            if one is None or one.origin == site.name or one.origin in gone:
                continue
            if one.entity_id in self.forked or one.entity_id in progress.coming_in:
                continue
            filters = progress.filter, progress.shown
            out = not all(self._scopes.passes(each, one.entity_id) for each in filters)
            # Whoever withheld it at first was read past it, so that nobody sends it for him.
            if one.origin in site.linked:
                out |= self._scopes.was_withheld(one.origin, one.entity_id)
            if not out and vectors[one.entity_id].get(one.origin, 0) < one.n:
                self._breaks("cursor", f"{site.name} is past {one} of {peer}'s {slice_}/{offset}")

    # --- at rest ---

    def vector(self, site: str, entity_id: str) -> Mapping[str, int]:
        found = self.held[site].vectors.get(entity_id, {})
        return {origin: n for origin, n in found.items() if n}

    def entity_ids(self) -> list[str]:
        """That any replica has events of."""
        return sorted({id_ for held in self.held.values() for id_ in held.vectors})

    def differing(self, links: Mapping[str, Sequence[str]]) -> list[str]:
        """Entities of which a replica lacks what one that it reads shows it. links: whom each of
        those reads that are left."""
        return [
            f"{entity_id}: {name} has {mine}, {peer} shows it {theirs}"
            for entity_id in self.entity_ids()
            if entity_id not in self.forked | self.parted
            for name, peers in links.items()
            for peer in peers
            if peer in links and self._exchange(name, peer, entity_id, links)
            for mine, theirs in [(self.vector(name, entity_id), self.vector(peer, entity_id))]
            if any(mine.get(origin, 0) < n for origin, n in theirs.items())
        ]

    def _exchange(
        self, name: str, peer: str, entity_id: str, links: Mapping[str, Sequence[str]]
    ) -> bool:
        """This one has all of the entity that the peer has, at rest. Where an origin that it reads,
        too, withholds what the peer shows, nothing is promised (people are told)."""
        scopes, site = self._scopes, self._sites[name]
        if not scopes.is_in(name, entity_id) or not scopes.is_in(peer, entity_id):
            return False
        if not scopes.shows(peer, entity_id):
            site.world.hit("replica: withheld at rest")
            return False
        return all(
            scopes.shows(origin, entity_id)
            if origin in links
            else not scopes.was_withheld(origin, entity_id)
            for origin in self.vector(peer, entity_id)
            if origin != name and origin in site.linked
        )

    def part(self, one: str, other: str, entity_id: str) -> bool:
        """Each of these has something that the other one lacks; they are not asked about again."""
        mine, theirs = self.vector(one, entity_id), self.vector(other, entity_id)
        parts = any(n > theirs.get(r, 0) for r, n in mine.items()) and any(
            n > mine.get(r, 0) for r, n in theirs.items()
        )
        if parts:
            self.parted.add(entity_id)
        return parts

    def check_scopes(self) -> None:
        """Nothing is at a replica that never had it in scope, or that nobody ever showed it."""
        for name, held in self.held.items():
            for entity_id, vector in held.vectors.items():
                scopes = self._scopes
                shown = any(scopes.was_shown(o, entity_id) for o in self._sites[name].linked)
                if vector.keys() - {name} and not (shown and scopes.was_in(name, entity_id)):
                    self._breaks("scope", f"{entity_id} is at {name}: {vector}")

    def check_forks(self, links: Mapping[str, Sequence[str]]) -> None:
        """Two events under one number at two replicas: somebody has noticed, where one is shown to
        a reader that is not its origin, which is sent none of its own, and has no more of that
        origin. What its origin lost before anybody read it was written again, and is no fork.
        links: as in `differing`."""
        pairs = [(one, peer) for one, peers in links.items() for peer in peers if peer in links]
        for name, peer in pairs:
            mine, theirs = self.held[name].events, self.held[peer].events
            for (entity_id, origin, n), event in mine.items():
                other = theirs.get((entity_id, origin, n), event)
                if other.changed == event.changed or origin == name or entity_id in self.forked:
                    continue
                last = [self.held[one].vectors[entity_id][origin] for one in (name, peer)]
                if last[0] <= last[1] and self._exchange(name, peer, entity_id, links):
                    what = f"{entity_id} {origin} {n}: {event} at {name}, {other} at {peer}"
                    self._breaks("fork", f"{what}, unnoticed")

    def check_states(self, looked: Iterable[Asked]) -> None:
        """What readers saw is the fold of what the replica has."""
        for one in looked:
            if one.entity_id in self.forked:
                continue
            vector = self.vector(one.site, one.entity_id)
            events = self._events(one.site, one.entity_id, vector)
            wanted = fold(counting(events) if self._sets_aside(one.site) else events)
            if one.told != "ok" or one.seen != wanted:
                self._breaks(
                    "state", f"{one.entity_id} at {one.site} with {vector} is {one.seen} "
                    f"({one.told}), not {wanted}"
                )  # fmt: skip

    def _events(self, site: str, entity_id: str, vector: Mapping[str, int]) -> list[Event]:
        """All that the vector says."""
        mine = self.held[site].events
        return [
            mine.get((entity_id, origin, n)) or self.written[entity_id, origin, n]
            for origin, count in vector.items() for n in range(1, count + 1)
        ]  # fmt: skip

    def check_listed(self, sites: Sequence[Site]) -> None:
        """What came late is listed, whatever crashed meanwhile. A copy that was put back may lack
        what was listed since."""
        for site in sites:
            entry = site.journal.memory.entry(f"replication_listed:{Ledger.entity_type}")
            count, newest = entry.value or (0, [])
            if site.name in self.put_back or count > len(newest):
                continue
            listed = {(id_, origin, n) for _, _, id_, origin, n, *_ in newest}
            unlisted = sorted((self.held[site.name].late | self._last_late(site)) - listed)
            if unlisted:
                self._breaks("listed", f"{site.name} took {unlisted} late, and did not say so")

    def _last_late(self, site: Site) -> set[tuple[str, str, int]]:
        """What does not count at this replica, of each origin of an entity the last one."""
        if not self._sets_aside(site.name):
            return set()
        last: dict[tuple[str, str], int] = {}
        by_entity: dict[str, list[Event]] = defaultdict(list)
        for (entity_id, _, _), event in self.held[site.name].events.items():
            by_entity[entity_id].append(event)
        for entity_id in by_entity.keys() - self.forked:
            count = {(one.origin, one.n) for one in counting(by_entity[entity_id])}
            for one in by_entity[entity_id]:
                if (one.origin, one.n) not in count:
                    place = entity_id, one.origin
                    last[place] = max(one.n, last.get(place, 0))
        return {(*place, n) for place, n in last.items()}

    def _sets_aside(self, site: str) -> bool:
        return self._sites[site].setting.late_events == "set_aside"

    def check_epochs(self, sites: Sequence[Site], forced: bool) -> None:
        """At rest all know the same replica as the active one. forced: a promotion was; else nobody
        else wrote under the same epoch."""
        known = {(one.roles.epoch, one.roles.active) for one in sites if one.roles.one_active}
        if len(known) > 1:
            self._breaks("epoch", f"replicas do not agree who is active: {sorted(known)}")
        for epoch, writers in sorted(self.writers.items()):
            if epoch and len(writers) > 1 and not forced:
                self._breaks("epoch", f"{sorted(writers)} wrote under epoch {epoch}")
