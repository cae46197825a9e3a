"""Real entities of several types, each type under its own public stream, over each kind of journal:
what they persisted is what consumers handle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.streams.material import projection, rows
from thespian_dc.entity.actor import DurableStateActor
from thespian_dc.journal.api import apply_schema, open_journal
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.settings import Local, Remote, Stream
from thespian_dc.projection.api import (
    SqlProjectionHandler,
    Transaction,
    local_source,
    start_projection,
)
from thespian_dc.testkit.entities import (
    Account,
    Deposit,
    Deposited,
    Profile,
    ProfileState,
    Put,
    Renamed,
)
from thespian_dc.testkit.eventually import eventually
from thespian_dc.testkit.local_entities import LocalEntities

SLICES = 4


class Note(DurableStateActor):
    """A plain dictionary as its state, no change events: nothing of it is registered anywhere."""

    entity_type = "note"

    def empty_state(self) -> dict[str, str]:
        return {}

    def receiveMsg_dict(self, state: dict[str, str], sender: Any) -> None:
        self.persist(state).then_reply(lambda state: self.seq_nr)

    def receiveMsg_str(self, _: str, sender: Any) -> None:
        self.delete().then_reply(lambda state: self.seq_nr)


@dataclass(frozen=True, slots=True)
class LargeDeposit:
    """Public."""

    amount: int


@dataclass(frozen=True, slots=True)
class Gone:
    """Public: a profile was deleted."""


def large_only(event: Envelope[Any]) -> LargeDeposit | None:
    return LargeDeposit(event.payload.amount) if "large" in event.tags else None


def gone_only(event: Envelope[Any]) -> Gone | None:
    return Gone() if event.payload is None else None


class Record(SqlProjectionHandler):
    """Writes down what it saw, in order."""

    tables = "create table if not exists saw(nr integer primary key, who, seq_nr, manifest, what)"

    def handle(self, event: Envelope[Any], tx: Transaction) -> None:
        payload = event.payload if type(event.payload) is dict else repr(event.payload)
        tx.execute(
            "insert into saw(who, seq_nr, manifest, what) values (?, ?, ?, ?)",
            (event.entity_id, event.seq_nr, event.manifest, json.dumps(payload)),
        )


def saw(path: Path, who: str = "") -> list[tuple[int, str, Any]]:
    """(seq_nr, manifest, payload) of one entity or of all; empty before the table is there."""
    try:
        found = rows(path, "select who, seq_nr, manifest, what from saw order by nr")
    except Exception:
        return []
    return [(nr, kind, json.loads(what)) for id_, nr, kind, what in found if who in ("", id_)]


@pytest.fixture(params=["sqlite", pytest.param("cassandra", marks=pytest.mark.cassandra)])
def journal_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/journal.db"
    url: str = request.getfixturevalue("cassandra_url")
    apply_schema(url)
    return url


@pytest.fixture
def entities(journal_url: str) -> Iterator[LocalEntities]:
    journal = open_journal(journal_url)
    yield LocalEntities(Account, Profile, Note, journal=journal, slices=SLICES)
    journal.close()


STREAMS = (
    Stream("accounts", Account),
    Stream("large", Account, large_only, [LargeDeposit]),
    Stream("profiles", Profile),
    Stream("gone", Profile, gone_only, [Gone]),
    Stream("notes", Note),
)
EVENTS: dict[str, list[Any]] = {
    "accounts": [Deposited], "large": [LargeDeposit], "profiles": [ProfileState, Renamed],
    "gone": [Gone], "notes": [],
}  # fmt: skip
NOTE = [
    (1, "$value", {"text": "a"}), (2, "$value", {"text": "b"}), (3, "$deleted", "None"),
    (4, "$value", {"text": "c"}),
]  # fmt: skip


def act(entities: LocalEntities) -> None:
    """Something of everything."""
    for n in range(20):
        entities.ask(Account, f"a-{n % 5}", Deposit(n * 100 + 1))
    for n in range(3):
        entities.ask(Profile, "p-1", Put(f"name {n}"))
    entities.ask(Profile, "p-1", "delete")
    for text in ("a", "b", "", "c"):
        entities.ask(Note, "n-1", {"text": text} if text else "delete")


def test_each_stream_shows_its_own_type(
    entities: LocalEntities, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """Five streams over three types of one journal, history and what comes while connected."""
    act(entities)
    _, port = serve(streams=STREAMS)
    for name, events in EVENTS.items():
        remote = Remote(name, f"127.0.0.1:{port}")
        consume(projection(tmp_path / name, remote, name=name, handler=Record, events=events))
    eventually(lambda: len(saw(tmp_path / "accounts")) == 20, 20)
    entities.ask(Account, "a-1", Deposit(5000, in_parts=2))
    eventually(lambda: len(saw(tmp_path / "accounts")) == 22, 20)
    amounts = [what for _, _, what in saw(tmp_path / "accounts", "a-1")]
    assert amounts == [f"Deposited(amount={n})" for n in (101, 601, 1101, 1601, 5000, 5000)]
    large = eventually(lambda: len(found := saw(tmp_path / "large")) == 12 and found, 20)
    assert {kind for _, kind, _ in large} == {"LargeDeposit/1"}
    profile = eventually(lambda: len(found := saw(tmp_path / "profiles")) == 4 and found, 20)
    assert [kind for _, kind, _ in profile] == ["Renamed/1"] * 3 + ["$deleted"]
    assert eventually(lambda: saw(tmp_path / "gone"), 20) == [(4, "Gone/1", "Gone()")]
    assert eventually(lambda: len(found := saw(tmp_path / "notes")) == 4 and found, 20) == NOTE


def test_the_same_projection_over_the_local_journal(
    entities: LocalEntities, journal_url: str, tmp_path: Path
) -> None:
    """A projection cannot tell where its batches come from."""
    act(entities)
    settings = projection(tmp_path / "notes", Local("note"), handler=Record)
    running = start_projection(settings, lambda: local_source(Local("note"), journal_url))
    try:
        assert eventually(lambda: len(found := saw(tmp_path / "notes")) == 4 and found, 20) == NOTE
        entities.ask(Note, "n-1", {"text": "d"})
        eventually(lambda: saw(tmp_path / "notes")[4:] == [(5, "$value", {"text": "d"})], 20)
    finally:
        assert running.stop()
