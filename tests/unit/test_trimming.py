"""What may be deleted of a replica's log: what all have passed, and stored states contain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli_journal import Added, fill, sqlite_url
from thespian_dc.cli.main import main
from thespian_dc.entity.role_registry import Seen, begin_roles, note_seen
from thespian_dc.journal.api import Journal, StateRow, open_journal
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.role_errors import ReplicationWishError
from thespian_dc.projection.consumers import (
    CONSUMERS_MAX,
    DAY_US,
    Consumer,
    Held,
    forget_consumer,
    note_consumer,
    noted_consumers,
)
from thespian_dc.replication import wishes
from thespian_dc.replication.management import Replicas
from thespian_dc.replication.trimming import (
    covered,
    lacking_states,
    limit_of,
    uncovered,
)
from thespian_dc.shell.clock import now_us
from thespian_dc.stream.lookups import first_offset

SETTING = Replication("cart", "eu", peers=[Peer("us"), Peer("ap")])
SLICE = slice_of("c-1", 4)
KEY = SliceKey("cart", SLICE)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Six events of one entity."""
    where = sqlite_url(tmp_path)
    fill(where, [("c-1", Added("apple")) for _ in range(6)])
    return where


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    opened = open_journal(url)
    begin_roles(opened, SETTING)
    wishes.beat(opened, "cart", wishes.Beat(1, SETTING.replicas))  # its node does not run now
    yield opened
    opened.close()


def seen(journal: Journal, peer: str, offset: int, generation: int = 0) -> None:
    note_seen(journal, "cart", peer, Seen(generation, (offset,) * 4, now_us()))


def keep_state(journal: Journal, offset: int) -> None:
    journal.write_states(KEY, [StateRow("c-1", offset + 1, offset, b"state")])


def trimmed(url: str, *arguments: str) -> dict[str, object]:
    command = ["replication", "trim", "--type", "cart", "--journal", url, "--json", *arguments]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout.splitlines()[SLICE])
    return found


# --- what holds ---


def test_what_all_have_and_a_state_contains_is_deleted(url: str, journal: Journal) -> None:
    seen(journal, "us", 4)
    seen(journal, "ap", 5)
    keep_state(journal, 4)
    assert trimmed(url, "--dry-run")["after"] == 4
    assert first_offset(journal, KEY) == 0
    row = trimmed(url)
    assert (row["before"], row["after"], row["head"]) == (0, 4, 6)
    assert row["held"] == [{"by": "replica us", "offset": 4}]
    assert first_offset(journal, KEY) == 4
    assert [one.record.seq_nr for one in journal.read_entity(KEY, "c-1", 5)] == [5, 6]
    assert trimmed(url)["before"] == 4


def test_a_replica_that_never_said_anything_holds_all(url: str, journal: Journal) -> None:
    seen(journal, "us", 6)
    keep_state(journal, 5)
    row = trimmed(url)
    assert row["after"] == 0
    assert row["held"] == [{"by": "replica ap, which never said how far it is", "offset": 0}]
    assert trimmed(url, "--without", "ap")["after"] == 6


def test_what_was_said_of_an_earlier_life_holds_all(url: str, journal: Journal) -> None:
    seen(journal, "us", 6, generation=3)
    seen(journal, "ap", 6)
    keep_state(journal, 5)
    assert trimmed(url)["after"] == 0


def test_an_entity_without_a_state_holds_its_slice(url: str, journal: Journal) -> None:
    seen(journal, "us", 6)
    seen(journal, "ap", 6)
    row = trimmed(url)
    assert row["after"] == 0
    assert row["held"] == [{"by": "entity c-1, of which no state is stored", "offset": 0}]
    keep_state(journal, 2)
    assert trimmed(url)["after"] == 3


def test_a_projection_holds_what_it_has_not_passed(url: str, journal: Journal) -> None:
    seen(journal, "us", 6)
    seen(journal, "ap", 6)
    keep_state(journal, 5)
    note_consumer(journal, "cart", "carts to shop/counts", {SLICE: 2}, now_us())
    assert trimmed(url)["after"] == 2
    note_consumer(journal, "cart", "carts to shop/counts", {SLICE: 4}, now_us() - 8 * DAY_US)
    assert trimmed(url, "--consumer-days", "9")["after"] == 4
    assert trimmed(url)["after"] == 6


def test_nothing_is_deleted_where_nobody_knows_the_group(url: str) -> None:
    opened = open_journal(url)
    begin_roles(opened, SETTING)
    opened.close()
    with pytest.raises(ReplicationWishError, match="not known"):
        Replicas(url, "cart").trim()


# --- the parts ---

offsets = st.integers(0, 10)
said = st.one_of(st.none(), st.builds(Seen, st.integers(0, 1), st.tuples(offsets), st.just(1)))
consumers = st.builds(
    Consumer, st.just("c"), st.integers(0, 20), st.dictionaries(st.integers(0, 1), offsets)
)


@given(
    head=offsets, replicas=st.dictionaries(st.sampled_from("abc"), said),
    reading=st.lists(consumers, max_size=3), since_us=st.integers(0, 20),
)  # fmt: skip
def test_the_limit_is_never_above_what_anybody_has(
    head: int, replicas: dict[str, Seen | None], reading: list[Consumer], since_us: int
) -> None:
    limit, held = limit_of(0, head, 1, replicas, reading, since_us)
    assert 0 <= limit <= head
    for one in replicas.values():
        has = one.offsets[0] if one is not None and one.generation == 1 else 0
        assert limit <= max(has, 0)
    for consumer in reading:
        if consumer.time_us >= since_us:
            assert limit <= consumer.offsets.get(0, head)
    assert (limit == head) == (not held)
    assert held == sorted(held, key=lambda one: one.offset)


def test_entities_are_covered_by_their_own_states_only(journal: Journal) -> None:
    assert covered(journal, KEY, 0, 0) == (0, [])
    keep_state(journal, 3)
    assert covered(journal, KEY, 0, 4) == (4, [])
    held = [Held(SLICE, "entity c-1, of which no state is stored", 4)]
    assert covered(journal, KEY, 0, 6) == (4, held)


def test_what_lacks_a_state_is_named_some_at_a_time(url: str) -> None:
    fill(url, [(f"d-{n}", Added("pear")) for n in range(8)])
    opened = open_journal(url)
    keys = [SliceKey("cart", number) for number in range(4)]
    limits = {key: (0, opened.find_head(key).head, list[Held]()) for key in keys}
    everything = {"c-1", *(f"d-{n}" for n in range(8))}
    assert set(lacking_states(opened, limits, 100)) == everything
    assert len(lacking_states(opened, limits, 3)) == 3
    opened.write_states(KEY, [StateRow("c-1", 6, 5, b"state")])
    assert set(lacking_states(opened, limits, 100)) == everything - {"c-1"}
    assert uncovered(opened, KEY, 0, 6, 10) == []
    opened.close()


def test_consumers_are_bounded_and_forgotten(journal: Journal) -> None:
    for n in range(CONSUMERS_MAX + 3):
        note_consumer(journal, "cart", f"one {n:03}", {0: n}, time_us=n)
    found = noted_consumers(journal, "cart")
    assert len(found) == CONSUMERS_MAX
    assert found[0] == Consumer("one 003", 3, {0: 3})
    note_consumer(journal, "cart", "one 003", {1: 9}, time_us=999)
    assert noted_consumers(journal, "cart")[0] == Consumer("one 003", 999, {0: 3, 1: 9})
    assert forget_consumer(journal, "cart", "one 003")
    assert not forget_consumer(journal, "cart", "one 003")
