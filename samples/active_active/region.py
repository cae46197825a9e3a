"""A region: an actor system of its own with a node, a journal of its own, and links to the other
regions that can be cut."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cart import AddItem, Cart, DeliverTo, RemoveItem, Show
from thespian.actors import ActorSystem

from thespian_dc import Client, Node, Peer, Replication, Settings
from thespian_dc.journal.api import open_journal
from thespian_dc.model.ids import SliceKey
from thespian_dc.testkit.proxy import FaultProxy

SKUS = ("apple", "bread", "cheese", "dates")
CHANGES_PER_S = 200


@dataclass
class Place:
    """Where a region is found. links: by which proxy it reaches each other region."""

    name: str
    journal: str
    listen: str
    links: Mapping[str, FaultProxy]


class Region:
    def __init__(self, system: ActorSystem, place: Place) -> None:
        self.name, self.place = place.name, place
        self._changed = self._written = 0  # each belongs to one thread
        peers = [Peer(other, f"127.0.0.1:{proxy.port}") for other, proxy in place.links.items()]
        self.node = Node.start(system, Settings(
            service="shop", journal=place.journal, entities=[Cart], listen=place.listen,
            replication=[Replication(Cart, place.name, peers)],
        ))  # fmt: skip
        self.client = Client.connect(system, service="shop", timeout_s=30)
        self.journal = open_journal(place.journal)

    def close(self) -> None:
        self.journal.close()
        self.client.close()
        self.node.stop()

    # --- writing ---

    def change(self, cart_id: str, command: Any) -> None:
        """One change of one cart, here."""
        self.client.entity("cart", cart_id).ask(command, timeout_s=30)
        self._changed += 1

    def write(self, cart_ids: list[str], stop: threading.Event) -> None:
        """Change carts at random until `stop`: some CHANGES_PER_S, each acknowledged."""
        commands = self.commands(cart_ids, stop)
        for _ in self.client.ask_many(commands, in_flight=16, timeout_s=60):
            self._written += 1

    @property
    def written(self) -> int:
        """Changes that were acknowledged here."""
        return self._changed + self._written

    def commands(
        self, cart_ids: list[str], stop: threading.Event
    ) -> Iterator[tuple[str, str, Any]]:
        chance = random.Random(self.name)
        while not stop.wait(1 / CHANGES_PER_S):
            sku = chance.choice(SKUS)
            commands = AddItem(sku, chance.randint(1, 3)), RemoveItem(sku), DeliverTo(sku)
            (command,) = chance.choices(commands, weights=(6, 2, 2))
            yield "cart", chance.choice(cart_ids), command

    # --- looking ---

    def show(self, cart_id: str) -> tuple[dict[str, int], str]:
        """A cart as it is here."""
        shown: tuple[dict[str, int], str] = self.client.entity("cart", cart_id).ask(
            Show(), timeout_s=30
        )
        return shown

    def state_hash(self, cart_ids: list[str]) -> str:
        """Of all these carts as they are here."""
        shown = self.client.ask_many([("cart", one, Show()) for one in cart_ids])
        return hashlib.sha256(repr(list(shown)).encode()).hexdigest()[:16]

    def events(self) -> int:
        """In this region's journal: its own and those of the others."""
        slices = self.journal.slice_counts()["cart"]
        return sum(self.journal.find_head(SliceKey("cart", n)).head for n in range(slices))

    def links(self) -> str:
        """Each other region, and whether it is heard."""
        (leaf,) = self.node.status()["replication"]
        links = leaf.get("links", ())  # none while its process starts or is too busy to say
        return ", ".join(f"{link['peer']} {link['state']}" for link in links)


def wait_until(fact: Any, timeout_s: float) -> float:
    """Seconds until the fact holds; TimeoutError."""
    started = time.monotonic()
    while not fact():
        if time.monotonic() - started > timeout_s:
            raise TimeoutError(f"not within {timeout_s:.0f} s")
        time.sleep(0.05)
    return time.monotonic() - started
