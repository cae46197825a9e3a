"""What becomes of entities and commands when records do not get into the log. Pure.

Laws:
- A lost slice drops *every* entity of it: the new owner's commits may have touched any.
- What certainly is not in the log runs again, in its order, once the slice is ours again; or the
  asker is told where the owner is. limits.command_retries bounds it.
- What may be in the log is answered as unknown; a command id decides when it is sent again. What
  comes from other replicas needs none: the entity knows which of their events it has.
"""

from __future__ import annotations

from collections.abc import Iterable

from thespian_dc.entity.actions import Answer, Forward
from thespian_dc.entity.asks import Asks
from thespian_dc.entity.effects import Effects
from thespian_dc.entity.hosted import Hosted, HostedSlice
from thespian_dc.entity.instance import Instance
from thespian_dc.entity.protocol import SENT_BEFORE, EntityRef, Status
from thespian_dc.entity.recovery import Recovery
from thespian_dc.entity.release import Release
from thespian_dc.entity.replicating import FROM_REPLICAS
from thespian_dc.entity.residents import Residents
from thespian_dc.entity.turn import Turn
from thespian_dc.model.entity_errors import (
    CommandNotWrittenError,
    CommandUnstableError,
    OutcomeUnknownError,
)
from thespian_dc.shell.frames import pack
from thespian_dc.slices.actions import Lost, NotWritten, Submission


class Loss:
    """Of one host."""

    def __init__(
        self,
        hosted: Hosted,
        residents: Residents,
        recovery: Recovery,
        release: Release,
        asks: Asks,
    ) -> None:
        self._hosted, self._residents, self._recovery = hosted, residents, recovery
        self._release, self._asks = release, asks

    def on_lost(self, slice_: HostedSlice, lost: Lost) -> None:
        """The slice is not ours any more."""
        self._hosted.counts["slices_lost"] += 1
        slice_.confirmed_us, slice_.confirming, slice_.confirm_again_us = 0, False, None
        slice_.derived.on_lost()
        # What waits for a proof alone ran before what of its entity is on its way to the log.
        runs, slice_.unconfirmed = slice_.unconfirmed, []
        runs += self._unknown(lost.unknown)
        runs += self._runs(lost.unknown, lost.submissions)
        turns = [turn for turn in map(self._again, runs) if turn]
        for instance in self._residents.of(slice_):
            turns += self._drop(instance)
        self._recovery.on_lost()
        slice_.waiting.extendleft(reversed(list(dict.fromkeys(turns))))
        if not slice_.assigned:
            self.redirect(slice_)

    def on_not_written(self, slice_: HostedSlice, refused: NotWritten) -> None:
        """One command's records were refused for certain. Its entity's memory is ahead of the log,
        and so is what later commands saw."""
        culprit: Effects = refused.submission.ticket
        instance = culprit.instance
        self._hosted.counts["not_written"] += 1
        self._take_back(culprit.turn)
        self._release.refuse(culprit.turn, self._refusal(culprit, refused.reason))
        runs = [*(culprit.followers or ()), *self._runs([], refused.behind)]
        turns = list(dict.fromkeys(turn for turn in map(self._again, runs) if turn))
        stash, asking = instance.stash or [], self._asks.cancel(instance)
        again = [turn for turn in asking if turn not in turns and self._asks.may_run_again(turn)]
        waiting: Iterable[Turn] = instance.waiting or ()
        self._residents.remove(instance)
        self._recovery.restore(instance, [*turns, *again, *waiting], stash)

    def _refusal(self, culprit: Effects, reason: str) -> Exception:
        ref = str(culprit.instance.ref)
        if culprit.turn.persisted:
            reason = f"its last events were refused ({reason}), what it had persisted before stands"
            return OutcomeUnknownError(ref, reason)
        return CommandNotWrittenError(ref, reason)

    def redirect(self, slice_: HostedSlice) -> None:
        """Nobody here will get the slice: whoever waits for it goes to its owner."""
        while slice_.waiting:
            self.send_on(slice_, slice_.waiting.popleft())

    def send_on(self, slice_: HostedSlice, turn: Turn) -> None:
        """Whoever asked follows to the owner. A command nobody waits for is sent on from here, and
        so is one that an entity of this host asked."""
        command = turn.command
        self._hosted.counts["not_owner"] += 1
        if turn.waited_for and turn.reply_to.client_id != self._hosted.member_id:
            self._release.answer(Answer(turn.reply_to, Status.NOT_OWNER, slice_.route))
        else:
            ref = EntityRef(command.entity_type, command.entity_id)
            body = pack(command.message)
            since = None if turn.epoch is None else turn.since
            self._hosted.out.append(
                Forward(ref, body, turn.reply_to, command.command_id, since)
            )
        self._release.close(turn)

    # --- which commands run again ---
    def _runs(self, first: list[Submission], second: list[Submission]) -> list[Effects]:
        """The runs of submissions and those that followed them, in order."""
        runs: list[Effects] = [*(run for one in first for run in one.ticket.followers or ())]
        for one in second:
            runs.append(one.ticket)
            runs += one.ticket.followers or ()
        return runs

    def _unknown(self, submissions: list[Submission]) -> list[Effects]:
        """Runs that may be in the log, and may run again all the same, because their command id (or
        the entity, for what replicas send) decides then. The others are answered here."""
        runs = []
        for submission in submissions:
            effects: Effects = submission.ticket
            turn = effects.turn
            if turn.command.command_id or type(turn.command.message) in FROM_REPLICAS:
                turn.epoch = SENT_BEFORE
                runs.append(effects)
            else:
                self._take_back(turn)
                reason = "its commit could not be read back"
                self._release.refuse(
                    turn, OutcomeUnknownError(str(effects.instance.ref), reason)
                )
        return runs

    def _again(self, effects: Effects) -> Turn | None:
        """The run's turn, to be run from its start; None where it must not."""
        turn = effects.turn
        if turn.is_over:
            return None
        self._take_back(turn)
        turn.tries += 1
        limit = self._hosted.limits.command_retries
        if turn.tries > limit:
            ref = str(effects.instance.ref)
            self._release.refuse(turn, CommandUnstableError(ref, turn.tries))
            return None
        self._hosted.counts["run_again"] += 1
        return turn if self._asks.may_run_again(turn) else None

    def _take_back(self, turn: Turn) -> None:
        """An answer recorded and never released does not count."""
        turn.answered = False

    def _drop(self, instance: Instance) -> list[Turn]:
        """Out of memory at once; returns the turns that waited, stashed or asked."""
        asking = [turn for turn in self._asks.cancel(instance) if self._asks.may_run_again(turn)]
        turns = [*asking, *(instance.stash or ()), *(instance.waiting or ())]
        for turn in instance.stash or ():
            turn.begin_again()
        self._residents.remove(instance)
        return turns
