"""What befalls replicas, and when; drawn from the seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from thespian_dc.testkit.simulation.host import RESTART_US
from thespian_dc.testkit.simulation.journal import JOURNAL
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.replicas.host import ReplicaHost
from thespian_dc.testkit.simulation.replicas.site import Site
from thespian_dc.testkit.simulation.world import World

EVERY_US = (150_000, 900_000)
CUT_US = (300_000, 5_000_000)
PAUSED_US = (100_000, 3_000_000)
OVERLOAD_US = (300_000, 1_500_000)


class ReplicaFaults:
    """Strikes at random moments until the world is not faulty any more."""

    def __init__(self, world: World, network: Network, sites: Sequence[Site]) -> None:
        self._world, self._network, self._sites = world, network, sites
        self._strikes: list[Callable[[], None]] = [
            self._crash_host, self._crash_host, self._crash_links, self._stop_links,
            self._crash_serves, self._crash_site, self._pause, self._move_slices,
            self._partition, self._partition, self._one_way, self._one_way, self._break_call,
            self._break_call, self._cut_journal, self._overload,
        ]  # fmt: skip

    def begin(self) -> None:
        """From now on. The first strike is a crash during an append, of whoever appends first."""
        self.doom_appends()
        self._world.after(self._world.between(*EVERY_US), self._strike)

    def doom_appends(self) -> None:
        """Whoever appends first crashes meanwhile."""
        for host in self._hosts():
            host.doom.in_append, host.on_crash_in_append = True, self._spare

    def _hosts(self) -> list[ReplicaHost]:
        return [host for site in self._sites for host in site.hosts]

    def _spare(self) -> None:
        """The others."""
        for host in self._hosts():
            host.doom.in_append, host.on_crash_in_append = False, lambda: None

    def _strike(self) -> None:
        if self._world.faulty:
            self._world.rng.choice(self._strikes)()
            self._world.after(self._world.between(*EVERY_US), self._strike)

    def _hit(self, what: str) -> None:
        self._world.hit(f"fault: {what}")
        self._world.note(f"fault: {what}")

    def _site(self) -> Site:
        return self._world.rng.choice([one for one in self._sites if one.has_joined])

    # --- processes ---
    def _crash_host(self) -> None:
        host = self._world.rng.choice(self._site().hosts)
        if self._world.chance(0.5):
            host.doom.in_append = True
        else:
            host.doom.actions = self._world.rng.randrange(30)

    def _crash(self, process: Process, what: str) -> None:
        if process.alive:
            self._hit(what)
            process.crash(self._world.between(*RESTART_US))

    def _crash_links(self) -> None:
        self._crash(self._world.rng.choice(self._site().nodes), "links crash")

    def _stop_links(self) -> None:
        """As a node that is taken down in good order."""
        node = self._world.rng.choice(self._site().nodes)
        if node.alive and not node.paused:
            self._hit("links stopped")
            node.leave()
            node.crash(self._world.between(*RESTART_US))

    def _crash_serves(self) -> None:
        self._crash(self._site().serves, "producer crash")

    def _crash_site(self) -> None:
        site = self._site()
        if not site.is_gone:
            self._hit("a whole replica crashes")
            site.crash(self._world.between(*RESTART_US))

    def _pause(self) -> None:
        site = self._site()
        process = self._world.rng.choice([*site.hosts, *site.nodes, site.serves])
        if process.alive and not process.paused:
            self._hit("process paused")
            process.pause(self._world.between(*PAUSED_US))

    def _move_slices(self) -> None:
        self._hit("slices dealt again")
        self._site().deal()

    # --- the network ---
    def _two(self) -> tuple[Site, Site]:
        one, other = self._world.rng.sample(list(self._sites), 2)
        return one, other

    def _partition(self) -> None:
        """Nothing passes between two replicas, or between one and all others."""
        one, other = self._two()
        for_us = self._world.between(*CUT_US)
        if self._world.chance(0.5):
            self.isolate(one, for_us)
        else:
            self._hit("partition")
            self._cut(one, other, both=True, for_us=for_us)

    def isolate(self, one: Site, for_us: int) -> None:
        """Nothing passes between this one and all others."""
        self._hit("partition")
        for site in self._sites:
            if site is not one:
                self._cut(one, site, both=True, for_us=for_us)

    def _one_way(self) -> None:
        one, other = self._two()
        self._hit("partition, one way")
        self._cut(one, other, both=False, for_us=self._world.between(*CUT_US))

    def _cut(self, one: Site, other: Site, both: bool, for_us: int) -> None:
        for mine in (*one.nodes, one.serves):
            for theirs in (*other.nodes, other.serves):
                self._network.cut_one_way(mine.name, theirs.name)
                if both:
                    self._network.cut_one_way(theirs.name, mine.name)
                self._world.after(for_us, self._network.heal, mine.name, theirs.name)

    def _break_call(self) -> None:
        calls = [served.end.call for served in self._site().serves.calls]
        if calls:
            self._hit("call broken")
            self._world.rng.choice(calls).breaks()

    # --- journals ---
    def _cut_journal(self) -> None:
        site = self._site()
        name = self._world.rng.choice([*site.hosts, *site.nodes, site.serves]).name
        self._network.cut(name, JOURNAL)
        self._world.after(self._world.between(*CUT_US), self._network.heal, name, JOURNAL)

    def _overload(self) -> None:
        self._hit("journal overloaded")
        self._site().journal.overload(self._world.between(*OVERLOAD_US))
