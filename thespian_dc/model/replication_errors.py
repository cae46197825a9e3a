"""What can go wrong between replicas. The rules of errors.py hold here too."""

from __future__ import annotations

from thespian_dc.model.errors import CodecError, ThespianDcError, with_fields


class ReplicationError(ThespianDcError):
    """Something about a replicated entity or its replicas."""

    grpc_status = "FAILED_PRECONDITION"


@with_fields
class ReplicaMetaError(CodecError):
    """What a record says of its origin cannot be read."""

    fields: str
    reason: str

    def __str__(self) -> str:
        return f"{self.fields} does not say where an event comes from: {self.reason}"


# --- entities ---
@with_fields
class ReplicationContextError(ReplicationError):
    """A fact about the event that is applied was asked for where none is."""

    fact: str
    entity: str

    def __str__(self) -> str:
        return (
            f"{self.entity}: {self.fact} is known only while an event is applied: use it in "
            "apply_event, tags_for or snapshot_when; keep it in the state where it is needed later"
        )


@with_fields
class ReplicatedEventRefused(ReplicationError):  # noqa: N818  a verdict, raised by users
    """Raised by `replicated_event_received`: this replica does not take the event. It is stored,
    not applied, and listed."""

    reason: str

    def __str__(self) -> str:
        return f"the event was refused: {self.reason}"


class NotTakenError(ReplicationError):
    """This replica takes no commands of this entity at present; the subclass says why. Nothing was
    persisted."""


@with_fields
class ReplicatedEntityFailedError(NotTakenError):
    """An event of another replica is stored, and the entity's code cannot apply it (or does not
    know its type). Its events go on being stored; its commands are refused."""

    entity: str
    cause: str

    def __str__(self) -> str:
        return (
            f"{self.entity} cannot apply what other replicas wrote: {self.cause}; start the node "
            "with code that can, and the entity recovers by itself"
        )


@with_fields
class OriginForkedError(NotTakenError):
    """A replica wrote two different events under one number, because its journal was restored from
    an older copy and it went on writing. This entity is set aside here."""

    grpc_status = "DATA_LOSS"

    entity: str
    origin: str
    n: int

    def __str__(self) -> str:
        return (
            f"{self.entity}: replica {self.origin!r} wrote event {self.n} twice, and differently: "
            "was its journal restored from an older copy? The entity is set aside at this replica: "
            "it takes neither commands nor events until somebody has decided which history counts"
        )


@with_fields
class StandbyError(NotTakenError):
    """This replica stands by and does not handle this command. active: the replica that does, ""
    where none does."""

    entity: str
    replica_id: str
    active: str
    epoch: int

    def __str__(self) -> str:
        if not self.active:
            return f"{self.entity}: no replica is active (epoch {self.epoch}); promote one"
        return (
            f"{self.entity}: replica {self.replica_id!r} stands by; send commands to "
            f"{self.active!r}, which is active (epoch {self.epoch}), or promote this one"
        )


@with_fields
class ReplicaRecoveringError(NotTakenError):
    """This replica fetches what it lost when its journal was restored from an older copy."""

    retryable = True
    grpc_status = "UNAVAILABLE"

    entity: str
    replica_id: str

    def __str__(self) -> str:
        return (
            f"{self.entity}: replica {self.replica_id!r} fetches from its peers what its journal "
            "lost; it takes commands again when that is done"
        )


@with_fields
class ReplicaRetiredError(NotTakenError):
    """This replica retires, or has: it takes no commands any more."""

    entity: str
    replica_id: str

    def __str__(self) -> str:
        return f"{self.entity}: replica {self.replica_id!r} retires; send commands to another"


@with_fields
class OwnEventsTrimmedError(ReplicationError):
    """A state from another replica lacks events of this one, and they are not in the log any
    more."""

    entity: str
    replica: str
    n: int

    def __str__(self) -> str:
        return (
            f"{self.entity}: the state that came lacks event {self.n} and on of {self.replica!r}, "
            "and this replica has trimmed its own: let the other side take them first"
        )
