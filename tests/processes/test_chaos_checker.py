"""The chaos checker finds each kind of damage: a check that cannot fail proves nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.processes.chaos.checker import Row, Stored, in_flight, violations
from tests.processes.chaos.history import ACKNOWLEDGED, ERROR, LOOK, PUT, UNKNOWN, Attempt

SECOND = 1_000_000


def good() -> tuple[list[Attempt], list[Stored], list[Row]]:
    """Two entities in two slices: three commands each, one of them sent again, one unknown."""
    history, records, book = [], list[Stored](), list[Row]()
    for slice_, entity_id in enumerate(("a", "b")):
        for n in range(3):
            number, sent = 10 * slice_ + n, 2 * n * SECOND
            done, id_, total = sent + 1000, f"c-{10 * slice_ + n}", 2 * n + 2
            outcome = UNKNOWN if n == 1 else ACKNOWLEDGED
            reply = None if n == 1 else (n + 1, total)
            history.append(
                Attempt(PUT, id_, entity_id, number, 2, sent, done, outcome, reply, "")
            )
            records.append(
                Stored(slice_, n, 1 + n // 2, bytes([slice_, n]), sent + 500, entity_id, n + 1,
                       id_, number, 2, total, "Noted/1")
            )  # fmt: skip
            book.append((entity_id, n + 1, number, 2))
        history.append(
            history[-1]._replace(sent_us=5 * SECOND, done_us=5 * SECOND + 1000)
        )
        history.append(
            Attempt(LOOK, "", entity_id, 0, 0, 7 * SECOND, 7 * SECOND + 9, ACKNOWLEDGED, (3, 6), "")
        )
    return history, records, book


Damage = Callable[[list[Attempt], list[Stored], list[Row]], object]


def _doubled(history: list[Attempt], records: list[Stored], book: list[Row]) -> None:
    again = records[2]._replace(offset=3, seq_nr=4, total=8)
    records.insert(3, again)
    book.append((again.entity_id, again.seq_nr, again.number, again.amount))


DAMAGE: dict[str, tuple[Damage, str]] = {
    "an acknowledged command is lost": (lambda h, r, b: (r.pop(), b.pop()), "LOST"),
    "a command is stored twice": (_doubled, "stored 2 times"),
    "a hole in offsets": (
        lambda h, r, b: r.__setitem__(2, r[2]._replace(offset=3)), "offset 3 follows 1",
    ),
    "a hole in seq_nr": (
        lambda h, r, b: r.__setitem__(1, r[1]._replace(seq_nr=3)), "seq_nr 3, expected 2",
    ),
    "an entity in two slices": (
        lambda h, r, b: r.append(r[0]._replace(slice=1, offset=3, seq_nr=4)), "is in slices",
    ),
    "an event that nobody asked for": (
        lambda h, r, b: r.__setitem__(1, r[1]._replace(command_id="x")), "foreign event",
    ),
    "an event with another amount": (
        lambda h, r, b: r.__setitem__(1, r[1]._replace(amount=9)), "foreign event",
    ),
    "a reply that was another's": (
        lambda h, r, b: h.__setitem__(0, h[0]._replace(reply=(2, 4))), "the journal has seq_nr 1",
    ),
    "two replies to one command": (
        lambda h, r, b: h.__setitem__(3, h[3]._replace(reply=(4, 8))), "the journal has seq_nr 3",
    ),
    "stored though it was said not to be": (
        lambda h, r, b: h.__setitem__(
            1, h[1]._replace(outcome=ERROR, error="CommandUnstableError")
        ),
        "nothing is persisted",
    ),
    "an old answer to a look": (
        lambda h, r, b: h.__setitem__(4, h[4]._replace(reply=(2, 4))), "stale",
    ),
    "a row that the projection lacks": (lambda h, r, b: b.pop(), "projection lacks"),
    "a row that it made up": (lambda h, r, b: b.append(("a", 9, 9, 9)), "the journal not"),
    "a row that it has twice": (lambda h, r, b: b.append(b[0]), "a row twice"),
}  # fmt: skip


def test_a_good_run_breaks_nothing() -> None:
    """Else every run would be bad."""
    assert violations(*good()) == []


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found(what: str) -> None:
    """One change in a good run, and what it is called."""
    history, records, book = good()
    damage, said = DAMAGE[what]
    damage(history, records, book)
    found = violations(history, records, book)
    assert any(said in one for one in found), found


def test_a_look_may_rest_on_an_ownership_of_a_second_ago() -> None:
    """So it need not know what was acknowledged within that second."""
    history, records, book = good()
    history[4] = history[4]._replace(
        sent_us=4 * SECOND + 2000, done_us=4 * SECOND + 3000, reply=(1, 2)
    )
    assert violations(history, records, book) == []


def test_an_append_in_flight_is_the_last_of_its_writer_and_was_answered_by_nobody() -> None:
    """Of the commits before a kill, only the one that nobody had heard of counts."""
    history, records, _ = good()
    killed_us = 2 * SECOND + 600  # the second commit of each slice is made, and unknown to all
    assert in_flight(history, records, killed_us, killed_us, True) == [b"\0\1", b"\1\1"]
    assert in_flight(history, records, 600, 600, True) == [], "their writer went on"
    assert in_flight(history, records, 600, 600, False) == [b"\0\0", b"\1\0"], "of a dead journal"
    assert in_flight(history, records, 1500, 1500, False) == [], "both were acknowledged"
