"""Let effects take place, in order, when the commit they saw is durable. Pure.

in: runs that ended, commits that are durable      out: answers, messages, timers, asks
Laws:
- A run with records is released when its commit is durable; slices commit in order, so an
  entity's runs are too. One that persisted nothing follows the last uncommitted run of its entity.
- It also needs a proof of ownership that is hardly older than itself: a host that was fenced must
  not answer from a state that has moved on elsewhere. That the commit it saw is durable is one of
  when its append was asked for, which may be long ago.
- Once released, an effect has happened: it is never done again for the same run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from thespian_dc.entity.actions import Answer, Confirm, Forward, Published, Send
from thespian_dc.entity.effects import Effects, Keep, OpenAsk, Stage, Then, Wakeup
from thespian_dc.entity.hosted import CONFIRMED_FOR_US, Hosted, HostedSlice
from thespian_dc.entity.instance import Instance, Phase
from thespian_dc.entity.protocol import Command, ReplyAddress, Status
from thespian_dc.entity.residents import Residents
from thespian_dc.entity.timers import Timers
from thespian_dc.entity.turn import Turn
from thespian_dc.model.entity_errors import (
    OutcomeUnknownError,
    StashOverflowError,
    UnansweredError,
)
from thespian_dc.shell.frames import unpack
from thespian_dc.slices.actions import Durable

if TYPE_CHECKING:
    from thespian_dc.entity.asks import Asks
    from thespian_dc.entity.recovery import Recovery
    from thespian_dc.entity.running import Running


class Release:
    """Of one host. `running`, `recovery` and `asks` are set by the core: they need each other."""

    running: Running
    recovery: Recovery
    asks: Asks

    def __init__(self, hosted: Hosted, residents: Residents, timers: Timers) -> None:
        self._hosted, self._residents, self._timers = hosted, residents, timers

    # --- when ---
    def hold(self, effects: Effects) -> None:
        """A run that persisted nothing has ended: release it once what it saw is certain."""
        hosted, instance = self._hosted, effects.instance
        last, slice_ = instance.last, instance.slice
        if last is not None:
            effects.ran_us = hosted.now_us
            if last.followers is None:
                last.followers = []
            last.followers.append(effects)
        elif hosted.now_us - slice_.confirmed_us <= CONFIRMED_FOR_US and not slice_.unconfirmed:
            self.release(effects)
        else:
            effects.ran_us = hosted.now_us
            self._await_proof(effects)

    def _await_proof(self, effects: Effects) -> None:
        slice_ = effects.instance.slice
        slice_.unconfirmed.append(effects)
        effects.instance.keepers += 1
        if not slice_.confirming:
            self.confirm(slice_)

    def confirm(self, slice_: HostedSlice) -> None:
        """Ask the registry whether the slice is still ours: that settles what has run by now."""
        slice_.confirming, slice_.asked_us = True, self._hosted.now_us
        self._hosted.out.append(Confirm(slice_.key, slice_.writer.epoch))

    def on_confirmed(self, slice_: HostedSlice) -> None:
        """The slice was ours when the registry was asked. What ran long after that needs another
        proof."""
        self._on_proof(slice_, slice_.asked_us)
        if slice_.unconfirmed:
            self.confirm(slice_)

    def _on_proof(self, slice_: HostedSlice, at_us: int) -> None:
        """The slice was ours at this time: release what that settles, in order."""
        slice_.confirmed_us = max(slice_.confirmed_us, at_us)
        settled = 0
        for effects in slice_.unconfirmed:
            if not _is_settled(effects):
                break
            settled += 1
        held, slice_.unconfirmed = slice_.unconfirmed[:settled], slice_.unconfirmed[settled:]
        for effects in held:
            effects.instance.keepers -= 1
            self.release(effects)

    def on_durable(self, slice_: HostedSlice, durable: Durable) -> None:
        """A commit is in the log."""
        hosted, commit, derived = self._hosted, durable.commit, slice_.derived
        hosted.out.append(Published(commit))
        derived.on_durable(commit, (e.entity_id for e in durable.submissions), hosted.now_us)
        self._on_proof(slice_, slice_.writer.proved_us)
        end = commit.base_offset
        effects: Effects
        for _, packed, _, effects in durable.submissions:
            instance = effects.instance
            end += len(packed)
            if effects.row is not None:
                derived.add(effects.row, end - 1, hosted.now_us)
            effects.turn.persisted = True
            if instance.last is effects:
                instance.last = None
            self.release(effects)
            if instance.phase is Phase.LEAVING:
                self.leave(instance)
            elif instance.phase is Phase.LOOKING:
                self.running.look_ups.go_on(instance)

    # --- what ---
    def release(self, effects: Effects) -> None:
        """All effects of a run take place, and those of the runs that follow it, unless they need
        another proof."""
        out = self._hosted.out
        for item in effects.items:
            if isinstance(item, Answer):
                self.answer(item)
            elif isinstance(item, Send):
                out.append(item)
            else:
                self._perform(effects, item)
        self.close(effects.turn)
        if effects.followers is not None:
            for follower in effects.followers:
                if _is_settled(follower):
                    self.release(follower)
                else:
                    self._await_proof(follower)

    def close(self, turn: Turn) -> None:
        """One run, stash or ask of the turn is over."""
        turn.open -= 1
        if turn.open == 0:
            self._hosted.open_turns -= 1

    def tell(self, turn: Turn, error: Exception) -> None:
        """Answer with an error, unless the turn is answered already; the turn goes on."""
        if turn.reply_to is not None and not turn.answered:
            self.answer(Answer(turn.reply_to, Status.ERROR, error))
        turn.answered = True

    def refuse(self, turn: Turn, error: Exception) -> None:
        """End the turn with an error, whatever was open of it."""
        if turn.is_over:
            return
        self.tell(turn, error)
        turn.open = 1
        self.close(turn)

    def answer(self, answer: Answer) -> None:
        """To an entity of this host through the inbox, to everybody else through the shell."""
        to = answer.to
        if type(to) is ReplyAddress and to.client_id == self._hosted.member_id:
            self._hosted.inbox.append(answer)
        else:
            self._hosted.out.append(answer)

    def _perform(self, effects: Effects, item: Any) -> None:
        instance, turn = effects.instance, effects.turn
        match item:
            case Forward():
                self.forward(item)
            case Then(function, state):
                turn.open += 1
                self.running.resume(instance, turn, Stage.THEN, lambda: function(state))
            case Wakeup():
                self._timers.set(instance, item, self._hosted.now_us)
            case OpenAsk() if instance.phase is Phase.GONE:
                reason = "its entity left memory before it could ask"
                self.tell(turn, OutcomeUnknownError(str(instance.ref), reason))
                self.close(turn)
            case OpenAsk():
                self.asks.open(instance, turn, item)
            case Keep.STASH:
                self._stash(instance, turn)
            case Keep.UNSTASH_ALL:
                self._unstash_all(instance)
            case Keep.STOP if instance.phase is Phase.RUNNING:
                self.leave(instance)

    def forward(self, forward: Forward) -> None:
        """To an entity: through the inbox where it is ours, else through the shell."""
        hosted, ref = self._hosted, forward.ref
        served = hosted.types.get(ref.entity_type)
        if served is not None and hosted.slice_for(served, ref.entity_id).writer.owned:
            message = unpack(forward.body)
            hosted.inbox.append(
                Command(
                    ref.entity_type, ref.entity_id, message, forward.reply_to, forward.command_id
                )
            )
        else:
            hosted.out.append(forward)

    # --- stash ---
    def _stash(self, instance: Instance, turn: Turn) -> None:
        limit = self._hosted.limits.stash_max
        if instance.phase is Phase.GONE:
            turn.open += 1
            self._hosted.again.append(turn)
        elif len(instance.stash or ()) >= limit:
            self._hosted.counts["stash_overflows"] += 1
            self.tell(turn, StashOverflowError(str(instance.ref), limit))
        else:
            turn.open += 1
            turn.put_aside()
            if instance.stash is None:
                instance.stash = []
            instance.stash.append(turn)

    def _unstash_all(self, instance: Instance) -> None:
        """Stashed commands go before those that wait, in the order they came in."""
        if not instance.stash:
            return
        stashed, instance.stash = instance.stash, None
        if instance.waiting is None:
            instance.waiting = deque()  # bounded by limits.waiting_max of the host
        instance.waiting.extendleft(reversed(stashed))
        self._hosted.ready.append(instance)

    # --- leaving memory ---
    def leave(self, instance: Instance) -> None:
        """Out of memory as soon as nothing of it is in flight. A tainted one comes back, if anybody
        waits for it; a stopped one ends what is stashed or asked, unanswered."""
        instance.phase = Phase.LEAVING
        if instance.last is not None:
            return
        stash, asking = instance.stash or [], self.asks.cancel(instance)
        waiting: Iterable[Turn] = instance.waiting or ()
        self._residents.remove(instance)
        if instance.tainted:
            again = [turn for turn in asking if self.asks.may_run_again(turn)]
            self.recovery.restore(instance, [*again, *waiting], stash)
            return
        for turn in (*stash, *asking):
            name = type(turn.command.message).__name__
            self.refuse(turn, UnansweredError(str(instance.ref), name))
        self.recovery.restore(instance, [*waiting], [])


def _is_settled(effects: Effects) -> bool:
    """Was the slice certainly ours not long before this run, or later?"""
    return effects.ran_us - effects.instance.slice.confirmed_us <= CONFIRMED_FOR_US
