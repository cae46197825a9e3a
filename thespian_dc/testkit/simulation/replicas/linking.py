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
from thespian_dc.replication.catch_up import AskHeads
from thespian_dc.replication.protocol import StartReplication
from thespian_dc.shell.frames import unpack
from thespian_dc.stream import replica_group
from thespian_dc.stream.replica_call import ReplicaCall
from thespian_dc.testkit.simulation.journal import JOURNAL
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.replicas.ledger import Ledger
from thespian_dc.testkit.simulation.replicas.site import Site
from thespian_dc.testkit.simulation.replicas.source import ReplicaSource, ask
from thespian_dc.testkit.simulation.router import SimulatedRouter
from thespian_dc.testkit.simulation.stream_law import StreamLaw
from thespian_dc.testkit.simulation.world import World

HAND_OVER_US = (50, 2_000)
KEEPER_US = 200_000
STORE_US = 200_000
TICK_US = 20_000
SEEN_US = 300_000
"""A run is short: what peers have is noted more often."""
MISSED = 0.1
"""How often the journal does not answer a turn of the keeper, or of what stores, while the world is
faulty."""


@contextlib.contextmanager
def simulated_time(world: World, sites: Mapping[str, Site]) -> Iterator[None]:
    """Inside, what reads the clock reads the world's, and journals and sources are those of the
    sites."""

    def remote_source(_: Any, consumer: str, replica: ReplicaCall) -> ReplicaSource:
        return sites[consumer.partition("/")[2]].links.source(replica)

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
        stack.enter_context(patch.object(replica, "Keeper", SimulatedKeeper))
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
    """Of one replica. law: hears of the streams. on_stored: is told when the registry was
    written."""

    def __init__(
        self, site: Site, sites: Mapping[str, Site], law: StreamLaw,
        on_stored: Callable[[Site], None],
    ) -> None:  # fmt: skip
        super().__init__(site.world, f"{site.name}:links")
        self._site, self._sites, self._law, self._on_stored = site, sites, law, on_stored
        self.unjoined: set[tuple[str, str]] = set()
        """(peer, entity) of states that came and lacked trimmed events of this replica."""

    def boot(self) -> None:
        site, setting = self._site, self._site.setting
        self._items: list[Any] = []
        self._router = SimulatedRouter(
            self, site.network, site.journal, site.sees_hosts, site.slices, self._on_outcome,
            Ledger.entity_type,
        )  # fmt: skip
        start = StartReplication("simulated", site.name, setting, site.slices)
        running = self.running = SimulatedReplica(start, site.node_id, self._put)
        running.process = self
        running.group.router = GroupRouter(self._router)  # type: ignore[assignment]
        running.start()
        self._tick()
        self.after(self.world.rng.randrange(KEEPER_US), self._keep)
        self.after(self.world.rng.randrange(STORE_US), self._store)

    def source(self, call: ReplicaCall) -> ReplicaSource:
        """Over the stream of the peer that is to be called."""
        peer = self._sites[call.peer_id].serves
        return ReplicaSource(self, self._site.network, self._law, peer, call)

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

    def ask_heads(self, peer: str, on_answer: Callable[[Any], None]) -> None:
        """What `Link.heads` asks."""
        to = self._sites[peer].serves
        if not to.alive:
            error = PeerUnavailableError(to.name, "nobody listens")
            self.after(self.world.between(500, 3_000), on_answer, error)
            return
        ask(self, self._site.network, to, lambda one: one.heads(), on_answer)
