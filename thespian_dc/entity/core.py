"""The host core: thousands of entities, their slices, and what they ask of the world. Pure.

in: commands, answers, assignments, results, now_us       out: actions (entity/actions.py)

A command goes:  on_commands → its instance (recovery.py brings it into memory) → running.py:
handler, events, reply → a record on its slice's writer → on_result: the commit is durable →
release.py: its effects take place. loss.py: what happens where it does not get into the log.

Each input is handled to its end: commands of a batch first, then whatever they made entities of
this host send to each other, and then one flush per slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from thespian_dc.entity.actions import (
    Action,
    AdvanceIndex,
    Confirm,
    Confirmed,
    IndexAdvanced,
    Recover,
    Recovered,
    Result,
    StatesWritten,
    WriteStates,
)
from thespian_dc.entity.asks import Asks
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.hosted import Hosted, HostedSlice, HostedType
from thespian_dc.entity.instance import Instance, Phase
from thespian_dc.entity.loss import Loss
from thespian_dc.entity.protocol import Command, EntityRef, Route, Status
from thespian_dc.entity.recovery import Recovery
from thespian_dc.entity.release import Release
from thespian_dc.entity.residents import Residents
from thespian_dc.entity.running import Running
from thespian_dc.entity.timers import Timers
from thespian_dc.entity.turn import Turn
from thespian_dc.journal.api import Appended, Owner
from thespian_dc.model.entity_errors import HostBusyError
from thespian_dc.model.errors import UnknownEntityTypeError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.settings import Limits
from thespian_dc.shell.frames import unpack
from thespian_dc.slices import actions as slices

CONFIRM_AGAIN_US = 300_000
INBOX_MAX = 10_000
"""How many messages between entities of this host one input may set off; the rest goes on at the
next: two entities that answer each other for ever must not keep the host from everybody else."""


class HostCore:
    """Hosts entities of some types for one member.

    new_id: 16 random bytes a call. address: this host's, put into questions to other entities.
    indexed: the journal's derived_index. create_actor: what createActor does in a `then` function;
    None: refused. make_actor: the user's object for a type; default: its class, without arguments.
    """

    def __init__(
        self,
        types: Sequence[EntityType],
        member_id: str,
        limits: Limits,
        new_id: Callable[[], bytes],
        *,
        address: Any = None,
        indexed: bool = False,
        commit_bytes_max: int = 1 << 20,
        make_actor: Callable[[EntityType], Any] | None = None,
        create_actor: Callable[..., Any] | None = None,
    ) -> None:
        hosted = self._hosted = Hosted(
            types, member_id, limits, new_id, address=address, indexed=indexed,
            commit_bytes_max=commit_bytes_max, make_actor=make_actor, create_actor=create_actor,
        )  # fmt: skip
        self.counts = hosted.counts
        self._residents, self._timers = Residents(hosted), Timers()
        release = self._release = Release(hosted, self._residents, self._timers)
        self._running = Running(hosted, release)
        self._recovery = Recovery(hosted, self._residents, self._running, release)
        self._asks = Asks(hosted, self._running, release)
        release.running, release.recovery, release.asks = self._running, self._recovery, self._asks
        self._loss = Loss(hosted, self._residents, self._recovery, release, self._asks)

    # --- inputs: commands and messages ---
    def on_commands(self, commands: Iterable[Command], now_us: int) -> list[Action]:
        """Commands for entities, in order. What is not for this host is answered NOT_OWNER."""
        self._hosted.now_us = now_us
        for command in commands:
            self._accept(command)
        return self._finish()

    def on_answer(self, correlation: int, status: Status, value: Any, now_us: int) -> list[Action]:
        """The answer to a Forward; value: the reply itself, or the exception."""
        self._hosted.now_us = now_us
        self._asks.on_answer(correlation, status, value)
        return self._finish()

    def on_message(self, sender: Any, message: Any, now_us: int) -> list[Action]:
        """An ordinary actor sent this host a message: the answer to an ask, or a dead letter."""
        self._hosted.now_us = now_us
        self._asks.on_message(sender, message)
        return self._finish()

    def on_settled(self, address: Any, now_us: int) -> list[Action]:
        """The answer to a Settle."""
        self._hosted.now_us = now_us
        self._asks.on_settled(address)
        return self._finish()

    # --- inputs: slices ---
    def on_assigned(
        self, keys: Iterable[SliceKey], now_us: int, routes: Mapping[SliceKey, Route] | None = None
    ) -> list[Action]:
        """The slices this host is to hold; call it whenever members were looked at, also with the
        same ones: a slice that was lost is claimed again then. routes: where the others are.

        A slice that is held and not assigned any more is served until its new owner fences it.
        """
        hosted = self._hosted
        hosted.now_us = now_us
        wanted = {key for key in keys if key.entity_type in hosted.types}
        for key in (*sorted(wanted), *(routes or ())):  # a set's order differs from run to run
            if key.entity_type in hosted.types:
                slice_ = hosted.slice(hosted.types[key.entity_type], key.slice)
                slice_.route = (routes or {}).get(key, slice_.route)
        for slice_ in hosted.all_slices():
            slice_.assigned = slice_.key in wanted
            if slice_.assigned and not slice_.writer.owned:
                self._take(slice_, slice_.writer.acquire(now_us))
            elif not slice_.assigned and not slice_.writer.owned:
                self._take(slice_, slice_.writer.release(now_us))
                self._loss.redirect(slice_)
        return self._finish()

    def on_confirmed(self, key: SliceKey, owner: Owner | None, now_us: int) -> list[Action]:
        """The registry was read after `now_us` of an earlier input: does it still name us?"""
        self._hosted.now_us = now_us
        self._confirm(self._slice(key), owner)
        return self._finish()

    def release(self, keys: Iterable[SliceKey], now_us: int) -> list[Action]:
        """Give slices up once what was submitted is written; commands for them are sent on."""
        self._hosted.now_us = now_us
        for key in keys:
            slice_ = self._slice(key)
            slice_.assigned = False
            self._take(slice_, slice_.writer.release(now_us))
        return self._finish()

    # --- inputs: results and time ---
    def on_result(self, result: Result | Appended, now_us: int) -> list[Action]:
        """The outcome of one action."""
        return self.on_results((result,), now_us)

    def on_results(self, results: Iterable[Result | Appended], now_us: int) -> list[Action]:
        """The outcomes of several actions, in the order they came in."""
        self._hosted.now_us = now_us
        for result in results:
            self._on_result(result)
        return self._finish()

    def on_tick(self, now_us: int) -> list[Action]:
        """Time has passed: call it at `wakeup_us()`, or more often."""
        hosted = self._hosted
        hosted.now_us = now_us
        for slice_ in hosted.all_slices():
            due_us = slice_.writer.wakeup_us()
            if due_us is not None and due_us <= now_us:
                self._take(slice_, slice_.writer.on_tick(now_us))
            hosted.out += slice_.derived.on_time(now_us)
            again_us = slice_.confirm_again_us
            if again_us is not None and again_us <= now_us:
                slice_.confirm_again_us = None
                hosted.out.append(Confirm(slice_.key, slice_.writer.epoch))
        for instance, wakeup in self._timers.take_due(now_us):
            message = instance.type.wakeup(wakeup.period_us, wakeup.payload)
            self._accept(Command(instance.type.name, instance.entity_id, message))
        self._asks.on_time()
        self._recovery.on_time()
        self._residents.passivate_idle()
        return self._finish()

    def wakeup_us(self) -> int | None:
        """When `on_tick` is due next; None: nothing waits for the clock."""
        if self._hosted.inbox:
            return self._hosted.now_us
        due = [
            self._timers.due_us(), self._asks.due_us(), self._recovery.due_us(),
            self._residents.due_us(),
        ]  # fmt: skip
        for slice_ in self._hosted.all_slices():
            due += (slice_.writer.wakeup_us(), slice_.derived.due_us, slice_.confirm_again_us)
        return min((one for one in due if one is not None), default=None)

    # --- what a shell or a person may know ---
    @property
    def idle(self) -> bool:
        """No command is open and nothing derived waits to be written."""
        return not self._hosted.open_turns and not len(self._asks) and not len(self._recovery) and (
            all(one.derived.idle for one in self._hosted.all_slices())
        )

    def owned(self) -> list[SliceKey]:
        """The slices this host writes now."""
        return [one.key for one in self._hosted.all_slices() if one.writer.owned]

    def status(self) -> dict[str, Any]:
        """Plain data for `node.status()`."""
        return {
            "member_id": self._hosted.member_id,
            "owned": [str(key) for key in self.owned()],
            "resident": len(self._residents),
            "recovering": len(self._recovery),
            "open_commands": self._hosted.open_turns,
            "open_asks": len(self._asks),
            "counts": dict(self.counts),
        }

    def peek(self, ref: EntityRef) -> tuple[Any, int] | None:
        """(state, seq_nr) of an entity in memory, as its next command would find it; for tests."""
        served = self._hosted.types.get(ref.entity_type)
        found = None if served is None else served.entities.get(ref.entity_id)
        return None if found is None else (found.state, found.seq_nr)

    @property
    def waits_for_slices(self) -> bool:
        """Commands wait for slices this host is to hold and does not."""
        return any(one.waiting for one in self._hosted.all_slices())

    def expects(self, sender: Any) -> bool:
        """This ordinary actor was asked something, or may still send an answer."""
        return self._asks.knows(sender)

    # --- commands to instances ---
    def _accept(self, command: Command) -> None:
        """A new command: bound, then route."""
        hosted = self._hosted
        turn = Turn(command)
        hosted.open_turns += 1
        served = hosted.types.get(command.entity_type)
        if served is None:
            error = UnknownEntityTypeError(command.entity_type, tuple(hosted.types))
            self._release.refuse(turn, error)
        elif hosted.open_turns > hosted.limits.waiting_max:
            hosted.counts["busy"] += 1
            self._release.refuse(turn, HostBusyError(hosted.member_id, hosted.limits.waiting_max))
        else:
            self._route(served, turn)

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
        elif slice_.assigned:
            slice_.waiting.append(turn)
        else:
            self._loss.send_on(slice_, turn)

    # --- results ---
    def _on_result(self, result: Result | Appended) -> None:
        now_us = self._hosted.now_us
        match result:
            case Appended():
                slice_ = self._slice(result.commit.key)
                self._take(slice_, slice_.writer.on_appended(result, now_us))
            case Recovered():
                self._recovery.on_recovered(result)
            case StatesWritten(action):
                self._slice(action.key).derived.on_written(action, False, now_us)
            case IndexAdvanced(action):
                self._slice(action.key).derived.on_indexed(action, False, now_us)
            case Confirmed(action, owner):
                if action.epoch == self._slice(action.key).writer.epoch:
                    self._confirm(self._slice(action.key), owner)
            case slices.Failed(action=Recover() as action):
                self._recovery.on_failed(action)
            case slices.Failed(action=WriteStates() as action):
                self._slice(action.key).derived.on_written(action, True, now_us)
            case slices.Failed(action=AdvanceIndex() as action):
                self._slice(action.key).derived.on_indexed(action, True, now_us)
            case slices.Failed(action=Confirm() as action):
                self._slice(action.key).confirm_again_us = now_us + CONFIRM_AGAIN_US
            case _:
                slice_ = self._slice(result.action.key)
                self._take(slice_, slice_.writer.on_result(result, now_us))

    def _confirm(self, slice_: HostedSlice, owner: Owner | None) -> None:
        slice_.confirming = False
        writer = slice_.writer
        if not writer.owned or owner is None:
            return
        if owner.epoch == writer.epoch and owner.member_id == writer.member_id:
            self._release.on_confirmed(slice_)
        else:
            self._take(slice_, writer.overtaken(owner.epoch, self._hosted.now_us))

    def _slice(self, key: SliceKey) -> HostedSlice:
        return self._hosted.slice(self._hosted.types[key.entity_type], key.slice)

    # --- what a slice's writer says ---
    def _take(self, slice_: HostedSlice, actions: list[slices.Action]) -> None:
        """Act on what concerns this host; the rest is the journal's."""
        hosted = self._hosted
        hosted.touch(slice_)
        for action in actions:
            match action:
                case slices.Durable():
                    self._release.on_durable(slice_, action)
                case slices.Owned():
                    self._on_owned(slice_, action)
                case slices.Lost():
                    self._loss.on_lost(slice_, action)
                case slices.NotWritten():
                    self._loss.on_not_written(slice_, action)
                case _:
                    hosted.out.append(action)

    def _on_owned(self, slice_: HostedSlice, owned: slices.Owned) -> None:
        hosted = self._hosted
        slice_.confirmed_us = hosted.now_us
        hosted.out += slice_.derived.on_owned(owned.head, hosted.now_us)
        while slice_.waiting:
            self._route(slice_.type, slice_.waiting.popleft())

    # --- the end of an input ---
    def _finish(self) -> list[Action]:
        """Run what this input set off inside the host, flush the slices, and hand the actions over.
        """
        hosted = self._hosted
        stop_at = hosted.counts["inside"] + INBOX_MAX
        while hosted.ready or hosted.again or hosted.dirty or hosted.inbox:
            while hosted.ready or hosted.again or hosted.inbox:
                self._go_on()
                if hosted.counts["inside"] >= stop_at:
                    break
            if hosted.counts["inside"] >= stop_at and not hosted.dirty:
                break
            dirty, hosted.dirty = hosted.dirty, []
            for slice_ in dirty:
                slice_.dirty = False
                actions = slice_.writer.flush(hosted.now_us)
                if actions:
                    self._take(slice_, actions)
        out, hosted.out = hosted.out, []
        return out

    def _go_on(self) -> None:
        hosted = self._hosted
        ready, hosted.ready = hosted.ready, []
        for instance in ready:
            self._run_waiting(instance)
        again, hosted.again = hosted.again, []
        for turn in again:
            self._route(hosted.types[turn.command.entity_type], turn)
        if hosted.inbox:
            hosted.counts["inside"] += 1
            one = hosted.inbox.popleft()
            if isinstance(one, Command):
                self._accept(one)
            else:
                value = unpack(one.value) if isinstance(one.value, bytes) else one.value
                self._asks.on_answer(one.to.correlation, one.status, value)

    def _run_waiting(self, instance: Instance) -> None:
        """Commands that waited run before any that comes later."""
        while instance.waiting and instance.phase is Phase.RUNNING:
            self._running.run(instance, instance.waiting.popleft())
        if not instance.waiting:
            instance.waiting = None


