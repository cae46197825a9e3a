"""What records say of the replica that wrote them: the stored bytes, their size, their reading."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.model.record import EVENT, Record, pack_record
from thespian_dc.model.replication import (
    ORIGIN_META,
    ReplicaMeta,
    StateMeta,
    generation_and_offset,
    local_meta,
    mark_of,
    meta_of,
    offset_in_origin,
    read_remote,
    read_state,
    remote_meta,
    state_meta,
)
from thespian_dc.model.replication_errors import ReplicaMetaError

WRITE_ID = bytes(range(16))
GOLDEN = {
    "local": (local_meta(3, {"eu": 7}), "920381a2657507"),
    "local with time": (
        local_meta(3, {}, time_us=1_700_000_000_000_000, epoch=2),
        "940380cf00060a24181e400002",
    ),
    "remote": (
        remote_meta(ReplicaMeta("eu", 7, {"us": 3}, 300, mark_of(WRITE_ID))),
        "95a265750781a2757303cd012ccececee288",
    ),
    "remote, concurrent": (
        remote_meta(ReplicaMeta("eu", 7, {}, 300, 1, concurrent=True)),
        "96a265750780cd012c0101",
    ),
    "remote with epoch": (
        remote_meta(ReplicaMeta("eu", 7, {}, 300, 1, 5, 2)),
        "97a265750780cd012c010502",
    ),
    "remote with epoch, concurrent": (
        remote_meta(ReplicaMeta("eu", 7, {}, 300, 1, 5, 2, True)),
        "98a265750780cd012c01050201",
    ),
    "state": (
        state_meta(StateMeta({"eu": 7}, {"eu": 1}, 5, 2, "eu")),
        "9581a265750781a26575010502a26575",
    ),
    "state, something set aside": (
        state_meta(StateMeta({"eu": 7}, {"eu": 1}, 5, 2, "us", {"eu": 4})),
        "9781a265750781a26575010502a275739081a2657504",
    ),
}
replica_ids = st.text(min_size=1, max_size=4)
counts = st.integers(1, 1 << 40)


@st.composite
def metas(draw: st.DrawFn) -> ReplicaMeta:
    origin = draw(replica_ids)
    others = draw(st.dictionaries(replica_ids.filter(lambda one: one != origin), counts))
    return ReplicaMeta(
        origin, draw(counts), others, draw(counts), draw(st.integers(0, (1 << 32) - 1)),
        draw(st.integers(0, 1 << 52)), draw(st.integers(0, 9)), draw(st.booleans()),
    )  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_bytes_are_what_journals_hold(name: str) -> None:
    """A change that needs another line here leaves existing journals behind."""
    fields, stored = GOLDEN[name]
    assert msgpack.packb(fields).hex() == stored


@given(meta=metas())
def test_what_was_written_is_read(meta: ReplicaMeta) -> None:
    """Through the journal's bytes, wherever the event stands: at a replica that got it, or in its
    own log, where place and commit say the rest."""
    stored = msgpack.unpackb(msgpack.packb(remote_meta(meta)))
    assert read_remote(stored) == meta
    assert meta_of({ORIGIN_META: stored}, "elsewhere", 99, 99, WRITE_ID) == meta
    local = msgpack.unpackb(
        msgpack.packb(local_meta(meta.n, meta.others, meta.time_us, meta.epoch))
    )
    read = meta_of({ORIGIN_META: local}, meta.origin, 99, meta.origin_offset, WRITE_ID)
    assert read == meta._replace(mark=mark_of(WRITE_ID), concurrent=False)


def test_record_from_before_replication_counts_by_its_seq_nr() -> None:
    """So an entity becomes a replicated one without its journal being rewritten."""
    read = meta_of(None, "eu", 5, 77, WRITE_ID)
    assert read == ReplicaMeta("eu", 5, {}, 77, mark_of(WRITE_ID))
    assert meta_of({"event": []}, "eu", 5, 77, WRITE_ID) == read


def test_metadata_costs_at_most_forty_bytes() -> None:
    """Over a plain event, with three replicas whose slots are above a million."""

    def size(meta: Any) -> int:
        return len(pack_record(Record(EVENT, "e", 1_000_001, "m", b"", meta=meta)))

    others = {"eu": 1_000_001, "us": 1_000_001}
    remote = ReplicaMeta("ap", 1_000_001, others, 1_000_001, (1 << 32) - 1)
    local = size({ORIGIN_META: local_meta(1_000_001, others)}) - size(None)
    sizes = [
        size({ORIGIN_META: remote_meta(remote._replace(concurrent=flag))}) - size(None)
        for flag in (False, True)
    ]
    assert (local, *sizes) == (25, 38, 39)
    standby = size({ORIGIN_META: remote_meta(remote._replace(epoch=9))}) - size(None)
    assert standby == 40


@pytest.mark.parametrize(
    "fields",
    [
        [], 7, None, ["eu"], ["eu", 0, {}, 1, 1], ["eu", 1, {"eu": 1}, 1, 1], ["eu", 1, 3, 1, 1],
        ["eu", 1, {}, -1, 1], ["eu", 1.5, {}, 1, 1], ["", 1, {}, 1, 1], ["eu", 1, {"us": -1}, 1, 1],
        ["eu", 1, {}, 1, 1, -1, 1], ["eu", 1, {}, 1, 1, 1, 1, 1, 1], [1, {}, 3],
    ],
)  # fmt: skip
def test_what_no_replica_writes_is_refused_by_name(fields: Any) -> None:
    """It comes from outside; it must not become a vector."""
    with pytest.raises(ReplicaMetaError):
        read_remote(fields)
    if fields is not None:
        with pytest.raises(ReplicaMetaError):
            meta_of({ORIGIN_META: fields}, "ap", 1, 1, WRITE_ID)
    with pytest.raises(ReplicaMetaError):
        read_state(fields)


@pytest.mark.parametrize("aside", [{"eu": 7}, {"us": 0}, {"eu": -1}, {"eu": "4"}, 4, [4]])
def test_a_state_sets_aside_what_it_contains(aside: Any) -> None:
    assert read_state([{"eu": 7}, {}, 5, 2, "us", [], {"eu": 0}]).aside == {"eu": 0}
    with pytest.raises(ReplicaMetaError):
        read_state([{"eu": 7}, {}, 5, 2, "us", [], aside])


@given(generation=st.integers(0, 1000), offset=st.integers(0, (1 << 40) - 1))
def test_offsets_of_a_later_generation_are_greater(generation: int, offset: int) -> None:
    """A log that was restored from an older copy has had some offsets before."""
    assert generation_and_offset(offset_in_origin(generation, offset)) == (generation, offset)
    assert offset_in_origin(generation + 1, 0) > offset_in_origin(generation, offset)
