"""HostActor: the process that holds entities. Performs what HostCore decides; decides nothing.

in: command frames, bare messages, results of the journal's threads, the registry, the clock
out: journal calls, reply frames, bare messages, forwarded commands, hints for producers
One batch of inputs is one round: all commits it leads to go to the journal in one call, all answers
for a client in one frame.
"""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

from thespian.system.messages.status import Thespian_ActorStatus, Thespian_StatusReq

from thespian_dc.entity import actions as do
from thespian_dc.entity.answers import LARGE_FRAME, Answers
from thespian_dc.entity.core import HostCore
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.faults import check_size
from thespian_dc.entity.handing import FrameSender, receive_frames
from thespian_dc.entity.journal_threads import JournalThreads
from thespian_dc.entity.membership import Membership, Seen
from thespian_dc.entity.protocol import (
    SENT_BEFORE,
    Command,
    CommandFrame,
    KeepState,
    ReplyAddress,
    ReplyFrame,
    Route,
    Status,
    TypeRoutes,
)
from thespian_dc.entity.publishing import Publishing
from thespian_dc.entity.replicating import FROM_REPLICAS
from thespian_dc.entity.role_registry import begin_roles
from thespian_dc.entity.role_watch import RoleSeen, RoleWatch, StatesWanted
from thespian_dc.entity.router import Router, command_id_of
from thespian_dc.entity.router_core import Deliver, Outgoing
from thespian_dc.journal.api import Journal, Member, open_journal
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.ids import SliceKey, slice_of, type_name
from thespian_dc.model.record import Commit
from thespian_dc.model.replication import Role
from thespian_dc.shell.addresses import address_of, key_of, text_of
from thespian_dc.shell.clock import now_us
from thespian_dc.shell.frames import unpack, unpack_items, unpack_reply
from thespian_dc.shell.garbage import collect_seldom
from thespian_dc.shell.leaf_actor import LeafActor
from thespian_dc.shell.protocol import Begin, GetRoutes, Peers, Routes
from thespian_dc.slices.actions import Append, Installed
from thespian_dc.slices.allocation import Assigned

log = logging.getLogger(__name__)

ACK_WITHIN_US, TELL_ACK_WITHIN_US = 20_000, 4_000
"""Of a frame whose replies carry the acknowledgement, and of one that nobody waits for: that comes
when the events are on their way, and does not take a core from who delivers them."""
FORWARD_TIMEOUT_S = 60.0
NOT_OWNER = Status.NOT_OWNER
SETTLE_US_MAX = 2_000_000
JOURNAL_STOP_S = 3.0

RUNG = ("producers", "consumers")
"""Roles of leaves that are told of fresh commits; one that does not listen has no bell."""


class HostActor(LeafActor):
    """settings: the node's Settings. A leaf: it owns the journal's threads."""

    def begin(self, begin: Begin) -> None:
        settings = begin.settings
        self._limits = settings.limits
        # `place.incarnation`: an actor's name is its process's alone (slices/allocation.py).
        self.member_id = f"{begin.node_id}:{begin.name}.{uuid4().hex[:12]}"
        self._routes_seen: dict[str, TypeRoutes] = {}
        self._settling: dict[str, tuple[Any, int]] = {}
        self._elsewhere: dict[SliceKey, Route] = {}
        self._publishing = Publishing()
        self._round: list[Commit] = []
        self._ack_us = 0
        self._draining = False
        self._counts = {"frames": 0, "frames_handed": 0, "commands": 0, "rounds": 0}
        replicated = {one.entity_type: one for one in settings.replication}
        types = [
            EntityType.of(entity, settings.slices, replication=replicated.get(type_name(entity)))
            for entity in settings.entities
        ]
        self._slices = {one.name: one.slices for one in types}
        self._journal: Journal = open_journal(settings.journal)
        for name, slices in self._slices.items():
            self._journal.slices(name, slices)
        self._core = HostCore(
            types,
            self.member_id,
            settings.limits,
            lambda: uuid4().bytes,
            address=self.myAddress,
            indexed=self._journal.derived_index,
            commit_bytes_max=self._journal.commit_bytes_max,
            appends_at_once=self._journal.appends_at_once,
            create_actor=self._create_for_entity,
        )
        self._answers = Answers(self.member_id, self.outbox, Thespian_StatusReq(), self._on_gone)
        self._router = Router(
            f"{self.member_id}:r", self._send_frame, self._ask_routes, self._on_forwarded
        )
        self._router.sender = FrameSender(self.address)
        self._threads = JournalThreads(
            self._journal, self.bridge.put, self._publishing.on_appended
        )  # fmt: skip
        me = Member(self.member_id, self.address, begin.node_id, tuple(self._slices), 0)
        for replication in settings.replication:
            begin_roles(self._journal, replication)
        self._assigned = Assigned(frozenset())
        self._unchecked = set(replicated)
        self._roles = roles = RoleWatch(self._journal, list(replicated), begin.node_id)
        for seen in roles.look():  # before the first command: the stored role, not the settings'
            self._on_role(seen)
        self._membership = Membership(self._journal, me, self._slices, self.bridge.put, roles)
        self._membership.start()
        self._handed = receive_frames(self.address)
        if self._handed is not None:
            self.watch(self._handed.fileno())
        collect_seldom()

    # --- inputs ---

    def on_message(self, message: Any, sender: Any) -> None:
        if isinstance(message, CommandFrame):
            self._take_handed()  # its client may have handed one over before
            self._on_frame(message, sender)
        elif isinstance(message, ReplyFrame):
            if message.client_id == self._router.client_id:
                self._router.on_reply(message, text_of(sender))
        elif isinstance(message, Routes):
            self._router.on_routes(message.reported)
        elif isinstance(message, Role):
            self._perform(self._core.on_role(message, now_us()))
        else:
            self._perform(self._core.on_message(sender, message, now_us()))
        self._end_round()

    def on_readable(self) -> None:
        self._take_handed()
        self._end_round()

    def _take_handed(self) -> None:
        """All there is: its senders have no more than one each."""
        while self._handed is not None and (handed := self._handed.take()) is not None:
            self._counts["frames_handed"] += 1
            address, frame = handed
            self._on_frame(frame, address_of(address))

    def on_items(self, items: list[Any]) -> None:
        now = now_us()
        results: list[Any] = []
        for item in items:
            if isinstance(item, Assigned):
                self._assigned = item
                self._assign(now)
            elif isinstance(item, RoleSeen):
                self._on_role(item)
            elif isinstance(item, StatesWanted):
                self._keep_states(item)
            elif isinstance(item, Seen):
                self._on_seen(item)
            elif isinstance(item, _Gone):
                self._settled(item.address)
            else:
                results.append(item)
                if isinstance(item, Installed):
                    self._membership.look()  # others should hear soon where the slice is
        if results:
            self._publishing.on_results(results)
            self._perform(self._core.on_results(results, now))
        self._end_round()

    def _assign(self, now: int) -> None:
        """Of a replicated type no slices before this node has asked its peers (role_watch.py)."""
        keys = [key for key in self._assigned.keys if key.entity_type not in self._unchecked]
        self._perform(self._core.on_assigned(keys, now, self._elsewhere))

    def _on_role(self, seen: RoleSeen) -> None:
        now, entity_type = now_us(), seen.role.entity_type
        self._perform(self._core.on_role(seen.role, now))
        if seen.checked and entity_type in self._unchecked:
            self._unchecked.discard(entity_type)
            self._assign(now)

    def _keep_states(self, wanted: StatesWanted) -> None:
        name, slices = wanted.entity_type, self._slices[wanted.entity_type]
        own = {key.slice for key in self._core.owned() if key.entity_type == name}
        held = [one for one in wanted.ids if slice_of(one, slices) in own]
        self._perform(
            self._core.on_commands([Command(name, one, KeepState()) for one in held], now_us())
        )

    def _on_seen(self, seen: Seen) -> None:
        self._routes_seen = dict(seen.routes)
        self._elsewhere = {
            SliceKey(entity_type, number): Route(entity_type, number, address, epoch)
            for entity_type, routes in seen.routes.items()
            for number, (address, epoch) in enumerate(routes.owners)
            if address and address != self.address
        }
        self.report_soon()

    def on_tick(self, now: int) -> None:
        self._perform(self._core.on_tick(now))
        self._router.on_tick()
        for address, due_us in list(self._settling.values()):
            if due_us <= now:  # an outside caller: it has no status to give
                self._settled(address)
        if self._answers.owes_acks() and now >= self._ack_us:
            self._answers.flush(all_acks=True)
        self._end_round()

    def next_tick_us(self) -> int:
        due = [self._core.wakeup_us(), self._router.wakeup_us()]
        if self._answers.owes_acks():
            due.append(self._ack_us)
        return min((one for one in due if one is not None), default=self._report_us)

    def on_peers(self, peers: Peers) -> None:
        self._publishing.on_producers(
            [address for _, role, address in peers.leaves if role in RUNG]
        )

    def _on_frame(self, frame: CommandFrame, sender: Any) -> None:
        self._counts["frames"] += 1
        if not self._answers.owes_acks():
            self._ack_us = now_us() + ACK_WITHIN_US
        if not self._answers.is_new(frame, sender):
            self._answers.hurry(frame.client_id)
            return
        commands: list[Command] = []
        waited_for, is_overtaken = False, self._answers.is_overtaken(frame)
        items, client_id = unpack_items(frame.blob), frame.client_id
        bytes_max = self._limits.command_bytes_max  # what a replica has stored fits here
        self._counts["commands"] += len(items)
        for entity_type, entity_id, body, correlation, command_id, raw, epoch, since in items:
            reply_to = raw
            if correlation > 0:
                waited_for = True
                reply_to = ReplyAddress(sender, client_id, correlation)
            try:
                message = unpack(body)
                if len(body) > bytes_max and type(message) not in FROM_REPLICAS:
                    check_size(entity_type, entity_id, len(body), self._limits)
            except ThespianDcError as refused:
                if reply_to is not None:
                    self._answers.answer(reply_to, Status.ERROR, refused)
                continue
            known_as = command_id_of(client_id, correlation, command_id)
            owner = SENT_BEFORE if is_overtaken else epoch
            commands.append(
                Command(entity_type, entity_id, message, reply_to, known_as, owner, since)
            )
        holds_up = not waited_for and self._answers.owes_several(frame.client_id)
        if len(items) >= LARGE_FRAME or holds_up:
            self._answers.hurry(frame.client_id)
        elif not waited_for:
            self._ack_us = min(self._ack_us, now_us() + TELL_ACK_WITHIN_US)
        self._perform(self._core.on_commands(commands, now_us()))

    # --- actions ---

    def _perform(self, actions: list[do.Action]) -> None:
        for action in actions:
            if isinstance(action, do.Answer):
                to, status, value = action
                if status is NOT_OWNER:
                    self._answers.not_owner(to, self._route_of(value))
                else:
                    self._answers.answer(to, status, value)
            elif isinstance(action, Append):
                self._round.append(action.commit)
            elif isinstance(action, do.Published):
                self._publishing.publish(action.commit)
            elif isinstance(action, do.Send):
                self._answers.send(action.address, unpack(action.body))
            elif isinstance(action, do.Forward):
                self._forward(action)
            elif isinstance(action, do.Settle):
                self._settle(action.address)
            elif isinstance(action, do.Report):
                log.warning(action.event, extra={"where": action.where, "what": action.what})
                if action.failed is not None:
                    self._roles.on_failed(action.failed, action.what, now_us())
            else:
                self._threads.perform(action)

    def _end_round(self) -> None:
        self._counts["rounds"] += 1
        if self._round:
            commits, self._round = self._round, []
            self._threads.append(commits)
        self._answers.flush()
        self._publishing.flush()

    def _forward(self, forward: do.Forward) -> None:
        ref, to = forward.ref, forward.reply_to
        asker, sender = (to, None) if isinstance(to, ReplyAddress) else (None, to)
        command = Outgoing(
            ref.entity_type, ref.entity_id, forward.body, asker, forward.command_id, sender,
            forward.since,
        )  # fmt: skip
        self._router.submit([command], FORWARD_TIMEOUT_S)

    def _on_forwarded(self, outcomes: list[Deliver]) -> None:
        for reply_to, number, value in outcomes:
            status = Status(number)
            try:
                result = unpack_reply(value)
            except ThespianDcError as unreadable:
                status, result = Status.ERROR, unreadable
            self._perform(self._core.on_answer(reply_to.correlation, status, result, now_us()))
        self._end_round()

    def on_system(self, message: Any, sender: Any) -> None:
        if isinstance(message, Thespian_ActorStatus):
            self._settled(sender)
            self._end_round()

    def _create_for_entity(
        self, actor: Any, requirements: Any = None, name: str | None = None, source: Any = None
    ) -> Any:
        """By the Admin, under a name of its own: this process has threads and must not fork."""
        return self.createActor(actor, requirements, name or f"made:{uuid4().hex}", source)

    def _settle(self, address: Any) -> None:
        """Thespian answers a status request in order with what its actor sends."""
        self._settling[key_of(address)] = (address, now_us() + SETTLE_US_MAX)
        self._answers.settle(address)

    def _settled(self, address: Any) -> None:
        if self._settling.pop(key_of(address), None):
            self._perform(self._core.on_settled(address, now_us()))

    def _on_gone(self, address: Any) -> None:
        # By the bridge: this is called from within the outbox, perhaps in the middle of a round.
        self.bridge.put(_Gone(address))

    def _send_frame(self, address: str, frame: CommandFrame, on_done: Any) -> None:
        self.transmit(address_of(address), frame, on_done)

    def _ask_routes(self) -> None:
        self.send(self._coordinator, GetRoutes())

    def _route_of(self, route: Route) -> Route:
        """As the registry was last seen; the core knows it as of the last assignment."""
        return self._elsewhere.get(SliceKey(route.entity_type, route.slice), route)

    # --- the leaf's life ---

    def facts(self) -> dict[str, Any]:
        return {**self._core.status(), **self._counts, "dead_letters": self._answers.dead_letters}

    def routes(self) -> Any:
        """What the registry said; before it said anything, the types that are served here."""
        heads = self._core.heads()
        return {
            name: self._routes_seen.get(name, TypeRoutes(slices, (("", 0),) * slices))._replace(
                heads=tuple(heads.get(SliceKey(name, number), 0) for number in range(slices))
            )
            for name, slices in self._slices.items()
        }

    def drain(self) -> None:
        self._draining = True
        self._membership.leave()

    def drained(self) -> bool:
        return self._core.idle and self.outbox.idle()

    def end(self, within_s: float) -> None:
        if self._handed is not None:
            self._handed.close()
        self._membership.stop(1.0)
        self._threads.stop(min(JOURNAL_STOP_S, within_s))
        self._journal.close()


class _Gone:
    __slots__ = ("address",)

    def __init__(self, address: Any) -> None:
        self.address = address
