"""One run of a link: a source over a peer's replica stream, and the core that decides what becomes
of what it brings, from the call's beginning until it fails or has to begin further back.

Where the peer's log is trimmed above a cursor, the next run begins at the first record that is
there, and what lies below is fetched entity by entity, from stored states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from thespian_dc.model.criteria import FilterInForce, VersionedFilter
from thespian_dc.model.errors import TrimmedError
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.passing import Evaluator
from thespian_dc.model.position import START
from thespian_dc.model.replication import StateMeta, state_meta
from thespian_dc.model.replication_handshake import ReplicaStarted
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.role_limits import most_epochs
from thespian_dc.model.state_body import unpack_state
from thespian_dc.projection.api import (
    LookedUp,
    LookUpFailed,
    SourceBatch,
    SourceDescription,
    SourceEvents,
)
from thespian_dc.replication.link_actions import Action, GetState, Handled, LookUp, Submit
from thespian_dc.replication.link_core import LinkCore
from thespian_dc.replication.reading import Claims, PeerLog
from thespian_dc.replication.sources import ReplicaSource
from thespian_dc.wire.lookups import EntityIds, EntityState


class Place:
    """Where a link goes on from, and under which filter: kept from run to run."""

    def __init__(self) -> None:
        self.progress = LinkProgress()
        self.wanted: VersionedFilter


class Failed(NamedTuple):
    """The run is over; the next one begins after a pause."""

    error: Exception


class BeginAgain(NamedTuple):
    """The run is over; the next one begins there once nobody says any more that this replica has
    what it may lack."""

    progress: LinkProgress


class GoOn(NamedTuple):
    """The run is over; the next one begins there, at once or after a pause."""

    progress: LinkProgress
    at_once: bool


End = Failed | BeginAgain | GoOn


class _StateOf(NamedTuple):
    entity_id: str
    found: EntityState | LookUpFailed


class _IdsOf(NamedTuple):
    """The answer to a question for ids; to_mark: where the slice begins is all that is wanted."""

    slice: int
    found: EntityIds | LookUpFailed
    to_mark: bool


class Run:
    """See the module. at: where it begins; changes with it. hand: hands what comes, also from the
    source's threads, to `on_batch` and `on_rare`. submit: takes a command that became due. origins:
    whose events the peer may show; may grow. life: the own generation."""

    def __init__(
        self, number: int, peer: Peer, setting: Replication, at: Place, source: ReplicaSource,
        hand: Callable[[Any], None], submit: Callable[[LinkCore, Submit], None], origins: set[str],
        life: int,
    ) -> None:  # fmt: skip
        self.number, self.source, self._peer, self._setting = number, source, peer, setting
        self._at, self._hand, self._submit = at, hand, submit
        self._origins, self._life = origins, life
        self.core: LinkCore | None = None
        self._log = PeerLog(peer.replica_id)
        self._is_under = False  # the filter is in force
        self.heads: dict[int, int] = {}
        self._marks: dict[int, int | None] = {}  # where the peer's slices begin; None: asked for
        self._is_asking = False  # for the next ids of a slice that joins

    def start(self) -> None:
        """Open the call."""
        hand, at = self._hand, self._at
        heard = SourceEvents(hand, hand, hand, hand, hand)
        self.source.start(at.progress.journal_id, at.progress.positions, at.wanted, None, heard)

    def progress(self) -> LinkProgress:
        """To be stored: all below its positions is durable here, known, or out of scope."""
        core, progress = self.core, self._at.progress
        if core is None:
            return progress
        coming_in = core.coming_in if self._is_under else progress.coming_in
        return progress._replace(positions=core.cursors(), coming_in=frozenset(coming_in))

    def change_filter(self) -> None:
        """Another one is wanted, which lets nothing in."""
        self._is_under = False
        if self.core is not None:
            self.core.filtered = bool(self._at.wanted.filter)
            self.source.change_filter(self._at.wanted)

    def on_tick(self, now_us: int) -> None:
        """What is due."""
        if self.core is not None:
            self.perform(self.core.on_tick(now_us))
            self._join()

    # --- what comes ---

    def on_batch(self, batch: SourceBatch, claims: Claims, now_us: int) -> None:
        """claims: what this replica has of each origin's own log."""
        core = self.core
        if core is None:
            return
        self.heads[batch.slice] = batch.head
        found = self._log.by_entity(batch.commits, batch.base_offset, claims)
        self.perform(core.on_batch(batch, found, now_us))

    def on_rare(self, what: Any, now_us: int) -> End | None:
        """Anything but a batch, and what the peer says of itself."""
        core = self.core
        if isinstance(what, SourceDescription):
            return self._describe(what, now_us)
        if isinstance(what, FilterInForce):
            if what.version >= self._at.wanted.version:
                self._come_in()
        elif isinstance(what, Mapping):
            self.heads.update(what)
        elif isinstance(what, LookUpFailed) and core is not None:
            entity_id = what.lookup.entity_id
            if isinstance(what.error, TrimmedError):
                self.perform(core.on_trimmed(entity_id))
            else:
                text = f"{type(what.error).__name__}: {what.error}"
                self.perform(core.on_look_up_failed(entity_id, text, now_us))
        elif isinstance(what, LookedUp) and core is not None:
            entity_id = what.lookup.entity_id
            items = self._log.by_entity(what.commits).get(entity_id, [])
            through, below, more = what[2:]
            self.perform(core.on_looked_up(entity_id, items, through, below, more))
        elif isinstance(what, _StateOf) and core is not None:
            self._on_state(core, what.entity_id, what.found, now_us)
        elif isinstance(what, _IdsOf):
            return self._on_ids(what)
        elif isinstance(what, TrimmedError) and not self._marks:
            return self._find_beginning(what)
        elif isinstance(what, Exception):
            return Failed(what)
        return None

    def _describe(self, of: SourceDescription, now_us: int) -> End | None:
        """The call is open for the first time in this run."""
        progress = self._at.progress
        if progress.journal_id != of.journal_id:
            self._at.progress = progress = progress.again(of.journal_id, progress.generation)
        if self._peer.workers > 1 and not progress.positions:  # now there are slices to share
            at = dict.fromkeys(range(of.slices), START)
            return BeginAgain(progress._replace(positions=at))
        self._log = PeerLog(
            self._peer.replica_id, progress.generation, self._setting.replica_id, self._origins,
            self._life, self._setting.entity_type, most_epochs(now_us),
        )  # fmt: skip
        self.core = LinkCore(
            self._peer.replica_id, of.slices, progress.positions,
            int(self._setting.look_up_after_s * 1e6), bool(self._at.wanted.filter),
        )  # fmt: skip
        if not self._at.wanted.version:
            self._come_in()
        return None

    def _come_in(self) -> None:
        if self.core is not None and not self._is_under:
            self._is_under = True
            self.perform(self.core.come_in(sorted(self._at.progress.coming_in)))

    def on_said(self, said: ReplicaStarted) -> End | None:
        """Of a log that was restored, or that shows more than before, the run is over. So it is
        where something waits, or is asked for, that may not be shown any more."""
        before = self.progress()
        after = before.through(said.shown.filter)
        if after.generation != said.generation:
            after = after.again("", said.generation)  # of another journal, maybe
        waits = self.core is not None and bool(self.core.blocked_count or self.core.coming_in)
        is_other = waits and before.shown != after.shown
        if before.positions and (is_other or lets_in(before, after)):
            return BeginAgain(after)
        self._at.progress = after
        return None

    def _on_state(
        self, core: LinkCore, entity_id: str, found: EntityState | LookUpFailed, now_us: int
    ) -> None:
        if isinstance(found, LookUpFailed):
            text = f"{type(found.error).__name__}: {found.error}"
            self.perform(core.on_look_up_failed(entity_id, text, now_us))
        elif not found.seq_nr:
            text = "its first events are trimmed at the peer, which keeps no state of it"
            self.perform(core.on_look_up_failed(entity_id, text, now_us))
        else:
            body = unpack_state(entity_id, found.body)
            said = body.replica  # None: stored before the type was replicated
            if said is None:
                said = state_meta(StateMeta({self._peer.replica_id: found.seq_nr}, {}))
            state = self._log.state(entity_id, body.manifest, body.payload, said)
            self.perform(core.on_state(entity_id, state, found.seq_nr))

    def _state_of(self, entity_id: str, found: EntityState | LookUpFailed) -> None:
        self._hand(_StateOf(entity_id, found))

    # --- where the peer's log is trimmed ---

    def _find_beginning(self, trimmed: TrimmedError) -> End | None:
        """Ask where each slice begins, to go on from there."""
        slices = self.core.slices if self.core is not None else len(self._at.progress.positions)
        if not slices:
            return Failed(trimmed)
        for slice_ in range(slices):
            self._marks[slice_] = None
            self._ask_ids(slice_, "", to_mark=True)
        return None

    def _ask_ids(self, slice_: int, after: str, to_mark: bool = False) -> None:

        def hand(found: EntityIds | LookUpFailed) -> None:
            self._hand(_IdsOf(slice_, found, to_mark))

        self.source.entity_ids(slice_, after, hand)

    def _on_ids(self, ids: _IdsOf) -> End | None:
        if isinstance(ids.found, LookUpFailed):
            return Failed(ids.found.error)
        if ids.to_mark:
            self._marks[ids.slice] = ids.found.trimmed_to
            marks = {n: mark for n, mark in self._marks.items() if mark is not None}
            if len(marks) == len(self._marks):
                before = self.progress()
                after = before.joined(marks)
                return GoOn(after, at_once=after != before)  # the same: trimmed again meanwhile
        elif self.core is not None:
            self._is_asking = False
            self._at.progress = self._at.progress.fetched(ids.slice, ids.found.ids)
            passes = Evaluator(self._at.wanted.filter).passes_by_entity
            self.perform(self.core.come_in(one for one in ids.found.ids if passes(one)))
        return None

    def _join(self) -> None:
        """Fetch the next entities of which all events may be trimmed, once the last ones are here.
        Those that have later events are found by these, too."""
        core, joining = self.core, self._at.progress.joining
        if joining and core is not None and self._is_under and not core.coming_in:
            slice_, after = next(iter(sorted(joining.items())))
            if not self._is_asking:
                self._is_asking = True
                self._ask_ids(slice_, after)

    # --- what goes ---

    def perform(self, actions: list[Action]) -> None:
        """Do what the core decided; commands are left to the group."""
        source, core = self.source, self.core
        assert core is not None
        for action in actions:
            if isinstance(action, Submit):
                self._submit(core, action)
            elif isinstance(action, Handled):
                source.handled(action.batch)
            elif isinstance(action, LookUp):
                source.look_up(action.lookup, self._hand)
            elif isinstance(action, GetState):
                hand = partial(self._state_of, action.entity_id)
                source.entity_state(action.entity_id, action.fresh, hand)


def lets_in(before: LinkProgress, after: LinkProgress) -> bool:
    """Something below the positions may be lacking that was not wanted before."""
    return not after.positions or bool(after.coming_in - before.coming_in)
