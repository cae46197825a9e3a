"""What keeps one replica from reading another's stream. The rules of errors.py hold here too.

Most can be mended at the other end while this one goes on asking: they are retryable.
"""

from __future__ import annotations

from thespian_dc.model.errors import with_fields
from thespian_dc.model.replication_errors import ReplicationError


@with_fields
class ReplicaIdentityError(ReplicationError):
    """A caller says that it is a replica, and does not prove it."""

    retryable = True  # certificates are renewed while we run
    grpc_status = "PERMISSION_DENIED"

    entity_type: str
    replica: str
    reason: str

    def __str__(self) -> str:
        return (
            f"replication of {self.entity_type!r}: the caller says it is replica {self.replica!r}, "
            f"and {self.reason}; see Peer.identity in the settings of both"
        )


@with_fields
class WrongReplicaError(ReplicationError):
    """Another replica than the expected one is at a peer's address."""

    retryable = True
    grpc_status = "FAILED_PRECONDITION"

    target: str
    expected: str
    found: str

    def __str__(self) -> str:
        return (
            f"{self.target} is replica {self.found!r}, and {self.expected!r} was expected there; "
            "look at Peer.target and replica_id in the settings of both"
        )


@with_fields
class NoReplicaHereError(ReplicationError):
    """A peer shows no log of this entity type to replicas."""

    retryable = True
    grpc_status = "NOT_FOUND"

    target: str
    stream_id: str

    def __str__(self) -> str:
        return (
            f"{self.target} has no stream {self.stream_id!r}: list a Replication of that entity "
            "type in its settings, and start it with a version that knows replicas"
        )


@with_fields
class OtherEntityTypeError(ReplicationError):
    """The two ends speak of different entity types."""

    where: str
    entity_type: str
    found: str

    def __str__(self) -> str:
        return (
            f"{self.where}: replication of {self.entity_type!r} met replication of {self.found!r}; "
            "an entity type must have one name at all replicas"
        )


@with_fields
class ReplicaListsDifferError(ReplicationError):
    """This replica has events of replicas that the asking one does not know, so it could not take
    them."""

    retryable = True

    entity_type: str
    replica: str
    missing: str

    def __str__(self) -> str:
        return (
            f"replication of {self.entity_type!r}: replica {self.replica!r} does not know "
            f"{self.missing}, whose events are here; list them as Peers there (target='' where it "
            "need not dial them), and start it again"
        )


@with_fields
class ForeignOriginError(ReplicationError):
    """A peer shows events of a replica that is not of this group: it may not relay them."""

    retryable = True  # it may be listed, or retired, while we go on asking
    grpc_status = "FAILED_PRECONDITION"

    peer: str
    entity_id: str
    origin: str
    known: str

    def __str__(self) -> str:
        return (
            f"replica {self.peer!r} shows events of {self.origin!r} (entity {self.entity_id!r}), "
            f"which is not in the settings here ({self.known}) and was not retired: list it as a "
            "Peer (target='' where nobody dials it), or retire it; until then nothing is taken "
            f"from {self.peer!r}"
        )


@with_fields
class ShownFilterChangedError(ReplicationError):
    """A question of a replica that was told of another filter than the one its answer would be seen
    through: what is withheld now would be taken for what is not there."""

    retryable = True  # it is told
    grpc_status = "ABORTED"

    stream_id: str
    told: int
    found: int

    def __str__(self) -> str:
        return (
            f"stream {self.stream_id!r} is shown through version {self.found} of its filter, and "
            f"the asker was told of version {self.told}: it is asked again once that is told"
        )


@with_fields
class NotAReplicaStreamError(ReplicationError):
    """A replica asked for an ordinary stream, or one for history that no replica stream gives."""

    stream_id: str
    reason: str

    def __str__(self) -> str:
        return f"stream {self.stream_id!r} cannot be read by a replica: {self.reason}"
