"""All links of one replica group in this process: they share the way to the entities, and what one
of them brings may be what another one waits for. Runs on the leaf's main thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from thespian_dc.entity.api import Absorbed, Deliver, Outgoing, Replicated, Router, Status
from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.link_progress import LinkProgress, let_in
from thespian_dc.model.replication import Listed
from thespian_dc.model.replication_handshake import (
    Known,
    OriginPositions,
    ReplicaStart,
    ReplicaStarted,
)
from thespian_dc.model.replication_settings import Replication
from thespian_dc.model.role_handshake import told, told_while_open
from thespian_dc.model.roles import Roles
from thespian_dc.replication.failed import FailedEntities
from thespian_dc.replication.link import Came, Link, MakeSource
from thespian_dc.replication.link_core import LinkCore
from thespian_dc.replication.link_facts import LinkFacts
from thespian_dc.replication.pending import Pending
from thespian_dc.shell.clock import now_us
from thespian_dc.shell.frames import pack, unpack_reply

log = logging.getLogger(__name__)

COMMAND_TIMEOUT_S = 30.0
KNOWN_US = 1_000_000
CLAIMS_US = 10_000
ANSWERS_KEPT_MAX = 256
ANSWER_BYTES_KEPT = 256
_OK = int(Status.OK)


class _Ticket(NamedTuple):
    link: Link
    core: LinkCore
    pending: Pending


class _Asked(NamedTuple):
    """How an entity is."""

    entity_id: str


class Snapshot(NamedTuple):
    """reading: peers from which something may still come. cursors: by peer, the own generation in
    which its link began, and how far it is by slice. away: edges whose call is not open here."""

    reading: frozenset[str]
    cursors: Mapping[str, tuple[int, Mapping[int, int]]]
    away: frozenset[str]


class LinkGroup:
    """put: hands over to the main thread. check: raises what is wrong with a peer. on_said: one
    that passed it said something of itself; on_listed: what people should know of. `router` is
    given once there is one."""

    def __init__(
        self,
        setting: Replication,
        make_source: MakeSource,
        roles: Roles,
        put: Callable[[Any], None],
        check: Callable[[ReplicaStarted], None],
        on_said: Callable[[ReplicaStarted], None],
        on_listed: Callable[[Sequence[Listed]], None],
    ) -> None:
        self.setting, self._roles = setting, roles
        self._on_said, self._on_listed = on_said, on_listed
        self._shown = setting.shown.spelled_out()
        self._told: dict[str, OriginPositions] = {}
        self._known_us = self._claims_us = 0
        self._answers: dict[bytes, Absorbed] = {}
        self.failed = FailedEntities()
        self.router: Router
        self.links = {
            one.replica_id: Link(one, setting, make_source, put, self._say, check)
            for one in setting.peers
            if one.is_linked
        }
        self._start = self._what_to_say()

    # --- what is said to peers ---

    def _say(self) -> ReplicaStart:
        """From any thread."""
        return self._start

    def _what_to_say(self) -> ReplicaStart:
        roles, setting = self._roles, self.setting
        known = {**self._lives(), **self._known()}
        facts = told(roles, setting.entity_type, setting.replicas)
        return ReplicaStart(**facts, known=tuple(known.values()))

    def _lives(self) -> dict[str, OriginPositions]:
        """Of which life of each peer's log its link's positions are, whatever is here of it: of
        another one they prove nothing."""
        found = {name: link.progress() for name, link in self.links.items()}
        return {
            name: OriginPositions(name, progress.generation, (0,) * len(progress.positions))
            for name, progress in found.items()
            if progress.positions
        }

    def _known(self) -> dict[str, OriginPositions]:
        found = {name: link.known() for name, link in self.links.items()}
        return {name: known for name, known in found.items() if known is not None}

    def _send_known(self) -> None:
        known = self._known()
        self._start = self._what_to_say()
        moved = tuple(one for name, one in known.items() if self._told.get(name) != one)
        if not moved:
            return
        self._told = known
        self._tell(moved)

    def _tell(self, moved: tuple[OriginPositions, ...]) -> None:
        said = Known(moved, *told_while_open(self._roles))
        for link in self.links.values():
            link.send_known(said)

    # --- the links' life ---

    def begin(self, progress: Mapping[str, LinkProgress], wanted: VersionedFilter) -> None:
        """Open all links where they were."""
        for name, link in self.links.items():
            link.place(progress[name].in_life(self._roles.generation), wanted)
            if name in self._roles.fenced:
                link.close()
        self._restart()

    def end(self) -> None:
        for link in self.links.values():
            link.end()

    def share(
        self,
        read: Collection[str],
        stored: Mapping[str, LinkProgress],
        nodes: Mapping[str, str],
        heard: Mapping[str, ReplicaStarted | ThespianDcError],
    ) -> dict[str, LinkProgress]:
        """These peers are read here, all others but edges by other nodes: how far they are, who
        they are, and what peers said to them. Returns how far those links are that end here."""
        let_go, opened, withdrawn = {}, [], False
        for name, link in self.links.items():
            if not link.peer.target:
                continue
            before = link.known()
            progress = stored.get(name, LinkProgress()).in_life(self._roles.generation)
            if name not in read:
                if link.node is None:
                    let_go[name] = link.lend()
                elif name in stored:
                    link.place_lent(progress)
                link.node = nodes.get(name, "")
                withdrawn |= before is not None and link.known() is None
            elif link.node is not None and name in stored:
                link.take_over(progress)
                opened.append(link)
        if withdrawn:  # an open call says that it is here
            self._restart()
        elif opened:
            self._start = self._what_to_say()
            self._claim()
            for link in opened:
                link.restart()
        for name, said in heard.items():
            if self.links[name].node is not None:
                self._on_heard(self.links[name], said)
        return let_go

    def _on_heard(self, link: Link, said: ReplicaStarted | ThespianDcError) -> None:
        """By another node."""
        if isinstance(said, ReplicaStarted):
            link.said, link.refusal = said, None
            self._on_said(said)
            self._compare_shown()
        else:
            link.refusal = said

    def change_filter(self, wanted: VersionedFilter) -> None:
        """Another filter is wanted, by all links. Where it lets something in all of them begin a
        new call: what one says to have, no other peer would send."""
        changed = [link.change_filter(wanted) for link in self.links.values()]
        if any(changed):
            self._restart()

    def change_shown(self, shown: VersionedFilter) -> None:
        """What this replica shows is another filter; producers see to it."""
        self._shown = shown.filter
        self._compare_shown()

    def change_roles(self, roles: Roles, before: Roles) -> None:
        """The group is another one than it was: say so. In a new generation of the own journal all
        calls begin again, at the first record."""
        self._roles = roles
        for name, link in self.links.items():
            if name in roles.fenced and not link.is_closed:
                link.close()
        if roles.generation != before.generation:
            for link in self.links.values():
                link.begin_life(roles.generation)
            self._restart()
        else:
            self._start = self._what_to_say()
            self._tell(())

    def _restart(self) -> None:
        self._start = self._what_to_say()
        self._told = {}
        self._claim()
        for link in self.links.values():
            link.restart()

    def _claim(self) -> None:
        """What comes by a second way is left out by what is here now."""
        self._claims_us, claims = now_us(), self._known()
        for link in self.links.values():
            link.claims = claims

    def progress(self) -> dict[str, LinkProgress]:
        """To be stored, by peer."""
        return {name: one.progress() for name, one in self.links.items() if one.node is None}

    def snapshot(self) -> Snapshot:
        """For other threads."""
        links = self.links.items()
        reading = frozenset(
            name for name, one in links if not one.is_closed or one.in_flight or one.node
        )
        cursors = {name: (one.begun_in, one.progress().offsets) for name, one in links}
        edges = {name: one for name, one in links if one.peer.edge and not one.peer.target}
        away = frozenset(n for n, one in edges.items() if one.core is None or one.is_in_trouble)
        return Snapshot(reading, cursors, away)

    def facts(self) -> list[LinkFacts]:
        return [self.links[name].facts() for name in sorted(self.links)]

    # --- inputs ---

    def on_came(self, items: Iterable[Came]) -> None:
        """What the sources brought, in order."""
        now = now_us()
        if now - self._claims_us >= CLAIMS_US:
            self._claim()
        for came in items:
            for said in came.link.on_came(came, now):
                self._on_said(said)
                self._compare_shown()
        if any(link.is_due for link in self.links.values()):
            self._restart()
        self._submit()

    def on_came_at_once(self, came: Came) -> bool:
        """A batch on its source's own thread, where no command is under way; the caller sees to it
        that this object has no other thread meanwhile. False: nothing was done."""
        if self.router.core.under_way() or not came.link.on_batch_at_once(came, now_us()):
            return False
        self._submit()
        return True

    def _compare_shown(self) -> None:
        """What one replica withholds and another one shows comes by the other one, or does not:
        people are to know."""
        known = {name: link.said for name, link in self.links.items() if link.said is not None}
        shown = {name: said.shown.filter for name, said in known.items()}
        shown[self.setting.replica_id] = self._shown
        for name in known:
            link, before = self.links[name], self.links[name].relayed_by
            link.relayed_by = tuple(
                other for other, one in sorted(shown.items()) if let_in(shown[name], one) != set()
            )
            if link.relayed_by and link.relayed_by != before:
                facts = {"entity_type": self.setting.entity_type, "replica": name}
                relays = ", ".join(link.relayed_by)
                log.warning("withheld_and_relayed", extra={**facts, "relayed_by": relays})

    def on_tick(self) -> None:
        now = now_us()
        for link in self.links.values():
            link.on_tick(now)
        if now - self._known_us >= KNOWN_US:
            self._known_us = now
            self._send_known()
        self._submit()
        self._ask_failed(now)
        self.router.on_tick()

    def wakeup_us(self) -> int:
        """When on_tick is due."""
        due = [link.wakeup_us() for link in self.links.values()]
        due += [self.router.wakeup_us(), self._known_us + KNOWN_US]
        return min(one for one in due if one is not None)

    def on_outcomes(self, outcomes: list[Deliver]) -> None:
        """Of commands, from the router."""
        now = now_us()
        brought: dict[Link, list[str]] = {}
        for ticket, status, value in outcomes:
            found = self._answer(status, value)
            of = ticket if type(ticket) is _Asked else ticket.pending
            if isinstance(found, Absorbed):  # also of a run that is over: nobody says it again
                if found.listed:
                    self._on_listed(found.listed)
                self.failed.note(of.entity_id, found.failed, now)
            if type(ticket) is _Asked:
                continue
            link, core, pending = ticket
            link.in_flight -= 1
            if link.core is not core:
                continue
            if isinstance(found, Absorbed):
                if found.through:
                    brought.setdefault(link, []).append(pending.entity_id)
                link.perform(core.on_outcome(pending, found, now))
            else:
                link.perform(core.on_failed(pending, found, now))
        for link, entity_ids in brought.items():
            for other in self.links.values():
                if other is not link and other.core is not None and other.core.blocked_count:
                    other.perform(other.core.poke(entity_ids, now))
        self._submit()

    def _answer(self, status: int, value: Any) -> Absorbed | str:
        """What became of a command, or why nothing did."""
        known = self._answers.get(value) if status == _OK else None
        if known is not None:  # nearly all answers are the same few bytes
            return known
        try:
            found = unpack_reply(value)
        except ThespianDcError as unreadable:
            found = unreadable
        if status != _OK or not isinstance(found, Absorbed):
            return f"{type(found).__name__}: {found}"
        is_plain = not (found.listed or found.error or found.reason or found.failed)
        if is_plain and len(value) <= ANSWER_BYTES_KEPT:
            if len(self._answers) >= ANSWERS_KEPT_MAX:
                self._answers.clear()
            self._answers[value] = found
        return found

    def _ask_failed(self, now: int) -> None:
        """How those are that failed: nothing is brought."""
        due = self.failed.due(now)
        if due:
            setting = self.setting
            nothing = pack(Replicated((), setting.replica_id))
            commands = [Outgoing(setting.entity_type, one, nothing, _Asked(one)) for one in due]
            self.router.submit(commands, COMMAND_TIMEOUT_S)

    def _submit(self) -> None:
        """The commands that became due, as one."""
        commands: list[Outgoing] = []
        entity_type = self.setting.entity_type
        for link in self.links.values():
            if link.submits:
                submits, link.submits = link.submits, []
                link.in_flight += len(submits)
                for core, (pending, command) in submits:
                    ticket = _Ticket(link, core, pending)
                    commands.append(Outgoing(entity_type, pending.entity_id, pack(command), ticket))
        if commands:
            self.router.submit(commands, COMMAND_TIMEOUT_S)
