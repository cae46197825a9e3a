"""A shopping cart in three regions: every region takes writes, links are cut and healed, and all
come to the same carts.

Each region is an actor system with a journal of its own. Customers change carts in all three at
once; meanwhile one region is cut off and then the other two from each other, so that each goes on
alone; then all links are healed. It is an error if the regions' carts differ at the end, or if any
of them lacks a change that was acknowledged anywhere, or has one twice.

Run it with `make demo-active-active`.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import permutations
from pathlib import Path
from typing import Any

from cart import AddItem, DeliverTo, RemoveItem
from region import Place, Region, wait_until
from thespian.actors import ActorSystem

from thespian_dc.testkit.proxy import FaultProxy

NAMES = ("asia", "eu", "us")
CARTS = [f"cart-{n}" for n in range(60)]
ALICE = "alice"
CONVERGED_S = 60


@contextmanager
def customers(regions: dict[str, Region]) -> Iterator[None]:
    """Change carts in all regions meanwhile."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=region.write, args=(CARTS, stop)) for region in regions.values()
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class Demo:
    """links: by (who dials, whom)."""

    def __init__(
        self, regions: dict[str, Region], links: dict[tuple[str, str], FaultProxy], seconds: float
    ) -> None:
        self.regions, self.links, self.seconds = regions, links, seconds
        self.asia, self.eu, self.us = (regions[name] for name in NAMES)

    def run(self) -> bool:
        with customers(self.regions):
            self.eu.change(ALICE, AddItem("apple", 2))
            self.eu.change(ALICE, DeliverTo("home"))
            wait_until(lambda: self.same(ALICE), CONVERGED_S)
            time.sleep(self.seconds)
            self.show("all links up")

            self.cut("asia", "eu", "us")
            time.sleep(self.seconds)
            self.cut("eu", "us")
            self.eu.change(ALICE, RemoveItem("apple"))
            self.us.change(ALICE, AddItem("apple", 1))
            self.us.change(ALICE, DeliverTo("the harbour"))
            self.asia.change(ALICE, AddItem("pear", 3))
            self.asia.change(ALICE, DeliverTo("the office"))
            time.sleep(self.seconds)
            self.show("each region alone")
        apart = self.hashes()
        behind = {name: self.written() - one.events() for name, one in self.regions.items()}
        self.heal()
        try:
            took = wait_until(self.converged, CONVERGED_S)
        except TimeoutError:  # the comparison says what differs
            took = CONVERGED_S
        self.show("healed (each link comes back in its own time; any of them brings all)")
        return self.compare(apart, behind, took)

    # --- links ---

    def cut(self, name: str, *others: str) -> None:
        """Nobody reaches the other any more, either way."""
        for link, proxy in self.links.items():
            if name in link and set(link) <= {name, *others}:
                proxy.refuse()
        print(f"\n✂ {name} is cut off from {' and '.join(others)}; customers go on everywhere")

    def heal(self) -> None:
        for proxy in self.links.values():
            proxy.heal()
        print("\n✚ all links are healed")

    # --- looking ---

    def hashes(self) -> dict[str, str]:
        return {name: one.state_hash([ALICE, *CARTS]) for name, one in self.regions.items()}

    def written(self) -> int:
        """Changes that were acknowledged anywhere."""
        return sum(one.written for one in self.regions.values())

    def show(self, when: str) -> None:
        print(f"\n{when}: alice's cart is")
        for name, region in self.regions.items():
            items, address = region.show(ALICE)
            shown = ", ".join(f"{count} {sku}" for sku, count in items.items()) or "empty"
            print(f"  in {name:<5} {shown}; to {address}   (links: {region.links()})")

    def same(self, *cart_ids: str) -> bool:
        """All regions show the same of these carts."""
        return len({one.state_hash(list(cart_ids)) for one in self.regions.values()}) == 1

    def converged(self) -> bool:
        """All is there everywhere. The number is asked too: the last change may be one that does
        not show, of an address that a later one has replaced."""
        stored = {one.events() for one in self.regions.values()}
        return stored == {self.written()} and self.same(ALICE, *CARTS)

    def compare(self, apart: dict[str, str], behind: dict[str, int], took: float) -> bool:
        total, found = self.written(), self.hashes()
        stored = {name: one.events() for name, one in self.regions.items()}
        print(f"\n{total} changes acknowledged; the same everywhere {took:.1f} s after healing")
        print("  region  written here  came later  stored  hash of all carts, cut → healed")
        for name, region in self.regions.items():
            print(
                f"  {name:<6}  {region.written:>12}  {behind[name]:>10}  {stored[name]:>6}  "
                f"{apart[name]} → {found[name]}"
            )
        items, address = self.eu.show(ALICE)
        checks = {
            "while cut, all regions differed": len(set(apart.values())) == len(NAMES),
            "healed, all carts have the same hash everywhere": len(set(found.values())) == 1,
            "each change is stored once in each region": set(stored.values()) == {total},
            "the apple added in us outlived the removal in eu": items == {"apple": 1, "pear": 3},
            "the later address stayed": address == "the office",
        }
        for fact, holds in checks.items():
            print(f"{'ok ' if holds else 'NOT'} {fact}")
        return all(checks.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=4, help="how long all are linked, and cut, twice"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, end)
    folder = Path(tempfile.mkdtemp(prefix="thespian_dc_demo_"))
    with ExitStack() as stack:
        systems = []  # first of all: they fork, and should fork no threads
        for _ in NAMES:
            system = ActorSystem(
                "multiprocTCPBase", {"Admin Port": free_port()}, logging_to(folder / "log"),
                transientUnique=True,
            )  # fmt: skip
            stack.callback(system.shutdown)
            systems.append(system)
        ports = {name: free_port() for name in NAMES}
        links = {
            (one, other): stack.enter_context(FaultProxy("127.0.0.1", ports[other]))
            for one, other in permutations(NAMES, 2)
        }
        regions = {}
        for name, system in zip(NAMES, systems, strict=True):
            mine = {other: proxy for (one, other), proxy in links.items() if one == name}
            place = Place(name, f"sqlite:///{folder / name}.db", f"127.0.0.1:{ports[name]}", mine)
            regions[name] = Region(system, place)
            stack.callback(regions[name].close)
            print(f"region {name}: journal {place.journal}, node {place.listen}", flush=True)
        good = Demo(regions, links, options.seconds).run()
    print("all regions agree" if good else f"FAILED: see above; journals are in {folder}")
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


def logging_to(path: Path) -> dict[str, Any]:
    """What the actors log goes there: each cut is a warning."""
    handler = {"class": "logging.FileHandler", "filename": str(path)}
    root = {"handlers": ["file"], "level": "INFO"}
    return {"version": 1, "handlers": {"file": handler}, "root": root}


def end(*_: object) -> None:
    """The regions end with this process, undisturbed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def free_port() -> int:
    """Below those that the system gives to anybody else until it is bound."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


if __name__ == "__main__":
    sys.exit(main())
