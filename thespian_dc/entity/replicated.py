"""The base class of replicated entities: the same entity in several systems, each with a journal of
its own.

An event-sourced class becomes replicated by deriving from this one (or by mixing it in), and by a
Replication in the settings. Its events must then be such that their order among replicas does not
matter (thespian_dc.crdt has types for it), or apply_event must decide conflicts by `concurrent` and
`lww_time` (docs/replication.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from thespian_dc.crdt.api import LwwTime
from thespian_dc.entity.actor import EventSourcedActor
from thespian_dc.entity.instance import ReplicatedInstance
from thespian_dc.model.replication_errors import ReplicationContextError
from thespian_dc.model.replication_settings import Replication


class ReplicatedEventSourcedActor(EventSourcedActor):
    """An event-sourced entity that lives in several replicas."""

    _replicated = True
    _facts: ClassVar[Sequence[str]] = (
        *EventSourcedActor._facts, "replica_id", "all_replicas", "origin", "concurrent",
        "recovering", "time_us", "lww_time",
    )  # fmt: skip

    # --- where it is ---
    @property
    def replica_id(self) -> str:
        """The replica that this code runs at."""
        return self._replication.replica_id

    @property
    def all_replicas(self) -> tuple[str, ...]:
        """The ids of all replicas, this one among them, sorted."""
        return self._replication.replicas

    # --- of the event that is applied: in apply_event, tags_for and snapshot_when ---
    @property
    def origin(self) -> str:
        """The replica that wrote the event. ReplicationContextError where no event is applied."""
        return self._applying("origin").origin

    @property
    def concurrent(self) -> bool:
        """This state contains something that its origin had not seen when it wrote: whatever they
        conflict about is to be decided here. The same answer when the event is replayed.
        ReplicationContextError where no event is applied."""
        return self._applying("concurrent").concurrent

    @property
    def recovering(self) -> bool:
        """The event is replayed from the journal. ReplicationContextError where none is applied."""
        return self._applying("recovering").recovering

    # --- time, in command handlers ---
    def time_us(self) -> int:
        """Now, microseconds since 1970 UTC, and later than any time that led to this state: the
        clock's, or just after the greatest of those. Kept with what the command persists."""
        instance = self._replica("time_us")
        self._effects("time_us").open_to_handlers("time_us")
        time_us = max(instance.host.now_us, instance.time_us + 1)
        instance.time_us = instance.asked_us = time_us
        return time_us

    def lww_time(self) -> LwwTime:
        """The same, with the replica as a tie-break: of two writes the greater LwwTime wins."""
        return LwwTime(self.time_us(), self.replica_id)

    # --- what a class may say ---
    def replicated_event_received(self, event: Any, origin: str) -> float | None:
        """An event of another replica is about to be stored here. Return a number of seconds to
        have it come again after them; raise ReplicatedEventRefused not to apply it here, ever.
        It is called again where what followed was lost."""

    def replicated_event_transformed(self, event: Any, origin: str) -> Any:
        """The event that this replica stores and applies in place of another replica's."""
        return event

    # --- inside ---
    def _replica(self, what: str) -> ReplicatedInstance:
        instance = self._hosted(what)
        assert isinstance(instance, ReplicatedInstance)
        return instance

    def _applying(self, fact: str) -> ReplicatedInstance:
        instance = self._replica(fact)
        if not instance.origin:
            raise ReplicationContextError(fact, str(instance.ref))
        return instance

    @property
    def _replication(self) -> Replication:
        replication = self._hosted("replica_id").type.replication
        assert replication is not None, "a host serves no replicated type without its setting"
        return replication


ReplicatedEventSourcedActor._base = ReplicatedEventSourcedActor
