"""What a keeper knows of a log that was lost, and for whom a recovery waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.unit.keepers import Replica, World, ended, worlds
from thespian_dc.model.position import Position
from thespian_dc.replication import wishes
from thespian_dc.replication.keeper import Keeper
from thespian_dc.replication.lost import stored_lost
from thespian_dc.testkit.eventually import eventually


@pytest.fixture
def three(tmp_path: Path) -> Iterator[World]:
    yield from worlds(tmp_path, "")


def said_of(three: World, generation: int, **had: int) -> None:
    """Peers say how far they have this log of a's."""
    one = three.replicas["a"]
    for peer, offset in had.items():
        seen = {0: Position(offset, b"x")}
        said = three.replicas[peer].says(
            seen_journal_id=one.journal.journal_id, seen_generation=generation, seen=seen
        )
        one.keeper.met(said)
    one.keeper.round(three.now_us)


def it_waits_for_c(three: World, alone: int) -> None:
    """Which is down and alone has so many events: it recovers when c is there again."""
    one, other, gone = (three.replicas[name] for name in "abc")
    other.head, one.read = 3, {"b": 3}
    three.until(lambda: "does not answer" in lacks(one).get("c", ""))
    assert f"of this replica's own {alone} are nowhere else" in lacks(one)["c"]
    for _ in range(10):
        three.round()
    assert one.roles.recovering
    gone.down, gone.head, one.read = False, 9, {"b": 3, "c": 9}
    three.until(lambda: not one.roles.recovering)
    assert stored_lost(one.journal, "cart") is None


@pytest.mark.parametrize(("b_had", "is_waited_for"), [(6, False), (4, True)])
def test_a_recovery_waits_for_a_dead_peer_only_where_it_alone_has_what_was_lost(
    three: World, b_had: int, is_waited_for: bool
) -> None:
    """Both were further in this log than the copy is; then c said where its log ends, and died."""
    one, other, gone = (three.replicas[name] for name in "abc")
    other.head, gone.head, one.read = 3, 9, {"b": 3}
    said_of(three, 0, b=b_had, c=6)

    def is_asked() -> bool:
        one.keeper.round(three.now_us)
        return gone.asked > 0

    eventually(is_asked, deadline_s=20)
    gone.down = True
    if is_waited_for:
        three.until(lambda: "does not answer" in lacks(one).get("c", ""))
        assert "of this replica's own 2 are nowhere else" in lacks(one)["c"]
        assert one.roles.recovering
        nr = wishes.wish(one.journal, "cart", wishes.RESUME).nr
        three.until(lambda: ended(one, nr))
        assert not one.roles.recovering
    else:
        three.until(lambda: not one.roles.recovering)


@pytest.mark.parametrize("by", ["the same node", "another node"])
def test_what_only_a_dead_peer_has_is_waited_for_after_a_restart(three: World, by: str) -> None:
    """It said how far it had the lost log, and died: it does not say it again."""
    one, gone = (three.replicas[name] for name in "ac")
    second = Keeper(one.journal, one.setting, "node 2", one, lambda _: None)
    said_of(three, 0, b=4, c=6)
    assert one.roles.recovering
    gone.down = True
    one.keeper.stop(0)
    if by == "the same node":
        second.stop(0)
        second = Keeper(one.journal, one.setting, "node", one, lambda _: None)
    one.keeper = second
    it_waits_for_c(three, 2)


def test_what_only_another_node_hears_of_a_peer_is_waited_for(three: World) -> None:
    """The peer calls by itself, at the other node, when the recovery has begun at both; then it is
    gone."""
    one, gone = (three.replicas[name] for name in "ac")
    second = Keeper(one.journal, one.setting, "node 2", one, lambda _: None)
    said_of(three, 0, b=4)
    assert one.roles.recovering
    second.round(three.now_us)
    said_of(three, 0, c=6)
    gone.down = True
    one.keeper.stop(0)
    one.keeper = second
    it_waits_for_c(three, 2)


@pytest.mark.parametrize("after_another_restart", [False, True])
def test_of_two_logs_that_were_lost_in_a_row_what_only_a_dead_peer_has_of_either_is_waited_for(
    three: World, after_another_restart: bool
) -> None:
    """The journal is put back to a copy that was made in the middle of a recovery."""
    one, gone = (three.replicas[name] for name in "ac")
    said_of(three, 0, b=4, c=6)
    assert (one.roles.recovering, one.roles.generation) == (True, 1)
    for _ in range(1 + after_another_restart):
        one.keeper.stop(0)
        one.keeper = Keeper(one.journal, one.setting, "node", one, lambda _: None)
        if one.roles.generation == 1:
            said_of(three, 1, b=2, c=7)
        assert (one.roles.recovering, one.roles.generation) == (True, 2)
    gone.down = True
    it_waits_for_c(three, 5)


def test_what_is_kept_of_a_recovery_that_ended_holds_no_later_one(
    three: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process died before it had forgotten it."""
    one, other, gone = (three.replicas[name] for name in "abc")
    monkeypatch.setattr("thespian_dc.replication.lost.KeptLost.forget", lambda _: None)
    said_of(three, 0, b=4, c=6)
    other.head, gone.head, one.read = 3, 9, {"b": 3, "c": 9}
    three.until(lambda: not one.roles.recovering)
    assert stored_lost(one.journal, "cart") is not None
    one.keeper.stop(0)
    one.keeper = Keeper(one.journal, one.setting, "node", one, lambda _: None)
    said_of(three, 1, b=7, c=5)
    assert (one.roles.recovering, one.roles.generation) == (True, 2)
    gone.down, one.read = True, {"b": 3}
    three.until(lambda: not one.roles.recovering)


def test_a_second_loss_that_was_noticed_is_noticed_though_the_process_died_before_it_began(
    three: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recovery of the first one must not pass for that of the second."""
    one = three.replicas["a"]
    said_of(three, 0, c=6)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(one.keeper._own, "change_once", dies)
        with pytest.raises(KeyboardInterrupt):
            said_of(three, 1, c=7)
    assert one.roles.generation == 1
    one.keeper.stop(0)
    one.keeper = Keeper(one.journal, one.setting, "node", one, lambda _: None)
    one.keeper.round(2)
    assert one.roles.generation == 2


def test_a_restore_that_was_noticed_is_noticed_though_the_process_died_before_it_began(
    three: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer that knew of it is gone by then."""
    one = three.replicas["a"]
    one.keeper.met(
        three.replicas["c"].says(
            seen_journal_id=one.journal.journal_id, seen_generation=0, seen={0: Position(6, b"x")}
        )
    )

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(one.keeper._own, "change_once", dies)
        with pytest.raises(KeyboardInterrupt):
            one.keeper.round(1)
    assert not one.roles.recovering
    one.keeper.stop(0)
    one.keeper = Keeper(one.journal, one.setting, "node", one, lambda _: None)
    one.keeper.round(2)
    assert one.roles.recovering


def lacks(replica: Replica) -> Mapping[str, str]:
    """What its recovery waits for, as the status shows it."""
    return wishes.last_beat(replica.journal, "cart").lacks
