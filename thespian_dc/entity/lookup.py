"""Whether a command that may have been here before was persisted, where memory does not say. Pure.

An entity remembers the ids of its last commands (limits.known_commands). That decides for every
command that is sent for the first time to the slice's owner. One that was sent before, or was meant
for an earlier owner, may have been persisted by anybody, and more ids than are remembered may have
followed: the log is asked before it runs. It holds the id of every command for ever, and the sender
says below which offset it cannot be.

Laws:
- The log is asked when nothing of the entity is in flight: then all that it forgot is in the log.
- Commands of the entity wait meanwhile, in their order.
- Where the log cannot say (trimmed, damaged), the asker is told that the outcome is unknown.

What replicas send may need a look in the log too (replicating.py says for which records): it is
asked for in the same way.
"""

from __future__ import annotations

from collections import deque

from thespian_dc.entity.actions import LookedUp, LookUp, Retrace, Retraced
from thespian_dc.entity.hosted import Hosted
from thespian_dc.entity.instance import Instance, Phase, ReplicatedInstance
from thespian_dc.entity.release import Release
from thespian_dc.entity.replicating import Replicating
from thespian_dc.entity.running import Running
from thespian_dc.entity.turn import Turn
from thespian_dc.model.entity_errors import OutcomeUnknownError

RETRY_US = 300_000


class LookUps:
    """Of one host."""

    def __init__(
        self, hosted: Hosted, running: Running, release: Release, replicating: Replicating
    ) -> None:
        self._hosted, self._running, self._release = hosted, running, release
        self._replicating = replicating
        self._active: dict[LookUp | Retrace, Instance] = {}
        self._retries: deque[tuple[int, Instance]] = deque()  # bounded: each has a waiting command

    def due_us(self) -> int | None:
        return self._retries[0][0] if self._retries else None

    def begin(self, instance: Instance) -> None:
        """The first of its waiting commands may have been persisted before."""
        instance.phase = Phase.LOOKING
        self.go_on(instance)

    def go_on(self, instance: Instance) -> None:
        """Ask the log, unless something of the entity is on its way there."""
        if instance.phase is not Phase.LOOKING or instance.last is not None:
            return
        writer = instance.slice.writer
        retrace = self._replicating.retrace_for(instance)
        if retrace is not None:
            self._active[retrace] = instance
            self._hosted.out.append(retrace)
            return
        unclear = self._running.may_be_persisted
        asked = [turn for turn in instance.waiting or () if unclear(instance, turn)]
        ids = frozenset(turn.command.command_id for turn in asked)
        since = min((turn.since for turn in asked), default=writer.head)
        action = LookUp(
            writer.key, instance.entity_id, ids, since, writer.head, instance.seq_nr, writer.epoch
        )
        self._hosted.counts["looked_up"] += len(ids)
        self._active[action] = instance
        self._hosted.out.append(action)

    def on_result(self, result: LookedUp | Retraced) -> None:
        """The journal's answer; one for an instance that is gone is dropped."""
        instance = self._active.pop(result.action, None)
        if instance is None or instance.phase is not Phase.LOOKING:
            return
        if isinstance(result, Retraced):
            assert isinstance(instance, ReplicatedInstance)
            instance.retraced, instance.phase = result, Phase.RUNNING
            self._hosted.ready.append(instance)  # the command that needs it runs next
        else:
            self._on_looked_up(instance, result)

    def _on_looked_up(self, instance: Instance, result: LookedUp) -> None:
        waiting, instance.waiting = instance.waiting or (), None
        instance.phase = Phase.RUNNING
        for turn in waiting:
            asked = turn.epoch is not None and turn.command.command_id in result.action.command_ids
            if not (asked and self._is_settled(instance, turn, result)):
                instance.wait(turn)
        self._hosted.ready.append(instance)

    def on_failed(self, action: LookUp | Retrace) -> None:
        """The journal was not available: again, after a while."""
        instance = self._active.pop(action, None)
        if instance is not None:
            self._retries.append((self._hosted.now_us + RETRY_US, instance))

    def on_time(self) -> None:
        while self._retries and self._retries[0][0] <= self._hosted.now_us:
            self.go_on(self._retries.popleft()[1])

    def _is_settled(self, instance: Instance, turn: Turn, result: LookedUp) -> bool:
        """It has its answer; else it may run."""
        if result.error is not None:
            ref, reason = str(instance.ref), f"{type(result.error).__name__}: {result.error}"
            self._release.refuse(turn, OutcomeUnknownError(ref, reason))
            return True
        found = result.found.get(turn.command.command_id)
        if found is None:
            turn.epoch, turn.clear_at = instance.slice.writer.epoch, result.action.seq_nr
            return False
        self._running.repeat(instance, turn, found)  # if that is lost, it is as unclear as before
        return True
