"""What is wished of a projection in a real Cassandra, where a process dies half way or an answer is
lost, and what a worker asks of the server."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

pytest.importorskip("cassandra")

from cassandra import OperationTimedOut

from tests.streams.material import SLICES
from thespian_dc.journal.cassandra.link import Link
from thespian_dc.model.errors import JournalUnavailableError
from thespian_dc.model.projection_errors import ChangeUnknownError
from thespian_dc.projection.cassandra.performing import Performing
from thespian_dc.projection.control import DONE, OPEN, POSITION, REBUILD, SKIP
from thespian_dc.projection.databases import open_control
from thespian_dc.projection.observe import Activity
from thespian_dc.projection.worker import Worker
from thespian_dc.testkit.eventually import eventually, never

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def keyspace(cassandra: Any) -> str:
    """One for this file; each test has a projection of its own name in it."""
    from thespian_dc.projection.cassandra.schema import apply_schema

    url: str = cassandra.url(f"w_{uuid.uuid4().hex[:12]}")
    apply_schema(url)
    return url


def test_an_idle_worker_asks_little_of_the_server(
    keyspace: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four small reads a second to notice a wish, and its beat twice a second."""
    asked = {"reads": 0, "conditional": 0}

    def counting(method: str, what: str) -> None:
        real = getattr(Link, method)

        def call(*arguments: Any) -> Any:
            asked[what] += 1
            return real(*arguments)

        monkeypatch.setattr(Link, method, call)

    worker = Worker(name, "a", open_control(keyspace, 1.0), Activity, lambda: None)
    worker.start()
    try:
        worker.take(SLICES)
        eventually(lambda: worker.take() == frozenset(range(SLICES)), 60)
        counting("rows", "reads")
        counting("decide", "conditional")
        began_s = time.monotonic()

        def too_much() -> bool:
            reads, conditional = asked["reads"], asked["conditional"]
            lasted_s = time.monotonic() - began_s
            return reads > 8 + 6 * lasted_s or conditional > 1 + 2 * lasted_s

        never(too_much, within_s=2.0)
        eventually(lambda: asked["conditional"] >= 2)  # it does beat
    finally:
        worker.stop(10)


# --- half done, and outcomes nobody knows ---


class LostError(Exception):
    """The process dies here."""


@pytest.mark.parametrize("kind", [POSITION, SKIP])
def test_a_wish_whose_doer_died_is_done_once(
    stores: Any, name: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """After the position was set and before anybody was told: it cannot be withdrawn, and whoever
    finds it does not do it again, also where a later wish was done first."""
    first, second = stores(), stores()
    first.positions.claim(name, [0], "j")
    wish = first.control.wish(name, kind, 0, 0, 0)
    after = wish.offset + (kind == SKIP)
    end = type(first.control)._end

    def dies(*_: Any, **__: Any) -> Any:
        raise LostError

    monkeypatch.setattr(type(first.control), "_end", dies)
    with pytest.raises(LostError):
        first.control.perform(name, wish.nr)
    monkeypatch.setattr(type(first.control), "_end", end)
    assert first.positions.load(name).slices[0].epoch == 2
    assert second.control.withdraw(name, wish.nr).state == OPEN
    later = second.control.wish(name, POSITION, 0, 9, after)
    assert second.control.perform(name, later.nr).state == DONE
    assert second.control.perform(name, wish.nr).state == DONE
    assert second.control.offsets(name) == {0: 9}
    assert first.positions.load(name).slices[0].epoch == 3


def test_a_rebuild_whose_doer_died_is_done_by_the_next(
    stores: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its beginning: the handler deletes again. How far it is to go is kept from before."""
    first, second = stores(), stores()
    first.positions.claim(name, [0, 1], "j")
    for slice_ in (0, 1):
        first.control.perform(name, first.control.wish(name, POSITION, slice_, 5, 0).nr)
    wish = first.control.wish(name, REBUILD, -1, 0, None)
    reset = Performing._reset

    def dies(self: Any, place: Any, position: Any) -> None:
        if place[1] == 1:
            raise LostError
        reset(self, place, position)

    monkeypatch.setattr(Performing, "_reset", dies)
    with pytest.raises(LostError):
        first.control.perform(name, wish.nr)
    monkeypatch.setattr(Performing, "_reset", reset)
    assert second.control.offsets(name) == {0: 0, 1: 5}
    deleted: list[int] = []
    assert second.control.perform(name, wish.nr, lambda: deleted.append(1)).state == DONE
    assert deleted == [1]
    assert second.control.offsets(name) == {0: 0, 1: 0}
    assert second.control.rebuild_to(name) == {0: 5, 1: 5}


@pytest.mark.parametrize("fault", ["lost", "unsent"])
@pytest.mark.parametrize("nth", range(1, 5))
def test_an_unknown_outcome_is_never_guessed(
    stores: Any, name: str, monkeypatch: pytest.MonkeyPatch, fault: str, nth: int
) -> None:
    """Of any write of a wish (added, begun, done, ended): it is found to stand, or the caller is
    told; either way the position moves once."""
    found = stores()
    found.positions.claim(name, [0], "j")
    real, sent = Link.decide, [0]

    def decide(link: Link, statement: Any) -> dict[str, Any]:
        sent[0] += 1
        if sent[0] != nth:
            return real(link, statement)
        if fault == "lost":
            real(link, statement)
        raise JournalUnavailableError(link.url, "late") from OperationTimedOut()

    monkeypatch.setattr(Link, "decide", decide)
    told = False
    try:
        wish = found.control.wish(name, SKIP, 0, 0, 0)
        assert found.control.perform(name, wish.nr).state == DONE
    except ChangeUnknownError as error:
        told = "not known whether" in str(error)
    monkeypatch.setattr(Link, "decide", real)
    for wish in found.control.control(name).open:
        assert found.control.perform(name, wish.nr).state == DONE
    added = not (fault == "unsent" and nth == 1)
    assert found.control.offsets(name) == {0: int(added)}
    assert found.positions.load(name).slices[0].epoch == 1 + added
    assert told == (fault == "unsent" and nth != 3)
