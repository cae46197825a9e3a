"""Unit tests of an entity class, without actor systems: given events, when a command, then …

    EntityProbe(Cart).given(ItemAdded("apple", 2)).when(AddItem("pear", 1)).then(
        events=[ItemAdded("pear", 1)], reply=Accepted(3), state={"apple": 2, "pear": 1})

The entity runs on a real host core over a journal in memory. After each command the probe checks
what a test by hand forgets: every event comes back from its stored form equal; replaying all events
from the start gives the state in memory; the state comes back equal from a snapshot.

A replicated entity is one replica here; what others wrote comes by `absorb`:

    EntityProbe(Cart, replica_id="eu").when(AddItem("pear", 1)).absorb(
        ItemRemoved("pear"), origin="us", concurrent=True).then(state={"pear": 1})
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from thespian.actors import ActorAddress

from thespian_dc.entity.actions import Forward
from thespian_dc.entity.entity_type import Encoded, EntityType
from thespian_dc.entity.protocol import Absorbed, EntityRef, Replicated
from thespian_dc.journal.api import Found, append_wait
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import (
    CONTROL,
    DELETED_MANIFEST,
    EVENT,
    STATE,
    Record,
    make_commit,
    pack_record,
)
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.shell.frames import unpack, unpack_reply
from thespian_dc.testkit.local_entities import LocalEntities
from thespian_dc.testkit.others import Others, outcome_of, replayed

UNSAID: Any = type("Unsaid", (), {"__repr__": lambda self: "UNSAID"})()
"""Not compared."""


class EntityProbe:
    """One entity of a class. The class may be defined anywhere, a test function included.

    replica_id, replicas: of a replicated one, where it is and who else there is.
    """

    def __init__(
        self,
        entity: Any,
        entity_id: str = "probe",
        *,
        replica_id: str = "here",
        replicas: Sequence[str] = ("here", "there"),
    ) -> None:
        replication = []
        if getattr(entity, "_replicated", False):
            peers = [Peer(one) for one in replicas if one != replica_id]
            replication = [Replication(entity, replica_id, peers)]
        self._entities = _Watched(entity, slices=1, replication=replication)
        self._others = Others(replica_id)
        self._description: EntityType = self._entities.types[0]
        self._entity, self._id = entity, entity_id
        self._ref = EntityRef(self._description.name, entity_id)
        self._key = SliceKey(self._description.name, 0)
        self._seen = 0
        self._applied: list[Any] = []
        self._outcome: Any = UNSAID
        self._watch_applied()

    # --- the three steps ---
    def given(self, *events: Any) -> EntityProbe:
        """The entity has persisted these (durable state: has been in these states), in order."""
        if self._outcome is not UNSAID:
            raise AssertionError("given(...) comes before the first when(...)")
        journal, key = self._entities.journal, self._key
        first = len(self._records()) + 1
        packed = [self._pack(event, first + index) for index, event in enumerate(events)]
        owner = journal.claim(key, "given", uuid.uuid4().bytes)
        head = journal.find_head(key).head
        assert journal.install(key, head, owner.epoch)
        pairs = [(self._id, one) for one in packed]
        write_id = uuid.uuid4().bytes
        append_wait(journal, [make_commit(key, head, write_id, owner.epoch, 1, pairs)])
        self._seen = len(self._records())
        self._entities.restart()
        return self

    def when(self, command: Any, command_id: str = "") -> EntityProbe:
        """The entity handles the command; somebody waits for the answer."""
        self._seen = len(self._records())
        self._entities.sent.clear()
        self._applied.clear()
        entities = self._entities
        number = entities.begin_ask(self._entity, self._id, command, command_id=command_id)
        answer = entities.answers.pop(number, None)
        if answer is None:
            self._outcome = None
        else:
            value = answer.value
            self._outcome = unpack_reply(value)
        self._check_stored_forms()
        return self

    def absorb(
        self, *events: Any, origin: str = "there", concurrent: bool = False
    ) -> EntityProbe:
        """Another replica wrote these events one after the other. concurrent: it had not seen what
        this one has since it wrote last; else it had seen everything.

        The outcome is None where all were taken; the Absorbed where the class delayed or refused
        one; ReplicatedEntityFailedError where its code could not apply one.
        """
        self._seen = len(self._records())
        self._applied.clear()
        encoded = [self._description.registry.encode(event) for event in events]
        # With nothing to take, it brings the entity in.
        self._entities.ask(self._entity, self._id, Replicated((), origin))
        content = self._entities.host.core.content(self._ref)
        assert content is not None, "absorb is for a replicated entity"
        message = self._others.message(encoded, origin, content.vector, concurrent)
        absorbed: Absorbed = self._entities.ask(self._entity, self._id, message)
        self._outcome = outcome_of(absorbed, len(events), str(self._ref))
        if not isinstance(self._outcome, Exception):
            self._check_stored_forms()
        return self

    def then(
        self,
        *,
        events: Any = UNSAID,
        reply: Any = UNSAID,
        state: Any = UNSAID,
        error: Any = UNSAID,
        sent: Any = UNSAID,
    ) -> EntityProbe:
        """What the last command led to; only what is said is compared.

        events: list of those persisted (durable state: states). reply: None where it is not
        answered (yet). error: a class, or an instance with equal arguments; an error that is not
        said fails the test. sent: list of (address or ref, message).
        """
        self._check_outcome(reply, error)
        if events is not UNSAID:
            _equal("events", list(events), self.events)
        if state is not UNSAID:
            _equal("state", state, self.state)
        if sent is not UNSAID:
            _equal("messages sent", list(sent), self._entities.sent)
        return self

    # --- to look at ---
    @property
    def events(self) -> list[Any]:
        """What the last command persisted, as it comes back from the journal."""
        found = [one.record for one in self._records()[self._seen :]]
        return [self._decode(one) for one in found if one.kind != CONTROL]

    @property
    def state(self) -> Any:
        """The state in memory; before the first command, from the given events."""
        found = self._entities.host.core.peek(self._ref)
        return self._replayed() if found is None else found[0]

    @property
    def reply(self) -> Any:
        """The answer to the last command, an error included; None: none yet."""
        return self._outcome

    def advance(self, seconds: float) -> EntityProbe:
        """Let time pass: wake-ups and time-outs happen."""
        self._entities.tick(int(seconds * 1e6))
        return self

    # --- inside ---
    def _check_outcome(self, reply: Any, error: Any) -> None:
        outcome = self._outcome
        if error is not UNSAID:
            same = isinstance(outcome, error) if isinstance(error, type) else (
                type(outcome) is type(error) and outcome.args == error.args
            )  # fmt: skip
            assert same, f"error: expected {error!r}, got {outcome!r}"
        elif isinstance(outcome, Exception) and reply is not outcome:
            raise AssertionError(f"the command failed: {outcome}") from outcome
        if reply is not UNSAID:
            _equal("reply", reply, outcome)

    def _check_stored_forms(self) -> None:
        description, events = self._description, self.events
        if events and not description.is_durable_state:
            # Those before were applied to recover the entity.
            _equal("events from their stored form", self._applied[-len(events) :], events)
        found_state = self._entities.host.core.peek(self._ref)
        if found_state is None or found_state[1] == 0:
            return
        state = found_state[0]
        _equal("the state after replaying every event", state, self._replayed())
        stored = description.decode_state(*description.encode_state(state))
        _equal("the state that comes back from a snapshot", state, stored)

    def _watch_applied(self) -> None:
        apply_event = self._description.apply_event
        if apply_event is None:
            return

        def watched(actor: Any, state: Any, event: Any) -> Any:
            self._applied.append(event)
            return apply_event(actor, state, event)

        self._description.apply_event = watched

    def _records(self) -> list[Found]:
        return self._entities.journal.read_entity(self._key, self._id)

    def _pack(self, event: Any, seq_nr: int) -> bytes:
        description = self._description
        if description.is_durable_state:
            kind, (manifest, payload) = STATE, description.encode_state(event)
        else:
            kind, (manifest, payload) = EVENT, Encoded(*description.registry.encode(event))
        return pack_record(Record(kind, self._id, seq_nr, manifest, payload))

    def _decode(self, record: Record) -> Any:
        description = self._description
        if record.manifest == DELETED_MANIFEST:
            return description.empty_state(description.cls())
        if description.is_durable_state:
            return description.decode_state(record.manifest, record.payload)
        return description.registry.decode(record.manifest, record.payload)

    def _replayed(self) -> Any:
        description, actor = self._description, self._description.cls()
        if description.replicated:
            slice_ = self._entities.host.core._hosted.slice_of_key(self._key)
            return replayed(description, actor, slice_, self._id, self._records())
        state = description.empty_state(actor)
        for found in self._records():
            event = self._decode(found.record)
            if description.apply_event is None or description.is_durable_state:
                state = event
            else:
                after = description.apply_event(actor, state, event)
                state = state if after is None and description.in_place else after
        return state


class _Watched(LocalEntities):
    """Messages to the outside are kept, not delivered."""

    def __init__(
        self, entity: Any, slices: int, replication: Sequence[Replication] = ()
    ) -> None:
        self.sent: list[tuple[Any, Any]] = []
        super().__init__(entity, slices=slices, replication=replication)

    def send(self, target: Any, message: Any, sender: Any) -> None:
        if isinstance(target, ActorAddress) and str(target) in self.actors:
            super().send(target, message, sender)
        else:
            self.sent.append((target, message))

    def forward(self, forward: Forward) -> None:
        self.sent.append((forward.ref, unpack(forward.body)))


def _equal(what: str, expected: Any, found: Any) -> None:
    assert expected == found, f"{what}: expected {expected!r}, got {found!r}"
