"""A link over a log whose first records are trimmed."""

from __future__ import annotations

from tests.unit.link_groups import Group
from thespian_dc.model.errors import TrimmedError
from thespian_dc.model.position import Position
from thespian_dc.projection.api import LookedUp
from thespian_dc.wire.lookups import EntityIds


def test_a_replica_that_joins_a_trimmed_log_says_how_far_it_is() -> None:
    """Which slices are not complete yet, and how many entities of the present page."""
    group = Group()
    us = group.now_open()[0]
    group.open(us)

    def progress() -> tuple[int, int]:
        group.group.on_tick()
        [facts] = [one for one in group.group.facts() if one.peer == "us"]
        return facts.joining, facts.coming_in

    def answer_ids(*ids: str, trimmed_to: int = 9) -> tuple[int, str]:
        slice_, after, heard = us.asked_ids.pop(0)
        heard(EntityIds("journal", 0, ids, trimmed_to, more=False))
        group.run()
        return slice_, after

    assert progress() == (0, 0)
    us.on.failed(TrimmedError("us", 5, 9))
    group.run()
    assert [answer_ids(), answer_ids()] == [(0, ""), (1, "")]
    us = group.now_open()[-1]
    assert us.positions == {0: Position(9), 1: Position(9)}
    group.open(us)
    assert progress() == (2, 0)
    assert answer_ids("a", "unwanted") == (0, "")
    assert progress() == (2, 1)
    [(lookup, heard)] = us.lookups
    assert lookup.entity_id == "a"
    heard(LookedUp(lookup, [], 0, 9, more=False))
    group.run()
    assert progress() == (2, 0)
    assert answer_ids() == (0, "unwanted")
    assert progress() == (1, 0)
    assert answer_ids() == (1, "")
    assert progress() == (0, 0)
    assert us.asked_ids == []
