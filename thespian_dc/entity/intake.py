"""Events of other replicas become records of this one, and the state moves on. Pure.

One Intake is one command's: what it made is queued together, or lost together with the instance.
An event is stored as it came unless the class transforms it; its class is asked before anything of
it happens. What its class does not want, what comes late and is to be set aside, and what the peer
had set aside, are CONTROL records: counted, and not applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from thespian_dc.entity.entity_type import Encoded
from thespian_dc.entity.instance import ReplicatedInstance
from thespian_dc.entity.notes import Note, listed_of, noted, plain_of_notes
from thespian_dc.entity.protocol import RemoteEvent
from thespian_dc.entity.recording import apply, checked_tags
from thespian_dc.entity.replaying import note_event, own_id
from thespian_dc.model.record import (
    CONTROL,
    EVENT,
    SNAPSHOT_META,
    STATE,
    Record,
    pack_fields,
)
from thespian_dc.model.replication import (
    FORKED_MANIFEST,
    ORIGIN_META,
    REFUSED_META,
    Listed,
    ReplicaMeta,
    StateMeta,
    meta_of,
    state_meta,
)
from thespian_dc.model.replication_errors import ReplicatedEventRefused
from thespian_dc.model.user_code import RAISED

_PLAIN, _LONG = 5, 7  # elements of what came, without `concurrent`


class Intake:
    """packed: records, in order. listed: what people should know. is_row_due: the state is to be
    kept."""

    __slots__ = ("_first", "_instance", "_is_kept", "listed", "packed")

    def __init__(self, instance: ReplicatedInstance) -> None:
        self._instance, self._first = instance, instance.seq_nr + 1
        self.packed: list[bytes] = []
        self.listed: list[Listed] = []
        self._is_kept = False

    @property
    def is_row_due(self) -> bool:
        every, last = self._instance.type.snapshot_every, self._instance.seq_nr
        by_number = every and (self._first - 1) // every != last // every
        sound = not self._instance.failed and self._instance.forked is None
        return bool(self._is_kept or by_number) and sound

    def take(self, event: RemoteEvent, concurrent: bool, late: bool) -> int:
        """A new event: apply and record it, or return for how many microseconds its class delays
        it. Counting it is the caller's."""
        manifest, payload, tags, fields, set_aside = event
        instance = self._instance
        description, kind = instance.type, EVENT
        replication = description.replication
        assert replication is not None, "a host serves no replicated type without its setting"
        meta: dict[str, Any] = {ORIGIN_META: stored_form(fields, concurrent)}
        if set_aside or (late and instance.sets_aside):
            kind = CONTROL
            self._note("late_set_aside", fields)
        else:
            try:
                decoded = description.registry.decode(manifest, payload)
            except RAISED as error:  # a type that this code does not know, or damage
                self._fail(fields, error)
            else:
                has_hooks = description.received is not None or description.transformed is not None
                if has_hooks and fields[0] != replication.replica_id:  # else it comes back
                    verdict = self._ask_class(decoded, fields)
                    if isinstance(verdict, int):
                        return verdict
                    decoded, encoded = verdict
                    if decoded is None:
                        kind, meta[REFUSED_META] = CONTROL, 1
                    elif encoded is not None:
                        manifest, payload = encoded
                if kind == EVENT and not instance.failed:
                    tags = self._apply(decoded, tags, fields, concurrent)
            if late and kind == EVENT:
                self._note("late", fields)
        self._add(kind, manifest, payload, tags, meta)
        return 0

    def fork(self, fields: list[Any], cause: str) -> None:
        """Another event under a known number: the entity is set aside, durably."""
        self._instance.forked = (fields[0], fields[1])
        self.list_("forked", fields[0], fields[1], epoch_of(fields), cause)
        self._add(CONTROL, FORKED_MANIFEST, b"", (), {ORIGIN_META: stored_form(fields, False)})

    def state(self, state: Any, encoded: Encoded, content: StateMeta) -> None:
        """This state takes the place of all before it. It stands for all records of the entity, and
        says so to whoever reads them."""
        instance = self._instance
        instance.state, instance.failed = state, ""
        instance.contains(content)
        self._is_kept = True
        said = state_meta(content, plain_of_notes(instance.notes))
        meta = {ORIGIN_META: said, SNAPSHOT_META: True}
        self._add(STATE, *encoded, (), meta)

    def late_before(
        self, fields: list[Any], origin: str, n: int, epoch: int, text: str = ""
    ) -> None:
        """This event shows that event n of `origin`, which is here, was late."""
        note = Note(fields[0], fields[1], fields[1], "late", epoch, (origin, n))
        self._instance.notes = noted(self._instance.notes, note)
        self.list_("late", origin, n, epoch, text)

    def decided(self, what: str, by: ReplicaMeta, events: tuple[str, int, int], epoch: int) -> None:
        """This event shows that these, (origin, first, last), which are here, are late, or count
        though they were set aside."""
        origin, first, last = events
        note = Note(by.origin, by.n, by.n, what, epoch, (origin, last))
        self._instance.notes = noted(self._instance.notes, note)
        said = ["it was set aside, and counts again"] if what == "late" else []
        said += [f"the same of those before it, from {first}"] if first < last else []
        self.list_(what, origin, last, epoch, "; ".join(said))

    def set_aside(self, meta: ReplicaMeta) -> None:
        """This event, which is here, is late beside the state that is taken over."""
        note_event(self._instance, "late_set_aside", meta.origin, meta.n, meta.epoch)
        self.list_("late_set_aside", meta.origin, meta.n, meta.epoch)

    def taken(self) -> list[tuple[ReplicaMeta, Record]]:
        """The events so far, in order."""
        own = own_id(self._instance)
        records = [Record(*msgpack.unpackb(one, use_list=True)) for one in self.packed]
        return [
            (meta_of(one.meta, own, one.seq_nr, 0, b""), one)
            for one in records
            if one.kind != STATE
        ]

    def known(self, origin: str, n: int) -> None:
        """It comes again: maybe nobody listed what was to be known of it."""
        instance = self._instance
        if instance.notes:
            self.listed += listed_of(instance.notes, instance.entity_id, origin, n)

    def known_all(self) -> None:
        """The entity is asked how it is: what it noted since it failed was heard by nobody."""
        for one in self._instance.notes:
            self.listed += listed_of((one,), self._instance.entity_id, one.by, one.last)

    def list_(self, what: str, origin: str, n: int, epoch: int, text: str = "") -> None:
        """Something that people should know."""
        self.listed.append(Listed(what, self._instance.entity_id, origin, n, epoch, text))

    # --- inside ---
    def _note(self, what: str, fields: list[Any], text: str = "") -> None:
        """The same, of the event that is taken."""
        note_event(self._instance, what, fields[0], fields[1], epoch_of(fields))
        self.list_(what, fields[0], fields[1], epoch_of(fields), text)

    def _ask_class(self, decoded: Any, fields: list[Any]) -> int | tuple[Any, Encoded | None]:
        """(what to apply, its stored form where it is another); (None, None): nothing, it is
        refused; a number: not for so many microseconds. A hook that raises anything refuses: what
        it was to keep out must not come in by its fault."""
        instance, origin = self._instance, fields[0]
        description = instance.type
        try:
            if description.received is not None:
                delay_s = description.received(instance.actor, decoded, origin)
                if delay_s:
                    return max(1, int(delay_s * 1e6))
            if description.transformed is None:
                return decoded, None
            before = description.registry.encode(decoded)
            event = description.transformed(instance.actor, decoded, origin)
            after = description.registry.encode(event)
            # The same object may have been changed in place.
            return event, None if event is decoded and after == before else Encoded(*after)
        except ReplicatedEventRefused as refused:
            text = refused.reason
        except RAISED as error:  # user code
            text = f"{type(error).__name__}: {error}"
        self._note("refused", fields, text)
        return None, None

    def _apply(self, event: Any, tags: Any, fields: list[Any], concurrent: bool) -> Any:
        """Move the state on; returns the event's tags here."""
        instance = self._instance
        description, actor = instance.type, instance.actor
        instance.origin, instance.concurrent = fields[0], concurrent
        try:
            state = apply(instance, instance.state, event)
            if description.tags_for is not None:
                tags = checked_tags(description.tags_for(actor, state, event))
            if description.snapshot_when is not None and description.snapshot_when(
                actor, state, event, instance.seq_nr + 1
            ):
                self._is_kept = True
            instance.state = state
        except RAISED as error:  # user code
            self._fail(fields, error)
        finally:
            instance.origin = ""
        return tags

    def _fail(self, fields: list[Any], error: BaseException) -> None:
        """The event is stored; the state is not to be used any more."""
        instance, cause = self._instance, f"{type(error).__name__}: {error}"
        if not instance.failed:
            instance.failed = f"record {instance.seq_nr + 1}: {cause}"
        self._note("failed", fields, cause)

    def _add(
        self, kind: int, manifest: str, payload: bytes, tags: Any, meta: dict[str, Any]
    ) -> None:
        instance = self._instance
        instance.seq_nr = seq_nr = instance.seq_nr + 1
        fields = (kind, instance.entity_id, seq_nr, manifest, payload, tags, "", None, meta)
        self.packed.append(pack_fields(fields))


def stored_form(fields: list[Any], concurrent: bool) -> list[Any]:
    """The list that came, with what is concurrent here."""
    length = _LONG if len(fields) >= _LONG else _PLAIN
    if concurrent:
        return [*fields[:length], 1]
    return fields if len(fields) == length else fields[:length]


def epoch_of(fields: Sequence[Any]) -> int:
    """Of a list that came; 0: its origin led nobody."""
    return int(fields[6]) if len(fields) >= _LONG else 0
