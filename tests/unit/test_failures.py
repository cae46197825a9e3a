"""What a run does about failures, over a real database: how its end and its successor's beginning
fit together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thespian_dc.model.settings import Local, Projection
from thespian_dc.model.stream_errors import PositionStoreError
from thespian_dc.projection.api import SourceBatch, SqlProjectionHandler
from thespian_dc.projection.crashes import Extent
from thespian_dc.projection.databases import Stores, open_stores
from thespian_dc.projection.failures import Care, Failures

NAME = "popularity"


class Nothing(SqlProjectionHandler):
    def handle(self, event: Any, tx: Any) -> None: ...


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = open_stores(f"sqlite:///{tmp_path}/read.db")
    yield opened
    opened.database.close()


class Away:
    """Attempts of a database that does not answer when a run ends."""

    def __init__(self, stores: Stores) -> None:
        self.began, self.trying = stores.attempts.began, stores.attempts.trying

    def ended(self, *_: Any, **__: Any) -> None:
        raise PositionStoreError("db", "away")


def began(stores: Stores, care: Care) -> Failures:
    """A run that has claimed the slice."""
    settings = Projection(NAME, Local("cart"), Nothing, "sqlite:///read.db", [])
    failures = Failures(settings, stores, care)
    claimed = stores.positions.claim(NAME, [0], "j").slices
    failures.claimed({slice_: (row.epoch, row.position.offset) for slice_, row in claimed.items()})
    return failures


def extent(failures: Failures) -> Extent:
    return failures.extent(SourceBatch(0, 0, 5, 5, []), 0)


def test_an_end_that_could_not_be_noted_was_no_death(stores: Stores) -> None:
    """Of a run of this process: the database was away. Counted as deaths, three such ends would
    have an event refused that killed nobody. Another process cannot know."""
    care = Care(Projection(NAME, Local("cart"), Nothing, "sqlite:///read.db", []).recovery)
    away: Any = replace(stores, attempts=Away(stores))
    for _ in range(4):
        run = began(away, care)
        assert extent(run) is Extent.USUAL
        run.ended(PositionStoreError("db", "away"))
    other = began(stores, Care(care.core._policy))
    assert extent(other) is Extent.BATCH
    other.ended(None)
    assert extent(began(stores, care)) is Extent.USUAL


def test_who_served_the_slice_in_between_may_have_died(stores: Stores) -> None:
    """Its end is not ours to tell."""
    care = Care(Projection(NAME, Local("cart"), Nothing, "sqlite:///read.db", []).recovery)
    away: Any = replace(stores, attempts=Away(stores))
    began(away, care).ended(PositionStoreError("db", "away"))
    began(stores, Care(care.core._policy))
    assert extent(began(stores, care)) is Extent.BATCH
