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
    LookedUp,
    LookUp,
    Recover,
    Recovered,
    Result,
    Retrace,
    Retraced,
    StatesWritten,
    WriteStates,
)
from thespian_dc.entity.asks import Asks
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.hosted import Hosted
from thespian_dc.entity.instance import ReplicatedInstance
from thespian_dc.entity.lookup import LookUps
from thespian_dc.entity.loss import Loss
from thespian_dc.entity.ownership import Ownership
from thespian_dc.entity.protocol import Command, EntityRef, Route, Status
from thespian_dc.entity.recovery import Recovery
from thespian_dc.entity.release import Release
from thespian_dc.entity.replicating import Replicating
from thespian_dc.entity.residents import Residents
from thespian_dc.entity.routing import Routing
from thespian_dc.entity.running import Running
from thespian_dc.entity.timers import Timers
from thespian_dc.journal.api import Appended, Outcome, Owner
from thespian_dc.model.ids import SLICES_MAX, SliceKey
from thespian_dc.model.replication import Role, StateMeta
from thespian_dc.model.settings import Limits
from thespian_dc.slices import actions as slices


class HostCore:
    """Hosts entities of some types for one member.

    new_id: 16 random bytes a call. address: this host's, put into questions to other entities.
    indexed: the journal's derived_index; commit_bytes_max, appends_at_once: the journal's.
    create_actor: what createActor does in a `then` function; None: refused. make_actor: the user's
    object for a type; default: its class, without arguments.
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
        appends_at_once: int = SLICES_MAX,
        make_actor: Callable[[EntityType], Any] | None = None,
        create_actor: Callable[..., Any] | None = None,
    ) -> None:
        hosted = self._hosted = Hosted(
            types, member_id, limits, new_id, address=address, indexed=indexed,
            commit_bytes_max=commit_bytes_max, appends_at_once=appends_at_once,
            make_actor=make_actor, create_actor=create_actor,
        )  # fmt: skip
        self.counts = hosted.counts
        self._residents, self._timers = Residents(hosted), Timers()
        release = Release(hosted, self._residents, self._timers)
        replicating = Replicating(hosted, release)
        running = Running(hosted, release, replicating)
        self._recovery = Recovery(hosted, self._residents, running, release)
        self._asks = Asks(hosted, running, release)
        self._look_ups = LookUps(hosted, running, release, replicating)
        running.look_ups = replicating.look_ups = self._look_ups
        release.running, release.recovery, release.asks = running, self._recovery, self._asks
        loss = Loss(hosted, self._residents, self._recovery, release, self._asks)
        self._routing = Routing(
            hosted, self._residents, running, self._recovery, release, self._asks, loss
        )
        self._ownership = Ownership(hosted, release, loss, self._routing)

    # --- inputs: commands and messages ---
    def on_commands(self, commands: Iterable[Command], now_us: int) -> list[Action]:
        """Commands for entities, in order. What is not for this host is answered NOT_OWNER."""
        self._hosted.now_us = now_us
        for command in commands:
            self._routing.accept(command)
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
        self._hosted.now_us = now_us
        self._ownership.assign(keys, routes or {})
        return self._finish()

    def on_confirmed(self, key: SliceKey, owner: Owner | None, now_us: int) -> list[Action]:
        """The registry was read after `now_us` of an earlier input: does it still name us?"""
        self._hosted.now_us = now_us
        self._ownership.on_owner(self._hosted.slice_of_key(key), owner)
        return self._finish()

    def release(self, keys: Iterable[SliceKey], now_us: int) -> list[Action]:
        """Give slices up once what was submitted is written; commands for them are sent on."""
        self._hosted.now_us = now_us
        self._ownership.give_up(keys)
        return self._finish()

    # --- inputs: replicas ---
    def on_role(self, role: Role, now_us: int) -> list[Action]:
        """What this replica may do for a type from now on. Who is active is passed over where a
        later epoch is known already, by an event; that of another type as a whole."""
        self._hosted.now_us = now_us
        served = self._hosted.types.get(role.entity_type)
        if served is not None:
            known, served.role = served.role, role
            served.learn(known.epoch, known.active)
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
        self._ownership.on_time()
        for instance, wakeup in self._timers.take_due(now_us):
            message = instance.type.wakeup(wakeup.period_us, wakeup.payload)
            command = Command(instance.type.name, instance.entity_id, message)
            self._routing.accept(command, bounded=False)
        self._asks.on_time()
        self._recovery.on_time()
        self._look_ups.on_time()
        self._residents.passivate_idle()
        return self._finish()

    def wakeup_us(self) -> int | None:
        """When `on_tick` is due next; None: nothing waits for the clock."""
        if self._hosted.inbox:
            return self._hosted.now_us
        due = (
            self._timers.due_us(), self._asks.due_us(), self._recovery.due_us(),
            self._look_ups.due_us(),
            self._residents.due_us(), self._ownership.due_us(),
        )  # fmt: skip
        return min((one for one in due if one is not None), default=None)

    # --- what a shell or a person may know ---
    @property
    def idle(self) -> bool:
        """No command is open and nothing derived waits to be written."""
        return not self._hosted.open_turns and not len(self._asks) and not len(self._recovery) and (
            all(one.derived.idle for one in self._hosted.all_slices())
        )

    def heads(self) -> dict[SliceKey, int]:
        """Offsets that the logs of the slices this host writes have reached."""
        return {one.key: one.writer.head for one in self._hosted.all_slices() if one.writer.owned}

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

    def content(self, ref: EntityRef) -> StateMeta | None:
        """What the state of a replicated entity in memory contains of each replica."""
        served = self._hosted.types.get(ref.entity_type)
        found = None if served is None else served.entities.get(ref.entity_id)
        return found.content if isinstance(found, ReplicatedInstance) else None

    @property
    def waits_for_slices(self) -> bool:
        """Commands wait for slices this host is to hold and does not."""
        return any(one.waiting for one in self._hosted.all_slices())

    def expects(self, sender: Any) -> bool:
        """This ordinary actor was asked something, or may still send an answer."""
        return self._asks.knows(sender)

    # --- results ---
    def _on_result(self, result: Result | Appended) -> None:
        now_us = self._hosted.now_us
        match result:
            case Appended():
                self.counts["conflicts"] += result.outcome is Outcome.CONFLICT
                slice_ = self._hosted.slice_of_key(result.commit.key)
                self._ownership.take(slice_, slice_.writer.on_appended(result, now_us))
            case Recovered():
                self._recovery.on_recovered(result)
            case LookedUp() | Retraced():
                self._look_ups.on_result(result)
            case StatesWritten(action):
                self._hosted.slice_of_key(action.key).derived.on_written(action, False, now_us)
            case IndexAdvanced(action):
                self._on_indexed(action, failed=False)
            case Confirmed():
                self._ownership.on_confirmed(result)
            case slices.Failed(action=Recover() as action):
                self._recovery.on_failed(action)
            case slices.Failed(action=LookUp() | Retrace() as action):
                self._look_ups.on_failed(action)
            case slices.Failed(action=WriteStates() as action):
                self._hosted.slice_of_key(action.key).derived.on_written(action, True, now_us)
            case slices.Failed(action=AdvanceIndex() as action):
                self._on_indexed(action, failed=True)
            case slices.Failed(action=Confirm() as action):
                self._ownership.on_unconfirmed(action)
            case _:
                slice_ = self._hosted.slice_of_key(result.action.key)
                self._ownership.take(slice_, slice_.writer.on_result(result, now_us))

    def _on_indexed(self, action: AdvanceIndex, failed: bool) -> None:
        hosted = self._hosted
        hosted.slice_of_key(action.key).derived.on_indexed(action, failed, hosted.now_us)
        self._recovery.on_indexed()

    def _finish(self) -> list[Action]:
        """Run what this input set off inside the host, flush the slices, hand the actions over."""
        hosted, routing = self._hosted, self._routing
        routing.run_inside()
        while hosted.dirty or hosted.ready or hosted.again:
            self._ownership.flush()
            if hosted.ready or hosted.again:
                routing.run_inside()
        out, hosted.out = hosted.out, []
        return out
