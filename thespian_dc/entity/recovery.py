"""Bring an entity into memory: its state row, the records after it, then its waiting commands.
Pure.

Laws:
- Only while nothing of the entity is queued or in flight, and up to the slice's head: the offset
  the host appends at is the offset its memory agrees with.
- At most limits.recoveries_max at a time; the others wait in the order they were asked for, and
  those of a slice that was just taken over until its index was brought up to date.
- A state row that cannot be read is passed over: replay from the first record.
- Records that cannot be read fail this entity's commands with RecoveryError; nobody else's.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from thespian_dc.entity.actions import Recover, Recovered
from thespian_dc.entity.effects import Stage
from thespian_dc.entity.faults import reason_of
from thespian_dc.entity.hosted import Hosted
from thespian_dc.entity.instance import Instance, Phase, ReplicatedInstance
from thespian_dc.entity.protocol import Command, Replicated
from thespian_dc.entity.recording import apply
from thespian_dc.entity.release import Release
from thespian_dc.entity.replaying import begin_from, replay
from thespian_dc.entity.residents import Residents
from thespian_dc.entity.rows import unpack_row
from thespian_dc.entity.running import Running
from thespian_dc.entity.turn import HOOK, Turn
from thespian_dc.journal.api import Found, StateRow
from thespian_dc.model.entity_errors import RecoveryError
from thespian_dc.model.errors import CodecError
from thespian_dc.model.record import CONTROL, DELETED_MANIFEST
from thespian_dc.model.user_code import RAISED

RETRY_US = 300_000


class Recovery:
    """The recoveries of one host."""

    def __init__(
        self, hosted: Hosted, residents: Residents, running: Running, release: Release
    ) -> None:
        self._hosted, self._residents = hosted, residents
        self._running, self._release = running, release
        self._active: dict[Recover, Instance] = {}
        self._queue: deque[Instance] = deque()  # bounded: each has a waiting command
        self._retries: deque[tuple[int, Instance]] = deque()  # bounded by recoveries_max
        self._behind: list[Instance] = []  # bounded: each has a waiting command

    def __len__(self) -> int:
        waiting = len(self._queue) + len(self._retries) + len(self._behind)
        return len(self._active) + waiting

    def due_us(self) -> int | None:
        return self._retries[0][0] if self._retries else None

    def begin(self, instance: Instance) -> None:
        """Recover it as soon as there is room; its commands wait in it."""
        self._queue.append(instance)
        self._start()

    def restore(self, gone: Instance, turns: list[Turn], stash: list[Turn]) -> None:
        """Bring back an entity that has just left memory, if anything waits for it."""
        if not turns and not stash:
            return
        instance = self._residents.admit(gone.slice, gone.entity_id)
        instance.waiting = deque(turns)  # bounded by limits.waiting_max of the host
        instance.stash = stash or None
        self.begin(instance)

    def on_recovered(self, result: Recovered) -> None:
        """The journal's answer; one for an instance that is gone is dropped."""
        instance = self._active.pop(result.action, None)
        if instance is not None and instance.phase is Phase.RECOVERING:
            self._rebuild(instance, result)
        self._start()

    def on_indexed(self) -> None:
        """A slice's index was brought up to date, or cannot be."""
        if self._behind:
            self._queue.extend(self._behind)
            self._behind.clear()
            self._start()

    def on_lost(self) -> None:
        """A slice is lost and its entities have left memory: nothing is read for them."""
        self._behind = [one for one in self._behind if one.phase is Phase.RECOVERING]

    def on_failed(self, action: Recover) -> None:
        """The journal was not available: again, after a while."""
        instance = self._active.pop(action, None)
        if instance is not None and instance.phase is Phase.RECOVERING:
            self._retries.append((self._hosted.now_us + RETRY_US, instance))
        self._start()

    def on_time(self) -> None:
        while self._retries and self._retries[0][0] <= self._hosted.now_us:
            self._queue.append(self._retries.popleft()[1])
        self._start()

    def _start(self) -> None:
        while self._queue and len(self._active) < self._hosted.limits.recoveries_max:
            instance = self._queue.popleft()
            if instance.phase is not Phase.RECOVERING:
                continue
            if instance.slice.derived.behind:
                self._behind.append(instance)
            else:
                self._read(instance)

    def _read(self, instance: Instance, replay: bool = False) -> None:
        writer, entity_id = instance.slice.writer, instance.entity_id
        until = instance.slice.derived.read_until(entity_id)
        action = Recover(writer.key, entity_id, until, writer.epoch, replay)
        self._active[action] = instance
        self._hosted.out.append(action)

    # --- from bytes to an entity ---
    def _rebuild(self, instance: Instance, result: Recovered) -> None:
        if result.error is not None:
            self._fail(instance, instance.seq_nr, result.error)
            return
        try:
            self._instantiate(instance)
            if result.row is not None and not self._from_row(instance, result.row):
                self._hosted.counts["rows_passed_over"] += 1
                self._read(instance, replay=True)
                return
            for found in result.records:
                self._replay(instance, found)
        except RAISED as error:  # user code: __init__, empty_state, apply_event
            self._fail(instance, instance.seq_nr + 1, error)
            return
        self._hosted.counts["recovered"] += 1
        instance.phase = Phase.RUNNING
        if isinstance(instance, ReplicatedInstance):
            instance.slice.type.learn(instance.epoch, instance.leader)
            trouble = instance.trouble
            if trouble:
                self._hosted.report("entity_failed", instance.ref, trouble, instance.ref)
            elif instance.owed:  # before any command
                nothing = Command(instance.type.name, instance.entity_id, Replicated(()))
                instance.wait_first(Turn(nothing))
                self._hosted.open_turns += 1
        hook = instance.type.recovery_completed
        if hook is not None:
            turn = Turn(Command(instance.type.name, instance.entity_id, HOOK))
            self._hosted.open_turns += 1
            self._running.resume(instance, turn, Stage.RECOVERED, lambda: hook(instance.actor))
        self._hosted.ready.append(instance)

    def _instantiate(self, instance: Instance) -> None:
        actor = self._hosted.make_actor(instance.type)
        actor._entity = instance
        instance.actor = actor
        instance.state = instance.type.empty_state(actor)
        instance.seq_nr = 0
        if isinstance(instance, ReplicatedInstance):
            instance.begin()

    def _from_row(self, instance: Instance, row: StateRow) -> bool:
        """Start from a state row; False where it cannot be read."""
        try:
            (manifest, payload), known, content, notes = unpack_row(row)
            if manifest != DELETED_MANIFEST:
                instance.state = instance.type.decode_state(manifest, payload)
        except CodecError as error:
            self._hosted.report("state_row_unreadable", instance.ref, error)
            return False
        instance.seq_nr, instance.known = row.seq_nr, known or None
        if isinstance(instance, ReplicatedInstance):
            begin_from(instance, content, notes)
        return True

    def _replay(self, instance: Instance, found: Found) -> None:
        """One record, in order; RecoveryError where it does not follow."""
        record = found.record
        if record.seq_nr != instance.seq_nr + 1:
            reason = f"the journal returned seq_nr {record.seq_nr} instead"
            raise RecoveryError(str(instance.ref), instance.seq_nr + 1, reason)
        if isinstance(instance, ReplicatedInstance):
            replay(instance, record)
        elif record.kind != CONTROL:
            instance.state = self._state_after(instance, record.manifest, record.payload)
        instance.seq_nr = record.seq_nr
        if record.command_id:
            limit = self._hosted.limits.known_commands
            instance.remember(record.command_id, record.seq_nr, record.reply, limit)

    def _state_after(self, instance: Instance, manifest: str, payload: bytes) -> Any:
        description = instance.type
        if not description.is_durable_state:
            event = description.registry.decode(manifest, payload)
            return apply(instance, instance.state, event)
        if manifest == DELETED_MANIFEST:
            return description.empty_state(instance.actor)
        return description.decode_state(manifest, payload)

    def _fail(self, instance: Instance, seq_nr: int, error: BaseException) -> None:
        """Every command that waits for it is answered; the next one tries again."""
        failed = RecoveryError(str(instance.ref), seq_nr, reason_of(error))
        failed = error if isinstance(error, RecoveryError) else failed
        self._hosted.report("recovery_failed", instance.ref, failed)
        self._residents.remove(instance)
        for turn in (*(instance.waiting or ()), *(instance.stash or ())):
            self._release.refuse(turn, failed)
