"""A promotion step by step: nothing is lost that can be had, and what cannot be had is said."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.replication.catch_up import AskHeads, Behind
from thespian_dc.replication.promotion import (
    ASKED_IN_VAIN,
    NOTICE_US,
    SETTLE_US_MAX,
    Phase,
    Promotion,
    Step,
)

SECOND = 1_000_000
UNTIL = 30 * SECOND


class World:
    """Peers and a clock around one promotion."""

    def __init__(self, *linked: str, others: tuple[str, ...] = (), force: bool = False) -> None:
        self.now_us = 0
        self.heads: dict[str, Mapping[int, int] | None] = dict.fromkeys(linked)
        self.cursors: dict[str, Mapping[int, int]] = {peer: {} for peer in linked}
        self.hears: set[str] = set()
        self.steps: list[Step] = []
        self.answered: dict[str, int] = {}  # the head of slice 0 that each peer last named
        self.raised_at: dict[str, int] = {}
        self.promotion = Promotion(linked, others, UNTIL, force)

    def run(self, us: int) -> None:
        """Let so much time pass, in steps of 100 ms."""
        until = self.now_us + us
        while self.now_us < until and not self.promotion.is_over:
            self.now_us += SECOND // 10
            self.promotion.catch_up.on_cursors(self.cursors)
            for peer in self.hears:
                self.promotion.on_epoch(peer, 2, self.now_us)
            for action in self.promotion.on_tick(self.now_us):
                self._do(action)

    def _do(self, action: AskHeads | Step) -> None:
        promotion = self.promotion
        if isinstance(action, AskHeads):
            heads = self.heads[action.peer]
            if heads is None:
                promotion.catch_up.on_unreachable(action.peer, action.nr, "no answer")
            else:
                self.answered[action.peer] = heads.get(0, 0)
                promotion.catch_up.on_heads(action.peer, action.nr, heads)
            return
        self.steps.append(action)
        if action is Step.RAISE:
            self.raised_at = dict(self.answered)
            promotion.on_raised(2, self.now_us)
        else:
            promotion.on_opened()

    def caught_up(self) -> None:
        self.cursors = {peer: heads or {} for peer, heads in self.heads.items()}


def test_nothing_changes_before_all_is_read() -> None:
    world = World("a", "c")
    world.heads = {"a": {0: 7, 1: 3}, "c": {0: 2}}
    world.run(5 * SECOND)
    assert world.steps == []
    assert world.promotion.report() == {
        "a": Behind(10, "they did not come in time"),
        "c": Behind(2, "they did not come in time"),
    }
    world.caught_up()
    world.run(SECOND)
    assert world.steps == [Step.RAISE]


def test_commands_are_taken_when_the_former_active_has_stood_by_and_all_of_it_is_here() -> None:
    world = World("a")
    world.heads = {"a": {0: 7}}
    world.caught_up()
    world.run(SECOND)
    assert world.promotion.phase is Phase.SETTLING
    world.heads = {"a": {0: 9}}  # two more, before it heard of the new epoch
    world.hears = {"a"}
    world.run(NOTICE_US + SECOND)
    assert world.steps == [Step.RAISE]
    world.caught_up()
    world.run(SECOND)
    assert world.steps == [Step.RAISE, Step.OPEN]
    assert world.promotion.report() == {"a": Behind(0)}


def test_heads_asked_for_before_the_epoch_rose_prove_nothing() -> None:
    promotion = Promotion(["a"], [], UNTIL, force=False)
    [asked] = promotion.on_tick(0)
    assert isinstance(asked, AskHeads)
    promotion.catch_up.on_heads("a", asked.nr, {0: 0})
    assert promotion.on_tick(1) == [Step.RAISE]
    promotion.on_raised(2, 1)
    promotion.on_epoch("a", 2, 2)
    promotion.catch_up.on_heads("a", asked.nr, {0: 0})
    assert promotion.on_tick(3) == []


def test_a_peer_that_cannot_be_asked_refuses_the_promotion() -> None:
    world = World("a", "c")
    world.heads["c"] = {0: 1}
    world.caught_up()
    world.run(2 * UNTIL)
    assert (world.promotion.phase, world.steps) == (Phase.REFUSED, [])
    assert world.promotion.lacking() == {"a": Behind(None, "no answer")}


def test_a_forced_one_goes_on_without_and_says_so() -> None:
    world = World("a", "c", force=True)
    world.heads["c"], world.hears = {0: 1}, {"c"}
    world.caught_up()
    world.run((ASKED_IN_VAIN + 2) * SECOND)
    assert world.steps == [Step.RAISE, Step.OPEN]
    assert world.now_us < UNTIL
    assert world.promotion.report() == {"a": Behind(None, "no answer"), "c": Behind(0)}


def test_a_forced_one_still_waits_for_what_can_be_had() -> None:
    world = World("a", force=True)
    world.heads["a"] = {0: 5}
    world.run(UNTIL - SECOND)
    assert world.steps == []
    world.run(2 * SECOND + SETTLE_US_MAX)
    assert world.steps == [Step.RAISE, Step.OPEN]
    assert world.promotion.report()["a"].events is None


def test_a_peer_that_never_hears_of_it_does_not_close_the_group_for_ever() -> None:
    world = World("a")
    world.heads["a"] = {0: 5}
    world.caught_up()
    world.run(SECOND)
    world.run(SETTLE_US_MAX + SECOND)
    assert world.steps == [Step.RAISE, Step.OPEN]
    assert world.promotion.report() == {"a": Behind(None, "it has not heard of the promotion yet")}


def test_a_replica_without_a_link_is_not_said_to_be_complete() -> None:
    world = World("a", others=("d",))
    world.heads["a"], world.hears = {0: 0}, {"a"}
    world.run(5 * SECOND)
    assert world.promotion.phase is Phase.OPENED
    assert world.promotion.report()["d"].events is None


peers = st.sampled_from("ac")
inputs = st.lists(
    st.tuples(
        st.sampled_from(("heads", "gone", "read", "hears", "time")), peers, st.integers(0, 9)
    ),
    max_size=40,
)


@given(inputs=inputs, force=st.booleans())
def test_whatever_happens_it_ends_and_pretends_nothing(
    inputs: list[tuple[str, str, int]], force: bool
) -> None:
    world = World("a", "c", force=force)
    for what, peer, n in inputs:
        if what == "heads":
            world.heads[peer] = {0: max(n, (world.heads[peer] or {}).get(0, 0))}
        elif what == "gone":
            world.heads[peer] = None
        elif what == "read":
            world.cursors[peer] = {0: max(n, world.cursors[peer].get(0, 0))}
        elif what == "hears":
            world.hears.add(peer)
        world.run(n * SECOND)
    world.run(UNTIL + SETTLE_US_MAX + SECOND)
    assert world.promotion.is_over
    assert world.steps in ([], [Step.RAISE, Step.OPEN])
    for peer, behind in world.promotion.report().items():
        assert bool(behind.reason) is (behind.events != 0)
        if behind.events == 0:
            assert world.cursors[peer].get(0, 0) >= world.answered[peer]
    if world.steps and not force:
        assert world.raised_at.keys() == {"a", "c"}
        assert all(world.raised_at[peer] <= world.cursors[peer].get(0, 0) for peer in "ac")
