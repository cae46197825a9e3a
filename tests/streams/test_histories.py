"""Consumers that want no full history, over gRPC: states that real entities stored, in places of
the events they stand for."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.streams.material import projection, rows
from tests.streams.pulling import (
    SLICES,
    Balance,
    Name,
    Pulling,
    deposits,
    settle,
    trim_all,
)
from thespian_dc.journal.api import Journal, apply_schema, open_journal
from thespian_dc.model.criteria import Criteria, Exclude, Filter, Include, VersionedFilter
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.history import History
from thespian_dc.model.position import Position
from thespian_dc.model.record import SNAPSHOT_META
from thespian_dc.model.settings import Local, Remote, Stream
from thespian_dc.model.stream_errors import HistoryRefusedError, TransformError
from thespian_dc.model.transformation import Transformation
from thespian_dc.projection.api import (
    Lookup,
    Projections,
    SourceBatch,
    SqlProjectionHandler,
    Transaction,
    local_source,
    start_projection,
)
from thespian_dc.stream.lookups import read_answer
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
from thespian_dc.wire.conversion import (
    Credit,
)
from thespian_dc.wire.lookups import LookUpAnswer, LookUpRequest, write_look_up


def balance(state: Envelope[dict[str, Any]]) -> Balance:
    assert state.meta == {SNAPSHOT_META: True}
    assert state.entity_type == "account"
    return Balance(state.payload["amount"])


async def balance_later(state: Envelope[dict[str, Any]]) -> Balance | None:
    return balance(state) if state.entity_id != "a-1" else None


def broken(state: Envelope[Any]) -> Balance:
    raise ValueError("no")


def name_of_state(state: ProfileState | None) -> Name:
    return Name("" if state is None else state.name)


def name_of_change(change: Renamed) -> Name:
    return Name("change")


TO_NAME = Transformation().payload(ProfileState, name_of_state).payload(Renamed, name_of_change)


def rich_only(original: Envelope[Any]) -> bool:
    """Withholds the states of the others too."""
    return type(original.payload) is not dict or original.payload["amount"] > 15


@pytest.fixture(params=["sqlite", pytest.param("cassandra", marks=pytest.mark.cassandra)])
def journal_url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/journal.db"
    url: str = request.getfixturevalue("cassandra_url")
    apply_schema(url)
    return url


@pytest.fixture
def journal(journal_url: str) -> Iterator[Journal]:
    opened = open_journal(journal_url)
    yield opened
    opened.close()


@pytest.fixture
def entities(journal: Journal) -> LocalEntities:
    return LocalEntities(Account, Profile, journal=journal, slices=SLICES)


@pytest.fixture
def pull(serve: Any) -> Iterator[Any]:
    """pull(stream, history): the only stream of a producer, pulled."""
    calls: list[Pulling] = []

    def begin(stream: Stream, history: History = History.FROM_SNAPSHOTS, **changes: Any) -> Pulling:
        _, port = serve(streams=(stream,), slices=SLICES)
        calls.append(Pulling(port, stream.stream_id, history, **changes))
        return calls[-1]

    yield begin
    for call in calls:
        call.close()


ACCOUNTS = Stream("accounts", Account, events=[Balance], from_snapshot=balance)


def test_a_consumer_begins_with_states_and_goes_on_with_events(
    entities: LocalEntities, journal: Journal, pull: Any
) -> None:
    """One event made of the snapshot, in its place; then what came later, also while connected."""
    deposits(entities, 23)
    call = pull(ACCOUNTS)
    seen = call.until(8)
    expected = [(20, Balance(20), True), *((n, Deposited(1), False) for n in (21, 22, 23))]
    assert seen == {"a-1": expected, "a-2": expected}
    entities.ask(Account, "a-1", Deposit(5))
    assert call.until(9)["a-1"][-1] == (24, Deposited(5), False)


def test_a_call_that_goes_on_brings_no_state_twice(
    entities: LocalEntities, journal: Journal, pull: Any
) -> None:
    deposits(entities, 12)
    first = pull(ACCOUNTS)
    first.until(6)
    positions = {b.slice: Position(b.next_offset, b.commits[-1].write_id) for b in first.batches}
    entities.ask(Account, "a-1", Deposit(1))
    seen = pull(ACCOUNTS, positions=positions, journal_id=journal.journal_id).until(1)
    assert seen == {"a-1": [(13, Deposited(1), False)]}


def test_a_function_may_be_asynchronous_and_leave_a_state_out(
    entities: LocalEntities, journal: Journal, pull: Any
) -> None:
    deposits(entities, 11)
    seen = pull(Stream("accounts", Account, events=[Balance], from_snapshot=balance_later)).until(3)
    assert seen["a-1"] == [(11, Deposited(1), False)]
    assert seen["a-2"] == [(10, Balance(10), True), (11, Deposited(1), False)]


def test_a_function_that_raises_is_named(
    entities: LocalEntities, journal: Journal, pull: Any
) -> None:
    deposits(entities, 10)
    error = pull(Stream("accounts", Account, events=[Balance], from_snapshot=broken)).error()
    assert isinstance(error, TransformError)
    assert "its state: ValueError: no" in str(error)


def test_a_durable_states_last_state_comes_and_then_every_later_one(
    entities: LocalEntities, journal: Journal, pull: Any
) -> None:
    """Also where the stream shows change events: one of them alone says nothing."""
    for n in range(5):
        entities.ask(Profile, "p-1", Put(f"name {n}"))
    settle(entities, "p-1", 5)
    call = pull(Stream("profiles", Profile), History.LATEST)
    assert call.until(1) == {"p-1": [(5, ProfileState("name 4"), True)]}
    by_type = pull(Stream("names", Profile, TO_NAME, [Name]), History.LATEST)
    assert by_type.until(1) == {"p-1": [(5, Name("name 4"), True)]}
    entities.ask(Profile, "p-1", Put("later"))
    (_, after, is_state) = call.until(2)["p-1"][-1]
    assert not is_state
    assert isinstance(after, ProfileState | Renamed)


def test_what_a_stream_cannot_give_is_refused_by_name(
    entities: LocalEntities, journal: Journal, pull: Any
) -> None:
    for stream, history, why in (
        (Stream("accounts", Account), History.FROM_SNAPSHOTS, "has no from_snapshot"),
        (ACCOUNTS, History.LATEST, "only a durable-state entity"),
        (Stream("profiles", "profile"), History.LATEST, "only a durable-state entity"),
    ):
        error = pull(stream, history).error()
        assert isinstance(error, HistoryRefusedError)
        assert why in str(error)
        assert history.name in str(error)


def test_a_trimmed_log_begins_with_the_states_it_left(
    entities: LocalEntities, journal: Journal, pull: Any
) -> None:
    """FULL: TrimmedError. FROM_SNAPSHOTS: the states below the mark, then the log."""
    deposits(entities, 20)
    trim_all(journal)
    entities.ask(Account, "a-1", Deposit(1))
    assert type(pull(ACCOUNTS, History.FULL).error()).__name__ == "TrimmedError"
    seen = pull(ACCOUNTS).until(3)
    assert seen["a-1"] == [(20, Balance(20), True), (21, Deposited(1), False)]
    assert seen["a-2"] == [(20, Balance(20), True)]


def test_events_that_were_trimmed_behind_a_state_are_not_passed_over(
    entities: LocalEntities, journal: Journal, pull: Any
) -> None:
    deposits(entities, 23)
    trim_all(journal)
    error = pull(ACCOUNTS).error()
    assert type(error).__name__ == "TrimmedError"
    assert "account|a-" in str(error)


def test_filters_of_both_ends_apply_to_states(
    entities: LocalEntities, journal: Journal, pull: Any
) -> None:
    """The consumer's by entity id; the stream's own is asked with the state."""
    deposits(entities, 12)
    only = VersionedFilter(
        1, Filter(exclude=Criteria(regexes=(".*",)), include=Criteria(entity_ids=("a-2",)))
    )
    seen = pull(ACCOUNTS, filter=only).until(3)
    assert list(seen) == ["a-2"]
    withheld = Stream("accounts", Account, events=[Balance], from_snapshot=balance,
                      filter=rich_only)  # fmt: skip
    for _ in range(10):
        entities.ask(Account, "a-1", Deposit(1))
    settle(entities, "a-1", 20)
    seen = pull(withheld).until(3 + 12)
    assert seen["a-1"] == [(20, Balance(20), True), *((n, Deposited(1), False) for n in (21, 22))]
    assert [(seq_nr, is_state) for seq_nr, _, is_state in seen["a-2"]] == [
        (n, False) for n in range(1, 13)
    ]


def look_up(pulling: Pulling, entity_id: str, from_seq_nr: int, history: History) -> Any:
    """The answer: (seq_nr, payload, is it made of a state) of each, and complete_through."""
    credit = Credit(1 << 20, 1000)
    request = LookUpRequest("accounts", entity_id, from_seq_nr, 0, 0, credit, history=history)
    ask = pulling.channel.unary_unary("/thespian_dc.v1.EventStreams/LookUp")
    answer = LookUpAnswer.FromString(ask(write_look_up(request)))
    found = read_answer(Lookup(entity_id, answer.slice, from_seq_nr), answer)
    pulling.seen.clear()
    pulling.take(SourceBatch(answer.slice, 0, 0, 0, found.commits))
    return pulling.seen[entity_id], found.complete_through


def test_a_lookup_begins_with_the_state_where_that_is_wanted(
    entities: LocalEntities, journal: Journal, pull: Any
) -> None:
    """Nothing wanted is older than it, or the events are answered; trimmed ones only so."""
    deposits(entities, 12)
    call = pull(ACCOUNTS)
    state, rest = (10, Balance(10), True), [(n, Deposited(1), False) for n in (11, 12)]
    assert look_up(call, "a-1", 1, History.FROM_SNAPSHOTS) == ([state, *rest], 12)
    assert look_up(call, "a-1", 10, History.FROM_SNAPSHOTS) == ([state, *rest], 12)
    assert look_up(call, "a-1", 11, History.FROM_SNAPSHOTS) == (rest, 12)
    events = [(n, Deposited(1), False) for n in range(1, 13)]
    assert look_up(call, "a-1", 1, History.FULL) == (events, 12)
    assert look_up(call, "nobody", 1, History.FROM_SNAPSHOTS) == ([], 0)
    with pytest.raises(grpc.RpcError) as caught:
        look_up(call, "a-1", 1, History.LATEST)
    failed: Any = caught.value
    assert failed.code() is grpc.StatusCode.FAILED_PRECONDITION
    for _ in range(8):
        entities.ask(Account, "a-1", Deposit(1))
    settle(entities, "a-1", 20)
    trim_all(journal)
    assert look_up(call, "a-1", 1, History.FROM_SNAPSHOTS) == ([(20, Balance(20), True)], 20)


class KeepBalance(SqlProjectionHandler):
    """A read model of balances, from states and deposits."""

    tables = "create table if not exists balance(who text primary key, amount integer)"

    def handle(self, event: Envelope[Any], tx: Transaction) -> None:
        add = "insert into balance values (?, ?) on conflict (who) do update set amount = "
        change = "excluded.amount" if type(event.payload) is Balance else "amount + excluded.amount"
        tx.execute(add + change, (event.entity_id, event.payload.amount))


def test_a_projection_says_which_history_it_wants(
    entities: LocalEntities, serve: Any, consume: Any, tmp_path: Any
) -> None:
    """A setting of its source, in Python; exactly once all the same."""
    deposits(entities, 23)
    _, port = serve(streams=(ACCOUNTS,), slices=SLICES)
    remote = Remote("accounts", f"127.0.0.1:{port}", history=History.FROM_SNAPSHOTS)
    read_model = tmp_path / "read.db"
    running, _ = consume(
        projection(read_model, remote, handler=KeepBalance, events=[Balance, Deposited])
    )

    def balances() -> dict[str, int]:
        with contextlib.suppress(sqlite3.OperationalError):  # no table yet
            return dict(rows(read_model, "select who, amount from balance"))
        return {}

    eventually(lambda: balances() == {"a-1": 23, "a-2": 23})
    entities.ask(Account, "a-1", Deposit(7))
    eventually(lambda: balances() == {"a-1": 30, "a-2": 23})
    assert running.status().error == ""


class Kinds(SqlProjectionHandler):
    """What came of whom, in order."""

    tables = "create table if not exists kinds(nr integer primary key, who, seq_nr, kind)"

    def handle(self, event: Envelope[Any], tx: Transaction) -> None:
        tx.execute(
            "insert into kinds(who, seq_nr, kind) values (?, ?, ?)",
            (event.entity_id, event.seq_nr, type(event.payload).__name__),
        )


@pytest.mark.parametrize("trimmed", [False, True])
def test_who_is_included_later_comes_by_its_state(
    entities: LocalEntities, journal: Journal, serve: Any, consume: Any, tmp_path: Any,
    trimmed: bool,
) -> None:  # fmt: skip
    """And what is behind it; also where the log is trimmed meanwhile."""
    deposits(entities, count := 20 if trimmed else 22)
    _, port = serve(streams=(ACCOUNTS,), slices=SLICES)
    remote = Remote("accounts", f"127.0.0.1:{port}", history=History.FROM_SNAPSHOTS)
    read_model, unwanted = tmp_path / "read.db", Exclude.entity_ids("a-1")
    settings = {"handler": Kinds, "events": [Balance, Deposited], "filter": unwanted}
    running, _ = consume(projection(read_model, remote, **settings))

    def came(who: str) -> Any:
        with contextlib.suppress(sqlite3.OperationalError):  # no table yet
            return rows(read_model, "select seq_nr, kind from kinds where who = ? order by nr", who)

    expected = [(20, "Balance"), *((nr, "Deposited") for nr in range(21, count + 1))]
    eventually(lambda: came("a-2") == expected)
    if trimmed:
        trim_all(journal)
    Projections(f"sqlite:///{read_model}").add_criteria("popularity", Include.entity_ids("a-1"))
    eventually(lambda: came("a-1") == expected, 20)
    entities.ask(Account, "a-1", Deposit(7))
    eventually(lambda: came("a-1") == [*expected, (count + 1, "Deposited")])
    assert came("a-2") == expected
    assert running.status().error == ""


class Noted(SqlProjectionHandler):
    """What came, in order."""

    tables = "create table if not exists noted(nr integer primary key, who, seq_nr, is_state)"

    def handle(self, event: Envelope[Any], tx: Transaction) -> None:
        is_state = bool(event.meta and event.meta.get(SNAPSHOT_META))
        if is_state:
            assert event.payload["amount"] == event.seq_nr, "a state as it is stored"
        tx.execute(
            "insert into noted(who, seq_nr, is_state) values (?, ?, ?)",
            (event.entity_id, event.seq_nr, is_state),
        )


@pytest.mark.parametrize("trimmed", [False, True])
def test_a_local_source_begins_with_states_too(
    entities: LocalEntities, journal: Journal, tmp_path: Any, trimmed: bool
) -> None:
    """As they are stored: the entity's own type, or a plain value."""
    deposits(entities, 20)
    if trimmed:
        trim_all(journal)
    entities.ask(Account, "a-2", Deposit(1))
    read_model = tmp_path / "read.db"
    local = Local("account", journal.url, History.FROM_SNAPSHOTS)
    running = start_projection(
        projection(read_model, local, handler=Noted, events=[Deposited]),
        lambda: local_source(local, ""),
    )

    def noted() -> list[Any]:
        with contextlib.suppress(sqlite3.OperationalError):  # no table yet
            return sorted(rows(read_model, "select who, seq_nr, is_state from noted"))
        return []

    try:
        eventually(lambda: noted() == [("a-1", 20, 1), ("a-2", 20, 1), ("a-2", 21, 0)])
        entities.ask(Account, "a-1", Deposit(1))
        eventually(lambda: ("a-1", 21, 0) in noted())
    finally:
        assert running.stop()
