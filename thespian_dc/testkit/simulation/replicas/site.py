"""One replica: a journal that outlives everything, and the processes over it.

Named "A", its processes are "A:h0", "A:h1", … (hosts), "A:links0", … (of each
node), "A:serves" and "A:client".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.role_registry import begin_roles, known_roles
from thespian_dc.model.criteria import Filter
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.roles import Roles
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.replicas.journal import ReplicaJournal
from thespian_dc.testkit.simulation.replicas.ledger import Ledger, Look
from thespian_dc.testkit.simulation.replicas.plan import Plan
from thespian_dc.testkit.simulation.world import World

if TYPE_CHECKING:
    from thespian_dc.testkit.simulation.process import Process
    from thespian_dc.testkit.simulation.replicas.client import ReplicaClient
    from thespian_dc.testkit.simulation.replicas.host import ReplicaHost
    from thespian_dc.testkit.simulation.replicas.linking import LinksProcess
    from thespian_dc.testkit.simulation.replicas.serving import ReplicaProducer

SEGMENT_RECORDS = 16
LOOK_UP_AFTER_S = 1.0
HOURS_US = 5 * 3_600_000_000


def site_of(process_name: str) -> str:
    """The replica that a process belongs to."""
    return process_name.partition(":")[0]


class Site:
    """`linked`: the replicas it exchanges logs with. `skew_us`: of all its clocks, hours off."""

    hosts: list[ReplicaHost]
    nodes: list[LinksProcess]
    serves: ReplicaProducer
    client: ReplicaClient
    called: Sequence[Site] = ()
    """Those that cannot dial this one: it brings them its log."""

    def __init__(
        self, world: World, network: Network, journal: ReplicaJournal, setting: Replication,
        linked: tuple[str, ...], slices: int,
    ) -> None:  # fmt: skip
        self.world, self.network, self.journal = world, network, journal
        self.setting, self.linked, self.slices = setting, linked, slices
        self.name = setting.replica_id
        self.type = EntityType.of(Ledger, slices, replication=setting)
        self.skew_us = world.rng.randint(-HOURS_US, HOURS_US)
        self.is_gone = self.has_joined = False
        self.sees_clients: dict[str, Any] = {}
        self.sees_hosts: dict[str, ReplicaHost] = {}
        self.assigned: dict[str, frozenset[SliceKey]] = {}
        journal.memory.slices(Ledger.entity_type, slices)
        begin_roles(journal.memory, setting)

    @property
    def processes(self) -> list[Process]:
        return [*self.hosts, *self.nodes, self.serves, self.client]

    def node_id(self, number: int) -> str:
        """A node that begins over a journal that was put back is another one. number: of a process
        of it."""
        return f"{self.name}.{self.journal.life}.{number % len(self.nodes)}"

    @property
    def keys(self) -> list[SliceKey]:
        return [SliceKey(Ledger.entity_type, n) for n in range(self.slices)]

    @property
    def roles(self) -> Roles:
        """As stored now."""
        return known_roles(self.journal.memory, Ledger.entity_type)

    def reader(self, peer: str) -> LinksProcess | None:
        """The node by which this peer is read; None: by none, or no call is open."""
        return next((one for one in self.nodes if one.alive and one.reads(peer)), None)

    def is_edge(self, peer: str) -> bool:
        """Does this peer call, and cannot be dialled?"""
        peers = self.setting.peers
        return any(one.replica_id == peer and one.edge and not one.target for one in peers)

    def heads(self) -> tuple[int, ...]:
        return self.journal.heads(Ledger.entity_type, self.slices)

    def start(self) -> None:
        self.has_joined = True
        for process in self.processes:
            process.start()

    def deal(self) -> None:
        """Share the slices among the hosts, another way each time."""
        shares: dict[str, set[SliceKey]] = {host.name: set() for host in self.hosts}
        names = sorted(shares)
        for key in self.keys:
            shares[self.world.rng.choice(names)].add(key)
        self.assigned = {name: frozenset(keys) for name, keys in shares.items()}

    def crash(self, restart_after_us: int | None) -> None:
        """All of it; the journal stays."""
        for process in self.processes:
            process.crash(restart_after_us)


def setting_of(plan: Plan, name: str, shown: Filter) -> Replication:
    """Of one replica; it dials those that it is linked to, where it can."""
    active = plan.names[0] if plan.one_active else ""
    return Replication(
        Ledger, name, [_peer(plan, name, one) for one in plan.names if one != name], shown=shown,
        active=active, late_events=plan.late_events, queries=(Look,) if active else (),
        look_up_after_s=LOOK_UP_AFTER_S,
    )  # fmt: skip


def _peer(plan: Plan, name: str, other: str) -> Peer:
    linked = other in plan.links[name]
    target = "localhost:1" if linked and other not in plan.edges else ""
    edge = linked and bool(plan.edges)
    return Peer(other, target=target, workers=1 if edge else plan.workers, edge=edge)
