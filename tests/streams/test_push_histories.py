"""A destination that wants no full history: events made of the states of real entities in places of
what they stand for, each written once, as events of its own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.streams.pulling import SLICES, Balance, deposits, settle, trim_all
from tests.streams.pushing import FAR_SLICES, came_from, destination, error_of, forget, stored
from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.criteria import Exclude, Filter
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.history import History
from thespian_dc.model.record import SNAPSHOT_META
from thespian_dc.model.settings import Push, Stream
from thespian_dc.stream import push_core as key
from thespian_dc.stream.destination_filters import set_destination_filter
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.stream.server import StreamServer
from thespian_dc.testkit.entities import Account, Deposit, Profile, Put
from thespian_dc.testkit.eventually import eventually, never
from thespian_dc.testkit.local_entities import LocalEntities


def balance(state: Envelope[dict[str, Any]]) -> Balance:
    return Balance(state.payload["amount"])


ACCOUNTS = Stream("carts", Account, events=[Balance], from_snapshot=balance)


class Pair:
    """A node that pushes this journal's entities, and the one that takes them."""

    def __init__(self, shop_url: str, far_url: str) -> None:
        self._shop_url, self.far_url = shop_url, far_url
        self._servers: list[StreamServer] = []

    def connect(self, stream: Stream, history: History, **changes: Any) -> StreamServer:
        """Both, anew; the pusher is returned."""
        self.stop()
        setting = destination(history=history, **changes)
        far = StreamServer(StartProducer("far", self.far_url, (), "127.0.0.1:0", FAR_SLICES,
                                         destinations=(setting,)))  # fmt: skip
        self._servers.append(far)
        push = Push(stream, f"127.0.0.1:{far.start()}")
        shop = StreamServer(
            StartProducer("shop", self._shop_url, (), "", FAR_SLICES, pushes=(push,))
        )
        self._servers.append(shop)
        shop.start()
        return shop

    def stop(self) -> None:
        while self._servers:
            self._servers.pop().stop()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = open_journal(f"sqlite:///{tmp_path}/shop.db")
    yield opened
    opened.close()


@pytest.fixture
def entities(journal: Journal) -> LocalEntities:
    return LocalEntities(Account, Profile, journal=journal, slices=SLICES)


@pytest.fixture
def pair(journal: Journal, tmp_path: Path) -> Iterator[Pair]:
    found = Pair(journal.url, f"sqlite:///{tmp_path}/far.db")
    yield found
    found.stop()


def come(pair: Pair, entity_id: str, seq_nrs: list[int]) -> bool:
    return came_from(pair.far_url, entity_id) == seq_nrs


def test_a_destination_begins_with_states_each_written_once(
    entities: LocalEntities, pair: Pair
) -> None:
    """One event made of the snapshot, then the later ones, with seq_nrs of their own. The log there
    has no snapshot in it: what was made of one says so under another key."""
    deposits(entities, 23)
    pair.connect(ACCOUNTS, History.FROM_SNAPSHOTS)
    for entity_id in ("a-1", "a-2"):
        eventually(partial(come, pair, entity_id, [20, 21, 22, 23]))
    entities.ask(Account, "a-1", Deposit(1))
    eventually(lambda: come(pair, "a-1", [20, 21, 22, 23, 24]))
    first, second, *_ = stored(pair.far_url)["a-1"]
    assert first.meta is not None
    assert second.meta is not None
    assert (first.meta[key.SNAPSHOT], SNAPSHOT_META in first.meta) == (True, False)
    assert key.SNAPSHOT not in second.meta
    pair.stop()
    forget(pair.far_url, SLICES)  # as after a crash before any position was stored
    pair.connect(ACCOUNTS, History.FROM_SNAPSHOTS)
    entities.ask(Account, "a-2", Deposit(1))
    eventually(lambda: come(pair, "a-2", [20, 21, 22, 23, 24]))
    never(lambda: not come(pair, "a-1", [20, 21, 22, 23, 24]), within_s=0.3)


def test_a_trimmed_log_is_taken_from_its_states(
    entities: LocalEntities, journal: Journal, pair: Pair
) -> None:
    """With the full history the push is refused by name, and it is once the setting says so."""
    deposits(entities, 20)
    trim_all(journal)
    entities.ask(Account, "a-1", Deposit(1))
    refused = pair.connect(ACCOUNTS, History.FULL)
    eventually(lambda: "TrimmedError" in error_of(refused))
    assert stored(pair.far_url) == {}
    pair.connect(ACCOUNTS, History.FROM_SNAPSHOTS)
    eventually(lambda: come(pair, "a-1", [20, 21]))
    eventually(lambda: come(pair, "a-2", [20]))


def test_who_is_let_in_later_comes_by_its_state_before_what_is_new(
    entities: LocalEntities, pair: Pair
) -> None:
    """The log is gone back through in the same manner as at the beginning."""
    deposits(entities, 10)
    pair.connect(ACCOUNTS, History.FROM_SNAPSHOTS, filter=Exclude.entity_ids("a-1"))
    eventually(lambda: come(pair, "a-2", [10]))
    for _ in range(20):
        entities.ask(Account, "a-1", Deposit(1))
    settle(entities, "a-1", 30)
    far = open_journal(pair.far_url)
    set_destination_filter(far, "carts", Filter())
    far.close()
    eventually(lambda: come(pair, "a-1", [30]))
    entities.ask(Account, "a-1", Deposit(1))
    eventually(lambda: come(pair, "a-1", [30, 31]))
    assert come(pair, "a-2", [10])


def test_of_a_durable_state_the_last_one_is_enough(entities: LocalEntities, pair: Pair) -> None:
    for n in range(5):
        entities.ask(Profile, "p-1", Put(f"name {n}"))
    settle(entities, "p-1", 5)
    pair.connect(Stream("carts", Profile), History.LATEST)
    eventually(lambda: come(pair, "p-1", [5]))
    entities.ask(Profile, "p-1", Put("later"))
    eventually(lambda: come(pair, "p-1", [5, 6]))


def test_a_history_that_the_stream_cannot_give_is_refused_by_name(
    entities: LocalEntities, pair: Pair
) -> None:
    entities.ask(Account, "a-1", Deposit(1))
    refused = pair.connect(Stream("carts", Account), History.FROM_SNAPSHOTS)
    eventually(lambda: "HistoryRefusedError" in error_of(refused))
    assert stored(pair.far_url) == {}
