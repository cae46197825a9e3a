"""Two nodes share the slices of one journal; one of them falls asleep, or dies with all it has."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.processes.chaos.child import Child
from tests.processes.chaos.history import ACKNOWLEDGED
from tests.processes.chaos.ledger import ENTITY_TYPE
from tests.processes.chaos.world import RATE_MIN, Evidence, World, busy, prompt, world
from tests.sleeping import is_stopped, locked
from thespian_dc.journal.api import apply_schema, open_journal
from thespian_dc.model.ids import SliceKey
from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]
FULL = pytest.param(10, marks=pytest.mark.soak)


def owners(journal: str) -> dict[int, tuple[str, int]]:
    """Of each slice: the member that claimed it last, and its epoch."""
    opened = open_journal(journal)
    try:
        return {n: (o.member_id, o.epoch) for n, o in opened.owners(ENTITY_TYPE).items()}
    finally:
        opened.close()


def shared(run: World) -> bool:
    """Each of the two nodes' hosts has half of the slices."""
    members = [member_id for member_id, _ in owners(run.journal).values()]
    return sorted(members.count(one) for one in set(members)) == [8, 8]


def owned_by(run: World, node: Child) -> dict[int, int]:
    """The epochs of the slices that the node's hosts hold."""
    node_id = run.status(node)["node_id"]
    return {n: epoch for n, (m, epoch) in owners(run.journal).items() if m.startswith(node_id)}


def moved(run: World, epochs: dict[int, int]) -> bool:
    """Each of the slices was installed elsewhere: the log itself knows a higher epoch."""
    opened = open_journal(run.journal)
    try:
        heads = {n: opened.find_head(SliceKey(ENTITY_TYPE, n)) for n in epochs}
    finally:
        opened.close()
    return all(heads[n].epoch > epoch for n, epoch in epochs.items())


def stop_unlocked(run: World, pid: int) -> None:
    """SIGSTOP at a random moment at which the process does not hold the lock of the journal's file:
    with it, nobody writes until it wakes. That is SQLite's way and safe, but nothing would move."""
    for _ in range(100):
        run.wait(run.rng.random())
        run.signal("hosts asleep", pid, signal.SIGSTOP)
        eventually(lambda: is_stopped(pid))  # a thread may be in the middle of taking the lock
        if not locked(run.journal.removeprefix("sqlite:///")):
            return
        run.signal("hosts awake at once", pid, signal.SIGCONT)
        run.kills[-2:] = []
    raise AssertionError("the process holds the lock all the time")


def shown_after(evidence: Evidence, role: str) -> list[float]:
    """The pause after each kill of this role, seconds."""
    return [evidence.pause_s(kill.us) for kill in evidence.kills if kill.what == role]


@pytest.mark.parametrize("times", [3, FULL])
def test_a_host_that_slept_appends_nothing_and_answers_nothing_old(
    tmp_path: Path, times: int
) -> None:
    """A process may stop for as long as it likes: a virtual machine that is moved, a laptop's lid.
    Its slices move; when it wakes it finds that out before it does any harm."""
    with world(tmp_path) as run:
        nodes = [run.ledgers(hosts=1), run.ledgers(hosts=1)]
        for node in nodes:  # a client of either node: some of their commands lie in its sockets
            run.load(node, rate=RATE_MIN * 7 // 10, looks=0.25)
        for number in range(times):
            eventually(lambda: shared(run), deadline_s=60)
            node = nodes[number % 2]
            [pid] = eventually(lambda n=node: run.pids(n, "hosts"), deadline_s=30)
            mine = owned_by(run, node)
            stop_unlocked(run, pid)
            eventually(lambda m=mine: moved(run, m), deadline_s=30)
            run.wait(0.5 + run.rng.random())
            run.signal("hosts awake", pid, signal.SIGCONT)
            for load, _ in run.loads:
                run.progress(load, 1500)
        evidence = run.judge()
    assert busy(evidence)
    assert evidence.starved() == [], "clients get their answers"
    assert prompt(shown_after(evidence, "hosts asleep"), run.journal)


@pytest.mark.parametrize("times", [3, FULL])
def test_a_node_dies_and_the_other_serves_all_slices(tmp_path: Path, times: int) -> None:
    """Hosts, coordinator and Admin at once, as when a machine loses power; later it comes back."""
    with world(tmp_path) as run:
        nodes_die(run, times)


@pytest.mark.cassandra
@pytest.mark.soak
def test_a_node_dies_on_a_journal_in_cassandra(
    cassandra_of_its_own: EmbeddedCassandra, tmp_path: Path
) -> None:
    """Taking a slice over is a dozen requests there, and a recovery four."""
    with world(tmp_path, cassandra_of_its_own.url("nodes")) as run:
        apply_schema(run.journal)
        nodes_die(run, 10)


def nodes_die(run: World, times: int) -> None:
    """One of two nodes, again and again; all its slices are served within the time."""
    survivor, victim = run.ledgers(hosts=1), run.ledgers(hosts=1)
    run.load(survivor)
    for _ in range(times):
        eventually(lambda: shared(run), deadline_s=60)
        run.wait(run.rng.random())
        run.kill_node(victim)
        run.wait(5.0)
        victim = run.ledgers(hosts=1)
    evidence = run.judge()
    assert busy(evidence)
    assert prompt(shown_after(evidence, "node"), run.journal)
    assert evidence.starved() == [], "clients get their answers"


@pytest.mark.parametrize("kills", [4, FULL])
def test_commands_sent_up_to_three_times_count_once(tmp_path: Path, kills: int) -> None:
    """10,000 commands, each sent one to three times with the same id, while hosts are killed: the
    entities hold no check for duplicates, and the count is exact all the same."""
    with world(tmp_path) as run:
        ledgers = run.ledgers()
        load = run.load(
            ledgers, sent=(1, 3), looks=0.0, impatient=0.0, rate=700, entities=500, timeout_s=60.0
        )
        for _ in range(kills):  # it goes on sending, however long they take
            run.wait_until_back(ledgers, run.kill(ledgers, "hosts"), 2)
        run.progress(load, 20_600 - load.latest["acknowledged"], within_s=120)
        evidence = run.judge()
    sent = {a.command_id for a in evidence.attempts}
    assert len(sent) == len(evidence.records) >= 10_000
    assert len(evidence.attempts) > 1.8 * len(sent)
    assert {a.outcome for a in evidence.attempts} == {ACKNOWLEDGED}
