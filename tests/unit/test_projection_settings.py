"""What settings of projections are refused, before anything is created; and what a handler is that
cannot be built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from thespian_dc import (
    GroupedHandler,
    GroupedSqlHandler,
    ProjectionHandler,
    ProjectionHooks,
    SqlProjectionHandler,
)
from thespian_dc.model.criteria import Exclude
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.handler_errors import HandlerNotStartedError
from thespian_dc.model.projection_errors import RebuildUnsupportedError
from thespian_dc.model.settings import Destination, Local, Projection, Settings, Stream
from thespian_dc.node_checks import check_settings
from thespian_dc.projection.kinds import kind_of
from thespian_dc.projection.sqlite.database import SqliteDatabase
from thespian_dc.projection.wishes import rebuilt


class Added:
    pass


class Count(SqlProjectionHandler):
    def handle(self, event: Any, tx: Any) -> None:
        """Nothing to do."""


class Later(SqlProjectionHandler):
    async def handle(self, event: Any, tx: Any) -> None:  # type: ignore[override]
        """Nobody awaits it."""


class FlushedLater(ProjectionHandler):
    def handle(self, event: Any) -> None:
        """Nothing to do."""

    async def flush(self) -> None:  # type: ignore[override]
        """Nobody awaits it."""


class Piecemeal(ProjectionHandler):
    def handle(self, event: Any) -> Iterator[int]:  # type: ignore[override]
        yield 1


class Silent(ProjectionHandler):
    """It says nothing about events."""


class HooksLater(ProjectionHooks):
    async def positions(self, *what: Any) -> None:  # type: ignore[override]
        """Nobody awaits it."""


class WithUrl(SqlProjectionHandler):
    def __init__(self, url: str) -> None:
        self.url = url

    def handle(self, event: Any, tx: Any) -> None:
        """Nothing to do."""


def three(event: Any, tx: Any, other: Any) -> None:
    """Nobody gives it three."""


async def later(event: Any, tx: Any) -> None:
    """Nobody awaits it."""


def count(**changes: Any) -> Projection:
    plain: dict[str, Any] = {
        "name": "count", "source": Local("cart"), "handler": Count, "positions": "sqlite:///c.db",
        "events": [Added],
    }  # fmt: skip
    return Projection(**(plain | changes))


ONE: Any = Added
A_LIST = "events must be a list of classes"
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "async handle": (lambda: count(handler=Later), r"Later\.handle must not be async"),
    "async flush": (lambda: count(handler=FlushedLater), r"FlushedLater\.flush must not be async"),
    "generator": (lambda: count(handler=Piecemeal), r"Piecemeal\.handle must not be .*generator"),
    "async function": (lambda: count(handler=later), "later must not be async"),
    "async hook": (lambda: count(hooks=HooksLater), r"HooksLater\.positions must not be async"),
    "one class": (lambda: count(events=Added), A_LIST),
    "stream's": (lambda: Stream("s", "cart", events=ONE), A_LIST),
    "destination's": (lambda: Destination("s", "cart", {"a": "a"}, events=ONE), A_LIST),
    "a topic": (lambda: count(filter="public/#"), r"filter must be criteria, .*not 'public/#'"),
    "an object": (lambda: count(handler=Count()), "handler must be a class or function at the top"),
    "a path": (lambda: count(positions="c.db"), "positions must be 'sqlite:///path' or"),
    "a journal": (lambda: count(positions="memory:"), "positions must be 'sqlite:///path' or"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    make, text = REFUSED[case]
    with pytest.raises(SettingsError, match=text):
        make()


def test_what_is_allowed() -> None:
    allowed = count(filter=Exclude.tags("internal"), positions="cassandra://db/read")
    assert allowed.events == [Added]


MISFITS: dict[str, tuple[Any, str, str]] = {
    "without handle": (Silent, "at-least-once", "Silent defines no handle"),
    "of no kind": (Added, "exactly-once", "Added must be a subclass of SqlProjectionHandler"),
    "at least once in SQL": (Count, "at-least-once", "Count can be delivered 'exactly-once', not"),
    "a function of three": (three, "exactly-once", r"three must take .* not 3 arguments"),
    "a builtin": (min, "at-least-once", r"min must take \(envelope\) or .* no signature of it"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_handler_that_does_not_fit_is_refused_by_who_starts_the_node(case: str) -> None:
    """Not by a worker alone, whose node is up by then; nothing is built for it."""
    handler, delivery, text = MISFITS[case]
    misfit = count(handler=handler, delivery=delivery)
    for refuse in (kind_of, lambda one: check_settings(Settings("shop", projections=[one]), True)):
        with pytest.raises(SettingsError, match=text):
            refuse(misfit)


REBUILDS = {
    "sql": (SqlProjectionHandler, "exactly-once"),
    "grouped sql": (GroupedSqlHandler, "exactly-once"),
    "plain": (ProjectionHandler, "at-least-once"),
    "grouped": (GroupedHandler, "at-least-once"),
}


@pytest.mark.parametrize("kind", REBUILDS)
def test_each_kind_of_handler_may_rebuild(kind: str, tmp_path: Path) -> None:
    """By a method of its own, given the transaction where there is one; without it, not at all."""
    base, delivery = REBUILDS[kind]
    called: list[Any] = []
    able = type("Able", (base,), {"rebuild": lambda _, *tx: called.append(tx)})
    database = SqliteDatabase(f"sqlite:///{tmp_path}/read.db")
    try:
        for handler in (base, able):
            settings = count(handler=handler, delivery=delivery)
            with nullcontext() if handler is able else pytest.raises(RebuildUnsupportedError):
                rebuilt(settings, database)()
    finally:
        database.close()
    assert called == [(database.transaction,) if "sql" in kind else ()]


def test_a_handler_that_cannot_be_built_is_named() -> None:
    said = r"WithUrl\(\), built without arguments, raised TypeError: .*'url'"
    with pytest.raises(HandlerNotStartedError, match=said):
        kind_of(count(handler=WithUrl))
