"""A replica's journal is a source like any other: projections see the events of all replicas, or
those of its own alone."""

from __future__ import annotations

from pathlib import Path
from sqlite3 import OperationalError
from typing import Any, ClassVar

import pytest

from tests.streams.material import projection, rows
from tests.streams.running import projections
from tests.unit.replicas import Replica, settle
from tests.unit.replicated_entities import Chronicle, Noted, Write
from tests.unit.replicated_entities import texts as texts_of
from thespian_dc import Filter, Local, Remote, SqlProjectionHandler, Stream, own_origin
from thespian_dc.journal.api import open_journal
from thespian_dc.model.criteria import Criteria
from thespian_dc.projection.local import LocalSource
from thespian_dc.testkit.eventually import eventually, never

OWN = Filter(include=Criteria(tags=("of:eu",)), events_only=True)


class Texts(SqlProjectionHandler):
    tables: ClassVar[Any] = "create table if not exists texts(nr integer primary key, text)"

    def handle(self, event: Any, tx: Any) -> None:
        tx.execute("insert into texts(text) values (?)", (event.payload.text,))


class Current(SqlProjectionHandler):
    """The texts of one entity's state: a state stands for all before it."""

    tables: ClassVar[Any] = "create table if not exists texts(nr integer primary key, text)"

    def handle(self, event: Any, tx: Any) -> None:
        is_state = event.origin is None
        if is_state:
            tx.execute("delete from texts")
        for text in texts_of(event.payload) if is_state else [event.payload.text]:
            tx.execute("insert into texts(text) values (?)", (text,))


@pytest.fixture
def eu_and_us(tmp_path: Path) -> tuple[Replica, Replica, str]:
    """eu has a journal in a file; its URL."""
    url = f"sqlite:///{tmp_path}/eu.db"
    eu = Replica(Chronicle, "eu", ["eu", "us"], journal=open_journal(url))
    return eu, Replica(Chronicle, "us", ["eu", "us"], slices=1), url


@pytest.mark.parametrize(("wanted", "seen"), [
    (Filter(), ["eu 1", "eu 2", "us 1", "us 2", "us 3"]),
    (OWN, ["eu 1", "eu 2"]),
])  # fmt: skip
def test_a_projection_over_a_replica_sees_all_events_or_its_own(
    eu_and_us: tuple[Replica, Replica, str], tmp_path: Path, wanted: Filter,
    seen: list[str],
) -> None:  # fmt: skip
    """Each once, those that were there and those that come; own ones by a tag of their origin."""
    eu, us, url = eu_and_us
    eu.ask(Write(("eu 1",)))
    us.ask(Write(("us 1", "us 2")))
    settle(eu, us)
    read_model = tmp_path / "read.db"
    settings = projection(
        read_model, Local(Chronicle), handler=Texts, events=[Noted], filter=wanted
    )

    def texts() -> list[str]:
        try:
            return sorted(text for (text,) in rows(read_model, "select text from texts"))
        except OperationalError:  # the projection has not made it yet
            return []

    with projections() as run:
        run(settings, lambda: LocalSource("chronicle", url))
        us.ask(Write(("us 3",)))
        settle(eu, us)
        eu.ask(Write(("eu 2",)))
        eventually(lambda: texts() == seen)
        never(lambda: texts() != seen, within_s=0.2)


def test_a_stream_shows_what_was_written_at_its_replica(
    eu_and_us: tuple[Replica, Replica, str], tmp_path: Path, serve: Any, consume: Any
) -> None:
    """Or all of it, to whom another stream of the same log is given; heads and positions agree."""
    eu, us, url = eu_and_us
    eu.ask(Write(("eu 1",)))
    us.ask(Write(("us 1", "us 2")))
    settle(eu, us)
    eu.ask(Write(("eu 2",)))
    streams = (
        Stream("all", Chronicle), Stream("written-at-eu", Chronicle, filter=own_origin),
    )  # fmt: skip
    _, port = serve(journal=url, streams=streams, slices=eu.slices)
    seen = {}
    for name in ("all", "written-at-eu"):
        read_model = tmp_path / f"{name}.db"
        source = Remote(name, f"127.0.0.1:{port}")
        consume(projection(read_model, source, handler=Texts, events=[Noted]))

        def texts(read_model: Path = read_model) -> list[str]:
            try:
                return sorted(text for (text,) in rows(read_model, "select text from texts"))
            except OperationalError:  # the projection has not made it yet
                return []

        seen[name] = texts
    everything = ["eu 1", "eu 2", "us 1", "us 2"]
    eventually(lambda: seen["all"]() == everything)
    eventually(lambda: seen["written-at-eu"]() == ["eu 1", "eu 2"])
    us.ask(Write(("us 3",)))
    settle(eu, us)
    eventually(lambda: seen["all"]() == [*everything, "us 3"])
    never(lambda: seen["written-at-eu"]() != ["eu 1", "eu 2"], within_s=0.2)


def test_a_projection_that_saw_what_is_set_aside_since_sees_the_state_without_it(
    tmp_path: Path,
) -> None:
    """eu was active, and wrote on when us was."""
    url, read_model = f"sqlite:///{tmp_path}/eu.db", tmp_path / "read.db"
    roles: dict[str, Any] = {"active": "eu", "late_events": "set_aside"}
    eu = Replica(Chronicle, "eu", ["eu", "us"], journal=open_journal(url), **roles)
    us = Replica(Chronicle, "us", ["eu", "us"], slices=1, **roles)
    eu.ask(Write(("one",)))
    settle(eu, us)
    eu.ask(Write(("late",)))

    def shown() -> list[str]:
        try:
            return [text for (text,) in rows(read_model, "select text from texts order by nr")]
        except OperationalError:  # the projection has not made it yet
            return []

    with projections() as run:
        settings = projection(read_model, Local(Chronicle), handler=Current, events=[Noted])
        run(settings, lambda: LocalSource("chronicle", url))
        eventually(lambda: shown() == ["one", "late"])
        us.role(epoch=2, active="us")
        us.ask(Write(("two",)))
        settle(eu, us)
        us.ask(Write(("three",)))
        settle(eu, us)
        eventually(lambda: shown() == ["one", "two", "three"])
