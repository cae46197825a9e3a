"""Records of a peer's log as contents of commands: the quick way makes what the strict one does."""

from __future__ import annotations

from typing import Any

import pytest

from thespian_dc.entity.api import RemoteEvent, ReplicatedState
from thespian_dc.model.ids import slice_of
from thespian_dc.model.record import CONTROL, EVENT, STATE, Record, pack_record
from thespian_dc.model.replication import (
    FORKED_MANIFEST,
    StateMeta,
    mark_of,
    meta_of,
    offset_in_origin,
    remote_meta,
    state_meta,
)
from thespian_dc.model.replication_errors import ReplicaMetaError
from thespian_dc.model.replication_handshake import OriginPositions
from thespian_dc.model.role_errors import AheadOfTimeError
from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.projection.api import CommitView
from thespian_dc.replication.reading import PeerLog

WRITE_ID = b"0123456789abcdef"
LISTS: dict[str, Any] = {
    "before replication": None,
    "local": [3, {"eu": 2}],
    "local with a time": [3, {"eu": 2}, 99, 1],
    "remote": ["ap", 3, {"eu": 2}, 44, 55],
    "remote, concurrent there": ["ap", 3, {"eu": 2}, 44, 55, 1],
    "remote with a time": ["ap", 3, {"eu": 2}, 44, 55, 99, 1, 1],
}


def record(said: Any, kind: int = EVENT, entity_id: str = "c-1", manifest: str = "m@1") -> Record:
    meta = None if said is None else {"r": said}
    return Record(kind, entity_id, 7, manifest, b"p", ("t",), "id", None, meta)


def view(*records: Record, first: int = 10, kept: tuple[int, ...] = ()) -> CommitView:
    body = b"\xdd" + len(records).to_bytes(4, "big") + b"".join(map(pack_record, records))
    return CommitView(first, first + 20, WRITE_ID, 0, body, kept)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("kept", [(), (4,)])
def test_an_event_says_where_it_comes_from(name: str, kept: tuple[int, ...]) -> None:
    """What was concurrent at the peer means nothing here."""
    one = record(LISTS[name])
    (found,) = PeerLog("us", 2).by_entity([view(one, kept=kept)])["c-1"]
    offset = offset_in_origin(2, 10 + sum(kept))
    meta = meta_of(one.meta, "us", 7, offset, WRITE_ID)._replace(concurrent=False)
    assert found == RemoteEvent("m@1", b"p", ["t"], remote_meta(meta))


@pytest.mark.parametrize("name", ["local", "remote", "state", "set aside"])
def test_an_epoch_that_nobody_can_have_reached_is_refused(name: str) -> None:
    """Whoever took the event would stand by for ever."""
    forms: dict[str, tuple[Any, int]] = {
        "local": ([3, {"eu": 2}, 0, 1000], EVENT),
        "remote": (["ap", 3, {"eu": 2}, 44, 55, 0, 1000], EVENT),
        "state": (state_meta(StateMeta({"us": 1}, {}, 0, 1000, "us")), STATE),
        "set aside": (["ap", 3, {"eu": 2}, 44, 55, 0, 1000], CONTROL),
    }
    one = view(record(*forms[name]))
    assert PeerLog("us", entity_type="cart", epoch_max=1000).by_entity([one])
    with pytest.raises(AheadOfTimeError, match="'us' tells of epoch 1000"):
        PeerLog("us", entity_type="cart", epoch_max=999).by_entity([one])


def test_events_come_by_entity_in_the_logs_order() -> None:
    """Those below the offset that is wanted do not."""
    commits = [
        view(record([n, {}], entity_id=id_), first=at) for at, (n, id_) in
        enumerate([(1, "a"), (1, "b"), (2, "a"), (3, "a")])
    ]  # fmt: skip
    found: Any = PeerLog("us").by_entity(commits, from_offset=1)
    mark = mark_of(WRITE_ID)
    assert {id_: [one.meta for one in items] for id_, items in found.items()} == {
        "b": [["us", 1, {}, 1, mark]],
        "a": [["us", 2, {}, 2, mark], ["us", 3, {}, 3, mark]],
    }


def test_what_is_not_an_event() -> None:
    """A state is taken as one; what the peer set aside says so; its own notes stay there."""
    state = record(state_meta(StateMeta({"us": 7, "ap": 1}, {"ap": 5}, 9)), STATE)
    aside = record(["ap", 3, {}, 44, 55], CONTROL)
    forked = record(["ap", 3, {}, 44, 55], CONTROL, manifest=FORKED_MANIFEST)
    plain = record(None, CONTROL)
    found = PeerLog("us").by_entity([view(state, aside, forked, plain)])["c-1"]
    assert found == [
        ReplicatedState("m@1", b"p", {"us": 7, "ap": 1}, {"ap": 5}, 9, 0, "us"),
        RemoteEvent("m@1", b"p", ["t"], ["ap", 3, {}, 44, 55], set_aside=True),
    ]


@pytest.mark.parametrize("said", [[3, {}], [3, {}, 1, 1]])
def test_own_events_are_left_out_unless_they_were_lost(said: list[Any]) -> None:
    """In a former life of its journal."""
    mine = view(record(["eu", *said[:2], 4, 5, *([9, 1, 0] if len(said) > 2 else [])]))
    assert PeerLog("us", without="eu").by_entity([mine]) == {}
    assert len(PeerLog("us", without="eu", life=1).by_entity([mine])["c-1"]) == 1


@pytest.mark.parametrize("said", [
    [], ["ap"], [0, {}, 1], ["ap", 3, {"ap": 1}, 4, 5, 1], 7, [0, {}], [True, {}], [1, None],
    [1, {"ap": "x"}], [1, {"us": 2}], ["ap", 0, {}, 4, 5], ["ap", 3, None, 4, 5],
    ["ap", 3, {"eu": -1}, 4, 5], ["ap", 3, {"ap": 1}, 4, 5], ["ap", 3, {}, "x", 5],
    ["ap", 3, {}, 1 << 63, 5], ["ap", 3, {}, 4, None], ["ap", 3, {}, 4, 5, 1 << 63, 0],
])  # fmt: skip
def test_what_no_replica_writes_is_named(said: Any) -> None:
    """In all forms: stored here it could not be read again, nor applied."""
    with pytest.raises(ReplicaMetaError):
        PeerLog("us").by_entity([view(record(said))])


@pytest.mark.parametrize("said", [
    [{"us": 7}, {"ap": 5}, 0, 0, ""], [{"us": 7}, {}, -1, 0, ""], [{"us": 7}, {}, 0, 1 << 63, ""],
    [{"us": 7}, {}, "x", 0, ""], [{"us": 1 << 63}, {}, 0, 0, ""],
])  # fmt: skip
def test_nor_is_a_state_taken_that_none_writes(said: Any) -> None:
    with pytest.raises(ReplicaMetaError):
        PeerLog("us").by_entity([view(record(said, STATE))])


@pytest.mark.parametrize("damage", [
    {"entity_id": 7}, {"entity_id": ""}, {"entity_id": "a|b"}, {"entity_id": "x" * 256},
    {"manifest": 7}, {"payload": "text"}, {"tags": None}, {"tags": [7]},
])  # fmt: skip
@pytest.mark.parametrize("said", [[3, {}], ["ap", 3, {}, 44, 55, 1]])
def test_a_record_that_could_not_be_read_here_again_is_named(
    damage: dict[str, Any], said: Any
) -> None:
    with pytest.raises(MalformedMessageError, match="a commit of us"):
        PeerLog("us").by_entity([view(record(said)._replace(**damage))])


@pytest.mark.parametrize("body", [b"\xdd\x00", b"\x91\x93\x01\x02\x03", b"\x91\x07", b"\x07"])
def test_a_damaged_commit_is_named(body: bytes) -> None:
    with pytest.raises(MalformedMessageError, match="a commit of us"):
        PeerLog("us").by_entity([view()._replace(body=body)])


def test_what_is_here_by_another_way_is_left_out() -> None:
    """By the position in the origin's own log, in the same life of it, and in the entity's
    slice."""
    here = {"ap": OriginPositions("ap", 1, (6, 6))}
    offsets = [offset_in_origin(1, 5), offset_in_origin(1, 6), offset_in_origin(0, 5)]
    commits = [view(record(["ap", n, {}, at, 0])) for n, at in enumerate(offsets, 1)]
    found = PeerLog("us").by_entity(commits, claims=here)["c-1"]
    assert [one.meta[1] for one in found] == [2, 3]  # type: ignore[union-attr]
    elsewhere = {"ap": OriginPositions("ap", 1, (0, 9))}
    assert slice_of("c-1", 2) == 0
    assert len(PeerLog("us").by_entity(commits, claims=elsewhere)["c-1"]) == 3
