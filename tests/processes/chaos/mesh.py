"""Three replicas over journals of their own, each reached by the others through a proxy of each
link, with a load at each; and whoever kills their processes and cuts their links, by a seed."""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.processes.chaos import checker, history, replica_checker
from tests.processes.chaos.child import Child
from tests.processes.chaos.history import Attempt
from tests.processes.chaos.ledger import ENTITY_TYPE
from tests.processes.chaos.world import SERVICE, Evidence, World
from tests.processes.running import free_port
from thespian_dc.model.ids import SLICES_DEFAULT
from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra
from thespian_dc.testkit.eventually import eventually
from thespian_dc.testkit.proxy import FROM, TO, FaultProxy

ENTITIES = 60
ROLES = ("hosts", "producers", "replication", "coordinator")
CUTS = ("reset", "silent", "silent one way")
EQUAL_WITHIN_S = 30.0
Link = tuple[str, str]
States = dict[str, Any]


class Cut(NamedTuple):
    """Of links, (who reads, whom) each, until a monotonic time, seconds."""

    how: str
    links: tuple[Link, ...]
    until: float


class Mesh:
    """world: its processes and kills. journals: URL by replica."""

    def __init__(
        self, world: World, journals: Mapping[str, str], rate: int,
        server: EmbeddedCassandra | None = None,
    ) -> None:  # fmt: skip
        self.world, self.journals, self._rate, self._server = world, journals, rate, server
        self.names = tuple(journals)
        self._ports = {name: free_port() for name in self.names}
        self.proxies: dict[Link, FaultProxy] = {
            (reader, peer): FaultProxy("127.0.0.1", self._ports[peer])
            for reader, peer in itertools.permutations(self.names, 2)
        }
        self.services: dict[str, Child] = {}
        self.loads: dict[str, Child] = {}
        self.histories: dict[str, list[Path]] = {name: [] for name in self.names}
        self.killed_loads: set[str] = set()
        self.cuts: list[Cut] = []
        self.cut_by_kind: Counter[str] = Counter()

    def start(self) -> None:
        for name in self.names:
            self.begin(name)
        for name in self.names:
            self.world.progress(self.loads[name], 100)

    def begin(self, name: str) -> None:
        """The replica's service and its load."""
        peers = {
            peer: f"127.0.0.1:{proxy.port}"
            for (reader, peer), proxy in self.proxies.items()
            if reader == name
        }
        service = self.services[name] = self.world.service(
            service=SERVICE, journal=self.journals[name], replica=name, peers=peers,
            listen=f"127.0.0.1:{self._ports[name]}",
        )  # fmt: skip
        self.loads[name] = self.world.begin_load(
            service, name=f"{name}{len(self.histories[name])}", rate=self._rate, entities=ENTITIES,
            timeout_s=60.0,
        )  # fmt: skip
        self.histories[name].append(self.world.loads[-1][1])

    # --- chaos ---

    def chaos(self, for_s: float) -> None:
        """Kills and cuts, one after another, of all kinds in turn, each at a random moment; no
        shorter than one turn. A cut lasts while others come."""
        until = time.monotonic() + for_s
        for turn in itertools.count():
            for what, name in self._turn():
                if turn and time.monotonic() >= until:
                    return
                self._heal_due()
                if what == "cut":
                    self.cut()
                elif what == "node":
                    self.lose(name)
                elif what == "cassandra":
                    self._lose_server()
                else:
                    self.world.kill(self.services[name], what)
                self.world.wait(self.world.rng.random() * 2)

    def _turn(self) -> list[tuple[str, str]]:
        rng = self.world.rng
        turn = [(role, name) for role in ROLES for name in self.names]
        turn += [("cut", "")] * len(turn)
        turn.append(("node", rng.choice(self.names)))
        if self._server is not None:
            turn.append(("cassandra", ""))
        rng.shuffle(turn)
        return turn

    def cut(self) -> None:
        """One way of a pair, both, or all of a replica's: connections end, or nothing passes any
        more, in one direction or in both."""
        rng = self.world.rng
        one, other, third = rng.sample(self.names, 3)
        scopes: list[tuple[Link, ...]] = [
            ((one, other),),
            ((one, other), (other, one)),
            ((one, other), (other, one), (one, third), (third, one)),
        ]
        already = {link for cut in self.cuts for link in cut.links}
        links = tuple(link for link in rng.choice(scopes) if link not in already)
        if not links:
            return
        how = CUTS[self.cut_by_kind.total() % len(CUTS)]
        way = rng.choice((TO, FROM))
        for link in links:
            if how == "reset":
                self.proxies[link].refuse()
            else:
                self.proxies[link].blackhole(*([way] if how == "silent one way" else []))
        self.cuts.append(Cut(how, links, time.monotonic() + rng.uniform(1, 8)))
        self.cut_by_kind[how] += 1

    def _heal_due(self, all_of_them: bool = False) -> None:
        for cut in list(self.cuts):
            if all_of_them or cut.until <= time.monotonic():
                self.cuts.remove(cut)
                for link in cut.links:
                    self.proxies[link].heal()

    def lose(self, name: str) -> None:
        """All processes of a replica at once, and its client; then they are started again."""
        load = self.loads[name]
        self.world.kill_node(self.services[name])
        load.kill_all()
        self.world.loads[:] = [(one, path) for one, path in self.world.loads if one is not load]
        self.killed_loads.add(f"{name}{len(self.histories[name]) - 1}")
        self.begin(name)

    def _lose_server(self) -> None:
        server = self._server
        assert server is not None
        self.world.signal("cassandra", server.pid, signal.SIGKILL)
        server.kill()  # waits for its end
        server.restart()
        self.world.note("cassandra back", server.pid)

    # --- afterwards ---

    def heal(self) -> float:
        """All links work again; when that was, monotonic seconds. Before that every slice of every
        replica has answered something that was sent after the last kill."""
        last_us = self.world.kills[-1].us if self.world.kills else 0
        self.world.wait_until_all_answer(last_us)
        self._heal_due(all_of_them=True)
        return time.monotonic()

    def end_loads(self) -> None:
        for load in self.loads.values():
            load.order("end")
        for load in self.loads.values():
            load.wait_for("done", 120)

    def equal_after(self, healed_s: float) -> tuple[float, dict[str, States]]:
        """Seconds from then until all replicas show the same of every entity, and what."""
        ids = [f"l-{n}" for n in range(ENTITIES)]

        def shown() -> dict[str, States] | None:
            found = {name: self.states(name, ids) for name in self.names}
            first, *others = found.values()
            return found if "error" not in first and all(one == first for one in others) else None

        found = eventually(shown, deadline_s=3 * EQUAL_WITHIN_S, every_s=0.2)
        assert found is not None
        return time.monotonic() - healed_s, found

    def states(self, name: str, ids: list[str]) -> States:
        found: States = self.services[name].ask(f"states {json.dumps(ids)}", "states", 700)
        return found

    def judge(self, seconds: float, equal_after_s: float, shown: Mapping[str, States]) -> Evidence:
        """Read all journals and histories, check them, say what there was."""
        histories = {name: history.read(*paths) for name, paths in self.histories.items()}
        logs, wrong = dict[str, list[checker.Stored]](), list[str]()
        for name, journal in self.journals.items():
            logs[name], broken = checker.stored_in(journal, ENTITY_TYPE)
            wrong += [f"{name}: {one}" for one in broken]
        wrong += replica_checker.violations(histories, logs, self.killed_loads)
        for name, log in logs.items():
            folded = replica_checker.states(log, name)
            for entity_id, (digest, vector) in shown[name].items():
                if folded.get(entity_id) != (digest, vector):
                    wrong.append(f"{name}: {entity_id} shows another state than its log makes")
        found = "\n".join([f"{len(wrong)} violations in {self.world.folder}:", *wrong[:30]])
        assert not wrong, found
        evidence = self._evidence(histories, logs)
        evidence.show()
        own = ", ".join(
            f"{sum(map(replica_checker.is_own, log))} events of {name}"
            for name, log in logs.items()
        )
        cuts = ", ".join(f"{n} {how}" for how, n in sorted(self.cut_by_kind.items()))
        killed = Counter(kill.what for kill in self.world.kills)
        killed.pop("cassandra back", None)
        print(
            f"replicas: {seconds:.0f} s, {killed.total()} kills, {self.cut_by_kind.total()} cuts "
            f"({cuts}), {own}, each held once by all; equal {equal_after_s:.1f} s after healing"
        )
        return evidence

    def _evidence(
        self, histories: Mapping[str, list[Attempt]], logs: Mapping[str, list[checker.Stored]]
    ) -> Evidence:
        """All replicas as if they were one service: slices and entities are of one of them."""
        attempts, records = list[Attempt](), list[checker.Stored]()
        for index, name in enumerate(self.names):
            attempts += [a._replace(entity_id=f"{name} {a.entity_id}") for a in histories[name]]
            first = index * SLICES_DEFAULT
            records += [
                r._replace(slice=first + r.slice, entity_id=f"{name} {r.entity_id}")
                for r in logs[name]
                if replica_checker.is_own(r)
            ]
        attempts.sort(key=lambda attempt: attempt.done_us)
        return Evidence(attempts, records, self.world.kills)


@contextmanager
def mesh(
    world: World, journals: Mapping[str, str], rate: int, server: EmbeddedCassandra | None = None
) -> Iterator[Mesh]:
    """Running. server: the Cassandra that may be killed too."""
    one = Mesh(world, journals, rate, server)
    with ExitStack() as stack:
        for proxy in one.proxies.values():
            stack.enter_context(proxy)
        one.start()
        yield one
