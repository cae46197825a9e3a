"""A host of one replica: it holds the slices that are dealt to it, and looks at its role now and
then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thespian_dc.entity.core import HostCore
from thespian_dc.entity.protocol import Command, KeepState, Route
from thespian_dc.entity.role_watch import RoleWatch
from thespian_dc.journal.api import Owner
from thespian_dc.testkit.simulation import host as base
from thespian_dc.testkit.simulation.replicas.ledger import Applied, Ledger
from thespian_dc.testkit.simulation.replicas.site import Site

LOOK_US = 400_000


class ReplicaHost(base.SimulatedHost):
    """witness: hears of every event that one of its entities applies."""

    def __init__(self, site: Site, number: int, witness: Callable[[Applied], None]) -> None:
        self._site, self._witness, self._number = site, witness, number
        super().__init__(
            site.world, site.network, site.journal, site.sees_clients, site.sees_hosts,
            f"{site.name}:h{number}", [site.type],
        )  # fmt: skip

    def boot(self) -> None:
        super().boot()
        memory, name = self._site.journal.memory, Ledger.entity_type
        self._watch = RoleWatch(memory, [name], self._site.node_id(self._number))
        self._checked = False
        self._look()

    def clock_us(self) -> int:
        return self._site.skew_us + super().clock_us()

    def make_core(self) -> HostCore:
        return HostCore(
            self._types, self.member_id, base.LIMITS, self.world.new_id,
            address=self.name, indexed=True, commit_bytes_max=base.COMMIT_BYTES_MAX,
            appends_at_once=base.APPENDS_AT_ONCE, make_actor=self._make_actor,
        )  # fmt: skip

    def _make_actor(self, _: Any) -> Ledger:
        actor = Ledger()  # type: ignore[no-untyped-call]
        actor.witness = self._witness
        return actor

    def _look(self) -> None:
        self._journal.call(self.name, self._read, self.into(self._on_looked))
        self.after(LOOK_US, self._look)

    def _read(self) -> dict[int, Owner]:
        return self._site.journal.memory.owners(Ledger.entity_type)

    def _on_looked(self, owners: dict[int, Owner]) -> None:
        for one in self._watch.look():  # here: where the answer is lost, so is what it was told
            self._checked = one.checked
            self._perform(self.core.on_role(one.role, self.now_us))
        if not self._checked:
            return
        routes = {
            key: Route(*key, owners[key.slice].member_id.partition(".")[0], owners[key.slice].epoch)
            for key in self._site.keys
            if key.slice in owners
        }
        mine = self._site.assigned.get(self.name, frozenset())
        self._perform(self.core.on_assigned(mine, self.now_us, routes))

    def keep_states(self, entity_ids: list[str]) -> None:
        """Have the states of these stored, so that their records may go."""
        if self.alive and not self.paused:
            commands = [Command(Ledger.entity_type, one, KeepState()) for one in entity_ids]
            self._perform(self.core.on_commands(commands, self.now_us))
