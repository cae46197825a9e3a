"""Keeps what a replica knows of its group: hears what peers say, checks at the start whether the
journal is an older copy, performs what is wished, and carries retirements on.

A thread in the replication actor, because all of it waits for the registry. It decides nothing by
itself: restoring.py, retirement.py and model/roles.py do, and `round` performs; what is wished is
performing.py's.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from threading import Event, Thread
from typing import Any, Protocol

from thespian_dc.entity.api import (
    add_listed,
    diverged_at,
    note_checked,
)
from thespian_dc.journal.api import Journal
from thespian_dc.model.errors import JournalUnavailableError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import Position
from thespian_dc.model.replication_handshake import ReplicaStarted
from thespian_dc.model.replication_settings import Replication
from thespian_dc.model.role_errors import (
    OriginChangedError,
    RetiredReplicaError,
)
from thespian_dc.model.role_handshake import heard, roles_of
from thespian_dc.model.role_limits import check_attainable, most_generations
from thespian_dc.model.roles import (
    Roles,
    check_peer,
    denies,
    fenced,
    recovered,
    restored,
    retired,
    staged,
)
from thespian_dc.replication import restoring
from thespian_dc.replication.asking import Asking
from thespian_dc.replication.catch_up import AskHeads, CatchUp
from thespian_dc.replication.leaving import Leaving
from thespian_dc.replication.lost import KeptLost
from thespian_dc.replication.own_roles import OwnRoles
from thespian_dc.replication.performing import Performing
from thespian_dc.replication.restoring import Restoring, SeenOfUs, is_older_copy
from thespian_dc.replication.retirement import is_complete, next_stage
from thespian_dc.replication.wishes import Beat, beat
from thespian_dc.shell.clock import now_us
from thespian_dc.shell.outages import OutageLog

log = logging.getLogger(__name__)

LOOK_S, LOOK_AT_SERVER_S = 0.2, 0.5
"""Between two looks at the registry; where it is on a server each look is a few serial reads."""
BEAT_US = 1_000_000
SAID_MAX = 1_000


class Links(Protocol):
    """The links of the replication actor, as any thread may look at them."""

    def reading(self) -> frozenset[str]:
        """Peers from which something may still come."""

    def left_out(self) -> str:
        """Why entities may be lacking that lie below cursors which are asked for later; "": none
        are."""

    def cursors(self, generation: int) -> Mapping[str, Mapping[int, int]]:
        """How far the links that began in this own generation are: by peer, by slice."""

    def heads(self, peer: str) -> Mapping[int, int]:
        """Ask the peer for the ends of its slices now. Blocks; ThespianDcError."""


class Keeper:
    """Of one entity type. put: takes RolesChanged, from this thread. The roles are in the registry
    already (`begin_roles`)."""

    def __init__(
        self,
        journal: Journal,
        setting: Replication,
        node_id: str,
        links: Links,
        put: Callable[[Any], None],
    ) -> None:
        self._journal, self._setting, self._node_id = journal, setting, node_id
        self._links = links
        self._type = setting.entity_type
        self._own = OwnRoles(journal, self._type, put)
        self._linked = frozenset(one.replica_id for one in setting.peers if one.is_linked)
        asked = sorted(self._linked - self.roles.fenced)
        self._restoring = Restoring(asked, self.roles.recovering, now_us())
        self._lost = KeptLost(journal, self._type)
        self._lost.remind(self._restoring, self.roles)
        self._performing = Performing(
            journal, setting, self._linked, self._own, self._ask, self._recover
        )
        self._said: deque[ReplicaStarted] = deque(maxlen=SAID_MAX)
        self._news, self._stopped = Event(), False
        self._asking = Asking(links.heads, self._news.set)
        self._look_s = LOOK_AT_SERVER_S if journal.derived_index else LOOK_S
        self._registry = OutageLog(log, "registry")
        self._beat_us = 0
        self._lacks_own = self._fetched_own = False
        self._known = 0  # the latest generation of this replica that a peer knows
        self._leaving = Leaving(self._linked, setting.replicas)
        self._is_denied = False  # by what a peer said
        self._denied: Exception | None = None
        self._thread = Thread(target=self._run, name=f"keeper of {self._type}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, within_s: float) -> None:
        self._stopped = True
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(within_s)
        self._asking.stop()

    @property
    def roles(self) -> Roles:
        """What is known of the group."""
        return self._own.roles

    # --- from any thread ---

    def check(self, said: ReplicaStarted) -> None:
        """Raise the named refusal of a peer that may not take part."""
        check_attainable(said, self._type, said.replica_id, now_us())
        check_peer(self.roles, roles_of(said), self._type, self._setting.replicas)

    def met(self, said: ReplicaStarted) -> None:
        """A peer that passed `check` said who it is and what it knows."""
        self._said.append(said)
        self._news.set()

    def refused(self, error: Exception, peer: str) -> None:
        """A peer refused this replica's call; from any thread, as often as wanted. That it retires,
        or that it was known by another journal, it may learn in no other way."""
        me = self.roles.replica_id
        if not isinstance(error, RetiredReplicaError | OriginChangedError) or error.replica != me:
            return
        if isinstance(error, RetiredReplicaError):
            self._leaving.on_refused(peer)
        elif error is not self._denied:
            self._denied, self._is_denied = error, True
        self._news.set()

    def lacks_own(self) -> None:
        """What came from a peer follows an event of this replica that is not here: the peer has it,
        so this journal is an older copy, though no peer was further in it. Once is enough: what
        nobody has any more cannot be had. From any thread."""
        self._lacks_own = True

    def facts(self) -> dict[str, Any]:
        """For `node.status()`."""
        roles = self.roles
        return {
            "replica_id": roles.replica_id, "epoch": roles.epoch, "active": roles.active,
            "is_active": roles.is_active, "closed": roles.closed, "generation": roles.generation,
        }  # fmt: skip

    # --- the thread ---

    def _run(self) -> None:
        while not self._stopped:
            self._news.clear()
            try:
                self.round(now_us())
            except JournalUnavailableError as failed:
                self._registry.failed(failed)
            except Exception:
                log.exception("keeper_failed", extra={"entity_type": self._type})
            self._registry.turn()
            self._news.wait(self._look_s)

    def round(self, now: int) -> None:
        """Look at all there is, and do what is to be done."""
        self._hear(now)
        self._own.look()
        if self._leaving.leaves(self.roles):
            self._own.change(fenced)
        left_out = self._links.left_out()
        cursors = self._links.cursors(self.roles.generation)
        self._asking.take()
        self._restore(cursors, now)
        self._performing.round(cursors, now, left_out)
        self._retire(cursors)
        if now - self._beat_us >= BEAT_US:
            self._beat_us = now
            step = self._performing.step
            said = Beat(now, self._setting.replicas, self._restoring.waits_for(), step)
            beat(self._journal, self._type, said)

    def _hear(self, now: int) -> None:
        if self._is_denied:
            self._is_denied = False
            if not self.roles.recovering:
                self._restoring.on_said("", is_older=True)
        while self._said:
            said = self._said.popleft()
            peer = roles_of(said)
            seen = SeenOfUs(said.seen_journal_id, said.seen_generation, said.seen)
            is_older = is_older_copy(self._journal, self._type, self.roles, seen)
            is_older |= denies(self.roles, peer)
            is_present = seen.generation >= self.roles.generation
            had = seen if seen.journal_id else None
            self._restoring.on_said(said.replica_id, is_older, had, is_present)
            known = peer.origins.get(self.roles.replica_id)
            self._known = max(self._known, known.generation if known else 0, said.seen_generation)
            listed = self._leaving.on_said(said, self.roles)
            add_listed(self._journal, self._type, listed, now)
            self._own.change(partial(heard, said=said, group=self._setting.replicas))
            self._performing.on_epoch(said.replica_id, said.epoch, now)
            self._performing.on_shown(said.replica_id, bool(said.shown.filter.exclude))

    # --- a journal that was restored ---

    def _restore(self, cursors: Mapping[str, Mapping[int, int]], now: int) -> None:
        core = self._restoring
        found = diverged_at(self._journal, self._type, self.roles.generation)
        for peer, generation in found.items():
            core.on_said(peer, is_older=True)
            self._known = max(self._known, generation)
        if self._lacks_own and not self._fetched_own and not self.roles.recovering:
            self._fetched_own = True
            core.on_said(self.roles.replica_id, is_older=True)
        if self.roles.recovering and not core.recovering:  # the keeper of another node found it
            core.on_restored(None)
            self._lost.remind(core, self.roles)
        elif core.recovering and not self.roles.recovering:
            core.on_recovered()
        elif core.recovering:  # what another node heard since
            self._lost.remind(core, self.roles)
        core.without(self.roles.fenced)
        core.catch_up.on_cursors(cursors)
        for step in core.on_tick(now):
            match step:
                case AskHeads():
                    self._ask(core.catch_up, step)
                case restoring.Step.RESTORED:
                    here = self._seen_here()
                    if max(here.generation, self._known) >= most_generations(now):
                        core.on_doubted()  # so often no journal was restored
                        continue
                    self._lost.keep(core.lost(here))
                    self._own.change_once(partial(restored, known=self._known), "generation")
                    core.on_restored(here)
                    facts = {"entity_type": self._type, "generation": self.roles.generation}
                    log.warning("journal_is_an_older_copy", extra=facts)
                case restoring.Step.CHECKED:
                    note_checked(self._journal, self._type, self._node_id)
                    core.on_checked()
                case restoring.Step.RECOVERED:
                    self._recover()
        self._lost.keep(core.lost())

    def _recover(self) -> None:
        self._own.change(recovered)
        self._restoring.on_recovered()
        self._lost.forget()

    def _seen_here(self) -> SeenOfUs:
        positions = {slice_: Position(head, b"") for slice_, head in enumerate(self._heads())}
        return SeenOfUs(self._journal.journal_id, self.roles.generation, positions)

    def _ask(self, asks: CatchUp, question: AskHeads) -> None:
        self._asking.ask(asks, question)

    # --- retirements ---

    def _retire(self, cursors: Mapping[str, Mapping[int, int]]) -> None:
        group = self._setting.replicas
        for replica in list(self.roles.retiring):
            reading = self._links.reading()
            stage = next_stage(self.roles, replica, reading, cursors, self._heads(), group)
            if stage is not None:
                self._own.change(partial(staged, replica=replica, stage=stage))
            if is_complete(self.roles, replica, group):
                self._own.change(partial(retired, replica=replica))
                log.warning("replica_retired", extra={"replica": replica, "of": self._type})

    def _heads(self) -> tuple[int, ...]:
        slices = self._journal.slice_counts()[self._type]
        keys = (SliceKey(self._type, number) for number in range(slices))
        return tuple(self._journal.find_head(key).head for key in keys)
