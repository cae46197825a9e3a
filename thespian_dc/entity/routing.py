"""Commands to their instances, and what entities of one host send to each other. Pure.

Laws: commands of an entity run in the order they came; those that waited run before any that comes
later. A command waits for its slice, then for its entity, or is refused at once: never dropped.
"""

from __future__ import annotations

from thespian_dc.entity.asks import Asks
from thespian_dc.entity.hosted import Hosted, HostedSlice, HostedType
from thespian_dc.entity.instance import Instance, Phase
from thespian_dc.entity.loss import Loss
from thespian_dc.entity.protocol import SENT_BEFORE, Command, EntityRef
from thespian_dc.entity.recovery import Recovery
from thespian_dc.entity.release import Release
from thespian_dc.entity.residents import Residents
from thespian_dc.entity.running import Running
from thespian_dc.entity.turn import Turn
from thespian_dc.model.entity_errors import HostBusyError
from thespian_dc.model.errors import UnknownEntityTypeError
from thespian_dc.shell.frames import unpack_reply

INSIDE_MAX = 10_000
"""How many messages between entities of this host one input may set off; the rest goes on at the
next: two entities that answer each other for ever must not keep the host from everybody else."""


class Routing:
    """Of one host."""

    def __init__(
        self,
        hosted: Hosted,
        residents: Residents,
        running: Running,
        recovery: Recovery,
        release: Release,
        asks: Asks,
        loss: Loss,
    ) -> None:
        self._hosted, self._residents, self._running = hosted, residents, running
        self._recovery, self._release, self._asks, self._loss = recovery, release, asks, loss

    def accept(self, command: Command, bounded: bool = True) -> None:
        """A new command. bounded: refuse it where the host has too many; wake-ups are not, since an
        entity that sets its timer anew each time would never be woken again."""
        hosted = self._hosted
        turn = Turn(command)
        hosted.open_turns += 1
        served = hosted.types.get(command.entity_type)
        if served is None:
            unknown = UnknownEntityTypeError(command.entity_type, tuple(hosted.types))
            self._release.refuse(turn, unknown)
        elif bounded and hosted.open_turns > hosted.limits.waiting_max:
            error = HostBusyError(hosted.member_id, hosted.limits.waiting_max)
            hosted.counts["busy"] += 1
            if turn.reply_to is None:
                ref = EntityRef(command.entity_type, command.entity_id)
                hosted.report("command_dropped", ref, error)
            self._release.refuse(turn, error)
        else:
            self._route(served, turn)

    def on_owned(self, slice_: HostedSlice) -> None:
        """The slice is ours: what waited for it goes on."""
        while slice_.waiting:
            self._route(slice_.type, slice_.waiting.popleft())

    def run_inside(self) -> None:
        """Run what has become ready, and deliver what entities of this host sent each other."""
        hosted = self._hosted
        inside_max = INSIDE_MAX
        while hosted.ready or hosted.again or (hosted.inbox and inside_max):
            ready, hosted.ready = hosted.ready, []
            for instance in ready:
                if instance.phase is Phase.RUNNING:
                    self._residents.touch(instance)
                    self._run_waiting(instance)
            again, hosted.again = hosted.again, []
            for turn in again:
                self._route(hosted.types[turn.command.entity_type], turn)
            if hosted.inbox and inside_max:
                inside_max -= 1
                self._deliver_one()

    def _route(self, served: HostedType, turn: Turn) -> None:
        instance = served.entities.get(turn.command.entity_id)
        if instance is None:
            self._bring_in(served, turn)
        elif instance.phase is Phase.RUNNING and not instance.waiting:
            self._residents.touch(instance)
            self._running.run(instance, turn)
        else:
            instance.wait(turn)

    def _bring_in(self, served: HostedType, turn: Turn) -> None:
        """The entity is not in memory."""
        entity_id = turn.command.entity_id
        slice_ = self._hosted.slice_for(served, entity_id)
        if slice_.writer.owned:
            instance = self._residents.admit(slice_, entity_id)
            instance.wait(turn)
            self._recovery.begin(instance)
        elif slice_.assigned or (turn.epoch == SENT_BEFORE and not turn.waited_for):
            # The latter has been sent on before, to here: when members are looked at again, it goes
            # on. At once, it would go round until somebody takes the slice.
            slice_.waiting.append(turn)
        else:
            self._loss.send_on(slice_, turn)

    def _run_waiting(self, instance: Instance) -> None:
        while instance.waiting and instance.phase is Phase.RUNNING:
            self._running.run(instance, instance.waiting.popleft())
        if not instance.waiting:
            instance.waiting = None

    def _deliver_one(self) -> None:
        one = self._hosted.inbox.popleft()
        if isinstance(one, Command):
            self.accept(one)
        else:
            value = unpack_reply(one.value)
            self._asks.on_answer(one.to.correlation, one.status, value)
