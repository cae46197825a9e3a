from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class History(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FULL: _ClassVar[History]
    FROM_SNAPSHOTS: _ClassVar[History]
    LATEST: _ClassVar[History]
FULL: History
FROM_SNAPSHOTS: History
LATEST: History

class FromConsumer(_message.Message):
    __slots__ = ("start", "credit", "beat", "filter", "known", "question")
    START_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    start: Start
    credit: Credit
    beat: Beat
    filter: Filter
    known: Known
    question: Question
    def __init__(self, start: _Optional[_Union[Start, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., beat: _Optional[_Union[Beat, _Mapping]] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., known: _Optional[_Union[Known, _Mapping]] = ..., question: _Optional[_Union[Question, _Mapping]] = ...) -> None: ...

class Start(_message.Message):
    __slots__ = ("protocol", "stream_id", "consumer", "journal_id", "positions", "credit", "heartbeat_ms", "filter", "correlation_id", "history", "replica", "looks_on")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_ID_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_MS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    LOOKS_ON_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    stream_id: str
    consumer: str
    journal_id: str
    positions: _containers.RepeatedCompositeFieldContainer[SlicePosition]
    credit: Credit
    heartbeat_ms: int
    filter: Filter
    correlation_id: str
    history: History
    replica: ReplicaStart
    looks_on: bool
    def __init__(self, protocol: _Optional[int] = ..., stream_id: _Optional[str] = ..., consumer: _Optional[str] = ..., journal_id: _Optional[str] = ..., positions: _Optional[_Iterable[_Union[SlicePosition, _Mapping]]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., heartbeat_ms: _Optional[int] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., correlation_id: _Optional[str] = ..., history: _Optional[_Union[History, str]] = ..., replica: _Optional[_Union[ReplicaStart, _Mapping]] = ..., looks_on: bool = ...) -> None: ...

class ReplicaStart(_message.Message):
    __slots__ = ("replica_id", "entity_type", "replicas", "epoch", "active", "generation", "origins", "known", "retiring", "retired")
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    ENTITY_TYPE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ORIGINS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    RETIRING_FIELD_NUMBER: _ClassVar[int]
    RETIRED_FIELD_NUMBER: _ClassVar[int]
    replica_id: str
    entity_type: str
    replicas: _containers.RepeatedScalarFieldContainer[str]
    epoch: int
    active: str
    generation: int
    origins: _containers.RepeatedCompositeFieldContainer[OriginFacts]
    known: _containers.RepeatedCompositeFieldContainer[OriginPositions]
    retiring: _containers.RepeatedCompositeFieldContainer[Retiring]
    retired: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, replica_id: _Optional[str] = ..., entity_type: _Optional[str] = ..., replicas: _Optional[_Iterable[str]] = ..., epoch: _Optional[int] = ..., active: _Optional[str] = ..., generation: _Optional[int] = ..., origins: _Optional[_Iterable[_Union[OriginFacts, _Mapping]]] = ..., known: _Optional[_Iterable[_Union[OriginPositions, _Mapping]]] = ..., retiring: _Optional[_Iterable[_Union[Retiring, _Mapping]]] = ..., retired: _Optional[_Iterable[str]] = ...) -> None: ...

class OriginFacts(_message.Message):
    __slots__ = ("replica", "journal_id", "slices", "generation")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_ID_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    replica: str
    journal_id: str
    slices: int
    generation: int
    def __init__(self, replica: _Optional[str] = ..., journal_id: _Optional[str] = ..., slices: _Optional[int] = ..., generation: _Optional[int] = ...) -> None: ...

class OriginPositions(_message.Message):
    __slots__ = ("replica", "generation", "offsets")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    replica: str
    generation: int
    offsets: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, replica: _Optional[str] = ..., generation: _Optional[int] = ..., offsets: _Optional[_Iterable[int]] = ...) -> None: ...

class Retiring(_message.Message):
    __slots__ = ("replica", "stages")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    replica: str
    stages: _containers.RepeatedCompositeFieldContainer[RetiringStage]
    def __init__(self, replica: _Optional[str] = ..., stages: _Optional[_Iterable[_Union[RetiringStage, _Mapping]]] = ...) -> None: ...

class RetiringStage(_message.Message):
    __slots__ = ("at", "generation", "round", "heads")
    AT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    at: str
    generation: int
    round: int
    heads: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, at: _Optional[str] = ..., generation: _Optional[int] = ..., round: _Optional[int] = ..., heads: _Optional[_Iterable[int]] = ...) -> None: ...

class Known(_message.Message):
    __slots__ = ("origins", "epoch", "active", "retiring", "retired")
    ORIGINS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    RETIRING_FIELD_NUMBER: _ClassVar[int]
    RETIRED_FIELD_NUMBER: _ClassVar[int]
    origins: _containers.RepeatedCompositeFieldContainer[OriginPositions]
    epoch: int
    active: str
    retiring: _containers.RepeatedCompositeFieldContainer[Retiring]
    retired: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, origins: _Optional[_Iterable[_Union[OriginPositions, _Mapping]]] = ..., epoch: _Optional[int] = ..., active: _Optional[str] = ..., retiring: _Optional[_Iterable[_Union[Retiring, _Mapping]]] = ..., retired: _Optional[_Iterable[str]] = ...) -> None: ...

class ReplicaStarted(_message.Message):
    __slots__ = ("replica_id", "entity_type", "replicas", "epoch", "active", "generation", "origins", "seen_journal_id", "seen_generation", "seen", "shown", "retiring", "retired")
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    ENTITY_TYPE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ORIGINS_FIELD_NUMBER: _ClassVar[int]
    SEEN_JOURNAL_ID_FIELD_NUMBER: _ClassVar[int]
    SEEN_GENERATION_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    SHOWN_FIELD_NUMBER: _ClassVar[int]
    RETIRING_FIELD_NUMBER: _ClassVar[int]
    RETIRED_FIELD_NUMBER: _ClassVar[int]
    replica_id: str
    entity_type: str
    replicas: _containers.RepeatedScalarFieldContainer[str]
    epoch: int
    active: str
    generation: int
    origins: _containers.RepeatedCompositeFieldContainer[OriginFacts]
    seen_journal_id: str
    seen_generation: int
    seen: _containers.RepeatedCompositeFieldContainer[SlicePosition]
    shown: Filter
    retiring: _containers.RepeatedCompositeFieldContainer[Retiring]
    retired: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, replica_id: _Optional[str] = ..., entity_type: _Optional[str] = ..., replicas: _Optional[_Iterable[str]] = ..., epoch: _Optional[int] = ..., active: _Optional[str] = ..., generation: _Optional[int] = ..., origins: _Optional[_Iterable[_Union[OriginFacts, _Mapping]]] = ..., seen_journal_id: _Optional[str] = ..., seen_generation: _Optional[int] = ..., seen: _Optional[_Iterable[_Union[SlicePosition, _Mapping]]] = ..., shown: _Optional[_Union[Filter, _Mapping]] = ..., retiring: _Optional[_Iterable[_Union[Retiring, _Mapping]]] = ..., retired: _Optional[_Iterable[str]] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("version", "exclude", "include", "events_only")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_ONLY_FIELD_NUMBER: _ClassVar[int]
    version: int
    exclude: Criteria
    include: Criteria
    events_only: bool
    def __init__(self, version: _Optional[int] = ..., exclude: _Optional[_Union[Criteria, _Mapping]] = ..., include: _Optional[_Union[Criteria, _Mapping]] = ..., events_only: bool = ...) -> None: ...

class Criteria(_message.Message):
    __slots__ = ("entity_ids", "regexes", "tags", "topics")
    ENTITY_IDS_FIELD_NUMBER: _ClassVar[int]
    REGEXES_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    entity_ids: _containers.RepeatedScalarFieldContainer[str]
    regexes: _containers.RepeatedScalarFieldContainer[str]
    tags: _containers.RepeatedScalarFieldContainer[str]
    topics: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, entity_ids: _Optional[_Iterable[str]] = ..., regexes: _Optional[_Iterable[str]] = ..., tags: _Optional[_Iterable[str]] = ..., topics: _Optional[_Iterable[str]] = ...) -> None: ...

class FilterInForce(_message.Message):
    __slots__ = ("version", "starts")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    version: int
    starts: _containers.RepeatedCompositeFieldContainer[SlicePosition]
    def __init__(self, version: _Optional[int] = ..., starts: _Optional[_Iterable[_Union[SlicePosition, _Mapping]]] = ...) -> None: ...

class SlicePosition(_message.Message):
    __slots__ = ("slice", "offset", "write_id")
    SLICE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    WRITE_ID_FIELD_NUMBER: _ClassVar[int]
    slice: int
    offset: int
    write_id: bytes
    def __init__(self, slice: _Optional[int] = ..., offset: _Optional[int] = ..., write_id: _Optional[bytes] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("bytes", "events")
    BYTES_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    events: int
    def __init__(self, bytes: _Optional[int] = ..., events: _Optional[int] = ...) -> None: ...

class Beat(_message.Message):
    __slots__ = ("time_us",)
    TIME_US_FIELD_NUMBER: _ClassVar[int]
    time_us: int
    def __init__(self, time_us: _Optional[int] = ...) -> None: ...

class FromProducer(_message.Message):
    __slots__ = ("started", "batch", "beat", "filter_in_force", "offer", "replica", "reply")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    FILTER_IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    started: Started
    batch: Batch
    beat: Beat
    filter_in_force: FilterInForce
    offer: Offer
    replica: ReplicaStarted
    reply: Reply
    def __init__(self, started: _Optional[_Union[Started, _Mapping]] = ..., batch: _Optional[_Union[Batch, _Mapping]] = ..., beat: _Optional[_Union[Beat, _Mapping]] = ..., filter_in_force: _Optional[_Union[FilterInForce, _Mapping]] = ..., offer: _Optional[_Union[Offer, _Mapping]] = ..., replica: _Optional[_Union[ReplicaStarted, _Mapping]] = ..., reply: _Optional[_Union[Reply, _Mapping]] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("protocol", "stream_id", "origin", "journal_id", "entity_type", "slices")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_ID_FIELD_NUMBER: _ClassVar[int]
    ENTITY_TYPE_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    stream_id: str
    origin: str
    journal_id: str
    entity_type: str
    slices: int
    def __init__(self, protocol: _Optional[int] = ..., stream_id: _Optional[str] = ..., origin: _Optional[str] = ..., journal_id: _Optional[str] = ..., entity_type: _Optional[str] = ..., slices: _Optional[int] = ...) -> None: ...

class Question(_message.Message):
    __slots__ = ("nr", "method", "request")
    NR_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    nr: int
    method: str
    request: bytes
    def __init__(self, nr: _Optional[int] = ..., method: _Optional[str] = ..., request: _Optional[bytes] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("nr", "answer", "problem")
    NR_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    nr: int
    answer: bytes
    problem: Problem
    def __init__(self, nr: _Optional[int] = ..., answer: _Optional[bytes] = ..., problem: _Optional[_Union[Problem, _Mapping]] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("protocol", "journal_id", "entity_type", "slices", "heads", "heartbeat_ms", "replica")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_ID_FIELD_NUMBER: _ClassVar[int]
    ENTITY_TYPE_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_MS_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    journal_id: str
    entity_type: str
    slices: int
    heads: _containers.RepeatedCompositeFieldContainer[SlicePosition]
    heartbeat_ms: int
    replica: ReplicaStarted
    def __init__(self, protocol: _Optional[int] = ..., journal_id: _Optional[str] = ..., entity_type: _Optional[str] = ..., slices: _Optional[int] = ..., heads: _Optional[_Iterable[_Union[SlicePosition, _Mapping]]] = ..., heartbeat_ms: _Optional[int] = ..., replica: _Optional[_Union[ReplicaStarted, _Mapping]] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("slice", "base_offset", "next_offset", "head", "commits", "filter_version")
    SLICE_FIELD_NUMBER: _ClassVar[int]
    BASE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    FILTER_VERSION_FIELD_NUMBER: _ClassVar[int]
    slice: int
    base_offset: int
    next_offset: int
    head: int
    commits: _containers.RepeatedCompositeFieldContainer[CommitPart]
    filter_version: int
    def __init__(self, slice: _Optional[int] = ..., base_offset: _Optional[int] = ..., next_offset: _Optional[int] = ..., head: _Optional[int] = ..., commits: _Optional[_Iterable[_Union[CommitPart, _Mapping]]] = ..., filter_version: _Optional[int] = ...) -> None: ...

class CommitPart(_message.Message):
    __slots__ = ("first_offset", "end_offset", "write_id", "time_us", "body", "kept", "body_crc")
    FIRST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    END_OFFSET_FIELD_NUMBER: _ClassVar[int]
    WRITE_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_US_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    BODY_CRC_FIELD_NUMBER: _ClassVar[int]
    first_offset: int
    end_offset: int
    write_id: bytes
    time_us: int
    body: bytes
    kept: _containers.RepeatedScalarFieldContainer[int]
    body_crc: int
    def __init__(self, first_offset: _Optional[int] = ..., end_offset: _Optional[int] = ..., write_id: _Optional[bytes] = ..., time_us: _Optional[int] = ..., body: _Optional[bytes] = ..., kept: _Optional[_Iterable[int]] = ..., body_crc: _Optional[int] = ...) -> None: ...

class LookUpRequest(_message.Message):
    __slots__ = ("protocol", "stream_id", "entity_id", "from_seq_nr", "until_seq_nr", "from_offset", "limit", "journal_id", "consumer", "correlation_id", "history", "replica_id", "shown_version")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    ENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQ_NR_FIELD_NUMBER: _ClassVar[int]
    UNTIL_SEQ_NR_FIELD_NUMBER: _ClassVar[int]
    FROM_OFFSET_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_ID_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    SHOWN_VERSION_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    stream_id: str
    entity_id: str
    from_seq_nr: int
    until_seq_nr: int
    from_offset: int
    limit: Credit
    journal_id: str
    consumer: str
    correlation_id: str
    history: History
    replica_id: str
    shown_version: int
    def __init__(self, protocol: _Optional[int] = ..., stream_id: _Optional[str] = ..., entity_id: _Optional[str] = ..., from_seq_nr: _Optional[int] = ..., until_seq_nr: _Optional[int] = ..., from_offset: _Optional[int] = ..., limit: _Optional[_Union[Credit, _Mapping]] = ..., journal_id: _Optional[str] = ..., consumer: _Optional[str] = ..., correlation_id: _Optional[str] = ..., history: _Optional[_Union[History, str]] = ..., replica_id: _Optional[str] = ..., shown_version: _Optional[int] = ...) -> None: ...

class LookUpAnswer(_message.Message):
    __slots__ = ("journal_id", "slice", "commits", "complete_through", "below_offset", "more")
    JOURNAL_ID_FIELD_NUMBER: _ClassVar[int]
    SLICE_FIELD_NUMBER: _ClassVar[int]
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_THROUGH_FIELD_NUMBER: _ClassVar[int]
    BELOW_OFFSET_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    journal_id: str
    slice: int
    commits: _containers.RepeatedCompositeFieldContainer[CommitPart]
    complete_through: int
    below_offset: int
    more: bool
    def __init__(self, journal_id: _Optional[str] = ..., slice: _Optional[int] = ..., commits: _Optional[_Iterable[_Union[CommitPart, _Mapping]]] = ..., complete_through: _Optional[int] = ..., below_offset: _Optional[int] = ..., more: bool = ...) -> None: ...

class HeadsRequest(_message.Message):
    __slots__ = ("protocol", "stream_id", "consumer", "correlation_id", "replica_id")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    stream_id: str
    consumer: str
    correlation_id: str
    replica_id: str
    def __init__(self, protocol: _Optional[int] = ..., stream_id: _Optional[str] = ..., consumer: _Optional[str] = ..., correlation_id: _Optional[str] = ..., replica_id: _Optional[str] = ...) -> None: ...

class HeadsAnswer(_message.Message):
    __slots__ = ("journal_id", "heads")
    JOURNAL_ID_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    journal_id: str
    heads: _containers.RepeatedCompositeFieldContainer[SlicePosition]
    def __init__(self, journal_id: _Optional[str] = ..., heads: _Optional[_Iterable[_Union[SlicePosition, _Mapping]]] = ...) -> None: ...

class PositionAtRequest(_message.Message):
    __slots__ = ("protocol", "stream_id", "time_us", "consumer", "correlation_id", "replica_id")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_US_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    stream_id: str
    time_us: int
    consumer: str
    correlation_id: str
    replica_id: str
    def __init__(self, protocol: _Optional[int] = ..., stream_id: _Optional[str] = ..., time_us: _Optional[int] = ..., consumer: _Optional[str] = ..., correlation_id: _Optional[str] = ..., replica_id: _Optional[str] = ...) -> None: ...

class PositionAtAnswer(_message.Message):
    __slots__ = ("journal_id", "positions")
    JOURNAL_ID_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    journal_id: str
    positions: _containers.RepeatedCompositeFieldContainer[SlicePosition]
    def __init__(self, journal_id: _Optional[str] = ..., positions: _Optional[_Iterable[_Union[SlicePosition, _Mapping]]] = ...) -> None: ...

class EntityStateRequest(_message.Message):
    __slots__ = ("protocol", "stream_id", "entity_id", "replica_id", "journal_id", "consumer", "correlation_id", "fresh", "shown_version")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    ENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_ID_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    SHOWN_VERSION_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    stream_id: str
    entity_id: str
    replica_id: str
    journal_id: str
    consumer: str
    correlation_id: str
    fresh: bool
    shown_version: int
    def __init__(self, protocol: _Optional[int] = ..., stream_id: _Optional[str] = ..., entity_id: _Optional[str] = ..., replica_id: _Optional[str] = ..., journal_id: _Optional[str] = ..., consumer: _Optional[str] = ..., correlation_id: _Optional[str] = ..., fresh: bool = ..., shown_version: _Optional[int] = ...) -> None: ...

class EntityStateAnswer(_message.Message):
    __slots__ = ("journal_id", "slice", "generation", "seq_nr", "offset", "body", "body_crc")
    JOURNAL_ID_FIELD_NUMBER: _ClassVar[int]
    SLICE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SEQ_NR_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    BODY_CRC_FIELD_NUMBER: _ClassVar[int]
    journal_id: str
    slice: int
    generation: int
    seq_nr: int
    offset: int
    body: bytes
    body_crc: int
    def __init__(self, journal_id: _Optional[str] = ..., slice: _Optional[int] = ..., generation: _Optional[int] = ..., seq_nr: _Optional[int] = ..., offset: _Optional[int] = ..., body: _Optional[bytes] = ..., body_crc: _Optional[int] = ...) -> None: ...

class EntityIdsRequest(_message.Message):
    __slots__ = ("protocol", "stream_id", "slice", "after", "limit", "replica_id", "journal_id", "consumer", "correlation_id", "resume", "shown_version")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    SLICE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_ID_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    SHOWN_VERSION_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    stream_id: str
    slice: int
    after: str
    limit: int
    replica_id: str
    journal_id: str
    consumer: str
    correlation_id: str
    resume: bytes
    shown_version: int
    def __init__(self, protocol: _Optional[int] = ..., stream_id: _Optional[str] = ..., slice: _Optional[int] = ..., after: _Optional[str] = ..., limit: _Optional[int] = ..., replica_id: _Optional[str] = ..., journal_id: _Optional[str] = ..., consumer: _Optional[str] = ..., correlation_id: _Optional[str] = ..., resume: _Optional[bytes] = ..., shown_version: _Optional[int] = ...) -> None: ...

class EntityIdsAnswer(_message.Message):
    __slots__ = ("journal_id", "generation", "ids", "trimmed_to", "more", "resume")
    JOURNAL_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    TRIMMED_TO_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    journal_id: str
    generation: int
    ids: _containers.RepeatedScalarFieldContainer[str]
    trimmed_to: int
    more: bool
    resume: bytes
    def __init__(self, journal_id: _Optional[str] = ..., generation: _Optional[int] = ..., ids: _Optional[_Iterable[str]] = ..., trimmed_to: _Optional[int] = ..., more: bool = ..., resume: _Optional[bytes] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("error", "arguments")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    error: str
    arguments: _containers.RepeatedCompositeFieldContainer[Argument]
    def __init__(self, error: _Optional[str] = ..., arguments: _Optional[_Iterable[_Union[Argument, _Mapping]]] = ...) -> None: ...

class Argument(_message.Message):
    __slots__ = ("text", "number")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    text: str
    number: int
    def __init__(self, text: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...
