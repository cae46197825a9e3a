"""A host's place in the registry: a thread that beats, looks at the others, and says what is ours.

Runs AllocationCore and reads for routing who holds which slice, and what the groups of replicated
types know. Everything it finds goes to `put`: Assigned(keys), Seen(routes), RoleSeen and
StatesWanted. An unavailable registry is logged and tried again with the next beat: nobody is taken
for dead by it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from threading import Event, Thread
from typing import Any, NamedTuple

from thespian_dc.entity.protocol import TypeRoutes
from thespian_dc.entity.role_watch import RoleWatch
from thespian_dc.journal.api import Journal, Member
from thespian_dc.model.errors import JournalUnavailableError
from thespian_dc.shell.clock import now_us
from thespian_dc.shell.outages import OutageLog
from thespian_dc.slices.allocation import (
    Action,
    AllocationCore,
    Announce,
    Assigned,
    Forget,
    ReadMembers,
)

log = logging.getLogger(__name__)

OWNERS_EVERY_US = 1_000_000


class Seen(NamedTuple):
    """Who last claimed each slice, as addresses, by entity type; a little old."""

    routes: Mapping[str, TypeRoutes]


class Membership:
    """Start with `start`, end with `stop`."""

    def __init__(
        self, journal: Journal, me: Member, slices: Mapping[str, int], put: Callable[[Any], None],
        roles: RoleWatch | None = None,
    ) -> None:  # fmt: skip
        self._journal, self._slices, self._put = journal, dict(slices), put
        self._roles = roles
        self._core = AllocationCore(me, slices)
        self._leaving, self._news = False, Event()
        self._stopped = False
        self._members: list[Member] = []
        self._registry = OutageLog(log, "registry")
        self._owners_us = 0
        self._thread = Thread(target=self._run, name="membership", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        """Others shall take our slices; we serve each until it is taken."""
        self._leaving = True
        self._news.set()

    def look(self) -> None:
        """Read soon who owns what: a slice has changed hands."""
        self._owners_us = 0
        self._news.set()

    def stop(self, within_s: float) -> None:
        """Forget this member, so that others need not wait for its death."""
        self._stopped = True
        self._news.set()
        self._thread.join(within_s)

    def _run(self) -> None:
        left = False
        while not self._stopped:
            if self._leaving and not left:
                left = True
                self._perform(self._core.leave(now_us()))
            self._perform(self._core.on_tick(now_us()))
            self._see_roles()
            self._see_owners()
            self._registry.turn()
            due_us = self._core.wakeup_us() or now_us()
            self._news.wait(max(0.01, (due_us - now_us()) / 1e6))
            self._news.clear()
        self._perform(self._core.stop())

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            try:
                self._perform_one(action)
            except JournalUnavailableError as failed:
                self._registry.failed(failed)
                return
            except Exception:
                log.exception("registry_failed")
                return

    def _perform_one(self, action: Action) -> None:
        match action:
            case Announce(member):
                self._journal.announce(member)
            case ReadMembers():
                self._members = self._journal.members()
                self._perform(self._core.on_members(self._members, now_us()))
            case Assigned():
                self._put(action)
            case Forget(member_id):
                self._journal.forget(member_id)

    def _see_roles(self) -> None:
        roles = self._roles
        if roles is None:
            return
        try:
            for news in (*roles.look(), *roles.look_for_states()):
                self._put(news)
            roles.store_failed()
        except JournalUnavailableError as failed:
            self._registry.failed(failed)
        except Exception:  # an entry that cannot be read: the role stays
            log.exception("roles_failed")

    def _see_owners(self) -> None:
        if now_us() - self._owners_us < OWNERS_EVERY_US:
            return
        self._owners_us = now_us()  # before the reading: look() may come while it is under way
        addresses = {member.member_id: member.address for member in self._members}
        routes = {}
        try:
            for entity_type, slices in self._slices.items():
                owners = self._journal.owners(entity_type)
                routes[entity_type] = TypeRoutes(
                    slices,
                    tuple(
                        (addresses.get(owners[n].member_id, ""), owners[n].epoch)
                        if n in owners
                        else ("", 0)
                        for n in range(slices)
                    ),
                )
        except JournalUnavailableError as failed:
            self._registry.failed(failed)
            return
        self._put(Seen(routes))
