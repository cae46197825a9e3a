"""What is made from a slice's log: nothing of one ownership is believed in the next."""

from __future__ import annotations

from thespian_dc.entity.actions import AdvanceIndex, WriteStates
from thespian_dc.entity.derived import INDEX_EVERY_US, RETRY_US, STATES_EVERY_US, Derived
from thespian_dc.entity.rows import Kept
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit, make_commit

KEY = SliceKey("cart", 3)


def commit(base_offset: int, records: int) -> Commit:
    pairs = [("a", b"")] * records
    return make_commit(KEY, base_offset, bytes(16), 1, 0, pairs)


def owned(head: int = 0) -> Derived:
    derived = Derived(KEY, indexed=True)
    derived.on_owned(head, 0)
    return derived


def test_an_index_write_of_a_former_ownership_says_nothing_of_this_one() -> None:
    """Another host appended in between. Entities read up to where that write ended would be without
    the other host's records, and write their own under the same seq_nrs."""
    derived = owned()
    derived.on_durable(commit(0, 5), ["a"], 0)
    derived.add(Kept("a", 5, ("Total:1", b"state"), None), 4, 0)
    derived.on_lost()
    asked = [one for one in derived.on_time(RETRY_US * 2) if isinstance(one, AdvanceIndex)]
    [catching_up] = derived.on_owned(9, RETRY_US * 2)
    assert catching_up == AdvanceIndex(KEY, 9, ())
    for late in asked:
        derived.on_indexed(late, False, RETRY_US * 2)
    assert derived.behind
    assert derived.read_until("a") == derived.read_until("b") == 9
    derived.on_indexed(catching_up, False, RETRY_US * 2)
    assert not derived.behind
    assert derived.read_until("b") == 9


def test_after_a_loss_states_are_written_and_no_index() -> None:
    """The index is the new owner's; a state that is durable is as good as ever."""
    derived = owned()
    derived.on_durable(commit(0, 5), ["a"], 0)
    [first] = derived.on_time(INDEX_EVERY_US)
    derived.add(Kept("a", 5, ("Total:1", b"state"), None), 4, INDEX_EVERY_US)
    assert isinstance(first, AdvanceIndex)
    derived.on_lost()
    derived.on_indexed(first, True, INDEX_EVERY_US)
    later = INDEX_EVERY_US + max(RETRY_US, STATES_EVERY_US)
    [written] = derived.on_time(later)
    assert isinstance(written, WriteStates)
    derived.on_written(written, False, later)
    assert derived.due_us is None
    assert derived.idle
