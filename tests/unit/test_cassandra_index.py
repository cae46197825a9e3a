"""Index rows of several commits, by owners that cut differently, late, twice; read whole."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytest.importorskip("cassandra")

from thespian_dc.journal.cassandra.derived import _RUN_MAX, Derived, _runs
from thespian_dc.journal.cassandra.sealed import wrap, write_time
from thespian_dc.journal.reading import IndexRow
from thespian_dc.model.ids import SliceKey

KEY = SliceKey("cart", 3)


class Table(Derived):
    """One entity's index as Cassandra keeps it: by first seq_nr, the highest write time wins. It is
    its own link and statements, which answer what was bound."""

    def __init__(self) -> None:
        self.stored: dict[int, tuple[bytes, int]] = {}
        self._link: Any = self
        self._statements: Any = self

    def bind(self, *asked: Any) -> Any:
        return asked

    def all(self, bound: list[Any]) -> list[list[Any]]:
        return [self._rows(*asked) for asked in bound]

    def write(self, run: list[IndexRow]) -> None:
        places = [(row.last_seq_nr, row.base_offset) for row in run]
        first, time = run[0].first_seq_nr, write_time(run[-1].base_offset)
        if self.stored.get(first, (b"", -1))[1] <= time:
            self.stored[first] = (wrap("index row", KEY, places, "c", first), time)

    def _rows(self, name: str, *values: Any) -> list[Any]:
        if name == "index_at":
            below = [first for first in self.stored if first <= values[-1]]
            return [(first, *self.stored[first]) for first in below and [max(below)]]
        *_, after, limit = values
        above = sorted(first for first in self.stored if first > after)
        return [(first, *self.stored[first]) for first in above[:limit]]


def log(rng: random.Random, commits: int) -> list[IndexRow]:
    """One entity's share of a slice log: now and then a commit with very many of its records."""
    rows, seq_nr, offset = [], 1, 0
    for _ in range(commits):
        count = rng.choice((1, 1, 1, 2, 5, 40, _RUN_MAX - 1, _RUN_MAX, 3 * _RUN_MAX))
        rows.append(IndexRow("c", offset, seq_nr, seq_nr + count - 1))
        seq_nr, offset = seq_nr + count, offset + count + rng.randrange(50)
    return rows


@pytest.mark.parametrize("seed", range(60))
def test_overlapping_runs_are_read_whole(seed: int) -> None:
    """Owners start at different marks, write in any order, some of it late and twice; below the
    mark that the last one reached, no commit is missing from any seq_nr on."""
    rng = random.Random(seed)
    rows, table = log(rng, 60), Table()
    writes: list[list[IndexRow]] = []
    for _ in range(4):
        at = rng.randrange(20)
        while at < len(rows):
            step = rng.randint(1, 25)
            writes += _runs(rows[at : at + step])
            at += step
    at = 0
    while at < len(rows):  # one owner got through from the beginning
        step = rng.randint(1, 25)
        writes += _runs(rows[at : at + step])
        at += step
    rng.shuffle(writes)
    for run in writes:
        table.write(run)
    for from_seq_nr in {1, *(rng.randint(1, rows[-1].last_seq_nr) for _ in range(60))}:
        wanted = [row for row in rows if row.last_seq_nr >= from_seq_nr]
        assert table._indexed(KEY, "c", from_seq_nr) == wanted


def test_a_run_spans_less_than_its_bound_or_is_one_commit() -> None:
    """Readers rely on it to know how far back they must look."""
    for run in _runs(log(random.Random(1), 400)):
        assert len(run) == 1 or run[-1].last_seq_nr - run[0].first_seq_nr < _RUN_MAX
