"""A journal restored from an older copy: it is noticed before it is written, and made whole."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit.cli_journal import SLICES, Added, fill, sqlite_url
from thespian_dc.journal.api import open_journal
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import Position
from thespian_dc.model.roles import Origin, Roles, restored
from thespian_dc.replication.catch_up import AskHeads
from thespian_dc.replication.restoring import (
    ASKED_IN_VAIN,
    CHECK_US,
    Restoring,
    SeenOfUs,
    Step,
    is_older_copy,
)

SECOND = 1_000_000


class World:
    """Linked peers, what they say and have, and a clock."""

    def __init__(self, *linked: str, recovering: bool = False) -> None:
        self.now_us = 0
        self.heads: dict[str, Mapping[int, int] | None] = dict.fromkeys(linked)
        self.cursors: dict[str, Mapping[int, int]] = {}
        self.steps: list[Step] = []
        self.here = SeenOfUs("j", 0, {})
        self.core = Restoring(linked, recovering, self.now_us)

    def run(self, us: int) -> list[Step]:
        """Let so much time pass; returns the steps that were new."""
        before, until = len(self.steps), self.now_us + us
        while self.now_us < until:
            self.now_us += SECOND // 10
            self.core.catch_up.on_cursors(self.cursors)
            for action in self.core.on_tick(self.now_us):
                self._do(action)
        return self.steps[before:]

    def _do(self, action: AskHeads | Step) -> None:
        if isinstance(action, AskHeads):
            heads = self.heads[action.peer]
            if heads is None:
                self.core.catch_up.on_unreachable(action.peer, action.nr, "no answer")
            else:
                self.core.catch_up.on_heads(action.peer, action.nr, heads)
            return
        self.steps.append(action)
        done = {
            Step.CHECKED: self.core.on_checked,
            Step.RESTORED: lambda: self.core.on_restored(self.here),
            Step.RECOVERED: self.core.on_recovered,
        }
        done[action]()


def test_hosts_wait_until_all_peers_have_spoken() -> None:
    world = World("a", "b")
    world.core.on_said("a", is_older=False)
    assert world.run(SECOND) == []
    world.core.on_said("b", is_older=False)
    assert world.run(SECOND) == [Step.CHECKED]


def test_a_peer_that_is_away_keeps_hosts_waiting_for_a_while_only() -> None:
    world = World("a", "b")
    world.core.on_said("a", is_older=False)
    assert world.run(CHECK_US + SECOND) == [Step.CHECKED]
    assert World().run(SECOND) == [Step.CHECKED]


def test_an_older_copy_is_closed_before_hosts_begin_and_opened_when_it_is_whole() -> None:
    world = World("a", "b")
    world.core.on_said("a", is_older=False)
    world.core.on_said("b", is_older=True)
    assert world.run(SECOND) == [Step.RESTORED, Step.CHECKED]
    world.heads = {"a": {0: 4}, "b": {0: 9}}
    world.cursors = {"a": {0: 4}, "b": {0: 8}}
    assert world.run(SECOND) == []
    assert world.core.waits_for() == {"b": "1 events"}
    world.cursors = dict(world.heads)  # type: ignore[arg-type]
    assert world.run(SECOND) == [Step.RECOVERED]
    assert world.core.waits_for() == {}


def test_a_recovery_waits_for_who_answers_and_for_one_at_least() -> None:
    world = World("a", "b")
    world.core.on_said("a", is_older=True)
    assert world.run(ASKED_IN_VAIN * SECOND) == [Step.RESTORED, Step.CHECKED]
    world.heads["b"] = {0: 3}
    assert world.run(ASKED_IN_VAIN * SECOND) == []
    world.cursors["b"] = {0: 3}
    assert world.run(SECOND) == [Step.RECOVERED]


def seen(**offsets: int) -> SeenOfUs:
    """What somebody had of the lost log: by slice."""
    positions = {int(name[1:]): Position(at, b"x") for name, at in offsets.items()}
    return SeenOfUs("j", 0, positions)


def _dies_after_its_heads(world: World, at: SeenOfUs, other: SeenOfUs | None) -> None:
    """b has read this replica's log so far, a (or nobody) so far; b's link stands short of its
    end."""
    world.core.on_said("a", is_older=False, seen=other)
    world.core.on_said("b", is_older=True, seen=at)
    world.heads = {"a": {0: 4}, "b": {0: 9}}
    world.run(SECOND)
    world.heads["b"] = None
    world.cursors = {"a": {0: 4}, "b": {0: 2}}


def test_a_peer_that_dies_after_its_heads_is_passed_by_where_others_have_the_same() -> None:
    world = World("a", "b")
    _dies_after_its_heads(world, seen(s0=5, s1=3), seen(s0=6, s1=3))
    assert world.run(60 * SECOND) == [Step.RECOVERED]


def test_a_peer_that_dies_after_its_heads_holds_what_only_it_has() -> None:
    """The status says who that is, how much it is, and what ends the waiting."""
    world = World("a", "b")
    world.here = seen(s0=2, s1=3)
    _dies_after_its_heads(world, seen(s0=5, s1=4), seen(s0=3, s1=1))
    assert world.run(60 * SECOND) == []
    assert world.core.waits_for() == {
        "b": "7 events; it does not answer, and of this replica's own 3 are nowhere else: start "
        "it again, or `thespian-dc replication resume` gives them up"
    }
    world.heads["b"] = {0: 12}  # it is back, and has written on
    world.cursors["b"] = {0: 9}
    assert world.run(SECOND) == [Step.RECOVERED]


def test_what_only_a_peer_has_that_dies_before_its_heads_is_waited_for_too() -> None:
    world = World("a", "b")
    world.core.on_said("a", is_older=False, seen=seen(s0=3))
    world.core.on_said("b", is_older=True, seen=seen(s0=5))
    world.heads["a"] = world.cursors["a"] = {0: 4}
    assert world.run(60 * SECOND) == [Step.RESTORED, Step.CHECKED]
    assert "of this replica's own 2 are nowhere else" in world.core.waits_for()["b"]


def test_what_is_said_of_the_life_since_the_restore_does_not_change_who_has_what() -> None:
    world = World("a", "b")
    _dies_after_its_heads(world, seen(s0=5), None)
    world.core.on_said("a", is_older=False, seen=SeenOfUs("j", 1, {0: Position(9, b"y")}))
    assert world.run(60 * SECOND) == []


def test_nobody_waits_for_a_peer_that_was_retired() -> None:
    world = World("a", "b")
    _dies_after_its_heads(world, seen(s0=5), None)
    assert world.run(60 * SECOND) == []
    world.core.without({"b"})
    assert world.run(SECOND) == [Step.RECOVERED]


def test_a_recovery_goes_on_after_a_restart() -> None:
    world = World("a", recovering=True)
    assert world.run(SECOND) == [Step.CHECKED]
    world.heads["a"], world.cursors["a"] = {0: 3}, {0: 3}
    assert world.run(SECOND) == [Step.RECOVERED]


def test_a_peer_that_comes_late_and_knows_more_begins_another_recovery() -> None:
    world = World("a")
    world.run(CHECK_US + SECOND)
    world.core.on_said("a", is_older=True)
    assert world.run(SECOND) == [Step.RESTORED]
    assert world.core.waits_for()


# --- real files ---


def seen_of(url: str) -> SeenOfUs:
    """What a peer that has read all of this journal would say."""
    journal = open_journal(url)
    keys = [SliceKey("cart", n) for n in range(SLICES)]
    positions = {
        key.slice: journal.position_before(key, journal.find_head(key).head) for key in keys
    }
    seen = SeenOfUs(journal.journal_id, 0, positions)
    journal.close()
    return seen


def older(url: str, seen: SeenOfUs, own: Roles) -> bool:
    journal = open_journal(url)
    try:
        return is_older_copy(journal, "cart", own, seen)
    finally:
        journal.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    where = sqlite_url(tmp_path)
    fill(where, [(f"c-{n}", Added("apple")) for n in range(8)])
    return where


OWN = Roles("a", origins={"a": Origin("j", SLICES)})


def copied(url: str, to: str) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    for leftover in path.parent.glob(f"{path.name}-*"):
        leftover.unlink()
    shutil.copyfile(path, path.with_name(to))


def put_back(url: str, saved: str) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    for leftover in path.parent.glob(f"{path.name}-*"):
        leftover.unlink()
    shutil.copyfile(path.with_name(saved), path)


def test_a_copy_that_lacks_what_a_peer_has_is_found(url: str) -> None:
    copied(url, "saved.db")
    assert not older(url, seen_of(url), OWN)
    fill(url, [(f"d-{n}", Added("pear")) for n in range(3)])
    seen = seen_of(url)
    assert not older(url, seen, OWN)
    put_back(url, "saved.db")
    assert older(url, seen, OWN)


def test_a_copy_that_was_written_again_is_found_by_the_commit(url: str) -> None:
    copied(url, "saved.db")
    fill(url, [("d-1", Added("pear"))])
    seen = seen_of(url)
    put_back(url, "saved.db")
    fill(url, [("d-1", Added("plum")), ("d-1x", Added("plum")), ("c-7x", Added("plum"))])
    assert older(url, seen, OWN)


def test_what_is_said_of_an_earlier_life_proves_nothing_and_of_a_later_one_all(url: str) -> None:
    seen = seen_of(url)
    ahead = seen._replace(positions={0: Position(10_000, b"x")})
    assert older(url, ahead, OWN)
    assert not older(url, ahead, restored(OWN))
    assert older(url, seen._replace(generation=1), OWN)
    assert older(url, seen._replace(journal_id="another"), OWN)
    assert not older(url, SeenOfUs("", 0, {}), OWN)
