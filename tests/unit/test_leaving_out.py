"""What a replica stream leaves out: held against the rule of the replication model, record by
record, and through a whole call."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thespian_dc.model.criteria import Filter, Include, VersionedFilter
from thespian_dc.model.ids import slice_of
from thespian_dc.model.position import Position
from thespian_dc.model.record import CONTROL, EVENT, STATE, Record, pack_record
from thespian_dc.model.replication import (
    FORKED_MANIFEST,
    ORIGIN_META,
    ReplicaMeta,
    StateMeta,
    local_meta,
    offset_in_origin,
    remote_meta,
    state_meta,
)
from thespian_dc.model.replication_handshake import Known, OriginPositions, ReplicaStart
from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.projection.api import CommitView, SourceBatch, body_of
from thespian_dc.stream.batches import cost_of
from thespian_dc.stream.leaving_out import LeavingOut
from thespian_dc.stream.producer_core import HELD_US, ProducerCore
from thespian_dc.wire.conversion import PROTOCOL, Credit, Start

SLICES = 2
OWN, RECEIVER, THIRD = "eu", "us", "ap"
PLENTY = Credit(1 << 30, 1 << 30)


class Event(NamedTuple):
    """A record of the sender's log. origin "" : written there, at its offset in the log."""

    entity_id: str
    origin: str = ""
    generation: int = 0
    offset: int = 0
    kind: int = EVENT
    manifest: str = "M"
    tags: tuple[str, ...] = ()


def packed(event: Event) -> bytes:
    meta: list[Any] | None
    if event.kind == STATE:
        meta = state_meta(StateMeta({OWN: 3}, {}))
    elif not event.origin:
        meta = local_meta(1, {}) if len(event.entity_id) % 2 else None
    else:
        place = offset_in_origin(event.generation, event.offset)
        meta = remote_meta(ReplicaMeta(event.origin, 1, {}, place, 7))
    metas = None if meta is None else {ORIGIN_META: meta}
    return pack_record(
        Record(event.kind, event.entity_id, 1, event.manifest, b"payload", event.tags, meta=metas)
    )


def commit(first: int, events: list[Event]) -> CommitView:
    body = body_of([packed(one) for one in events])
    return CommitView(first, first + len(events), b"w%d" % first, first, body)


def start_of(*known: OriginPositions, life: int = 0, filter_: Filter | None = None) -> Start:
    replica = ReplicaStart(RECEIVER, "cart", (OWN, RECEIVER, THIRD), generation=life,
                           known=known)  # fmt: skip
    wanted = VersionedFilter(1, filter_) if filter_ is not None else VersionedFilter(0, Filter())
    return Start(
        PROTOCOL, "replica:cart", "shop/us", "", {0: Position()}, PLENTY, 1000, "", wanted,
        replica=replica,
    )  # fmt: skip


def call(start: Start, generation: int = 0, slices: int = SLICES) -> ProducerCore:
    assert start.replica is not None
    leaving_out = LeavingOut(start.replica, (OWN, generation), slices)
    return ProducerCore(start, slices, "peer", 0, leaving_out=leaving_out)


def sent(core: ProducerCore, commits: list[CommitView], now_us: int = 0) -> list[int]:
    """Offsets of slice 0 that go out, all the way to the end."""
    out: list[int] = []
    for batch in batches(core, commits, now_us):
        for part in batch.commits:
            records = msgpack.unpackb(part.body) if part.body else []
            kept = part.kept or range(len(records))
            out += [part.first_offset + at for at in kept]
    return out


def batches(core: ProducerCore, commits: list[CommitView], now_us: int = 0) -> list[SourceBatch]:
    end, found = commits[-1].end_offset, []
    while core.offset(0) < end:
        left = [one for one in commits if one.end_offset > core.offset(0)]
        batch = core.form(0, left, end, now_us)
        found += [batch] if batch is not None else []
    if core.held_long(now_us + HELD_US) is not None:
        found.append(core.let_go(0, end))
    base = 0
    for batch in found:
        assert batch.base_offset == base, "a position is never passed over"
        base = batch.next_offset
    assert base == end
    return found


def left_out(
    event: Event, at: int, generation: int, known: list[OriginPositions], life: int
) -> bool:
    """The model's rule, said once more: event.offset < known[origin], for one life of a journal."""
    if event.kind == STATE:
        return False
    if event.manifest == FORKED_MANIFEST:
        return True
    place = (event.origin or OWN, event.generation if event.origin else generation)
    if place[0] == RECEIVER and place[1] >= life:
        return True
    offset = event.offset if event.origin else at
    return any(
        offset < one.offsets[slice_of(event.entity_id, len(one.offsets))]
        for one in known
        if (one.replica, one.generation) == place
    )


IDS = [id_ for id_ in ("a", "bb", "c", "dd", "e", "ff", "g", "hh") if not slice_of(id_, SLICES)]
EVENTS = st.builds(
    Event,
    st.sampled_from(IDS),
    st.sampled_from(["", OWN, RECEIVER, THIRD, "old"]),
    st.integers(0, 2),
    st.integers(0, 20),
    st.sampled_from([EVENT, EVENT, EVENT, CONTROL, STATE]),
    st.sampled_from(["M", "M", FORKED_MANIFEST]),
    st.sampled_from([(), ("large",)]),
).map(lambda e: e if e.kind == CONTROL else e._replace(manifest="M"))
POSITIONS = st.lists(
    st.builds(
        OriginPositions,
        st.sampled_from([OWN, RECEIVER, THIRD]),
        st.integers(0, 2),
        st.integers(0, 2).flatmap(
            lambda bits: st.tuples(*[st.integers(0, 25)] * (1 << bits))  # other slice counts too
        ),
    ),
    unique_by=lambda one: (one.replica, one.generation),
    max_size=4,
)


@settings(max_examples=300)
@given(
    st.lists(st.lists(EVENTS, min_size=1, max_size=6), min_size=1, max_size=6),
    POSITIONS, st.integers(0, 2), st.integers(0, 2), st.sampled_from([None, Include.tags("large")]),
)  # fmt: skip
def test_exactly_what_the_model_leaves_out_is_left_out(
    log: list[list[Event]], known: list[OriginPositions], life: int, generation: int,
    filter_: Filter | None,
) -> None:  # fmt: skip
    commits, base, wanted = [], 0, []
    for events in log:
        commits.append(commit(base, events))
        for at, event in enumerate(events, base):
            passes = filter_ is None or "large" in event.tags
            if passes and not left_out(event, at, generation, known, life):
                wanted.append(at)
        base += len(events)
    spelled = None if filter_ is None else filter_.spelled_out()
    core = call(start_of(*known, life=life, filter_=spelled), generation)
    assert sent(core, commits) == wanted


def test_a_receiver_gets_none_of_its_own_events() -> None:
    core = call(start_of())
    log = [commit(0, [Event("a", RECEIVER, 0, 5), Event("a"), Event("a", RECEIVER, 3, 99)])]
    assert sent(core, log) == [1]


def test_a_restored_receiver_gets_those_of_its_own_that_it_lost() -> None:
    """Whenever they come; those of its present life it has."""
    heads = OriginPositions(RECEIVER, 0, (6, 0))
    core = call(start_of(heads, life=2))
    lives = [(0, 5), (0, 6), (1, 9), (2, 0), (3, 0)]
    log = [commit(0, [*(Event("a", RECEIVER, *one) for one in lives), Event("a", "ap")])]
    assert sent(core, log) == [1, 2, 5]


def test_a_position_says_nothing_of_another_generation() -> None:
    """An event of a life before the restore may stand anywhere in the restored log."""
    core = call(start_of(OriginPositions(THIRD, 1, (1000, 1000))))
    assert sent(core, [commit(0, [Event("a", THIRD, 0, 5), Event("a", THIRD, 1, 5)])]) == [0]


def test_what_is_reported_while_connected_is_left_out_from_then_on() -> None:
    core = call(start_of())
    log = [commit(n, [Event("a", THIRD, 0, n)]) for n in range(6)]
    assert sent(core, log[:2]) == [0, 1]
    core.on_message(Known((OriginPositions(THIRD, 0, (5, 0)),)), 0)
    core.on_message(Known((OriginPositions(THIRD, 0, (3, 0)),)), 0)  # nobody forgets what he had
    assert sent_from(core, log[2:]) == [5]


def sent_from(core: ProducerCore, commits: list[CommitView]) -> list[int]:
    """The same, of a call that is under way."""
    out: list[int] = []
    while core.offset(0) < commits[-1].end_offset:
        left = [one for one in commits if one.end_offset > core.offset(0)]
        batch = core.form(0, left, 0, 0)
        for part in batch.commits if batch is not None else ():
            out += [part.first_offset] if part.body else []
    return out


def test_what_is_left_out_costs_no_credit_and_few_messages() -> None:
    """All of a log is known: its positions come as one part, without any credit."""
    start = start_of(OriginPositions(THIRD, 0, (1 << 30, 1 << 30)))._replace(credit=Credit(0, 0))
    core = call(start)
    log = [commit(10 * n, [Event("a", THIRD, 0, n)] * 10) for n in range(50)]
    (batch,) = batches(core, log)
    assert (cost_of(batch), len(batch.commits), batch.next_offset) == (Credit(0, 0), 1, 500)


def test_the_write_id_of_what_is_sent_is_its_commits_own() -> None:
    """The receiver makes the mark of it."""
    core = call(start_of(OriginPositions(THIRD, 0, (100, 100))))
    log = [commit(0, [Event("a", THIRD)]), commit(1, [Event("a"), Event("a", THIRD), Event("c")])]
    (batch,) = batches(core, log)
    parts = [(part.write_id, bool(part.body), tuple(part.kept)) for part in batch.commits]
    assert parts == [(b"w0", False, ()), (b"w1", True, (0, 2))]


def test_an_ordinary_call_takes_no_word_of_what_somebody_has() -> None:
    start = start_of()._replace(replica=None)
    core = ProducerCore(start, SLICES, "peer", 0)
    with pytest.raises(MalformedMessageError, match="replica streams"):
        core.on_message(Known(), 0)


def cpu_us_per_event(core: ProducerCore, log: list[CommitView]) -> float:
    events = log[-1].end_offset
    before = time.process_time()
    while core.offset(0) < events:
        index = core.offset(0) // 100
        core.form(0, log[index : index + 10], events, 0)
    return (time.process_time() - before) / events * 1e6


@pytest.mark.parametrize(("below", "most_us"), [(1 << 30, 3.0), (0, 9.0)])
def test_leaving_out_and_sending_cost_little(below: int, most_us: float) -> None:
    """Three times what a quiet machine takes; a call that decodes, or cuts, twice is above it."""
    log = [
        commit(100 * n, [Event("a", THIRD, 0, 100 * n + k) for k in range(100)]) for n in range(300)
    ]
    least = min(
        cpu_us_per_event(call(start_of(OriginPositions(THIRD, 0, (below, below)))), log)
        for _ in range(3)
    )
    print(f"{least:.2f} us per event")
    assert least < most_us
