"""Run a command: the handler, its events, its reply; then queue its records. Pure.

in: an instance that is RUNNING, a turn      out: records on the slice, effects held or released
Laws:
- The handler runs once. It raises: nothing of it happens, the asker gets CommandFailedError.
- After it: events are applied, reply functions run and are packed, records are queued. All in one
  go: the next command finds the state moved on, whether or not the commit is durable.
- apply_event or a reply function raises: the state in memory is not what the log says. The command
  fails, and the entity leaves memory once nothing of it is in flight.
- What a run does to the outside waits for the commit whose state it saw (release.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from thespian_dc.entity.actions import Answer
from thespian_dc.entity.effects import Effects, ReplyWith, Stage, Then
from thespian_dc.entity.faults import failure_of, mentions
from thespian_dc.entity.hosted import Hosted
from thespian_dc.entity.instance import Instance
from thespian_dc.entity.protocol import Status
from thespian_dc.entity.recording import Recorded, keep, move_on, pack_records
from thespian_dc.entity.release import Release
from thespian_dc.entity.replicating import FROM_REPLICAS, Replicating
from thespian_dc.entity.turn import Turn
from thespian_dc.model.entity_errors import (
    AlreadyHandledError,
    EffectError,
    UnansweredError,
    UnknownCommandError,
)
from thespian_dc.model.errors import CodecError, TooLargeError
from thespian_dc.model.user_code import RAISED
from thespian_dc.shell.frames import pack_reply, unpack_reply
from thespian_dc.slices.actions import Submission

if TYPE_CHECKING:
    from thespian_dc.entity.lookup import LookUps


class Running:
    """Runs user code for the entities of one host. `look_ups` is set by the core."""

    look_ups: LookUps

    def __init__(self, hosted: Hosted, release: Release, replicating: Replicating) -> None:
        self._hosted, self._release, self._replicating = hosted, release, replicating
        self._command_bytes_max = hosted.limits.command_bytes_max
        self._known_max = hosted.limits.known_commands

    def run(self, instance: Instance, turn: Turn) -> None:
        """Handle a command."""
        command, description = turn.command, instance.type
        instance.used_us = self._hosted.now_us
        if description.replicated and self._replicating.takes(instance, turn):
            return
        known = instance.known
        if known is not None and command.command_id in known:
            self.repeat(instance, turn, known[command.command_id])
            return
        # With fewer records than ids are remembered, none was ever forgotten.
        if instance.seq_nr >= self._known_max and self.may_be_persisted(instance, turn):
            instance.wait_first(turn)
            self.look_ups.begin(instance)
            return
        instance.effects = effects = Effects(instance, turn, Stage.HANDLER)
        message, super_ = command.message, description.super
        try:
            for handler in description.handlers[type(message)]:
                if handler(instance.actor, message, turn.sender) is not super_:
                    break
            else:
                raise UnknownCommandError(
                    str(instance.ref), type(message).__name__, description.commands()
                )
        except RAISED as error:  # a user's handler may raise anything
            self._failed(effects, error)
        else:
            self._conclude(effects)

    def resume(
        self, instance: Instance, turn: Turn, stage: Stage, function: Callable[[], Any]
    ) -> None:
        """Go on with user code that is not the start of a command: on_reply, on_timeout, `then`,
        recovery_completed. The run counts as one of the turn's open ones already."""
        if stage is Stage.ANSWERED and self._is_doubled(instance, turn):
            assert instance.known is not None
            self.repeat(instance, turn, instance.known[turn.command.command_id])
            return
        instance.effects = effects = Effects(instance, turn, stage)
        try:
            function()
        except RAISED as error:  # user code
            self._failed(effects, error)
        else:
            self._conclude(effects)

    # --- how a run ends ---
    def _conclude(self, effects: Effects) -> None:
        instance, turn, stage = effects.instance, effects.turn, effects.stage
        effects.stage, instance.effects = Stage.CLOSED, None
        refusal = self._refusal(effects)
        if refusal is not None:
            self._failed(effects, refusal, stage)
            return
        try:
            if effects.events is not None:
                submission = self._move_on(effects, effects.events)
            else:
                submission = None
                self._call_functions(effects)
        except RAISED as error:  # user code again
            instance.tainted = True
            self._failed(effects, error, stage)
            return
        self._account(effects, turn)
        if submission is not None:
            instance.last, turn.recorded = effects, True
            instance.slice.writer.submit(submission)
            self._hosted.touch(instance.slice)
        else:
            self._release.hold(effects)

    def _refusal(self, effects: Effects) -> Exception | None:
        """What is wrong with all that was recorded taken together."""
        instance, events = effects.instance, effects.events
        if effects.stashed and (events is not None or effects.answered):
            where = f"a command of {instance.ref} that persists or answers too"
            return EffectError("stash", where, "a stashed command runs again: stash it and return")
        if events is not None:
            size = 0
            for one in events:
                size += len(one.payload)
            if instance.type.is_durable_state:  # only there a change event stands beside it
                size += sum([len(one.change.payload) for one in events if one.change])
            if size > self._command_bytes_max:
                what = f"the events of one command of {instance.ref}"
                return TooLargeError(what, size, self._command_bytes_max)
            if instance.type.replicated:
                return self._replicating.refusal(instance)
        return None

    def _failed(self, effects: Effects, error: BaseException, began: Stage | None = None) -> None:
        """Nothing of the run happens but the answer that says so. began: its stage, where that is
        closed by now."""
        instance, turn, stage = effects.instance, effects.turn, effects.stage
        effects.stage, instance.effects = Stage.CLOSED, None
        failed = Effects(instance, turn, Stage.CLOSED)
        handlers = instance.type.handlers[type(turn.command.message)]
        went_on = (began or stage) is not Stage.HANDLER
        reason = failure_of(error, str(instance.ref), *handlers[:1], went_on=went_on)
        if turn.reply_to is None or turn.answered or stage is Stage.THEN:
            self._hosted.report("user_code_failed", instance.ref, reason)
        else:
            turn.answered = True
            failed.items.append(Answer(turn.reply_to, Status.ERROR, reason))
        self._release.hold(failed)
        if instance.tainted:
            self._release.leave(instance)

    def _account(self, effects: Effects, turn: Turn) -> None:
        """What the turn owes after this run."""
        turn.open += effects.asks
        if effects.asks:
            effects.instance.asks(turn.command.command_id, effects.asks)
        if effects.answered:
            turn.answered = True
            turn.silent = turn.silent or effects.silent
        elif turn.waited_for and not turn.answered and not effects.stashed:
            if any(mentions(message, turn.reply_to) for message in effects.sent or ()):
                turn.handed_on = True  # whoever got it may answer
            if turn.open > 1:
                return
            turn.answered = True
            if turn.handed_on:
                return
            name = type(turn.command.message).__name__
            error = UnansweredError(str(effects.instance.ref), name)
            effects.items.append(Answer(turn.reply_to, Status.ERROR, error))

    def _is_doubled(self, instance: Instance, turn: Turn) -> bool:
        """Another turn with the same command id has recorded events while this one waited."""
        known = instance.known
        return known is not None and not turn.recorded and turn.command.command_id in known

    def may_be_persisted(self, instance: Instance, turn: Turn) -> bool:
        """Somebody may have had it before, and its id may be forgotten."""
        if turn.epoch is None or type(turn.command.message) in FROM_REPLICAS:
            return False
        if turn.epoch == instance.slice.writer.epoch and (
            turn.clear_at is None or instance.seq_nr - turn.clear_at < self._known_max
        ):
            return False
        id_ = turn.command.command_id
        return id_ != "" and id_ not in (instance.known or ())

    def repeat(
        self, instance: Instance, turn: Turn, outcome: tuple[int, bytes | None]
    ) -> None:
        """The command was persisted before: give its stored outcome (seq_nr, reply) again."""
        id_, (seq_nr, stored) = turn.command.command_id, outcome
        effects = Effects(instance, turn, Stage.CLOSED)
        self._hosted.counts["duplicates"] += 1
        if turn.reply_to is not None and not turn.answered:
            if stored is None:
                error = AlreadyHandledError(str(instance.ref), id_, seq_nr)
                effects.items.append(Answer(turn.reply_to, Status.ERROR, error))
            else:
                body = pack_reply(instance.type.registry.decode_value(stored))
                effects.items.append(Answer(turn.reply_to, Status.OK, body))
        turn.answered = True
        self._release.hold(effects)

    # --- events and replies ---
    def _move_on(self, effects: Effects, recorded: list[Recorded]) -> Submission:
        """Apply the events, call the reply functions, and make the records."""
        instance, turn = effects.instance, effects.turn
        if instance.type.replicated:
            moved, metas = self._replicating.move_on(instance, recorded)
        else:
            moved, metas = move_on(instance, recorded), None
        reply = self._call_functions(effects)
        id_, stored = turn.command.command_id, None
        if id_:
            stored = None if reply is None else instance.type.encode_reply(reply[0])
            instance.remember(id_, instance.seq_nr, stored, self._known_max)
        if moved.is_kept:
            try:
                effects.row = keep(instance, recorded[-1])
            except CodecError as error:
                self._hosted.report("snapshot_failed", instance.ref, error)
        packed = pack_records(instance, recorded, moved, id_, stored, metas)
        return Submission(instance.entity_id, packed, sum(map(len, packed)), effects)

    def _call_functions(self, effects: Effects) -> tuple[Any] | None:
        """Put Answers where reply functions stand; returns the reply in a tuple, if there is one.
        """
        items, instance, turn = effects.items, effects.instance, effects.turn
        reply_to, reply = turn.reply_to, None
        for index, item in enumerate(items):
            if isinstance(item, ReplyWith):
                reply = (item.function(instance.state),)
                if reply_to is not None:
                    items[index] = Answer(reply_to, Status.OK, pack_reply(reply[0]))
            elif isinstance(item, Then):
                items[index] = Then(item.function, instance.state)
            elif isinstance(item, Answer) and effects.events is not None and item.to is reply_to:
                assert item.status is Status.OK, "errors are recorded by _failed alone"
                reply = (unpack_reply(item.value),)
        return reply
