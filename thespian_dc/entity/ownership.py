"""Which slices a host writes, and what it does when that changes. Pure.

The slices' writers know how to take a slice over and how they lose it; this says which ones are
wanted, proves ownership again when an answer needs it, and passes on what the writers tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from thespian_dc.entity.actions import Confirm, Confirmed
from thespian_dc.entity.append_gate import AppendGate
from thespian_dc.entity.hosted import Hosted, HostedSlice
from thespian_dc.entity.loss import Loss
from thespian_dc.entity.protocol import Route
from thespian_dc.entity.release import Release
from thespian_dc.entity.routing import Routing
from thespian_dc.journal.api import Owner
from thespian_dc.model.ids import SliceKey
from thespian_dc.slices import actions as slices

CONFIRM_AGAIN_US = 300_000


class Ownership:
    """Of one host."""

    def __init__(self, hosted: Hosted, release: Release, loss: Loss, routing: Routing) -> None:
        self._hosted, self._release, self._loss = hosted, release, loss
        self._routing = routing
        self._gate = AppendGate(hosted.appends_at_once)

    def assign(self, keys: Iterable[SliceKey], routes: Mapping[SliceKey, Route]) -> None:
        """Want these slices and no others. One that is held and not wanted is served until its new
        owner fences it."""
        hosted = self._hosted
        wanted = {key for key in keys if key.entity_type in hosted.types}
        for key in (*sorted(wanted), *routes):  # the order of a set differs from run to run
            if key.entity_type in hosted.types:
                slice_ = hosted.slice_of_key(key)
                slice_.route = routes.get(key, slice_.route)
        for slice_ in hosted.all_slices():
            slice_.assigned = slice_.key in wanted
            if slice_.writer.owned:
                # Somebody claimed it: standing still lets it find the head (slices/writer.py).
                actions = slice_.writer.overtaken(slice_.route.epoch, hosted.now_us)
                self.take(slice_, actions)
                continue
            if slice_.assigned:
                self.take(slice_, slice_.writer.acquire(hosted.now_us))
            else:
                self.take(slice_, slice_.writer.release(hosted.now_us))
                self._loss.redirect(slice_)

    def give_up(self, keys: Iterable[SliceKey]) -> None:
        """Stand down from these once what was submitted is written."""
        for key in keys:
            slice_ = self._hosted.slice_of_key(key)
            slice_.assigned = False
            self.take(slice_, slice_.writer.release(self._hosted.now_us))

    # --- proof ---
    def on_confirmed(self, result: Confirmed) -> None:
        """The answer to a Confirm; one of an ownership that is over is dropped."""
        slice_ = self._hosted.slice_of_key(result.action.key)
        if result.action.epoch == slice_.writer.epoch:
            self.on_owner(slice_, result.owner)

    def on_owner(self, slice_: HostedSlice, owner: Owner | None) -> None:
        """What the registry says of a slice."""
        slice_.confirming = False
        writer = slice_.writer
        if not writer.owned or owner is None:
            return
        if owner.epoch == writer.epoch and owner.member_id == writer.member_id:
            self._release.on_confirmed(slice_)
        else:
            self.take(slice_, writer.overtaken(owner.epoch, self._hosted.now_us))

    def on_unconfirmed(self, action: Confirm) -> None:
        """The registry was not available: ask again after a while, if the ownership is the same."""
        slice_ = self._hosted.slice_of_key(action.key)
        if action.epoch == slice_.writer.epoch:
            slice_.confirm_again_us = self._hosted.now_us + CONFIRM_AGAIN_US

    # --- time ---
    def on_time(self) -> None:
        hosted = self._hosted
        for slice_ in hosted.all_slices():
            due_us, again_us = slice_.writer.wakeup_us(), slice_.confirm_again_us
            if due_us is not None and due_us <= hosted.now_us:
                self.take(slice_, slice_.writer.on_tick(hosted.now_us))
            hosted.out += slice_.derived.on_time(hosted.now_us)
            if again_us is not None and again_us <= hosted.now_us:
                slice_.confirm_again_us = None
                self._release.confirm(slice_)
        hosted.dirty += self._gate.take_held()

    def due_us(self) -> int | None:
        due: list[int | None] = [self._gate.due_us(self._hosted.now_us)]
        for one in self._hosted.all_slices():
            due += (one.writer.wakeup_us(), one.derived.due_us, one.confirm_again_us)
        return min((one for one in due if one is not None), default=None)

    # --- what a writer says ---
    def take(self, slice_: HostedSlice, actions: list[slices.Action]) -> None:
        """Act on what concerns the host; the rest is the journal's."""
        hosted = self._hosted
        hosted.touch(slice_)
        for action in actions:
            match action:
                case slices.Durable():
                    self._release.on_durable(slice_, action)
                case slices.Owned(_, head, _):
                    slice_.confirmed_us = slice_.writer.proved_us
                    hosted.out += slice_.derived.on_owned(head, hosted.now_us)
                    self._routing.on_owned(slice_)
                case slices.Lost():
                    self._loss.on_lost(slice_, action)
                case slices.NotWritten():
                    self._loss.on_not_written(slice_, action)
                case _:
                    hosted.out.append(action)
        self._gate.follow(slice_, hosted.now_us)

    def flush(self) -> None:
        """Append what was submitted: one commit per slice, of as many as may append at once."""
        hosted, gate = self._hosted, self._gate
        dirty, hosted.dirty = [*gate.take_held(), *hosted.dirty], []
        for slice_ in dirty:
            if gate.holds(slice_, hosted.now_us):
                continue  # still dirty: its turn comes when another's append is answered
            slice_.dirty = False
            actions = slice_.writer.flush(hosted.now_us)
            if actions:
                self.take(slice_, actions)
