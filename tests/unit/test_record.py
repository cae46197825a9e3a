"""A commit's stored form: what it holds comes back, and no flipped bit is taken for data."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thespian_dc.model.errors import CorruptRecordError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import (
    CONTROL,
    EVENT,
    STATE,
    Commit,
    Record,
    checksum_of,
    entities_of,
    make_commit,
    pack_record,
    records_of,
    records_of_entity,
    salvage,
)

KEY = SliceKey("cart", 3)
NAMES = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=12)
META = st.none() | st.dictionaries(st.text(max_size=5), st.integers(0, 99) | st.text(max_size=5))
RECORDS = st.builds(
    Record,
    kind=st.sampled_from([EVENT, STATE, CONTROL]),
    entity_id=NAMES,
    seq_nr=st.integers(1, 2**40),
    manifest=st.text(max_size=10),
    payload=st.binary(max_size=60),
    tags=st.lists(st.text(max_size=5), max_size=3),
    command_id=st.text(max_size=12),
    reply=st.none() | st.binary(max_size=20),
    meta=META,
)
COMMITS = st.lists(RECORDS, min_size=1, max_size=9)


def commit_of(records: list[Record], base_offset: int = 40) -> Commit:
    pairs = [(record.entity_id, pack_record(record)) for record in records]
    return make_commit(KEY, base_offset, b"w" * 16, 7, 1_700_000_000_000_000, pairs)


def flipped(commit: Commit, column: str, bit: int) -> Commit:
    """A copy with one bit of one column flipped; `bit` counts modulo the column's size."""
    value = getattr(commit, column)
    if isinstance(value, int):
        return dataclasses.replace(commit, **{column: value ^ (1 << bit % 48)})
    where = bit % (len(value) * 8)
    changed = bytearray(value)
    changed[where // 8] ^= 1 << where % 8
    return dataclasses.replace(commit, **{column: bytes(changed)})


@given(COMMITS)
def test_records_come_back_as_they_were_packed(records: list[Record]) -> None:
    """The stored bytes are the wire bytes: what is read here is what another service reads."""
    commit = commit_of(records)
    assert records_of(commit) == records
    assert entities_of(commit) == [record.entity_id for record in records]
    assert (commit.count, commit.end_offset) == (len(records), 40 + len(records))


@given(COMMITS)
def test_an_entity_finds_exactly_its_own_records(records: list[Record]) -> None:
    """Reading by entity must not depend on decoding others."""
    commit = commit_of(records)
    for entity_id in {record.entity_id for record in records} | {"nobody"}:
        expected = [(40 + i, r) for i, r in enumerate(records) if r.entity_id == entity_id]
        assert records_of_entity(commit, entity_id) == expected


COLUMNS = ["base_offset", "count", "write_id", "epoch", "time_us", "heads", "body", "checksum"]


@settings(max_examples=400)
@given(COMMITS, st.sampled_from(COLUMNS), st.integers(0, 1 << 20))
def test_every_flipped_bit_is_found_and_what_is_trusted_is_true(
    records: list[Record], column: str, bit: int
) -> None:
    """One damaged record must not be believed, nor make a neighbour unreadable without a name."""
    commit = flipped(commit_of(records), column, bit)
    with pytest.raises(CorruptRecordError):
        records_of(commit)
    items = list(salvage(commit))
    damage = [item for item in items if isinstance(item, CorruptRecordError)]
    assert damage, "a flip was not reported"
    base = commit.base_offset
    for item in items:
        if not isinstance(item, CorruptRecordError):
            offset, record = item
            assert record == records[offset - base]
    if column == "body" and bit % (len(commit.body) * 8) >= 40:
        assert len(damage) == 1
        assert damage[0].entity_id == records[damage[0].offset - base].entity_id


@settings(max_examples=300)
@given(COMMITS, st.integers(0, 1 << 20))
def test_a_flip_in_the_list_of_records_names_the_record_or_the_whole_row(
    records: list[Record], bit: int
) -> None:
    """`heads` guards the records; damage to it must not be blamed on the wrong entity."""
    commit = flipped(commit_of(records), "heads", bit)
    damage = [item for item in salvage(commit) if isinstance(item, CorruptRecordError)]
    assert len(damage) == 1
    if damage[0].entity_id:
        assert damage[0].entity_id == records[damage[0].offset - 40].entity_id


def test_damage_to_one_record_leaves_the_others_of_the_commit_readable() -> None:
    """A flip in one entity's event may not stop the recovery of a thousand others."""
    records = [Record(EVENT, f"c-{n}", 1, "Added:1", b"x" * 50, []) for n in range(20)]
    for seed in range(200):
        rng = random.Random(seed)
        commit = commit_of(records)
        victim = rng.randrange(20)
        start = 5 + sum(len(pack_record(r)) for r in records[:victim])
        bit = start * 8 + rng.randrange(len(pack_record(records[victim])) * 8)
        broken = flipped(commit, "body", bit)
        with pytest.raises(CorruptRecordError) as caught:
            records_of_entity(broken, f"c-{victim}")
        assert (caught.value.entity_id, caught.value.offset) == (f"c-{victim}", 40 + victim)
        for other in set(range(20)) - {victim}:
            assert records_of_entity(broken, f"c-{other}") == [(40 + other, records[other])]


@pytest.mark.parametrize(
    "column", ["base_offset", "count", "write_id", "epoch", "time_us", "checksum"]
)
def test_damage_to_a_number_is_named_once_at_the_base_and_stops_all_entities(column: str) -> None:
    """Which of the columns lies cannot be known, so no record's place or time may be believed."""
    records = [Record(EVENT, f"c-{n}", 1, "Added:1", b"x") for n in range(3)]
    commit = flipped(commit_of(records), column, 3)
    first, *rest = salvage(commit)
    assert isinstance(first, CorruptRecordError)
    assert (first.entity_id, first.offset) == ("", commit.base_offset)
    assert len(rest) == 3
    with pytest.raises(CorruptRecordError):
        records_of_entity(commit, "c-1")


def test_a_row_under_another_slice_does_not_pass() -> None:
    """A commit moved to another slice log carries a checksum that names its own."""
    commit = commit_of([Record(EVENT, "c-1", 1, "Added:1", b"x")])
    assert checksum_of(dataclasses.replace(commit, key=SliceKey("cart", 4))) != commit.checksum
    assert checksum_of(dataclasses.replace(commit, key=SliceKey("card", 3))) != commit.checksum


def test_records_without_sense_as_msgpack_are_named_not_raised_raw() -> None:
    """Whatever the bytes are, the error says which row it was."""
    commit = dataclasses.replace(
        commit_of([Record(EVENT, "c-1", 1, "Added:1", b"x")]), heads=b"\xc1", body=b""
    )
    (damage,) = salvage(commit)
    assert isinstance(damage, CorruptRecordError)
    assert damage.offset == 40
