"""What epochs and generations can be by now."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.model.replication import NUMBER_MAX, offset_in_origin
from thespian_dc.model.replication_handshake import Known
from thespian_dc.model.role_limits import (
    ALWAYS,
    BEGAN_US,
    check_attainable,
    most_epochs,
    most_generations,
)

YEAR_US = 366 * 86_400_000_000


@given(now_us=st.integers(0, BEGAN_US + 60 * YEAR_US), years=st.integers(0, 6))
def test_there_is_always_room_again_and_never_an_end(now_us: int, years: int) -> None:
    """A lie may reach what the clock allows, and no more: the next promotion, or generation, fits
    as soon as it went on."""
    assert most_epochs(now_us) >= ALWAYS
    later = max(now_us, BEGAN_US + ALWAYS * 256_000_000) + years * YEAR_US
    assert most_epochs(later + 1_000_000) == most_epochs(later) + 1
    assert most_generations(later + 256_000_000) == most_generations(later) + 1
    assert most_epochs(later) < NUMBER_MAX >> 30
    assert offset_in_origin(most_generations(later), (1 << 40) - 1) <= NUMBER_MAX


def test_what_honest_replicas_tell_passes_whatever_the_clock_says() -> None:
    check_attainable(Known((), ALWAYS, "a"), "cart", "b", 0)
