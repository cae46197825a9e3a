"""Slice allocation: equal views agree, moves are few, starts and flapping are calm."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.journal.api import Member
from thespian_dc.model.ids import SliceKey
from thespian_dc.slices.allocation import (
    AllocationCore,
    Announce,
    Assigned,
    Forget,
    ReadMembers,
    assign,
)

MS = 1000
names = st.lists(st.text("abc01", min_size=1, max_size=8), min_size=1, max_size=12, unique=True)
slice_counts = st.sampled_from([1, 2, 8, 16, 64, 256])


def member(name: str, types: tuple[str, ...] = ("cart",), leaving: bool = False) -> Member:
    return Member(name, f"addr-{name}", "node", types, 0, leaving)


class Cluster:
    """Members over one registry (a dict), ticking by the same clock; `paused` ones do nothing."""

    def __init__(self, *names: str, slices: int = 16) -> None:
        self.slices, self.now_us = slices, 0
        self.rows: dict[str, Member] = {}
        self.cores: dict[str, AllocationCore] = {}
        self.assigned: dict[str, frozenset[SliceKey]] = {}
        self.paused: set[str] = set()
        self.registry_up = True
        for name in names:
            self.join(name)

    def join(self, name: str) -> None:
        self.cores[name] = AllocationCore(member(name), {"cart": self.slices})

    def run(self, for_ms: int) -> None:
        until_us = self.now_us + for_ms * MS
        while self.now_us < until_us:
            self.now_us += 100 * MS
            for name, core in self.cores.items():
                if name not in self.paused:
                    self.perform(name, core.on_tick(self.now_us))

    def perform(self, name: str, actions: list) -> None:
        for action in actions:
            match action:
                case Assigned(keys):
                    self.assigned[name] = keys
                case _ if not self.registry_up:
                    return
                case Announce(row):
                    self.rows[row.member_id] = row
                case Forget(member_id):
                    self.rows.pop(member_id, None)
                case ReadMembers():
                    found = self.cores[name].on_members(list(self.rows.values()), self.now_us)
                    self.perform(name, found)

    def shares(self) -> dict[str, int]:
        return {name: len(keys) for name, keys in self.assigned.items()}


@given(names, slice_counts)
def test_every_slice_has_one_member_and_no_member_more_than_its_share(
    ids: list[str], slices: int
) -> None:
    """DESIGN: bounded rendezvous, ceil(slices / members) at most."""
    owners = assign("cart", slices, ids)
    assert len(owners) == slices
    assert set(owners) <= set(ids)
    assert max(Counter(owners).values()) <= -(-slices // len(ids))


@given(names, slice_counts, st.randoms())
def test_equal_views_give_equal_answers_in_any_order(ids: list[str], slices: int, rng) -> None:
    """Members read the rows in no order; a difference would be a fight over a slice."""
    shuffled = list(ids)
    rng.shuffle(shuffled)
    assert assign("cart", slices, ids) == assign("cart", slices, shuffled)


@given(st.integers(1, 6), st.integers(0, 1000))
def test_a_newcomer_moves_little_more_than_its_own_share(count: int, salt: int) -> None:
    """Every moved slice drops its entities from memory: moves cost recoveries."""
    ids = [f"m{salt}-{i}" for i in range(count)]
    before, after = assign("cart", 256, ids), assign("cart", 256, [*ids, f"new-{salt}"])
    moved = sum(a != b for a, b in zip(before, after, strict=True))
    assert moved <= 2 * -(-256 // (count + 1))


def test_nobody_to_serve_is_an_empty_answer() -> None:
    """A type that no live member serves is served by nobody, not by an arbitrary member."""
    assert assign("cart", 16, []) == []


def test_two_members_that_start_together_split_the_slices() -> None:
    """Slow start: neither acquires before it has seen who else is starting."""
    cluster = Cluster("a", "b")
    cluster.run(400)
    assert sum(cluster.shares().values()) == 0
    cluster.run(1_000)
    assert cluster.shares() == {"a": 8, "b": 8}
    assert not cluster.assigned["a"] & cluster.assigned["b"]


def test_a_dead_member_s_slices_are_assigned_within_three_seconds() -> None:
    """All slices are served within 5 s of a SIGKILL; claims and recovery need the rest."""
    cluster = Cluster("a", "b")
    cluster.run(3_000)
    cluster.paused.add("b")
    cluster.run(1_500)
    assert len(cluster.assigned["a"]) == 8
    cluster.run(1_500)
    assert len(cluster.assigned["a"]) == 16


def test_a_death_is_seen_by_the_reading_that_is_due_then_not_by_the_one_after() -> None:
    """Readings come a little early or late; half a second more of nobody's slices is too much."""
    core, rows = AllocationCore(member("a"), {"cart": 16}), [member("a"), member("b")]
    for number in range(1, 7):
        core.on_members([row._replace(beat=number) for row in rows], number * 500 * MS)
    still = rows[1]._replace(beat=6)
    for number in range(7, 11):
        early_us = number * 500 * MS - 10 * MS
        found = core.on_members([rows[0]._replace(beat=number), still], early_us)
        assert (Forget("b") in found) is (number == 10)


def test_a_leaving_member_is_assigned_nothing_and_others_take_over_at_once() -> None:
    """A redeploy must not wait for the death of what is alive."""
    cluster = Cluster("a", "b")
    cluster.run(3_000)
    cluster.perform("b", cluster.cores["b"].leave(cluster.now_us))
    cluster.run(600)
    assert cluster.shares() == {"a": 16, "b": 0}


def test_a_stopped_member_s_row_is_removed() -> None:
    """A clean stop leaves nothing that others would have to find dead."""
    cluster = Cluster("a", "b")
    cluster.run(3_000)
    cluster.perform("b", cluster.cores["b"].stop())
    assert cluster.cores["b"].wakeup_us() is None
    cluster.run(600)
    assert set(cluster.rows) == {"a"}
    assert len(cluster.assigned["a"]) == 16


def test_an_outage_of_the_registry_kills_nobody() -> None:
    """All beats stand still while nobody can announce: the first reader must not take all."""
    cluster = Cluster("a", "b")
    cluster.run(3_000)
    cluster.registry_up = False
    cluster.run(10_000)
    cluster.registry_up = True
    for _ in range(40):
        cluster.run(100)
        assert len(cluster.assigned["a"]) <= 8
        assert len(cluster.assigned["b"]) <= 8
    cluster.run(2_000)
    assert cluster.shares() == {"a": 8, "b": 8}


def test_a_member_that_flaps_waits_longer_each_time() -> None:
    """A paused member comes back and would drag its slices back at every wake-up."""
    cluster = Cluster("a", "b")
    cluster.run(3_000)
    waits_ms = []
    for _ in range(4):
        cluster.paused.add("b")
        cluster.run(3_000)
        cluster.paused.clear()
        waited = 0
        cluster.run(100)
        while not cluster.assigned["b"] or waited == 0:
            cluster.run(100)
            waited += 100
        waits_ms.append(waited)
    assert waits_ms == sorted(waits_ms)
    assert waits_ms[-1] >= 4 * waits_ms[0] >= 2_000
    assert waits_ms[-1] <= 9_000


def test_the_dead_are_removed_by_who_sees_it_first() -> None:
    """A member that starts after a death has not watched the dead: for two seconds it would count
    it in, take slices that are well served, and leave some to the dead."""
    cluster = Cluster("a", "b")
    cluster.run(3_000)
    cluster.paused.add("b")
    cluster.run(800)
    cluster.join("c")
    cluster.run(2_200)
    assert set(cluster.rows) == {"a", "c"}
    assert cluster.shares() == {"a": 8, "b": 8, "c": 8}
    assert not cluster.assigned["a"] & cluster.assigned["c"]


def test_a_successor_takes_over_at_once_what_its_predecessor_had_and_nothing_else() -> None:
    """A host that was killed is back within a second: nobody has to find out that it died, and no
    slice moves that is well served."""
    cluster = Cluster("n:host:0.1", "n:host:1.1", "m:host:0.1")
    cluster.run(3_000)
    before = dict(cluster.assigned)
    cluster.paused.add("n:host:0.1")
    cluster.run(700)
    cluster.join("n:host:0.2")
    cluster.run(100)
    assert cluster.assigned["n:host:0.2"] == before["n:host:0.1"]
    for _ in range(30):
        cluster.run(100)
        for other in ("n:host:1.1", "m:host:0.1"):
            assert cluster.assigned[other] == before[other]
    assert set(cluster.rows) == {"n:host:0.2", "n:host:1.1", "m:host:0.1"}


def test_a_member_that_was_forgotten_shows_itself_again() -> None:
    """A member that slept for an hour is not lost for ever."""
    cluster = Cluster("a", "b")
    cluster.run(3_000)
    cluster.paused.add("b")
    cluster.run(65_000)
    cluster.paused.clear()
    cluster.run(5_000)
    assert cluster.shares() == {"a": 8, "b": 8}


def test_a_member_that_was_forgotten_while_it_slept_waits_before_it_acquires() -> None:
    """Its reading was on its way when it fell asleep, and answers without its row: all the same it
    was still for long, and others serve its slices."""
    cluster = Cluster("a", "b")
    cluster.run(3_000)
    cluster.paused.add("b")
    cluster.run(5_000)
    assert set(cluster.rows) == {"a"}
    core = cluster.cores["b"]
    assert core.on_members(list(cluster.rows.values()), cluster.now_us) == []
    cluster.perform("b", core.on_tick(cluster.now_us))
    assert "b" in cluster.rows
    assert cluster.assigned["b"] == frozenset()


def test_types_are_assigned_among_those_who_serve_them() -> None:
    """Services may serve different types on one journal."""
    core = AllocationCore(member("a", ("cart", "order")), {"cart": 8, "order": 4})
    rows = [member("a", ("cart", "order")), member("b", ("cart",))]
    core.on_members(rows, 0)
    [assigned] = core.on_members(rows, 600 * MS)
    assert isinstance(assigned, Assigned)
    assert Counter(key.entity_type for key in assigned.keys) == {"cart": 4, "order": 4}
