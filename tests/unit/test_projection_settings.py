"""What settings of projections are refused, before anything is created; and what a handler is that
cannot be built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from thespian_dc import ProjectionHandler, ProjectionHooks, SqlProjectionHandler
from thespian_dc.model.criteria import Exclude
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.handler_errors import HandlerNotBuiltError
from thespian_dc.model.settings import Destination, Local, Projection, Stream
from thespian_dc.projection.kinds import kind_of


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


def test_a_handler_without_handle_is_refused() -> None:
    """When a run builds it, as every other misfit of handler and delivery."""
    with pytest.raises(SettingsError, match="Silent defines no handle"):
        kind_of(count(handler=Silent, delivery="at-least-once"))


def test_a_handler_that_cannot_be_built_is_named() -> None:
    with pytest.raises(HandlerNotBuiltError, match=r"WithUrl.*'url'.*without arguments"):
        kind_of(count(handler=WithUrl))
