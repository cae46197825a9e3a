"""What replicas say to each other, as plain values (model/replication_handshake.py) and back, with
every field checked on arrival: MalformedMessageError."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from thespian_dc.model.criteria import UNFILTERED
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.ids import SLICES_MAX, check_name
from thespian_dc.model.replication import OFFSET_BITS
from thespian_dc.model.replication_handshake import (
    GENERATION_BITS,
    ORIGIN_POSITIONS_MAX,
    REPLICAS_MAX,
    Known,
    OriginFacts,
    OriginPositions,
    ReplicaStart,
    ReplicaStarted,
    Retiring,
    RetiringStage,
)
from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.wire import streams_pb2 as pb
from thespian_dc.wire.parts import (
    OFFSET_MAX,
    check_slices,
    check_texts,
    filter_of,
    positions_in,
    write_filter,
    write_positions,
)


def replica_start_of(sent: pb.ReplicaStart) -> ReplicaStart:
    what = "a ReplicaStart"
    return ReplicaStart(
        *_head(what, sent), _origins_of(what, sent.origins),
        _positions_of(what, sent.known), _retiring_of(what, sent.retiring),
        _ids(what, sent.retired),
    )  # fmt: skip


def write_replica_start(start: ReplicaStart) -> pb.ReplicaStart:
    fields: dict[str, Any] = start._asdict()
    fields["origins"] = [pb.OriginFacts(**one._asdict()) for one in start.origins]
    fields["known"] = _written(start.known)
    fields["retiring"] = _retiring_out(start.retiring)
    return pb.ReplicaStart(**fields)


def known_of(sent: pb.Known) -> Known:
    what = "a Known"
    check_texts(what, sent, "active")
    _check_number(what, "epoch", sent.epoch)
    return Known(
        _positions_of(what, sent.origins), sent.epoch, sent.active,
        _retiring_of(what, sent.retiring), _ids(what, sent.retired),
    )  # fmt: skip


def write_known(known: Known) -> pb.Known:
    fields: dict[str, Any] = known._asdict()
    fields["origins"] = _written(known.origins)
    fields["retiring"] = _retiring_out(known.retiring)
    return pb.Known(**fields)


def replica_started_of(sent: pb.ReplicaStarted) -> ReplicaStarted:
    what = "a ReplicaStarted"
    check_texts(what, sent, "seen_journal_id")
    _check_generation(what, sent.seen_generation)
    return ReplicaStarted(
        *_head(what, sent), _origins_of(what, sent.origins), sent.seen_journal_id,
        sent.seen_generation, positions_in(what, sent.seen),
        filter_of(sent.shown) if sent.HasField("shown") else UNFILTERED,
        _retiring_of(what, sent.retiring), _ids(what, sent.retired),
    )  # fmt: skip


def write_replica_started(started: ReplicaStarted) -> pb.ReplicaStarted:
    fields: dict[str, Any] = started._asdict()
    fields["origins"] = [pb.OriginFacts(**one._asdict()) for one in started.origins]
    fields["retiring"] = _retiring_out(started.retiring)
    fields["seen"] = write_positions(started.seen)
    fields["shown"] = None if started.shown == UNFILTERED else write_filter(started.shown)
    return pb.ReplicaStarted(**fields)


def _head(what: str, sent: Any) -> tuple[str, str, tuple[str, ...], int, str, int]:
    """The fields with which both ends say who they are."""
    check_texts(what, sent, "entity_type", "active")
    _check_id(what, sent.replica_id)
    _check_number(what, "epoch", sent.epoch)
    _check_generation(what, sent.generation)
    return (
        sent.replica_id, sent.entity_type, _ids(what, sent.replicas), sent.epoch, sent.active,
        sent.generation,
    )  # fmt: skip


def _origins_of(what: str, sent: Sequence[pb.OriginFacts]) -> tuple[OriginFacts, ...]:
    _ids(what, [one.replica for one in sent])
    for one in sent:
        check_texts(what, one, "journal_id")
        _check_generation(what, one.generation)
        if one.slices:
            check_slices(what, one.slices)
    return tuple(
        OriginFacts(one.replica, one.journal_id, one.slices, one.generation) for one in sent
    )


def _positions_of(what: str, sent: Sequence[pb.OriginPositions]) -> tuple[OriginPositions, ...]:
    if len(sent) > ORIGIN_POSITIONS_MAX:
        raise MalformedMessageError(what, f"more than {ORIGIN_POSITIONS_MAX} origins' positions")
    for one in sent:
        _check_id(what, one.replica)
        _check_generation(what, one.generation)
        if len(one.offsets) > SLICES_MAX:
            raise MalformedMessageError(what, f"more than {SLICES_MAX} positions of an origin")
        check_slices(what, len(one.offsets))
        if max(one.offsets) >> OFFSET_BITS:
            raise MalformedMessageError(what, f"an offset is beyond {OFFSET_BITS} bits")
    if len({(one.replica, one.generation) for one in sent}) < len(sent):
        raise MalformedMessageError(what, "a generation of an origin stands in it twice")
    return tuple(OriginPositions(one.replica, one.generation, tuple(one.offsets)) for one in sent)


def _written(positions: Iterable[OriginPositions]) -> list[pb.OriginPositions]:
    return [pb.OriginPositions(**one._asdict()) for one in positions]


def _retiring_of(what: str, sent: Sequence[pb.Retiring]) -> tuple[Retiring, ...]:
    _ids(what, [one.replica for one in sent])
    return tuple(Retiring(one.replica, _stages_of(what, one.stages)) for one in sent)


def _stages_of(what: str, sent: Sequence[pb.RetiringStage]) -> tuple[RetiringStage, ...]:
    _ids(what, [one.at for one in sent])
    for one in sent:
        _check_generation(what, one.generation)
        if len(one.heads) > SLICES_MAX:
            raise MalformedMessageError(what, f"more than {SLICES_MAX} heads of a replica")
        if max(one.heads, default=0) >> OFFSET_BITS:
            raise MalformedMessageError(what, f"an offset is beyond {OFFSET_BITS} bits")
    return tuple(RetiringStage(one.at, one.generation, one.round, tuple(one.heads)) for one in sent)


def _retiring_out(retiring: Iterable[Retiring]) -> list[pb.Retiring]:
    return [
        pb.Retiring(
            replica=one.replica, stages=[pb.RetiringStage(**at._asdict()) for at in one.stages]
        )
        for one in retiring
    ]


def _ids(what: str, sent: Sequence[str]) -> tuple[str, ...]:
    if len(sent) > REPLICAS_MAX:
        raise MalformedMessageError(what, f"it names more than {REPLICAS_MAX} replicas")
    for replica_id in sent:
        _check_id(what, replica_id)
    if len(set(sent)) < len(sent):
        raise MalformedMessageError(what, "a replica stands in it twice")
    return tuple(sent)


def _check_id(what: str, replica_id: str) -> None:
    try:
        check_name("replica id", replica_id)
    except SettingsError as error:
        raise MalformedMessageError(what, str(error)) from error


def _check_number(what: str, name: str, value: int) -> None:
    if value > OFFSET_MAX:
        raise MalformedMessageError(what, f"{name} is greater than 63 bits hold")


def _check_generation(what: str, generation: int) -> None:
    if generation >> GENERATION_BITS:
        raise MalformedMessageError(what, f"a generation is beyond {GENERATION_BITS} bits")
