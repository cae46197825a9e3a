"""A simulated member: a host that shares the slices with others, by its allocation core."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.protocol import Route
from thespian_dc.journal.api import Member, Owner
from thespian_dc.model.ids import SliceKey
from thespian_dc.slices import allocation
from thespian_dc.testkit.simulation.counter import Counter
from thespian_dc.testkit.simulation.host import SimulatedHost
from thespian_dc.testkit.simulation.journal import SimulatedJournal
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.world import World


class SimulatedMember(SimulatedHost):
    """Of counters, of either kind."""

    def __init__(
        self,
        world: World,
        network: Network,
        journal: SimulatedJournal,
        clients: dict[str, Any],
        members: dict[str, SimulatedMember],
        name: str,
        slices: int,
        entity: type = Counter,
    ) -> None:
        counters = EntityType.of(entity, slices)
        super().__init__(world, network, journal, clients, members, name, [counters])
        self._slices = slices

    def boot(self) -> None:
        super().boot()
        me = Member(self.member_id, self.name, "simulated", (Counter.entity_type,), 0)
        self._allocation = allocation.AllocationCore(me, {Counter.entity_type: self._slices})
        self._assigned: frozenset[SliceKey] = frozenset()
        self._insists: frozenset[SliceKey] = frozenset()
        self._routes: dict[SliceKey, Route] = {}
        self._beat()

    def compete(self, keys: Iterable[SliceKey]) -> None:
        """Claim these as if they were assigned, as a member does that sees other peers alive."""
        wanted = self._assigned | frozenset(keys)
        self._perform(self.core.on_assigned(wanted, self.now_us, self._routes))

    def insist(self, keys: Iterable[SliceKey], for_us: int) -> None:
        """Compete for these, and stay with it for so long."""
        self._insists = frozenset(keys)
        self.compete(self._insists)
        self.after(for_us, self._insist_no_more)

    def _insist_no_more(self) -> None:
        self._insists = frozenset()

    def _beat(self) -> None:
        for action in self._allocation.on_tick(self.now_us):
            match action:
                case allocation.Announce(member):
                    announce = partial(self._journal.memory.announce, member)
                    self._journal.call(self.name, announce, _ignore)
                case allocation.ReadMembers():
                    answer = self.into(self._on_members)
                    self._journal.call(self.name, self._registry, answer)
        self.after(50_000, self._beat)

    def _registry(self) -> tuple[list[Member], dict[int, Owner]]:
        memory = self._journal.memory
        return memory.members(), memory.owners(Counter.entity_type)

    def _on_members(self, found: tuple[list[Member], dict[int, Owner]]) -> None:
        members, owners = found
        addresses = {member.member_id: member.address for member in members}
        for slice_, owner in owners.items():
            key = SliceKey(Counter.entity_type, slice_)
            address = addresses.get(owner.member_id, "")
            self._routes[key] = Route(*key, address, owner.epoch)
        for action in self._allocation.on_members(members, self.now_us):
            match action:
                case allocation.Assigned(keys):
                    self._assigned = keys
                    wanted = keys | self._insists
                    self._perform(self.core.on_assigned(wanted, self.now_us, self._routes))
                case allocation.Forget(member_id):
                    forget = partial(self._journal.memory.forget, member_id)
                    self._journal.call(self.name, forget, _ignore)


def _ignore(_: object) -> None:
    """Nothing to do with the answer of a call that only writes."""
