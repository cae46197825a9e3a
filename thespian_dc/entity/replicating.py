"""What replicas send to an entity, and what a replica does not do with its own commands. Pure.

in: an instance that is RUNNING, a turn with Replicated or ReplicatedState
out: records on the slice, and an Absorbed that is released when they are durable
Laws:
- An event is taken once, in the order of its origin, after all that its origin had seen
  (causality.py). What the entity contains decides that; so these commands may always run again.
- It is stored whatever the entity's code makes of it, and applied as soon as it is queued. Where
  its code raises, the state is not used any more: the entity has failed, until code that can apply
  it recovers the entity.
- One number with two different events sets the entity aside: it takes nothing more.
- Who is not active persists nothing, and learns of a newer leader by the first of its events.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from thespian_dc.entity.actions import Answer, Retrace
from thespian_dc.entity.causality import KNOWN, is_late, judge
from thespian_dc.entity.effects import Effects, Stage
from thespian_dc.entity.hosted import Hosted
from thespian_dc.entity.instance import Instance, ReplicatedInstance
from thespian_dc.entity.intake import Intake
from thespian_dc.entity.joining import join, wanted_for
from thespian_dc.entity.protocol import (
    Absorbed,
    KeepState,
    RemoteEvent,
    Replicated,
    ReplicatedState,
    Status,
)
from thespian_dc.entity.recording import Moved, Recorded, keep, move_on
from thespian_dc.entity.release import Release
from thespian_dc.entity.replaying import count, forked_from, own_id
from thespian_dc.entity.setting_aside import all_of, leads, remake, wanted_to_remake
from thespian_dc.entity.turn import Turn
from thespian_dc.model.errors import CodecError
from thespian_dc.model.replication import ORIGIN_META, local_meta
from thespian_dc.model.replication_errors import (
    NotTakenError,
    OriginForkedError,
    ReplicaRecoveringError,
    ReplicaRetiredError,
    ReplicatedEntityFailedError,
    StandbyError,
)
from thespian_dc.shell.frames import pack
from thespian_dc.slices.actions import Submission

if TYPE_CHECKING:
    from thespian_dc.entity.lookup import LookUps

FROM_REPLICAS = frozenset({Replicated, ReplicatedState})


class Replicating:
    """Of one host. `look_ups` is set by the core."""

    look_ups: LookUps

    def __init__(self, hosted: Hosted, release: Release) -> None:
        self._hosted, self._release = hosted, release

    def takes(self, instance: Instance, turn: Turn) -> bool:
        """Is this turn of a replicated entity done with, or waits here? Else it is a command to be
        handled."""
        assert isinstance(instance, ReplicatedInstance)
        message = turn.command.message
        kind = type(message)
        if kind in FROM_REPLICAS:
            self._on_replicas(instance, turn, message)
            return True
        if kind is KeepState:
            self._keep_state(instance, turn)
            return True
        instance.asked_us = 0
        refused = self.refusal(instance, kind)
        if refused is None or turn.command.command_id in (instance.known or ()):
            return False
        self._hosted.counts["not_taken"] += 1
        if turn.reply_to is None:
            self._hosted.report("command_dropped", instance.ref, refused)
        self._release.refuse(turn, refused)
        return True

    def refusal(self, instance: Instance, kind: type | None = None) -> NotTakenError | None:
        """Why this replica does not handle a command of this type for this entity now; without a
        type: why it persists nothing."""
        assert isinstance(instance, ReplicatedInstance)
        role = instance.slice.type.role
        if role.closed:
            closed = ReplicaRecoveringError if role.closed == "recovering" else ReplicaRetiredError
            return closed(str(instance.ref), own_id(instance))
        if role.epoch and role.active != (own := own_id(instance)):
            replication = instance.type.replication
            if kind is None or (replication and kind not in replication.queries):
                return StandbyError(str(instance.ref), own, role.active, role.epoch)
        if instance.forked is not None:
            return OriginForkedError(str(instance.ref), *instance.forked)
        if instance.failed:
            return ReplicatedEntityFailedError(str(instance.ref), instance.failed)
        return None

    # --- commands of this replica ---
    def move_on(
        self, instance: Instance, recorded: list[Recorded]
    ) -> tuple[Moved, list[dict[str, Any]]]:
        """As recording.move_on, and what each record says of its origin."""
        assert isinstance(instance, ReplicatedInstance)
        own, epoch, asked_us = own_id(instance), instance.slice.type.role.epoch, instance.asked_us
        others = instance.vector.copy()
        n = others.pop(own, 0)
        instance.origin, instance.concurrent = own, False
        try:
            moved = move_on(instance, recorded)
        finally:
            instance.origin = ""
        last = n + len(recorded)
        count(instance, own, last, asked_us, epoch)
        metas = [
            {ORIGIN_META: local_meta(one, others, asked_us, epoch)}
            for one in range(n + 1, last + 1)
        ]
        return moved, metas

    def _keep_state(self, instance: ReplicatedInstance, turn: Turn) -> None:
        """All records of the entity are below the head: its state is as of there."""
        writer, sound = instance.slice.writer, not instance.failed and instance.forked is None
        if instance.last is None and sound and instance.seq_nr:
            try:
                row = keep(instance, None)
                instance.slice.derived.add(row, writer.head - 1, self._hosted.now_us)
            except CodecError as error:
                self._hosted.report("snapshot_failed", instance.ref, error)
        turn.answered = True
        self._release.hold(Effects(instance, turn, Stage.CLOSED))

    # --- looks in the log ---
    def retrace_for(self, instance: Instance) -> Retrace | None:
        """What the log must say before the first waiting command can run; None: nothing, or it is
        no command of a replica."""
        if not isinstance(instance, ReplicatedInstance) or not instance.waiting:
            return None
        wanted = self._wanted(instance, instance.waiting[0].command.message)
        if not wanted:
            return None
        writer, own = instance.slice.writer, own_id(instance)
        self._hosted.counts["retraced"] += 1
        return Retrace(
            writer.key, instance.entity_id, own, wanted, writer.head, instance.seq_nr, writer.epoch
        )

    def _wanted(
        self, instance: ReplicatedInstance, message: Any
    ) -> tuple[tuple[str, int, int], ...]:
        """Events whose records decide what becomes of the message."""
        if type(message) is ReplicatedState:
            return wanted_for(instance, message)
        if type(message) is not Replicated:
            return ()
        own = own_id(instance)
        had = instance.vector.get(own, 0)
        if instance.owed and not instance.trouble:
            return all_of(instance)
        all_ = wanted_to_remake(instance, message.events)
        if all_:
            return all_
        # A journal that was restored goes another way from one event on: the last one shows it.
        last = max((e.meta[1] for e in message.events if e.meta[0] == own), default=0)
        last = min(last, had)
        return ((own, last, last),) if last else ()

    # --- what replicas send ---
    def _on_replicas(
        self, instance: ReplicatedInstance, turn: Turn, message: Replicated | ReplicatedState
    ) -> None:
        wanted = self._wanted(instance, message)
        retraced, instance.retraced = instance.retraced, None
        if wanted and (retraced is None or retraced.action.wanted != wanted):
            instance.wait_first(turn)
            self.look_ups.begin(instance)
            return
        instance.retraced = retraced
        intake = Intake(instance)
        if instance.forked is not None:
            error = OriginForkedError(str(instance.ref), *instance.forked)
            if _brings(message, *instance.forked):  # again: maybe nobody listed it
                intake.list_("forked", *instance.forked, 0, str(error))
            absorbed = Absorbed(0, "set_aside", listed=tuple(intake.listed), error=error)
        elif type(message) is Replicated:
            absorbed = self._absorb(instance, message.events, intake)
        else:
            assert isinstance(message, ReplicatedState)
            absorbed = join(instance, message, intake)
        instance.retraced = None
        trouble = instance.trouble
        if trouble:
            absorbed = absorbed._replace(failed=trouble)
        self._conclude(instance, turn, absorbed, intake)

    def _absorb(
        self, instance: ReplicatedInstance, events: tuple[RemoteEvent, ...], intake: Intake
    ) -> Absorbed:
        retired = instance.slice.type.role.retired
        if instance.owed and not instance.trouble:
            remake(instance, intake, instance.owed)
            instance.owed = ()
        if not events and not instance.trouble:
            intake.known_all()
        through, reason, missing, delay_us, error = 0, "", None, 0, None
        for event in events:
            fields = event.meta
            origin, n = fields[0], fields[1]
            verdict = judge(instance.vector, origin, n, fields[2], retired, instance.aside)
            if verdict.missing is not None:
                reason, missing = "waits", verdict.missing
                break
            if verdict is KNOWN:
                if self._is_forked(instance, origin, n, fields[4]):
                    error = OriginForkedError(str(instance.ref), origin, n)
                    intake.fork(fields, str(error))
                    reason = "set_aside"
                    break
                self._hosted.counts["events_known"] += 1
                intake.known(origin, n)
            else:
                delay_us = self._take(instance, event, verdict.concurrent, intake)
                if delay_us:
                    reason = "delayed"
                    break
            through += 1
        return Absorbed(through, reason, missing, delay_us, tuple(intake.listed), error)

    def _take(
        self, instance: ReplicatedInstance, event: RemoteEvent, concurrent: bool, intake: Intake
    ) -> int:
        """Apply and record a new event; or return for how many microseconds its class delays it."""
        fields = event.meta
        origin, n, mark = fields[0], fields[1], fields[4]
        time_us, epoch = (fields[5], fields[6]) if len(fields) > 6 else (0, 0)
        late = is_late(epoch, origin, instance.epoch, instance.leader)
        delay_us = intake.take(event, concurrent or late, late)
        if delay_us:
            return delay_us
        is_first = leads(instance, fields)
        before = forked_from(instance, origin, fields[2], epoch) if is_first else ()
        aside = event.set_aside or (late and instance.sets_aside)
        count(instance, origin, n, time_us, epoch, aside)
        if origin != own_id(instance):
            instance.tips[origin] = mark
        if is_first:
            self._on_leader(instance, fields, before, intake)
        self._hosted.counts["events_taken"] += 1
        return 0

    def _on_leader(
        self,
        instance: ReplicatedInstance,
        fields: list[Any],
        before: tuple[tuple[str, int, int], ...],
        intake: Intake,
    ) -> None:
        """This was the first event of a later leader: it is active since. Whatever those before
        wrote that this one had not seen is late at others. before: `forked_from`."""
        origin, epoch = fields[0], fields[6]
        if instance.slice.type.learn(epoch, origin):
            self._hosted.report("leader_learnt", instance.ref, f"{origin}, epoch {epoch}")
        why_not = ""
        if before and instance.sets_aside:
            why_not = remake(instance, intake, (origin, fields[1]))
            if not why_not:
                return
            why_not = f"it could not be set aside: {why_not}"
        for former, last, of_epoch in before:
            intake.late_before(fields, former, last, of_epoch, why_not)

    def _is_forked(self, instance: ReplicatedInstance, origin: str, n: int, mark: int) -> bool:
        """Is the known event n of `origin` another than this one, as far as anybody can tell?"""
        if origin == own_id(instance):
            retraced = instance.retraced
            found = () if retraced is None else retraced.found
            return any(
                (meta.origin, meta.n) == (origin, n) and meta.mark != mark for meta, _ in found
            )
        return n == instance.vector[origin] and instance.tips.get(origin, mark) != mark

    def _conclude(
        self, instance: ReplicatedInstance, turn: Turn, absorbed: Absorbed, intake: Intake
    ) -> None:
        """Queue what was recorded; the answer follows when it is durable."""
        effects = Effects(instance, turn, Stage.CLOSED)
        if turn.reply_to is not None:
            told = absorbed.reason or absorbed.listed or absorbed.failed
            whole = absorbed.through and not told
            body = _packed(absorbed.through) if whole else pack(absorbed)
            effects.items.append(Answer(turn.reply_to, Status.OK, body))
        turn.answered = True
        for one in absorbed.listed:
            self._hosted.report(f"replicated_event_{one.what}", instance.ref, one)
        packed = intake.packed
        if not packed:
            self._release.hold(effects)
            return
        if intake.is_row_due:
            try:
                effects.row = keep(instance, None)
            except CodecError as error:
                self._hosted.report("snapshot_failed", instance.ref, error)
        instance.last, turn.recorded = effects, True
        size = sum(map(len, packed))
        instance.slice.writer.submit(Submission(instance.entity_id, tuple(packed), size, effects))
        self._hosted.touch(instance.slice)


def _brings(message: Replicated | ReplicatedState, origin: str, n: int) -> bool:
    """Is event n of `origin` in it, or the last of its origin there?"""
    if isinstance(message, ReplicatedState):
        return message.vector.get(origin) == n
    return any(event.meta[0] == origin and event.meta[1] == n for event in message.events)


@lru_cache(1024)
def _packed(through: int) -> bytes:
    """The usual answer: packing it costs more than deciding it."""
    return pack(Absorbed(through))
