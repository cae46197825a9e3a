"""The process of a replica that reads its peers' logs: the real `RunningReplica` (links, keeper,
what is stored of them) without its threads; their turns are taken here when they are due.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from unittest.mock import patch

from thespian_dc.entity.actions import Answer
from thespian_dc.entity.protocol import Absorbed, Status
from thespian_dc.entity.router_core import Deliver, Outgoing
from thespian_dc.model.replication_errors import OwnEventsTrimmedError
from thespian_dc.model.stream_errors import PeerUnavailableError
from thespian_dc.replication import group, keeper, replica, storing
from thespian_dc.replication import leasing as leasing_of
from thespian_dc.replication.catch_up import AskHeads
from thespian_dc.replication.lease_core import LeaseCore, Leases, Reader, Timing
from thespian_dc.replication.leasing import stored_leases
from thespian_dc.replication.protocol import StartReplication
from thespian_dc.shell.frames import unpack
from thespian_dc.stream import replica_group
from thespian_dc.stream.replica_call import ReplicaCall
from thespian_dc.testkit.simulation.journal import JOURNAL
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.replicas.edge_source import EdgeSource, ask_edge
from thespian_dc.testkit.simulation.replicas.ledger import Ledger
from thespian_dc.testkit.simulation.replicas.plan import Plan
from thespian_dc.testkit.simulation.replicas.serving import ReplicaProducer
from thespian_dc.testkit.simulation.replicas.site import Site
from thespian_dc.testkit.simulation.replicas.source import ReplicaSource, ask
from thespian_dc.testkit.simulation.router import SimulatedRouter
from thespian_dc.testkit.simulation.stream_law import StreamLaw
from thespian_dc.testkit.simulation.world import World

HAND_OVER_US = (50, 2_000)
KEEPER_US = 200_000
STORE_US = 200_000
TICK_US = 20_000
LEASE_US = 100_000
TIMING = Timing(200_000, 800_000, 3, 1_500_000, 3_000_000)
"""Of the leases. A run is short: who is dead, and who does not reach a peer, is known sooner."""
SEEN_US = 300_000
"""A run is short: what peers have is noted more often."""
MISSED = 0.1
"""How often the journal does not answer a turn of the keeper, or of what stores, while the world is
faulty."""


@contextlib.contextmanager
def simulated_time(world: World, sites: Mapping[str, Site]) -> Iterator[None]:
    """Inside, what reads the clock reads the world's, and journals and sources are those of the
    sites."""

    def edge_source(*given: Any) -> ReplicaSource:
        return remote_source(None, *given[-2:])

    def remote_source(_: Any, consumer: str, replica: ReplicaCall) -> ReplicaSource:
        service, _, name = consumer.partition("/")
        node = next(one for one in sites[name].nodes if one.name == service)
        return node.source(replica)

    clocks = [
        patch.object(module, "now_us", lambda: world.now_us)
        for module in (group, keeper, storing, replica_group)
    ]
    with contextlib.ExitStack() as stack:
        for one in clocks:
            stack.enter_context(one)
        stack.enter_context(
            patch.object(replica, "open_journal", lambda url: sites[url].journal.memory)
        )
        stack.enter_context(patch.object(replica, "RemoteSource", remote_source))
        stack.enter_context(patch.object(replica, "EdgeSource", edge_source))
        stack.enter_context(patch.object(replica, "Keeper", SimulatedKeeper))
        processes = [one for site in sites.values() for one in site.nodes]
        lives = lambda pid: any(one.alive and one.pid == pid for one in processes)  # noqa: E731
        stack.enter_context(patch.object(leasing_of, "lives", lives))
        stack.enter_context(patch.object(replica_group, "SEEN_US", SEEN_US))
        log = logging.getLogger("thespian_dc")
        level = log.level
        log.setLevel(logging.CRITICAL + 1)  # what befalls links is what is wanted here
        stack.callback(log.setLevel, level)
        yield


class SimulatedKeeper(keeper.Keeper):
    """Asks over the simulated network."""

    def _ask(self, core: Any, question: AskHeads) -> None:
        running = self._links
        assert isinstance(running, SimulatedReplica)
        on_answer = partial(self._asking.on_answer, core, question)
        running.process.ask_heads(question.peer, on_answer)


class SimulatedReplica(replica.RunningReplica):
    """Without threads."""

    process: LinksProcess

    def start(self) -> None:
        self.group.begin(self._progress, self._wanted)

    def keep(self, now_us: int) -> None:
        """A turn of the keeper."""
        self._keeper.round(now_us)

    def store(self) -> None:
        """A turn of the thread that stores."""
        self._storing._store(False)

    def leave(self) -> None:
        """As `stop` does."""
        progress = self.group.progress()
        self.group.end()
        self._storing.offer(progress, self.group.facts())
        self._storing._store(True)
        self._leasing.leave()


class GroupRouter:
    """A SimulatedRouter as the group uses a Router."""

    def __init__(self, router: SimulatedRouter) -> None:
        self._router = router

    def submit(self, commands: list[Outgoing], timeout_s: float) -> None:
        self._router.submit_all(commands, timeout_s)

    def on_tick(self) -> None:
        """It wakes up by itself."""

    def wakeup_us(self) -> int | None:
        return None


class LinksProcess(Process):
    """Of one node of a replica. law: hears of the streams. on_stored: is told when the registry was
    written."""

    def __init__(
        self, site: Site, number: int, plan: Plan, sites: Mapping[str, Site], law: StreamLaw,
        on_stored: Callable[[Site], None],
    ) -> None:  # fmt: skip
        super().__init__(site.world, f"{site.name}:links{number}")
        self._site, self._sites, self._law, self._on_stored = site, sites, law, on_stored
        self._number, self._machine = number, f"m{number % plan.machines}"
        self.unjoined: set[tuple[str, str]] = set()
        """(peer, entity) of states that came and lacked trimmed events of this replica."""

    def boot(self) -> None:
        site, setting = self._site, self._site.setting
        self._items: list[Any] = []
        self._router = SimulatedRouter(
            self, site.network, site.journal, site.sees_hosts, site.slices, self._on_outcome,
            Ledger.entity_type,
        )  # fmt: skip
        start = StartReplication(self.name, site.name, setting, site.slices)
        node = site.node_id(self._number)
        running = self.running = SimulatedReplica(start, node, self._put)
        running._leasing._core = LeaseCore(
            Ledger.entity_type, f"{node}.{self.incarnation}",
            Reader(0, node, self._machine, self.pid), TIMING,
        )  # fmt: skip
        running.process = self
        running.group.router = GroupRouter(self._router)  # type: ignore[assignment]
        running.start()
        self._tick()
        self.after(self.world.rng.randrange(KEEPER_US), self._keep)
        self.after(self.world.rng.randrange(STORE_US), self._store)
        if len(site.nodes) > 1:
            self._lease()

    @property
    def pid(self) -> int:
        """Of this run of the process, and of no other one."""
        return self.incarnation << 10 | ord(self._site.name) << 2 | self._number

    def reads(self, peer: str) -> bool:
        """Is a call to it open? A node that an edge's call is not lent to may have had one."""
        link = self.running.group.links[peer]
        source = None if link.run is None else link.run.source
        is_lent = not isinstance(source, EdgeSource) or source.call is not None
        return link.core is not None and is_lent

    @property
    def relay(self) -> ReplicaProducer | None:
        """By which edges are read: it runs on the first machine."""
        return self._site.serves if self._machine == "m0" else None

    def leave(self) -> None:
        """Stop in good order; the journal may be away."""
        if self._answers():
            leases = stored_leases(self._site.journal.memory, Ledger.entity_type)
            if self.running._leasing._core.me in leases.holders.values():
                self.world.hit("replica: leases given back at a clean stop")
            self.running.leave()
            self._on_stored(self._site)

    def source(self, call: ReplicaCall) -> ReplicaSource:
        """Over the stream of the peer that is to be called."""
        peer = self._sites[call.peer_id].serves
        made = EdgeSource if self._site.is_edge(call.peer_id) else ReplicaSource
        return made(self, self._site.network, self._law, peer, call)

    # --- what comes ---

    def _put(self, item: Any) -> None:
        """Hand over, in order, a little later."""
        self._items.append(item)
        if len(self._items) == 1:
            self.after(self.world.between(*HAND_OVER_US), self._hand_over)

    def _hand_over(self) -> None:
        items, self._items = self._items, []
        self.running.on_items(items)

    def on_answer(self, answer: Answer, member: str) -> None:
        """From a host."""
        if self.alive and answer.to.client_id == self._router.client_id:
            self._router.on_answer(answer, member)

    def _on_outcome(self, outcome: Deliver) -> None:
        found = unpack(outcome.value) if outcome.status == Status.OK else None
        what = (found.reason or "absorbed") if isinstance(found, Absorbed) else "failed"
        self.world.hit(f"link: {what}")
        if isinstance(found, Absorbed) and isinstance(found.error, OwnEventsTrimmedError):
            self.world.hit("replica: a state waits for trimmed events to be taken")
            link, _, pending = outcome.ticket
            self.unjoined.add((link.peer.replica_id, pending.entity_id))
        self.running.group.on_outcomes([outcome])

    # --- turns ---

    def _tick(self) -> None:
        self.running.on_tick(self.world.now_us)
        self.after(TICK_US, self._tick)

    def _answers(self) -> bool:
        """Does the journal, just now?"""
        world = self.world
        missed = world.faulty and world.chance(MISSED)
        return not missed and self._site.network.passes(self.name, JOURNAL)

    def _keep(self) -> None:
        if self._answers():
            self.running.keep(self.world.now_us)
        self.after(KEEPER_US, self._keep)

    def _store(self) -> None:
        if self._answers():
            self.running.store()
            self._on_stored(self._site)
        self.after(STORE_US, self._store)

    def _lease(self) -> None:
        """A turn of the thread that shares the links."""
        if self._answers():
            leasing, journal = self.running._leasing, self._site.journal.memory
            with patch.object(leasing_of, "machine", lambda: self._machine):
                before = stored_leases(journal, Ledger.entity_type)
                share = leasing.look(self.world.now_us)
                after = stored_leases(journal, Ledger.entity_type)
            self._count(before, after, leasing._core.me)
            if share is not None:
                self._put(share)
        self.after(LEASE_US, self._lease)

    def _count(self, before: Leases, after: Leases, me: str) -> None:
        for peer in before.holders.keys() | after.holders.keys():
            former, now = before.holders.get(peer), after.holders.get(peer)
            if now == me != former:
                died = former is not None and former not in after.readers
                how = "from a dead node" if died else "that nobody had"
                self.world.hit(f"replica: a peer taken {how}")
            elif former == me != now:
                self.world.hit("replica: a peer given back")

    def ask_heads(self, peer: str, on_answer: Callable[[Any], None]) -> None:
        """What `Link.heads` asks."""
        to, network = self._sites[peer].serves, self._site.network
        if self._site.is_edge(peer):
            ask_edge(self, network, peer, lambda one: one.heads(), on_answer)
            return
        if not to.alive:
            error = PeerUnavailableError(to.name, "nobody listens")
            self.after(self.world.between(500, 3_000), on_answer, error)
            return
        ask(self, network, to, lambda one: one.heads(), on_answer)
