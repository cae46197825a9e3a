"""The bytes of every message, as they were when its version of the protocol was published.

`golden/wire_v1.txt` is what services out there speak: a change that needs another line there is a
change of the protocol. A new field gets a new line; no line that stands there changes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import pytest

from thespian_dc.model.criteria import Criteria, Filter, VersionedFilter
from thespian_dc.model.errors import JournalDivergedError
from thespian_dc.model.history import History
from thespian_dc.model.position import START, Position
from thespian_dc.model.record import EVENT, STATE, Record, pack_record
from thespian_dc.model.replication_handshake import (
    Known,
    OriginFacts,
    OriginPositions,
    ReplicaStart,
    ReplicaStarted,
    Retiring,
    RetiringStage,
)
from thespian_dc.projection.api import CommitView, LookedUp, Lookup, SourceBatch
from thespian_dc.stream.batches import read_batch, write_batch
from thespian_dc.stream.lookups import read_answer, write_answer
from thespian_dc.wire import conversion as wire
from thespian_dc.wire import lookups, status
from thespian_dc.wire import streams_pb2 as pb
from thespian_dc.wire.pushed import (
    Question,
    Reply,
    question_in,
    reply_in,
    write_question,
    write_reply,
)

GOLDEN = Path(__file__).parent / "golden" / "wire_v1.txt"

EVENT_BYTES = pack_record(
    Record(EVENT, "c-1", 7, "ItemAdded/1", msgpack.packb(["apple", 2]), ["t:fruit", "large"],
           "command-1", b"\x01")
)  # fmt: skip
STATE_BYTES = pack_record(
    Record(STATE, "c-2", 300, "Total/1", msgpack.packb([5]), (), meta={"snapshot": True})
)  # fmt: skip
BODY = b"\xdd\x00\x00\x00\x02" + EVENT_BYTES + STATE_BYTES
BATCH = SourceBatch(
    3, 40, 60, 1000,
    [
        CommitView(38, 50, b"w" * 16, 1_700_000_000_000_000, BODY, (3, 5)),
        CommitView(50, 60, b"x" * 16, 1_700_000_000_000_001, b"", ()),
    ],
    2,
)  # fmt: skip
FILTER = VersionedFilter(
    2,
    Filter(
        Criteria(("c-1",), (), ("test",), ("t:a/+",)), Criteria((), (), ("large",), ("#",)), True
    ),
)
POSITIONS = {0: START, 3: Position(40, b"w" * 16)}
ANSWER = LookedUp(
    Lookup("c-1", 3, 7), [CommitView(41, 42, b"w" * 16, 9, b"\xdd\x00\x00\x00\x01" + EVENT_BYTES)],
    7, 60, True,
)  # fmt: skip


def _consumer(message: wire.FromConsumer) -> tuple[Any, ...]:
    return message, wire.write_from_consumer, wire.read_from_consumer


def _read_batch(received: bytes) -> SourceBatch:
    message = wire.read_from_producer(received)
    assert isinstance(message, pb.Batch)
    return read_batch("golden", message)


def _read_answer(received: bytes) -> LookedUp:
    return read_answer(ANSWER.lookup, lookups.read_look_up_answer(received))


def _read_reply(received: bytes) -> Reply | None:
    return reply_in("golden", received)


def _write_answer(answer: LookedUp) -> bytes:
    return write_answer("journal", answer)


def _write_beat(beat: wire.Beat) -> bytes:
    return wire.write_beat(beat.time_us)


class Case(NamedTuple):
    """A value, what writes it, what reads it."""

    value: Any
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


RETIRING = (Retiring("us", (RetiringStage("eu", 1, 2, (7, 8)),)),)
ORIGINS = (OriginFacts("eu", "journal", 16, 1), OriginFacts("us"))
REPLICA_START = ReplicaStart(
    "eu", "cart", ("eu", "us"), 3, "us", 1, ORIGINS,
    (OriginPositions("us", 0, (5, 0, 1 << 39, 7)), OriginPositions("us", 1, (1,))), RETIRING,
    ("old",),
)  # fmt: skip
REPLICA_STARTED = ReplicaStarted(
    "us", "cart", ("eu", "us"), 3, "us", 0, ORIGINS, "journal", 1, POSITIONS,
    VersionedFilter(1, Filter(Criteria(entity_ids=("c-9",)))), RETIRING, ("old",),
)  # fmt: skip

_START = wire.Start(1, "carts", "ranking/popularity", "journal", POSITIONS, wire.Credit(4096, 100),
                    2000, "k-1", FILTER, History.FROM_SNAPSHOTS)  # fmt: skip
CASES: dict[str, Case] = {
    name: Case(*parts)
    for name, parts in {
        "consumer start first": _consumer(
            wire.Start(1, "carts", "ranking/popularity", "", {}, wire.Credit(4096, 100), 2000, "")
        ),
        "consumer start": _consumer(_START),
        "consumer start latest": _consumer(_START._replace(history=History.LATEST)),
        "consumer start looks on": _consumer(_START._replace(looks_on=True)),
        "consumer start replica": _consumer(_START._replace(replica=REPLICA_START)),
        "consumer start replica first": _consumer(
            _START._replace(replica=ReplicaStart("eu", "cart", ("eu",)))
        ),
        "consumer known": _consumer(
            Known((OriginPositions("us", 1, (9, 9)),), 4, "eu", RETIRING, ("old",))
        ),
        "consumer question": (
            Question(7, "LookUp", b"request"), write_question, question_in,
        ),
        "consumer credit": _consumer(wire.Credit(65536, 300)),
        "consumer beat": _consumer(wire.Beat(1_700_000_000_000_000)),
        "consumer filter": _consumer(FILTER),
        "consumer filter everything": _consumer(VersionedFilter(3, Filter())),
        "producer started": (
            wire.Started(1, "journal", "cart", 16, {0: 0, 3: 1000}, 2000),
            wire.write_started, wire.read_from_producer,
        ),
        "producer started replica": (
            wire.Started(1, "journal", "cart", 16, {0: 0}, 2000, REPLICA_STARTED),
            wire.write_started, wire.read_from_producer,
        ),
        "producer replica": (REPLICA_STARTED, wire.write_replica, wire.read_from_producer),
        "producer reply": (Reply(7, b"answer"), write_reply, _read_reply),
        "producer batch": (BATCH, write_batch, _read_batch),
        "producer beat": (
            wire.Beat(1_700_000_000_000_000), _write_beat, wire.read_from_producer,
        ),
        "producer filter in force": (
            wire.FilterInForce(2, {0: 17, 3: 40}),
            wire.write_filter_in_force, wire.read_from_producer,
        ),
        "producer offer": (
            wire.Offer(1, "carts", "shop", "journal", "cart", 16),
            wire.write_offer, wire.read_from_producer,
        ),
        "look up": (
            lookups.LookUpRequest("carts", "c-1", 7, 9, 41, wire.Credit(4096, 100), "journal",
                                  "ranking/popularity", "k-1", History.FROM_SNAPSHOTS),
            lookups.write_look_up, lookups.read_look_up,
        ),
        "look up answer": (ANSWER, _write_answer, _read_answer),
        "look up replica": (
            lookups.LookUpRequest("replica:cart", "c-1", 1, 0, 0, wire.Credit(4096, 100),
                                  replica_id="eu"),
            lookups.write_look_up, lookups.read_look_up,
        ),
        "look up replica told": (
            lookups.LookUpRequest("replica:cart", "c-1", 1, 0, 0, wire.Credit(4096, 100),
                                  replica_id="eu", shown_version=0),
            lookups.write_look_up, lookups.read_look_up,
        ),
        "entity state told": (
            lookups.EntityStateRequest("replica:cart", "c-1", "eu", "journal", shown_version=3),
            lookups.write_entity_state, lookups.read_entity_state,
        ),
        "entity ids told": (
            lookups.EntityIdsRequest("replica:cart", 3, "c-1", 0, "eu", shown_version=3),
            lookups.write_entity_ids, lookups.read_entity_ids,
        ),
        "entity state": (
            lookups.EntityStateRequest("replica:cart", "c-1", "eu", "journal", "shop/us", "k-1"),
            lookups.write_entity_state, lookups.read_entity_state,
        ),
        "entity state fresh": (
            lookups.EntityStateRequest("replica:cart", "c-1", "eu", "journal", fresh=True),
            lookups.write_entity_state, lookups.read_entity_state,
        ),
        "entity state answer": (
            lookups.EntityState("journal", 3, 1, 300, 41, b"body"),
            lookups.write_entity_state_answer, lookups.read_entity_state_answer,
        ),
        "entity state answer none": (
            lookups.EntityState("journal", 3, 0),
            lookups.write_entity_state_answer, lookups.read_entity_state_answer,
        ),
        "entity ids": (
            lookups.EntityIdsRequest("replica:cart", 3, "c-1", 100, "eu", "j", "shop/us", "k-1"),
            lookups.write_entity_ids, lookups.read_entity_ids,
        ),
        "entity ids answer": (
            lookups.EntityIds("journal", 1, ("c-2", "c-3"), 41, True),
            lookups.write_entity_ids_answer, lookups.read_entity_ids_answer,
        ),
        "entity ids resumed": (
            lookups.EntityIdsRequest("replica:cart", 3, "c-1", 0, "eu", resume=b"w" * 16),
            lookups.write_entity_ids, lookups.read_entity_ids,
        ),
        "entity ids answer none yet": (
            lookups.EntityIds("journal", 1, (), 41, True, b"w" * 16),
            lookups.write_entity_ids_answer, lookups.read_entity_ids_answer,
        ),
        "heads": (
            lookups.HeadsRequest("carts", "ranking/popularity", "k-1"),
            lookups.write_heads, lookups.read_heads,
        ),
        "heads replica": (
            lookups.HeadsRequest("replica:cart", "shop/us", "", replica_id="eu"),
            lookups.write_heads, lookups.read_heads,
        ),
        "heads answer": (
            lookups.Positions("journal", POSITIONS),
            lookups.write_heads_answer, lookups.read_heads_answer,
        ),
        "position at": (
            lookups.PositionAtRequest("carts", 1_700_000_000_000_000, "ranking/popularity", "k-1"),
            lookups.write_position_at, lookups.read_position_at,
        ),
        "position at replica": (
            lookups.PositionAtRequest("replica:cart", 7, "shop/us", "", replica_id="eu"),
            lookups.write_position_at, lookups.read_position_at,
        ),
        "position at answer": (
            lookups.Positions("journal", POSITIONS),
            lookups.write_position_at_answer, lookups.read_position_at_answer,
        ),
    }.items()
}  # fmt: skip


def golden() -> dict[str, bytes]:
    """The published bytes by name."""
    lines = GOLDEN.read_text(encoding="ascii").splitlines()
    return {
        name.strip(): bytes.fromhex(content)
        for name, _, content in (line.partition(":") for line in lines if line)
    }


def test_every_message_has_its_line() -> None:
    others = {"record event", "record state", "problem", "producer reply problem"}
    assert set(golden()) == {*CASES, *others}


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_what_was_published(name: str) -> None:
    case = CASES[name]
    assert case.write(case.value).hex() == golden()[name].hex()


@pytest.mark.parametrize("name", CASES)
def test_what_was_published_is_read(name: str) -> None:
    case = CASES[name]
    assert case.read(golden()[name]) == case.value


def test_records_are_as_published() -> None:
    """A body's records, which another language decodes by itself."""
    assert golden()["record event"].hex() == EVENT_BYTES.hex()
    assert golden()["record state"].hex() == STATE_BYTES.hex()


def test_errors_travel_as_published() -> None:
    error = JournalDivergedError("stream carts slice 3", 40, "another commit stands before it")
    code, text, metadata = status.status_of(error)
    ((_, problem),) = metadata
    assert problem.hex() == golden()["problem"].hex()
    assert code.name == "FAILED_PRECONDITION"
    read = status.error_of("shop:8101", code, text, metadata)
    assert (type(read), read.args) == (JournalDivergedError, error.args)


def test_a_reply_brings_a_named_error() -> None:
    error = JournalDivergedError("stream carts slice 3", 40, "another commit stands before it")
    written = write_reply(Reply(0, b"", error))
    assert written.hex() == golden()["producer reply problem"].hex()
    read = reply_in("us", written)
    assert read is not None
    assert (read.nr, type(read.error), read.error and read.error.args) == (
        0, JournalDivergedError, error.args,
    )  # fmt: skip


def test_other_messages_are_no_replies_and_no_questions() -> None:
    for name, sent in golden().items():
        if name.startswith("producer") and "reply" not in name:
            assert reply_in("us", sent) is None
        if name.startswith("consumer") and "question" not in name:
            assert question_in(sent) is None


# Field 1000, which no version has, with the text "later".
UNKNOWN = b"\xc2\x3e\x05later"
MESSAGES = {
    "consumer": pb.FromConsumer, "producer": pb.FromProducer, "look up": pb.LookUpRequest,
    "look up answer": pb.LookUpAnswer, "heads": pb.HeadsRequest, "heads answer": pb.HeadsAnswer,
    "position at": pb.PositionAtRequest, "position at answer": pb.PositionAtAnswer,
    "look up replica": pb.LookUpRequest, "heads replica": pb.HeadsRequest,
    "position at replica": pb.PositionAtRequest,
    "entity state": pb.EntityStateRequest, "entity state fresh": pb.EntityStateRequest,
    "entity state answer": pb.EntityStateAnswer,
    "entity state answer none": pb.EntityStateAnswer,
    "entity ids": pb.EntityIdsRequest, "entity ids answer": pb.EntityIdsAnswer,
    "look up replica told": pb.LookUpRequest, "entity state told": pb.EntityStateRequest,
    "entity ids told": pb.EntityIdsRequest,
    "entity ids resumed": pb.EntityIdsRequest, "entity ids answer none yet": pb.EntityIdsAnswer,
}  # fmt: skip


def with_unknown_fields(message: Any) -> Any:
    """The message with a field of a later version in itself and in all messages within."""
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        within = [value] if hasattr(value, "ListFields") else value
        for one in within:
            with_unknown_fields(one)
    message.MergeFromString(UNKNOWN)
    return message


@pytest.mark.parametrize("name", CASES)
def test_fields_of_later_versions_are_passed_over_and_kept(name: str) -> None:
    """An older end reads what it knows; whoever only passes a message on loses nothing of it."""
    words = name.split(maxsplit=1)[0]
    kind: Any = MESSAGES[words if words in ("consumer", "producer") else name]
    later = with_unknown_fields(kind.FromString(golden()[name])).SerializeToString()
    assert later.count(UNKNOWN) >= 1
    assert CASES[name].read(later) == CASES[name].value
    assert kind.FromString(later).SerializeToString().count(UNKNOWN) == later.count(UNKNOWN)
