"""Requests of every kind a producer answers, and random damage to them."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from thespian_dc.model.criteria import Exclude, Filter, Include, VersionedFilter
from thespian_dc.model.history import History
from thespian_dc.model.position import Position
from thespian_dc.model.record import EVENT, Record, pack_record
from thespian_dc.model.replication_handshake import (
    Known,
    OriginFacts,
    OriginPositions,
    ReplicaStart,
    Retiring,
    RetiringStage,
)
from thespian_dc.stream.channels import METHOD, PUSH_METHOD, SERVICE
from thespian_dc.wire import health_pb2, reflection_pb2
from thespian_dc.wire import streams_pb2 as pb
from thespian_dc.wire.conversion import Beat, Credit, Start, write_from_consumer
from thespian_dc.wire.lookups import (
    EntityIdsRequest,
    EntityStateRequest,
    HeadsRequest,
    LookUpRequest,
    PositionAtRequest,
    write_entity_ids,
    write_entity_state,
    write_heads,
    write_look_up,
    write_position_at,
)
from thespian_dc.wire.pushed import Question, Reply, write_question, write_reply

REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
PUSHED = "pushed"
OURS = {"UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "UNAVAILABLE", "CANCELLED"}
"""Statuses that a request alone must never lead to: they would be the server's own faults."""
DEADLINE_S = 20.0
AT_ONCE = 32
MESSAGES_MAX = 4

REPLICA_STREAM = "replica:cart"
KNOWN = (OriginPositions("ap", 0, (5, 0, 7, 1 << 39)), OriginPositions("us", 2, (1,)))
RETIRING = (Retiring("ap", (RetiringStage("eu", 1, 2, (7, 8)),)),)
REPLICA_STARTS = [
    ReplicaStart("us", "cart", ("ap", "eu", "us")),
    ReplicaStart(
        "us", "cart", ("ap", "eu", "us"), 0, "", 1, (OriginFacts("us", "j", 4, 1),), KNOWN
    ),
]

FILTERS: list[Filter] = [
    Exclude.all() + Include.entity_ids("c-1", "c-2"),
    Exclude.regexes("c-[0-9]+") + Include.regexes("c-1.*", "(a|b)*c"),
    Exclude.tags("large") + Include.tags("small", events_only=True),
    Exclude.topics("sensors/+/temperature", "#"),
]


def starts() -> list[bytes]:
    """First messages of a Pull."""
    plain = Start(1, "carts", "test", "", {}, Credit(1 << 20, 1000), 1000, "id")
    placed = {slice_: Position(1, b"x" * 16) for slice_ in range(4)}
    made = [plain, plain._replace(positions=placed), plain._replace(credit=Credit(0, 0))]
    made += [plain._replace(history=history) for history in History]
    made += [plain._replace(filter=VersionedFilter(1, one)) for one in FILTERS]
    made += [plain._replace(stream_id=REPLICA_STREAM, replica=one) for one in REPLICA_STARTS]
    made.append(plain._replace(replica=REPLICA_STARTS[0]))
    return [write_from_consumer(one) for one in made]


def later() -> list[bytes]:
    """Further messages of a Pull."""
    made: list[Any] = [Credit(1, 1), Beat(1), Credit((1 << 63) - 1, 1)]
    made += [VersionedFilter(2, one) for one in FILTERS]
    made += [Known(KNOWN), Known((), 3, "us", RETIRING, ("old",))]
    return [*map(write_from_consumer, made), write_question(Question(1, "Heads", b""))]


def questions() -> dict[str, list[bytes]]:
    """Unary requests by method."""
    lookup = LookUpRequest("carts", "c-1", 1, 9, 0, Credit(1000, 10))
    state = EntityStateRequest(REPLICA_STREAM, "c-1", "us")
    asked = health_pb2.HealthCheckRequest(service=SERVICE).SerializeToString()
    return {
        f"/{SERVICE}/LookUp": [
            write_look_up(lookup),
            write_look_up(lookup._replace(history=History.LATEST, limit=Credit(0, 0))),
            write_look_up(lookup._replace(stream_id=REPLICA_STREAM, replica_id="us")),
        ],
        f"/{SERVICE}/EntityIds": [
            write_entity_ids(EntityIdsRequest(REPLICA_STREAM, 1, "c-1", 10, "us")),
            write_entity_ids(EntityIdsRequest("carts", 1, "", 0, "us")),
        ],
        f"/{SERVICE}/EntityState": [
            write_entity_state(state),
            write_entity_state(state._replace(stream_id="carts")),
        ],
        f"/{SERVICE}/Heads": [write_heads(HeadsRequest("carts", "test"))],
        f"/{SERVICE}/PositionAt": [write_position_at(PositionAtRequest("carts", 1 << 50))],
        "/grpc.health.v1.Health/Check": [b"", asked],
    }


def reflections() -> list[bytes]:
    asked = reflection_pb2.ServerReflectionRequest
    made = [asked(list_services="*"), asked(file_containing_symbol=SERVICE), asked()]
    return [one.SerializeToString() for one in made]


def offer(rng: random.Random) -> bytes:
    """The first message of a Push."""
    stream_id, origin = rng.choice([(PUSHED, "other"), (REPLICA_STREAM, "ap")])
    made = pb.Offer(
        protocol=1, stream_id=stream_id, origin=origin, journal_id="j", entity_type="cart", slices=4
    )
    return damage(rng, pb.FromProducer(offer=made).SerializeToString())


def pushed(rng: random.Random) -> list[bytes]:
    """What a producer sends to a destination, with bodies that are sound where nothing hit them."""
    record = pack_record(Record(EVENT, "c-1", rng.randrange(1, 4), "Added/1", b"\x80", ()))
    body = damage(rng, b"\x91" + record)
    part = pb.CommitPart(first_offset=0, end_offset=1, write_id=b"w" * 16, body=body,
                         body_crc=zlib.crc32(body))  # fmt: skip
    batch = pb.Batch(slice=rng.randrange(4), base_offset=0, next_offset=1, head=1, commits=[part])
    started = pb.Started(protocol=1, journal_id="j", entity_type="cart", slices=4,
                         heartbeat_ms=1000)  # fmt: skip
    messages = [pb.FromProducer(started=started), pb.FromProducer(batch=batch),
                pb.FromProducer(beat=pb.Beat(time_us=1))]  # fmt: skip
    sent = [one.SerializeToString() for one in messages]
    sent += [write_reply(Reply(rng.randrange(3), b"answer"))]
    return [damage(rng, one) for one in sent]


def damage(rng: random.Random, message: bytes) -> bytes:
    """A few random changes: bytes, cuts, repeats, and numbers that are too large."""
    changed = bytearray(message)
    for _ in range(rng.randrange(0, 5)):
        place = rng.randrange(len(changed) + 1)
        what = rng.randrange(6)
        if what == 0 and changed:
            changed[place % len(changed)] = rng.randrange(256)
        elif what == 1:
            changed[place:place] = rng.randbytes(rng.randrange(1, 9))
        elif what == 2:
            del changed[place:]
        elif what == 3:
            changed += changed[place : place + 200]
        elif what == 4:
            changed[place:place] = b"\xff" * 9 + b"\x01"
        else:
            changed[place : place + rng.randrange(1, 4)] = b""
    return bytes(changed)


class Fuzzer:
    """Sends damaged requests, some at a time, and counts how they ended by status."""

    def __init__(self, port: int, seed: int) -> None:
        self._target, self._rng = f"127.0.0.1:{port}", random.Random(seed)
        self._starts, self._later = starts(), later()
        self._questions, self._reflections = questions(), reflections()
        self.ended: Counter[str] = Counter()

    async def run(self, count: int) -> None:
        """AssertionError shows the messages that a status of the server's own answered."""
        left = iter(range(count))
        async with grpc.aio.insecure_channel(self._target) as channel:

            async def work() -> None:
                for _ in left:
                    await self._one(channel)

            await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    async def _one(self, channel: Any) -> None:
        rng, method = self._rng, ""
        kind = rng.randrange(12)
        if kind < 5:
            method, first = METHOD, damage(rng, rng.choice(self._starts))
            rest = [
                damage(rng, rng.choice(self._later)) for _ in range(rng.randrange(MESSAGES_MAX))
            ]
            status = await self._conversation(channel.stream_stream(method), [first, *rest])
            sent = [first, *rest]
        elif kind < 6:
            method = REFLECTION
            sent = [damage(rng, rng.choice(self._reflections)) for _ in range(2)]
            status = await self._conversation(channel.stream_stream(method), sent)
        elif kind < 8:
            method, sent = PUSH_METHOD, [offer(rng), *pushed(rng)]
            status = await self._conversation(channel.stream_stream(method), sent)
        else:
            method = rng.choice(list(self._questions))
            sent = [damage(rng, rng.choice(self._questions[method]))]
            status = await self._question(channel.unary_unary(method), sent[0])
        self.ended[status] += 1
        mine = OURS - {"UNAVAILABLE"} if method == PUSH_METHOD else OURS  # that says: begin again
        assert status not in mine, f"{method} {status}: {sent}"

    async def _conversation(self, method: Callable[..., Any], sent: list[bytes]) -> str:
        call = method(timeout=DEADLINE_S)
        try:
            for message in sent:
                await call.write(message)
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                pass
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        if await call.details() == "Internal error from Core":
            return "unsent"  # this client's own word where the call was over while it wrote
        return str((await call.code()).name)

    async def _question(self, method: Callable[..., Any], sent: bytes) -> str:
        call = method(sent, timeout=DEADLINE_S)
        return str((await call.code()).name)
