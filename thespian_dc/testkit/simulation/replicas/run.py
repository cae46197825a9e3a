"""One seed of replicas: build them, let them write under faults, let them come to rest, judge."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from thespian_dc.model.replication_settings import Replication
from thespian_dc.replication.restoring import CHECK_US
from thespian_dc.testkit.simulation.history import History
from thespian_dc.testkit.simulation.network import Network, NetworkFaults
from thespian_dc.testkit.simulation.outcome import LEAST, Outcome
from thespian_dc.testkit.simulation.replicas.checker import ReplicaChecker
from thespian_dc.testkit.simulation.replicas.client import Asked, ReplicaClient
from thespian_dc.testkit.simulation.replicas.faults import ReplicaFaults
from thespian_dc.testkit.simulation.replicas.host import ReplicaHost
from thespian_dc.testkit.simulation.replicas.journal import ReplicaJournal
from thespian_dc.testkit.simulation.replicas.linking import LinksProcess, simulated_time
from thespian_dc.testkit.simulation.replicas.operators import Operators
from thespian_dc.testkit.simulation.replicas.plan import plan_of
from thespian_dc.testkit.simulation.replicas.scope import Scopes, all_but
from thespian_dc.testkit.simulation.replicas.serving import ReplicaProducer
from thespian_dc.testkit.simulation.replicas.site import SEGMENT_RECORDS, Site, setting_of, site_of
from thespian_dc.testkit.simulation.stream_law import StreamLaw
from thespian_dc.testkit.simulation.stream_source import WINDOW
from thespian_dc.testkit.simulation.world import World

OFTEN = [f"l{n}" for n in range(8)]
"""Changed again and again, at all replicas at once."""
ENTITIES = (*OFTEN, *(f"s{n}" for n in range(52)))
"""The others are changed until one change is in a log, so that there are many."""
CALM_US, FAULTY_US, LATEST_US, REST_US = 1_500_000, 8_000_000, 4_000_000, 60_000_000
QUIET_US = LOOKED_US = 500_000
CHANGED_US, AGAIN_US = CALM_US + FAULTY_US * 3 // 4, 600_000
PAUSE_US = 90_000


class ReplicaSimulation:
    """The parts of one run. A seeded bug replaces classes here (bugs.py)."""

    journal_class = ReplicaJournal
    host_class = ReplicaHost
    links_class = LinksProcess
    producer_class = ReplicaProducer

    def __init__(self, seed: int) -> None:
        plan = self.plan = plan_of(seed)
        world = self.world = World(seed)
        self.network = Network(world, NetworkFaults(loss=0.02, duplicate=0.02, late=0.03))
        self.history = History()
        self.sites: dict[str, Site] = {}
        shown = all_but(plan.secret)
        self.scopes = Scopes(plan.names, shown)
        self.law = StreamLaw(self.history, WINDOW)
        for name, slices in zip(plan.names, plan.slices, strict=True):
            setting = setting_of(plan, name, shown)
            self.sites[name] = self._site(setting, plan.links[name], slices)
        for name in plan.edges:
            self.sites[name].called = [self.sites[one] for one in plan.links[name]]
        self.checker = ReplicaChecker(self.history, self.sites, self.scopes)
        for site in self.sites.values():
            self._populate(site)
        self.faults = ReplicaFaults(world, self.network, list(self.sites.values()))
        self.operators = Operators(
            world, plan, self.sites, self.scopes, ENTITIES, self.faults.isolate,
            self.checker.on_put_back,
        )  # fmt: skip

    def _site(self, setting: Replication, linked: tuple[str, ...], slices: int) -> Site:
        name = setting.replica_id
        journal = self.journal_class(self.world, self.network, SEGMENT_RECORDS, f"journal-{name}")
        return Site(self.world, self.network, journal, setting, linked, slices)

    def _populate(self, site: Site) -> None:
        checker = self.checker
        site.journal.on_applied = lambda _, commit: checker.on_applied(site, commit)
        site.hosts = [
            self.host_class(site, n, checker.on_witnessed) for n in range(self.plan.hosts)
        ]
        site.nodes = [
            self.links_class(site, n, self.plan, self.sites, self.law, checker.on_stored)
            for n in range(self.plan.nodes)
        ]
        site.serves = self.producer_class(site, self.law)
        site.client = ReplicaClient(site, OFTEN, PAUSE_US, checker.on_told)
        site.sees_hosts.update({host.name: host for host in site.hosts})
        site.sees_clients.update({one.name: one for one in (site.client, *site.nodes)})
        site.deal()

    # --- the run ---

    def run(self) -> Outcome:
        """Calm, faults, rest, judgement."""
        with simulated_time(self.world, self.sites):
            self._run()
        return self.outcome()

    def _run(self) -> None:
        world, plan = self.world, self.plan
        for name, site in self.sites.items():
            if name != plan.late:
                site.start()
        if plan.late:
            # The others ask it whether it knows more of their logs, and give up after a while.
            world.run(CHECK_US)
            world.after(CALM_US + FAULTY_US * 2 // 3, self._join, self.sites[plan.late])
        # Later a group with one active replica may have none for long.
        begun_us = CALM_US if plan.one_active else CHANGED_US
        for entity_id in ENTITIES[len(OFTEN) :]:
            world.after(world.rng.randrange(begun_us), self._change, entity_id)
        world.run(CALM_US)
        world.faulty = True
        self.faults.begin()
        self.operators.begin()
        world.run(FAULTY_US)
        self._go_on_while_small()
        self._come_to_rest()
        self.checker.check_scopes()
        self.checker.check_forks({one.name: one.linked for one in self._live()})
        self.checker.check_epochs(self._live(), self.operators.is_forced)
        self.checker.check_listed(self._live())

    def _join(self, site: Site) -> None:
        self.world.hit("replica: joined late")
        site.start()

    def _change(self, entity_id: str) -> None:
        """At a replica that takes it; again as long as nothing comes of it."""
        clients = [one.client for one in self.sites.values() if one.client.sending]
        if not clients or entity_id in self.checker.entity_ids():
            return
        alive = [one for one in self.sites.values() if one.client.alive]
        active = [one for one in alive if one.roles.active in ("", one.name)]
        if alive:
            self.world.rng.choice(active or alive).client.change(entity_id)
        self.world.after(AGAIN_US, self._change, entity_id)

    def _go_on_while_small(self) -> None:
        """Rarely nobody takes commands for long, or each host ends before its first append."""
        world, until_us = self.world, self.world.now_us + FAULTY_US
        if len(self.checker.entity_ids()) < LEAST["entities"]:
            for entity_id in ENTITIES:
                self._change(entity_id)
        while world.now_us < until_us:
            crashes = self.world.hits["fault: crash during an append"]
            if crashes and len(self.checker.entity_ids()) >= LEAST["entities"]:
                return
            if not crashes:
                self.faults.doom_appends()
            world.run(QUIET_US)

    # --- rest ---

    def _come_to_rest(self) -> None:
        world, plan = self.world, self.plan
        world.faulty = False
        if plan.lost:
            self._lose(self.sites[plan.lost])
        self.network.heal_all()
        for site in self.sites.values():
            site.journal.refusing.clear()
            site.client.sending = False
            for host in site.hosts:
                host.doom.actions, host.doom.in_append = None, False
        world.run(LATEST_US)
        if plan.filters:
            self.operators.settle_filters()
        if plan.secret:
            self.operators.settle_shown()
        self._settle()
        if plan.again:
            self._write_once_more()
            self._settle()
        for what in self._unfinished():
            self.history.breaks("liveness", what)
        live = {one.name: one.linked for one in self._live()}
        for what in self.checker.differing(live):
            self.history.breaks("K4" if plan.lost else "K3", what)
        self._look("as they stand")
        for site in self._live():
            for host in site.hosts:
                host.crash(1_000)
        self._look("after they were read again")

    def _settle(self) -> None:
        until_us = self.world.now_us + REST_US
        while self.world.now_us < until_us and not (self._finishes() and self._finishes()):
            self.world.run(QUIET_US)

    def _write_once_more(self) -> None:
        """Two histories of one replica that go on from different numbers, none of which anybody met
        as the last one, are found by the next events, at the latest."""
        for site in self._live():
            for entity_id in self.checker.entity_ids():
                site.client.write(entity_id)

    def _lose(self, site: Site) -> None:
        """Its machine burnt down."""
        self.world.hit("replica: lost for good")
        site.is_gone = True
        site.crash(None)
        for process in site.processes:
            process.start = lambda: None  # type: ignore[method-assign]

    def _live(self) -> list[Site]:
        return [
            one for one in self.sites.values()
            if not one.is_gone and one.has_joined and one.name != self.plan.retires
        ]  # fmt: skip

    def _finishes(self) -> bool:
        if self._unfinished():
            return False
        self.world.run(QUIET_US)
        return not self._unfinished()

    def _unfinished(self) -> list[str]:
        left, live = [], {one.name for one in self._live()}
        for site in self._live():
            left += [f"{site.name}: {asked.nonce} waits" for asked in site.client.open.values()]
            if self.plan.retires and self.plan.retires not in site.roles.retired:
                left.append(f"{site.name} has not retired {self.plan.retires}: {site.roles}")
            if site.roles.recovering:
                left.append(f"{site.name} has not got back what its journal lost")
            left += [f"{one.name} does not run" for one in site.nodes if not one.alive]
            for name in site.linked:
                if name not in live:
                    continue
                reader = site.reader(name)
                if reader is None:
                    left.append(f"{site.name}: nobody reads {name}")
                    continue
                core = reader.running.group.links[name].core
                if core is None or self._cannot_join(reader, name):
                    continue
                at = tuple(one.offset for _, one in sorted(core.cursors().items()))
                heads = self.sites[name].heads()
                if at != heads or not core.is_idle or core.coming_in:
                    blocked = core.blocked(5)
                    left.append(f"{site.name} is at {at} of {name}'s {heads}: {blocked}")
        return left

    def _cannot_join(self, node: LinksProcess, peer: str) -> bool:
        """All that this link waits for are entities of which both have trimmed what the other one
        lacks: handed over, in and out of scope, before they were exchanged."""
        core = node.running.group.links[peer].core
        blocked = [] if core is None else core.blocked(len(ENTITIES))
        return bool(blocked) and all(
            (peer, one.entity_id) in node.unjoined
            and self.checker.part(site_of(node.name), peer, one.entity_id)
            for one in blocked
        )

    def _look(self, how: str) -> None:
        """Read all entities everywhere."""
        self.world.note(f"look at all states, {how}")
        looked: list[tuple[Asked, Mapping[str, int]]] = []
        for site in self._live():
            for entity_id in self.checker.entity_ids():
                self.world.after(
                    self.world.rng.randrange(LOOKED_US), partial(self._look_at, looked, site),
                    entity_id,
                )  # fmt: skip
        self.world.run(LOOKED_US)
        until_us = self.world.now_us + REST_US
        while self.world.now_us < until_us:
            again = [look for look in looked if self._is_void(*look)]
            for one, vector in again:
                looked.remove((one, vector))
                self._look_at(looked, self.sites[one.site], one.entity_id)
            if not again and all(one.told == "ok" for one, _ in looked):
                break
            self.world.run(QUIET_US)
        self.checker.check_states([one for one, _ in looked])

    def _look_at(self, looked: list[Any], site: Site, entity_id: str) -> None:
        vector = dict(self.checker.vector(site.name, entity_id))
        looked.append((site.client.look(entity_id), vector))

    def _is_void(self, one: Asked, vector: Mapping[str, int]) -> bool:
        """It was sent twice, and whether it ran is not in what is left of the log; or something was
        still under way from a replica that is lost, and came since."""
        came = self.checker.vector(one.site, one.entity_id) != vector
        return one.told == "OutcomeUnknownError" or (one.told == "ok" and came)

    def outcome(self) -> Outcome:
        """As far as it has run."""
        world = self.world
        records = sum(sum(site.heads()) for site in self.sites.values())
        commands = sum(site.client.asked for site in self.sites.values())
        return Outcome(
            world.seed, world.steps, len(self.checker.entity_ids()), commands, records,
            world.hits, self.history.broken, list(world.trace), str(self.plan),
        )  # fmt: skip
