"""Who serves which slices: decided by each worker alone, without two that serve one."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from thespian_dc.projection.workers import Plan, WorkerRow, WorkersCore

SLICES = 8
SECOND = 1_000_000


class Table:
    """The rows as a database would hold them, and the workers that look at them."""

    def __init__(self) -> None:
        self.rows: dict[str, WorkerRow] = {}
        self.holders: dict[int, str] = {}
        self.cores: dict[str, WorkersCore] = {}
        self.served: dict[str, frozenset[int]] = {}
        self.gone: set[str] = set()
        self.gathered = False
        self.now_us = 0

    def join(self, worker: str) -> None:
        self.cores[worker] = WorkersCore("popularity", worker)
        self.served[worker] = frozenset()
        self.gone.discard(worker)

    def beat(self, worker: str) -> Plan:
        """One round of a worker's thread: beat, read, hold, release."""
        row = self.rows.get(worker, WorkerRow(worker, 0))
        self.rows[worker] = row._replace(beat=row.beat + 1)
        plan = self.cores[worker].on_read(
            list(self.rows.values()), dict(self.holders), SLICES, self.gathered,
            self.served[worker], self.gone, self.now_us,
        )  # fmt: skip
        for slice_, holder in plan.hold.items():
            if self.holders.get(slice_, "") == holder:
                self.holders[slice_] = worker
        for slice_ in plan.release:
            assert self.holders.pop(slice_) == worker
        for dead in plan.forget:
            del self.rows[dead]
        return plan

    def serve(self, worker: str, plan: Plan) -> None:
        """The worker's run begins anew with what it shall serve."""
        self.served[worker] = plan.serve

    def rounds(self, count: int) -> None:
        for _ in range(count):
            self.now_us += SECOND // 2
            for worker in list(self.cores):
                self.serve(worker, self.beat(worker))

    def kill(self, worker: str) -> None:
        del self.cores[worker], self.served[worker]


def served_once(table: Table) -> bool:
    owners = [slice_ for slices in table.served.values() for slice_ in slices]
    return sorted(owners) == list(range(SLICES))


def test_one_alone_serves_all_after_its_second_reading() -> None:
    """It holds at the first, and serves what it holds."""
    table = Table()
    table.join("a")
    table.rounds(2)
    assert table.served["a"] == set(range(SLICES))


def test_a_second_one_gets_a_share_only_after_the_first_let_go() -> None:
    """The first still serves a slice: the second does not get it, however often it looks."""
    table = Table()
    table.join("a")
    table.rounds(2)
    table.join("b")
    for _ in range(10):
        plan = table.beat("b")
        assert not plan.hold
        assert not plan.serve
    plan = table.beat("a")
    assert len(plan.serve) == SLICES // 2
    assert not plan.release, "what a run still serves is not released"
    table.serve("a", plan)
    assert len(table.beat("a").release) == SLICES // 2
    assert len(table.beat("b").hold) == SLICES // 2
    table.rounds(1)
    assert served_once(table)


def test_a_silent_one_is_dead_after_two_seconds_of_readings() -> None:
    """Not by one late reading: an observer that was away itself must read often enough."""
    table = Table()
    table.join("a")
    table.join("b")
    table.rounds(6)
    assert served_once(table)
    table.kill("a")
    table.now_us += 60 * SECOND
    assert len(table.beat("b").serve) < SLICES, "one reading after a long sleep kills nobody"
    table.rounds(5)
    assert table.served["b"] == set(range(SLICES))


def test_a_process_that_is_gone_is_dead_at_once() -> None:
    """On one machine nobody need wait for beats to stand still."""
    table = Table()
    table.join("a")
    table.join("b")
    table.rounds(6)
    table.kill("a")
    table.gone.add("a")
    table.rounds(2)
    assert table.served["b"] == set(range(SLICES))


def test_a_successor_of_the_same_name_goes_on_with_its_slices() -> None:
    """A leaf that is restarted holds what it held before."""
    table = Table()
    table.join("a")
    table.join("b")
    table.rounds(6)
    share = table.served["a"]
    table.kill("a")
    table.join("a")
    assert table.beat("a").serve == share


def test_a_rebuild_gathers_all_slices_at_one_and_spreads_them_again() -> None:
    """Only then no other worker can have an event of before in its hands."""
    table = Table()
    for worker in "abc":
        table.join(worker)
    table.rounds(8)
    table.gathered = True
    table.rounds(4)
    assert table.served["a"] == set(range(SLICES))
    table.gathered = False
    table.rounds(6)
    assert served_once(table)
    assert all(table.served.values())


def test_the_long_dead_are_forgotten_by_one() -> None:
    """Their last words stay for a minute, for whoever asks what happened."""
    table = Table()
    for worker in "abc":
        table.join(worker)
    table.rounds(4)
    table.kill("a")
    table.rounds(60)
    assert "a" in table.rows
    table.rounds(80)
    assert set(table.rows) == {"b", "c"}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["join", "kill", "beat", "serve", "gather", "spread", "wait"]),
        st.sampled_from("abcd"),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_no_slice_is_served_by_two_that_live(steps: list[tuple[str, str]]) -> None:
    """Whatever comes in whatever order, but for a worker that others think dead: that is for the
    epochs. Left alone, the living share out all slices."""
    table, plans = Table(), dict[str, Plan]()
    for step, worker in steps:
        there = worker in table.cores
        if step == "join" and not there:
            table.join(worker)
        elif step == "kill" and there:
            table.kill(worker)
            table.gone.add(worker)
            plans.pop(worker, None)
        elif step == "beat" and there:
            plans[worker] = table.beat(worker)
        elif step == "serve" and worker in plans:
            table.serve(worker, plans.pop(worker))
        elif step in ("gather", "spread"):
            table.gathered = step == "gather"
        elif step == "wait":
            table.now_us += 30_000  # all of them are not two seconds of silence
        owners = [slice_ for slices in table.served.values() for slice_ in slices]
        assert len(owners) == len(set(owners))
    table.gathered = False
    if table.cores:
        table.rounds(10)
        assert served_once(table)
