"""The serving side of one replicated entity type: who may read its replica stream, what readers are
told of the group, and what they tell. Methods that say so block; the rest runs on the stream loop.

Laws:
- A replica is who its certificate says: an id that is bound to a name is taken only with that name.
- What a reader says of the group is kept before it is served, so that nobody is served who knows of
  a later leader or of a retirement that this replica has not heard of.
- A reader learns what changes here while it reads, and is ended where it may not read any more.
- Nothing is sent through another filter than the one that the reader was told of last: so it knows
  of all that it passes whether it was shown. A question is answered through no other one either:
  the call by which it would be told may be over, or behind, and nobody has noticed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Any, Protocol

from thespian_dc.entity.api import (
    Seen,
    begin_roles,
    change_roles,
    known_roles,
    note_diverged,
    note_seen,
)
from thespian_dc.journal.api import Journal
from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.link_progress import progress_entry, progress_of
from thespian_dc.model.replica_errors import (
    OtherEntityTypeError,
    ReplicaIdentityError,
    ReplicaListsDifferError,
    ShownFilterChangedError,
)
from thespian_dc.model.replication_errors import ReplicaRecoveringError
from thespian_dc.model.replication_handshake import Known, ReplicaStart, ReplicaStarted
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.role_errors import (
    OwnReplicaIdError,
    RetiredReplicaError,
    UnknownReplicaError,
)
from thespian_dc.model.role_handshake import heard, roles_of, told
from thespian_dc.model.role_limits import check_attainable
from thespian_dc.model.roles import Roles, check_peer, denies
from thespian_dc.model.stream_errors import PeerUnavailableError
from thespian_dc.shell.clock import now_us
from thespian_dc.stream.bookmarks import Bookmarks
from thespian_dc.stream.identity import Caller
from thespian_dc.stream.leaving_out import LeavingOut, without_own
from thespian_dc.stream.shown_filter import begin_shown_filter, shown_filter
from thespian_dc.stream.transform import View

log = logging.getLogger(__name__)

ROLES_POLL_S = 0.5
"""How often is looked whether something changed in the group."""
SEEN_US = 5_000_000
"""How often at most is stored how far a reader is."""


class Reader(Protocol):
    """The call of a reader."""

    def end(self, error: Exception) -> None: ...
    def wake(self) -> None: ...


class ReplicaReading:
    """One reader's call, once it was let in."""

    def __init__(self, group: ReplicaGroup, start: ReplicaStart, begun: ReplicaStarted) -> None:
        self._group, self.start = group, start
        self.life = (group.setting.replica_id, begun.generation)
        self.leaving_out = LeavingOut(start, self.life, group.slices)
        self.begun = begun
        """The answer to its Start."""
        self._told, self._due = begun, False
        self._heard = start.epoch, start.active, start.retiring, start.retired
        self._seen_us = 0
        self._seen: tuple[int, ...] = ()

    @property
    def trusts_positions(self) -> bool:
        """Are the positions it begins with of this life of the log? Of an earlier one they say
        nothing, and it begins again once it is told of this one; that it may know of this one
        already, from others, does not make its positions newer."""
        own, generation = self.life
        known = [one.generation for one in self.start.known if one.replica == own]
        named = self.generation_named
        is_earlier = named is not None and named < generation
        return not is_earlier and (not known or max(known) >= generation)

    @property
    def generation_named(self) -> int | None:
        """The latest life of this log that the reader knows of; None: it names none."""
        return generation_of(self.life[0], self.start)

    async def on_known(self, known: Known) -> None:
        """It said what it has, and maybe something of the group. AheadOfTimeError,
        TooManyReplicasError."""
        said = known.epoch, known.active, known.retiring, known.retired
        if said != self._heard:
            await self._group.hear(known, self.start.replica_id)
            self._heard = said

    async def note_seen(self) -> None:
        """Keep how far it has this replica's own log: what lies below may be trimmed one day."""
        now, offsets = now_us(), self.leaving_out.known_of(self.life)
        if offsets and offsets != self._seen and now - self._seen_us >= SEEN_US:
            self._seen_us, self._seen = now, offsets
            await self._group.note_seen(self.start.replica_id, Seen(self.life[1], offsets, now))

    def changed(self) -> None:
        """Something may have changed in the group."""
        self._due = True

    @property
    def is_due(self) -> bool:
        """`take_change` is to be asked before anything else is sent."""
        return self._due

    async def take_change(self) -> ReplicaStarted | None:
        """What the reader is to be told now."""
        if not self._due:
            return None
        self._due = False
        before, self._told = self._told, await self._group.tell(self.start.replica_id)
        same = self._told._replace(seen={}, seen_journal_id="", seen_generation=0) == (
            before._replace(seen={}, seen_journal_id="", seen_generation=0)
        )
        return None if same else self._told


class ReplicaGroup:
    """Of one server. `begin` first, in a thread."""

    def __init__(self, setting: Replication, journal: Journal, slices: int, pool: Executor) -> None:
        self.setting, self.slices = setting, slices
        self.entity_type = setting.entity_type
        self._journal, self._pool = journal, pool
        self.roles: Roles
        """As last seen."""
        self.shown: VersionedFilter
        """What the log is shown through; `show` puts another one in its place."""
        self._readers: dict[Reader, ReplicaReading] = {}  # bounded by the server's calls
        self.bookmarks = Bookmarks()
        """Of the lists that readers are given page by page."""
        self.watchers: set[Callable[[], None]] = set()
        """Called when `roles` may have changed. Bounded by the server's calls."""

    def begin(self) -> None:
        """Make the group known in the journal, or find it. Blocks. ReplicaIdChangedError."""
        self.roles = begin_roles(self._journal, self.setting)
        self.shown = begin_shown_filter(self._journal, self.setting)

    async def wanted_shown(self) -> VersionedFilter:
        """What is to be shown now, as the journal has it."""
        found: VersionedFilter = await self._run(shown_filter, self._journal, self.entity_type)
        return found

    def show(self, shown: VersionedFilter) -> None:
        """The log is shown through this filter from now on: tell the readers."""
        self.shown = shown
        self._spread()

    def check_told(self, version: int | None) -> None:
        """May an answer be seen through `shown` by who was told of this version last, None of none?
        To be asked after what it is seen through was taken. ShownFilterChangedError."""
        if version not in (None, self.shown.version):
            raise ShownFilterChangedError(self.setting.stream_id, version, self.shown.version)

    @property
    def generation(self) -> int:
        """Of the journal."""
        return self.roles.generation

    def check_open(self) -> None:
        """For consumers that are no replicas: ReplicaRecoveringError while it is not known which
        events this journal lost."""
        if self.roles.recovering:
            raise ReplicaRecoveringError(self.entity_type, self.setting.replica_id)

    def check_caller(self, replica_id: str, caller: Caller) -> None:
        """May this caller read as this replica? OwnReplicaIdError, UnknownReplicaError,
        ReplicaIdentityError, RetiredReplicaError."""
        setting = self.setting
        if replica_id == setting.replica_id:
            raise OwnReplicaIdError(self.entity_type, replica_id)
        peer = setting.peer(replica_id)
        if peer is None:
            self.check_retired(replica_id)  # it may have been away, and is to hear it for ever
            known = ", ".join(setting.replicas)
            raise UnknownReplicaError(self.entity_type, replica_id, known)
        reason = unproved(peer, setting.peers, caller)
        if reason:
            facts = {"entity_type": self.entity_type, "replica": replica_id, "peer": caller.peer}
            log.warning("replica_refused", extra={**facts, "reason": reason})
            raise ReplicaIdentityError(self.entity_type, replica_id, reason)
        self.check_retired(replica_id)

    def check_retired(self, replica_id: str) -> None:
        """RetiredReplicaError."""
        if replica_id in self.roles.fenced:
            raise RetiredReplicaError(self.entity_type, replica_id)

    # --- one reader ---

    async def open(self, start: ReplicaStart) -> ReplicaReading:
        """Hear what a replica says, which `check_caller` let in. OtherEntityTypeError,
        ReplicaListsDifferError, and what check_peer raises."""
        begun = await self._run(self._meet, start)
        self._spread()
        return ReplicaReading(self, start, begun)

    def view_of(self, replica_id: str, view: View) -> View:
        """How this replica sees what it looks up."""
        starts = [one.start for one in self._readers.values()]
        lives = [one.generation for one in starts if one.replica_id == replica_id]
        known = self.roles.origins.get(replica_id)  # it may call again just now
        generation = max(lives, default=known.generation if known else 0)
        start = ReplicaStart(replica_id, self.entity_type, (), generation=generation)
        own = self.setting.replica_id, self.generation
        return without_own(view, start, own, self.slices)

    def attend(self, reader: Reader, reading: ReplicaReading) -> None:
        """It is served from now on; `forget` ends it."""
        self._readers[reader] = reading
        self._spread_to(reader, reading)  # what changed since they met

    def forget(self, reader: Reader) -> None:
        self._readers.pop(reader, None)

    async def hear(self, said: Known, reader: str) -> None:
        """A reader says something new of the group."""
        check_attainable(said, self.entity_type, reader, now_us())
        await self._run(self._store, lambda own: heard(own, said, self.setting.replicas))
        self._spread()

    async def tell(self, peer: str) -> ReplicaStarted:
        return await self._run(self._tell, peer)  # type: ignore[no-any-return]

    async def note_seen(self, peer: str, seen: Seen) -> None:
        await self._run(note_seen, self._journal, self.entity_type, peer, seen)

    async def note_diverged(self, peer: str, named: int | None = None) -> None:
        """A reader's positions are beyond what is here. named: the generation of this log that it
        names."""
        generation = max(self.generation, named or 0)
        await self._run(note_diverged, self._journal, self.entity_type, peer, generation)

    # --- the group ---

    async def follow(self, on_recovering: Callable[[Exception], None]) -> None:
        """Look for changes that others make, for ever. on_recovering: the journal turned out to be
        an older copy; consumers that are no replicas must wait."""
        spread = self.roles
        while True:
            await asyncio.sleep(ROLES_POLL_S)
            try:
                self.roles = await self._run(known_roles, self._journal, self.entity_type)
                if self.roles != spread:
                    spread = self.roles
                    self._spread()
                    if spread.recovering:
                        id_ = self.setting.replica_id
                        on_recovering(ReplicaRecoveringError(self.entity_type, id_))
                for reading in list(self._readers.values()):
                    await reading.note_seen()
            except Exception as error:  # noqa: BLE001 - what is known stays; asked again
                log.warning("roles_unread", extra={"error": f"{type(error).__name__}: {error}"})

    def _spread(self) -> None:
        for watch in list(self.watchers):
            watch()
        for reader, reading in list(self._readers.items()):
            self._spread_to(reader, reading)

    def _spread_to(self, reader: Reader, reading: ReplicaReading) -> None:
        peer = reading.start.replica_id
        if peer in self.roles.fenced:
            reader.end(RetiredReplicaError(self.entity_type, peer))
        elif reading.life[1] != self.roles.generation:
            reason = "its journal was restored from an older copy"
            reader.end(PeerUnavailableError(self.setting.replica_id, reason))
        else:
            reading.changed()
            reader.wake()

    # --- in the pool ---

    def _meet(self, said: ReplicaStart) -> ReplicaStarted:
        setting, entity_type = self.setting, self.entity_type
        if said.entity_type != entity_type:
            where = f"stream {setting.stream_id}"
            raise OtherEntityTypeError(where, entity_type, said.entity_type)
        check_attainable(said, entity_type, said.replica_id, now_us())
        own = known_roles(self._journal, entity_type)
        check_peer(own, roles_of(said), entity_type, setting.replicas)
        gone = {*own.retired, *said.retired}
        missing = [one for one in setting.replicas if one not in {*said.replicas, *gone}]
        if missing:
            raise ReplicaListsDifferError(entity_type, said.replica_id, ", ".join(missing))
        if denies(own, roles_of(said)):
            generation = max(own.generation, generation_of(own.replica_id, said) or 0)
            note_diverged(self._journal, entity_type, said.replica_id, generation)
        self._store(lambda before: heard(before, said, setting.replicas))
        return self._tell(said.replica_id)

    def _store(self, change: Callable[[Roles], Roles]) -> None:
        _, self.roles = change_roles(self._journal, self.entity_type, change)

    def _tell(self, peer: str) -> ReplicaStarted:
        setting = self.setting
        progress = progress_of(self._journal.entry(progress_entry(self.entity_type, peer)).value)
        return ReplicaStarted(
            **told(self.roles, self.entity_type, setting.replicas),
            seen_journal_id=progress.journal_id,
            seen_generation=progress.generation,
            seen=progress.positions,
            shown=self.shown,
        )

    async def _run(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, ask, *arguments)


def generation_of(replica_id: str, said: ReplicaStart) -> int | None:
    """The latest generation of a replica's journal that is named; None: none is."""
    named = [one.generation for one in said.origins if one.replica == replica_id]
    return named[0] if named else None


def unproved(peer: Peer, peers: Iterable[Peer], caller: Caller) -> str:
    """Why this caller is not that peer; "" where it may be."""
    shown = caller.identities
    if peer.identity:
        found = ", ".join(map(repr, sorted(shown))) or "no name at all"
        bound = f"that id is bound to {peer.identity!r}, while its certificate shows {found}"
        return "" if peer.identity in shown else bound
    for other in peers:
        if other.identity and other.identity in shown:
            return f"its certificate is that of replica {other.replica_id!r}"
    if shown or caller.is_local or peer.plaintext_beyond_loopback:
        return ""
    return "it shows no certificate, from beyond this machine"
