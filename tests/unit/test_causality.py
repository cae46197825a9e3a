"""The verdicts on what replicas send, against the definitions said another way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.entity.causality import KNOWN, is_late, judge, lacking

vectors = st.dictionaries(st.sampled_from("abc"), st.integers(1, 3))


@given(here=vectors, origin=st.sampled_from("abc"), n=st.integers(1, 4), there=vectors)
def test_an_event_is_known_new_or_early(
    here: dict[str, int], origin: str, n: int, there: dict[str, int]
) -> None:
    """Known where it is counted; new where it is next and all its origin had is here."""
    others = {replica: count for replica, count in there.items() if replica != origin}
    verdict = judge(here, origin, n, others)
    had = {(replica, k) for replica, count in here.items() for k in range(1, count + 1)}
    before = {(replica, k) for replica, count in others.items() for k in range(1, count + 1)}
    before |= {(origin, k) for k in range(1, n)}
    assert (verdict is KNOWN) == ((origin, n) in had)
    assert verdict.is_new == ((origin, n) not in had and before <= had)
    if verdict.is_new:
        assert verdict.concurrent == bool(had - before)
    elif verdict is not KNOWN:
        assert verdict.missing in before - had


@given(here=vectors, n=st.integers(1, 4), there=vectors)
def test_retired_slots_are_not_waited_for(
    here: dict[str, int], n: int, there: dict[str, int]
) -> None:
    """As if the origin had never seen that replica."""
    others = {replica: count for replica, count in there.items() if replica != "a"}
    without = {replica: count for replica, count in others.items() if replica != "c"}
    verdict, other = judge(here, "a", n, others, {"c"}), judge(here, "a", n, without)
    assert (verdict.is_new, verdict.missing) == (other.is_new, other.missing)


@given(here=vectors, there=vectors)
def test_lacking_is_the_difference(here: dict[str, int], there: dict[str, int]) -> None:
    """Event by event."""
    had, theirs = (
        {(replica, n) for replica, count in one.items() for n in range(1, count + 1)}
        for one in (here, there)
    )
    listed = lacking(here, there)
    assert {(o, n) for o, first, last in listed for n in range(first, last + 1)} == had - theirs
    assert all(first <= last for _, first, last in listed)


def test_a_replaced_leader_is_late() -> None:
    """Of an earlier epoch; of the same one, under which two were promoted, the lesser id. Nobody is
    where all are active."""
    assert is_late(1, "b", 2, "a")
    assert is_late(2, "a", 2, "b")
    assert not is_late(2, "b", 2, "b")
    assert not is_late(2, "b", 2, "a")
    assert not is_late(3, "a", 2, "b")
    assert not is_late(0, "a", 2, "b")
