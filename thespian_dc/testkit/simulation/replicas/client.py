"""Somebody who changes and reads ledgers at one replica, by a RouterCore, and writes down what was
answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thespian_dc.entity.actions import Answer
from thespian_dc.entity.protocol import Status
from thespian_dc.entity.router_core import Deliver, Outgoing
from thespian_dc.model.errors import AskTimeoutError
from thespian_dc.shell.frames import pack, unpack, unpack_reply
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.replicas.ledger import REGIONS, Change, Ledger, Look, Plain
from thespian_dc.testkit.simulation.replicas.site import Site
from thespian_dc.testkit.simulation.router import SimulatedRouter

WORDS = ("ash", "birch", "cedar", "elm")
WHATS = ("count", "count", "label", "label", "add", "add", "drop", "both")
LOOKS = 0.1
TIMEOUT_S = 15.0


@dataclass(slots=True)
class Asked:
    """One command. told: "" until it is answered, then "ok", "unknown" or the name of the error."""

    site: str
    entity_id: str
    nonce: str
    message: Any
    told: str = ""
    seen: Plain | None = None


class ReplicaClient(Process):
    """on_told: hears of each answer at the moment it comes."""

    def __init__(
        self, site: Site, entity_ids: list[str], pause_us: int, on_told: Callable[[Asked], None]
    ) -> None:
        super().__init__(site.world, f"{site.name}:client")
        self._site, self._entity_ids, self._pause_us = site, entity_ids, pause_us
        self._on_told = on_told
        self._count = 0
        self.sending = True
        self.open: dict[str, Asked] = {}
        self.asked = 0

    def boot(self) -> None:
        self.open = {}
        self._router = SimulatedRouter(
            self, self._site.network, self._site.journal, self._site.sees_hosts,
            self._site.slices, self._on_outcome, Ledger.entity_type,
        )  # fmt: skip
        self.after(self.world.rng.randrange(self._pause_us), self._next)

    def ask(self, entity_id: str, message: Any, nonce: str, command_id: str) -> Asked:
        """Send one command."""
        asked = Asked(self._site.name, entity_id, nonce, message)
        self.open[nonce] = asked
        self.asked += 1
        command = Outgoing(Ledger.entity_type, entity_id, pack(message), asked, command_id)
        self._router.submit(command, TIMEOUT_S)
        return asked

    def look(self, entity_id: str) -> Asked:
        """Read an entity."""
        self._count += 1
        return self.ask(entity_id, Look(), f"{self.name}-{self._count}", "")

    def write(self, entity_id: str) -> Asked:
        """Count one more in an entity."""
        nonce = self._nonce()
        return self.ask(entity_id, Change(nonce, REGIONS[0], "count", 1), nonce, "")

    def change(self, entity_id: str) -> Asked:
        """Change an entity in any way."""
        rng, nonce = self.world.rng, self._nonce()
        change = Change(
            nonce, rng.choice(REGIONS), rng.choice(WHATS), rng.randint(-3, 9), rng.choice(WORDS)
        )
        return self.ask(entity_id, change, nonce, nonce if rng.random() < 0.5 else "")

    def _nonce(self) -> str:
        self._count += 1
        return f"{self.name}-{self.incarnation}-{self._count}"

    def _next(self) -> None:
        world, rng = self.world, self.world.rng
        if self.sending:
            entity_id = rng.choice(self._entity_ids)
            if world.chance(LOOKS):
                self.look(entity_id)
            else:
                self.change(entity_id)
        self.after(world.between(self._pause_us // 4, self._pause_us * 6), self._next)

    def on_answer(self, answer: Answer, member: str) -> None:
        """From a host."""
        if self.alive and answer.to.client_id == self._router.client_id:
            self._router.on_answer(answer, member)

    def _on_outcome(self, outcome: Deliver) -> None:
        asked, value = outcome.ticket, outcome.value
        if outcome.status == Status.OK:
            asked.told, asked.seen = "ok", unpack(value)
        else:
            error = unpack_reply(value)
            asked.told = type(error).__name__
            self.world.hit(f"client: told {asked.told}")
            self.world.note(f"{self.name} is told {error}")
            if isinstance(error, AskTimeoutError):
                asked.told = "unknown"
        self.open.pop(asked.nonce, None)
        self._on_told(asked)
