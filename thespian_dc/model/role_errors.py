"""What can go wrong between replicas as a group: who they are, who is active, who leaves. The rules
of errors.py hold here too."""

from __future__ import annotations

from thespian_dc.model.errors import SettingsError, with_fields
from thespian_dc.model.replication_errors import ReplicationError


@with_fields
class ReplicaIdChangedError(SettingsError):
    """The settings name another replica id than the one this journal was written under."""

    entity_type: str
    stored: str
    wanted: str

    def __str__(self) -> str:
        return (
            f"replication of {self.entity_type!r}: this journal was written by replica "
            f"{self.stored!r}, and the settings say {self.wanted!r}; a journal keeps its replica's "
            "id for ever: set it back, or use another journal"
        )


@with_fields
class InvalidRolesError(ReplicationError):
    """The journal's entry of a replica group cannot be read."""

    grpc_status = "DATA_LOSS"

    entity_type: str
    reason: str

    def __str__(self) -> str:
        return (
            f"the registry's entry replication:{self.entity_type} cannot be read: {self.reason}; "
            "was it written by a newer version?"
        )


@with_fields
class NotReplicatedError(ReplicationError):
    """No replica of this entity type ever ran on this journal."""

    entity_type: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        known = ", ".join(self.known) or "none"
        return (
            f"entity type {self.entity_type!r} was never replicated from this journal; replicated "
            f"types: {known}"
        )


# --- peers that may not take part ---


@with_fields
class OwnReplicaIdError(ReplicationError):
    """A peer calls itself by this replica's own id."""

    entity_type: str
    replica: str

    def __str__(self) -> str:
        return (
            f"replication of {self.entity_type!r}: the peer says it is replica {self.replica!r}, "
            "and so is this one; every replica needs an id of its own"
        )


@with_fields
class UnknownReplicaError(ReplicationError):
    """A replica that the settings here do not name."""

    entity_type: str
    replica: str
    known: str

    def __str__(self) -> str:
        return (
            f"replication of {self.entity_type!r}: replica {self.replica!r} is not in the settings "
            f"here, which name {self.known}; list it as a Peer, then start the node again"
        )


@with_fields
class RetiredReplicaError(ReplicationError):
    """A replica that retires, or has. Its id is never taken again."""

    entity_type: str
    replica: str

    def __str__(self) -> str:
        return (
            f"replication of {self.entity_type!r}: replica {self.replica!r} was retired; its id is "
            "never taken again: give a new replica a new id and an empty journal"
        )


@with_fields
class GroupModeDiffersError(ReplicationError):
    """One replica says that all are active, the other that one is."""

    entity_type: str
    other: str
    other_has_epochs: int

    def __str__(self) -> str:
        mode = "one replica is active" if self.other_has_epochs else "all replicas are active"
        return (
            f"replication of {self.entity_type!r}: to {self.other!r} {mode}, here it is the other "
            "way; Replication.active must name a replica in the settings of all, or of none"
        )


@with_fields
class OriginChangedError(ReplicationError):
    """A replica writes another journal than before under the same id."""

    grpc_status = "DATA_LOSS"

    entity_type: str
    replica: str
    known_journal: str
    known_slices: int
    journal: str
    slices: int

    def __str__(self) -> str:
        return (
            f"replication of {self.entity_type!r}: replica {self.replica!r} writes journal "
            f"{self.journal} with {self.slices} slices, and was known by journal "
            f"{self.known_journal} with {self.known_slices}; it has to fetch from its peers what "
            "it lost before it is taken again, or to be retired"
        )


@with_fields
class AheadOfTimeError(ReplicationError):
    """A peer tells an epoch, or a generation of a journal, that nobody can have reached by now."""

    retryable = True  # clocks differ, and the bound grows
    grpc_status = "FAILED_PRECONDITION"

    entity_type: str
    replica: str
    what: str
    said: int
    most: int

    def __str__(self) -> str:
        return (
            f"replication of {self.entity_type!r}: replica {self.replica!r} tells of {self.what} "
            f"{self.said}, and by the clock of this machine there can be {self.most} at most; "
            "nothing of what it said is kept: compare the clocks, else see what runs there"
        )


@with_fields
class TooManyReplicasError(ReplicationError):
    """More replicas than a group may have had in all its life. what: which list of them."""

    replica: str
    what: str
    limit: int

    def __str__(self) -> str:
        return (
            f"replica {self.replica!r} would know of more than {self.limit} replicas "
            f"({self.what}), and what is known of them is kept for ever; nothing of what was said "
            "is kept: see who tells of ids that nobody uses"
        )


# --- wishes that cannot be fulfilled ---


@with_fields
class AllActiveError(ReplicationError):
    """There is nobody to promote or demote: all replicas are active."""

    entity_type: str
    verb: str

    def __str__(self) -> str:
        return (
            f"replication of {self.entity_type!r}: all replicas are active, there is nothing to "
            f"{self.verb}; Replication.active names the one that is to be, for a hot standby"
        )


@with_fields
class NotActiveError(ReplicationError):
    """Only the active replica can be demoted."""

    entity_type: str
    replica: str
    active: str

    def __str__(self) -> str:
        active = repr(self.active) if self.active else "nobody"
        return (
            f"replication of {self.entity_type!r}: replica {self.replica!r} is not active, "
            f"{active} is; demote that one, or promote this one"
        )


@with_fields
class AlreadyRetiredError(ReplicationError):
    """It is retired already."""

    entity_type: str
    replica: str

    def __str__(self) -> str:
        return f"replication of {self.entity_type!r}: replica {self.replica!r} is retired already"


@with_fields
class RetireSelfError(ReplicationError):
    """A replica cannot retire itself: it would have to know that the others have all it wrote."""

    entity_type: str
    replica: str

    def __str__(self) -> str:
        return (
            f"replication of {self.entity_type!r}: {self.replica!r} is the replica this journal "
            "belongs to; retire it at one of the others, which take its last events first"
        )


@with_fields
class CatchUpRefusedError(ReplicationError):
    """A promotion was not made: events of other replicas could not be had in time."""

    entity_type: str
    replica: str
    behind: str

    def __str__(self) -> str:
        return (
            f"replication of {self.entity_type!r}: {self.replica!r} was not promoted, because it "
            f"lacks events: {self.behind}; give it more time, or force it, knowing that what it "
            "lacks comes later as concurrent"
        )


@with_fields
class ReplicationWishError(ReplicationError):
    """What was asked of a running replica was not done, and will not be."""

    retryable = True
    grpc_status = "ABORTED"

    entity_type: str
    what: str
    reason: str

    def __str__(self) -> str:
        return f"replication of {self.entity_type!r}: {self.what} was not done: {self.reason}"


@with_fields
class TooManyWishesError(ReplicationError):
    """Too much is asked of one replica at the same time."""

    retryable = True
    grpc_status = "RESOURCE_EXHAUSTED"

    entity_type: str
    limit: int

    def __str__(self) -> str:
        return (
            f"replication of {self.entity_type!r}: {self.limit} wishes wait already; is the "
            "replica running?"
        )
