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


@pytest.mark.parametrize(("b_had", "is_waited_for"), [(6, False), (4, True)])
def test_a_recovery_waits_for_a_dead_peer_only_where_it_alone_has_what_was_lost(
    three: World, b_had: int, is_waited_for: bool
) -> None:
    """Both were further in this log than the copy is; then c said where its log ends, and died."""
    one, other, gone = (three.replicas[name] for name in "abc")
    for peer, had in ((other, b_had), (gone, 6)):
        seen = {0: Position(had, b"x")}
        said = peer.says(seen_journal_id=one.journal.journal_id, seen_generation=0, seen=seen)
        one.keeper.met(said)
    other.head, gone.head, one.read = 3, 9, {"b": 3}

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
    one, other, gone = (three.replicas[name] for name in "abc")
    second = Keeper(one.journal, one.setting, "node 2", one, lambda _: None)
    for peer, had in ((other, 4), (gone, 6)):
        seen = {0: Position(had, b"x")}
        said = peer.says(seen_journal_id=one.journal.journal_id, seen_generation=0, seen=seen)
        one.keeper.met(said)
    one.keeper.round(three.now_us)
    assert one.roles.recovering
    gone.down = True
    one.keeper.stop(0)
    if by == "the same node":
        second.stop(0)
        second = Keeper(one.journal, one.setting, "node", one, lambda _: None)
    one.keeper = second
    other.head, one.read = 3, {"b": 3}
    three.until(lambda: "does not answer" in lacks(one).get("c", ""))
    assert "of this replica's own 2 are nowhere else" in lacks(one)["c"]
    for _ in range(10):
        three.round()
    assert one.roles.recovering
    gone.down, gone.head, one.read = False, 9, {"b": 3, "c": 9}
    three.until(lambda: not one.roles.recovering)
    assert stored_lost(one.journal, "cart") is None


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
        patched.setattr(one.keeper, "_change_once", dies)
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
