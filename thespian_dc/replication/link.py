"""One link: a source over a peer's replica stream, and the core that decides what becomes of what
it brings. Runs on the leaf's main thread; the source's threads only hand over.

A run is one source with one core. It ends when it fails, or when it has to begin further back (the
peer's log is another one, a filter lets in what was left out); the next one begins at the cursors.

Where the peer's log is trimmed above a cursor, the next one begins at the first record that is
there, and what lies below is fetched entity by entity, from stored states.

Long because a run's beginning, course and end change the same few fields.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from thespian_dc.model.criteria import FilterInForce, VersionedFilter
from thespian_dc.model.errors import ThespianDcError, TrimmedError
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.passing import Evaluator
from thespian_dc.model.position import START
from thespian_dc.model.replication import StateMeta, state_meta
from thespian_dc.model.replication_handshake import (
    Known,
    OriginPositions,
    ReplicaStart,
    ReplicaStarted,
)
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
from thespian_dc.replication.link_facts import LENT, LinkFacts
from thespian_dc.replication.reading import Claims, PeerLog
from thespian_dc.replication.sources import ReplicaSource
from thespian_dc.stream.replica_call import ReplicaCall
from thespian_dc.wire.lookups import EntityIds, EntityState

log = logging.getLogger(__name__)

RETRY_US = (500_000, 30_000_000)
WAITS_SHOWN = 20
LISTED_SHOWN = 20


MakeSource = Callable[[Peer, ReplicaCall], ReplicaSource]
"""A source over the peer's replica stream, not started."""


class Came(NamedTuple):
    """From a source of a link, by the bridge; run: of the link."""

    link: Link
    run: int
    what: Any


class _StateOf(NamedTuple):
    entity_id: str
    found: EntityState | LookUpFailed


class _IdsOf(NamedTuple):
    """The answer to a question for ids; to_mark: where the slice begins is all that is wanted."""

    slice: int
    found: EntityIds | LookUpFailed
    to_mark: bool


class Link:
    """See the module. put: hands a Came to the main thread. say: what is said when a call begins,
    from any thread. check: raises what is wrong with a peer. `submits` are the commands that became
    due; the group takes them."""

    def __init__(
        self,
        peer: Peer,
        setting: Replication,
        make_source: MakeSource,
        put: Callable[[Came], None],
        say: Callable[[], ReplicaStart],
        check: Callable[[ReplicaStarted], None],
    ) -> None:
        self.peer, self._setting, self._make_source = peer, setting, make_source
        self._put, self._say, self._check = put, say, check
        self._progress = LinkProgress()
        self._wanted: VersionedFilter
        self._source: ReplicaSource | None = None
        self.core: LinkCore | None = None
        self._origins = set(setting.replicas)  # and those that were retired
        self._log = PeerLog(peer.replica_id)
        self._run = 0
        self._is_under = False  # the filter is in force
        self._heads: dict[int, int] = {}
        self._pause_us = RETRY_US[0]
        self._retry_us = 0
        self.error = ""
        self.is_closed = False
        self.node: str | None = None
        """Another node reads this peer for this replica, "" while none is known; None: this one."""
        self.is_due = False
        """`restart` is to be called, for what the peer said."""
        self.refusal: Exception | None = None
        """Why the last run failed; for who wants to know what kind it is."""
        self.said: ReplicaStarted | None = None
        """What the peer said of itself last."""
        self.relayed_by: tuple[str, ...] = ()
        """Replicas that show what this peer withholds."""
        self._marks: dict[int, int | None] = {}  # where the peer's slices begin; None: asked for
        self._is_asking = False  # for the next ids of a slice that joins
        self.submits: list[tuple[LinkCore, Submit]] = []
        self.claims: Claims = {}
        """What this replica has of each origin's own log; the group keeps it up."""
        self.in_flight = 0
        """Commands whose outcome is not known, those of former runs too."""
        self.begun_in = 0
        """The own generation in which the run began."""

    # --- runs ---

    def place(self, progress: LinkProgress, wanted: VersionedFilter) -> None:
        """Where to go on from, under which filter; `restart` begins."""
        self._progress, self._wanted = progress.under(wanted.filter), wanted

    def end(self) -> None:
        """Stop the source; what is under way counts no more."""
        self._progress = self.progress()
        self._run += 1
        source, self._source, self.core = self._source, None, None
        self._heads = {}
        if source is not None:
            source.stop()

    def lend(self) -> LinkProgress:
        """Another node reads this peer from now on; returns how far it is."""
        self.end()
        self.node, self.is_due, self._retry_us = "", False, 0
        return self._progress

    def place_lent(self, progress: LinkProgress) -> None:
        """How far the other node is."""
        self._progress = progress.under(self._wanted.filter)
        self.begun_in = progress.life

    def take_over(self, progress: LinkProgress) -> None:
        """This node reads it from now on, from there; `restart` begins."""
        self.node, self._progress = None, progress.under(self._wanted.filter)

    def close(self) -> None:
        """Take nothing from this peer any more."""
        self.end()
        self.is_closed, self.is_due, self._retry_us = True, False, 0

    def progress(self) -> LinkProgress:
        """To be stored: all below its positions is durable here, known, or out of scope."""
        core = self.core
        if core is None:
            return self._progress
        coming_in = core.coming_in if self._is_under else self._progress.coming_in
        return self._progress._replace(positions=core.cursors(), coming_in=frozenset(coming_in))

    def known(self) -> OriginPositions | None:
        """What of the peer's own events is here; None where that cannot be said."""
        progress = self.progress()
        if not progress.positions or progress.coming_in:
            return None  # of what comes into scope it has not all below
        offsets = tuple(offset for _, offset in sorted(progress.offsets.items()))
        return OriginPositions(self.peer.replica_id, progress.generation, offsets)

    def change_filter(self, wanted: VersionedFilter) -> bool:
        """Another filter is wanted. True: it lets something in, or something waits that it may not
        want any more, so the run is over; the group calls `restart` once nobody says any more that
        it has what it may lack."""
        before = self.progress()
        self._wanted, self._progress = wanted, before.under(wanted.filter)
        # Also of a call that is not open yet: its peer may pass records under the former filter.
        is_begun = bool(before.positions) or self._source is not None
        waits = self.core is not None and self.core.blocked_count > 0
        if is_begun and (waits or _lets_in(before, self._progress)):
            self._stop_at(self._progress)
            return True
        self._is_under = False
        if self.core is not None and self._source is not None:
            self.core.filtered = bool(wanted.filter)
            self._source.change_filter(wanted)
        return False

    def begin_life(self, generation: int) -> None:
        """The own journal was restored: from the first record at the next `restart`."""
        self._stop_at(self.progress().in_life(generation))

    def restart(self) -> None:
        """After `place`, `change_filter` or `begin_life`, or when what is said at the beginning of
        a call has changed."""
        if self._source is not None:
            self.end()
        if not self.is_closed and self.node is None:
            self._start()

    def _start(self) -> None:
        self._run += 1
        self._retry_us, self._is_under, self.is_due = 0, False, False
        self._marks, self._is_asking = {}, False
        hand = self._hand(self._run)
        said = self._say()
        self.begun_in = said.generation
        self._origins.update(said.retired)
        source = self._source = self._new_source(hand)
        progress = self._progress
        heard = SourceEvents(hand, hand, hand, hand, hand)
        source.start(progress.journal_id, progress.positions, self._wanted, None, heard)

    def _new_source(self, on_started: Callable[[ReplicaStarted], None]) -> ReplicaSource:
        call = ReplicaCall(self._say, self.peer.replica_id, on_started)
        return self._make_source(self.peer, call)

    def heads(self) -> dict[int, int]:
        """Where the peer's slices end now. Blocks; from any thread. ThespianDcError."""
        source = self._source
        if source is None or self.peer.target:  # an edge can be asked on its call alone
            source = self._new_source(lambda _: None)
        positions = source.heads().positions
        return {slice_: at.offset for slice_, at in positions.items()}

    def _hand(self, run: int) -> Callable[[Any], None]:
        """For the source's threads."""
        put = self._put
        return lambda what: put(Came(self, run, what))

    def _state_of(self, run: int, entity_id: str, found: EntityState | LookUpFailed) -> None:
        self._put(Came(self, run, _StateOf(entity_id, found)))

    def _stop_at(self, progress: LinkProgress) -> None:
        self.end()
        self._progress = progress

    def _fail(self, error: Exception, now_us: int) -> None:
        """This run is over; another one begins after a pause."""
        self.error, self.refusal = f"{type(error).__name__}: {error}", error
        facts = {"peer": self.peer.replica_id, "error": self.error}
        log.warning("replication_link_failed", extra=facts)
        self.end()
        self._retry_us = now_us + self._pause_us
        self._pause_us = min(self._pause_us * 2, RETRY_US[1])

    # --- what comes ---

    def on_came(self, came: Came, now_us: int) -> list[ReplicaStarted]:
        """From the source; returns what the peer said of itself, if it did."""
        if came.run != self._run:
            return []
        what = came.what
        try:
            if isinstance(what, SourceBatch):
                if self.core is not None:
                    self._on_batch(self.core, what, now_us)
            elif isinstance(what, ReplicaStarted):
                self._check(what)
                self.said = what
                self._origins.update(what.retired)
                self._on_said(what)
                return [what]
            else:
                self._on_rare(what, now_us)
        except ThespianDcError as refused:
            self._fail(refused, now_us)
        except Exception as unforeseen:  # a batch that is lost here would be a gap for ever
            log.exception("replication_link_broke", extra={"peer": self.peer.replica_id})
            self._fail(unforeseen, now_us)
        return []

    def on_batch_at_once(self, came: Came, now_us: int) -> bool:
        """A batch on the source's own thread, which must not end the run: what is wrong with it is
        put. False: nothing was done; it is no batch of this run."""
        core, batch = self.core, came.what
        if came.run != self._run or core is None or not isinstance(batch, SourceBatch):
            return False
        try:
            self._on_batch(core, batch, now_us)
        except Exception as failed:  # noqa: BLE001 - whatever it is, it ends the run
            self._put(Came(self, came.run, failed))
        return True

    def _on_batch(self, core: LinkCore, batch: SourceBatch, now_us: int) -> None:
        self._heads[batch.slice] = batch.head
        found = self._log.by_entity(batch.commits, batch.base_offset, self.claims)
        self.perform(core.on_batch(batch, found, now_us))

    def _on_rare(self, what: Any, now_us: int) -> None:
        core = self.core
        if isinstance(what, SourceDescription):
            self._describe(what, now_us)
        elif isinstance(what, FilterInForce):
            if what.version >= self._wanted.version:
                self._come_in()
        elif isinstance(what, Mapping):
            self._heads.update(what)
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
            self._on_ids(what, now_us)
        elif isinstance(what, TrimmedError) and not self._marks:
            self._find_beginning(what, now_us)
        elif isinstance(what, Exception):
            self._fail(what, now_us)

    def _describe(self, of: SourceDescription, now_us: int) -> None:
        """The call is open for the first time in this run."""
        progress = self._progress
        if progress.journal_id != of.journal_id:
            self._progress = progress = progress.again(of.journal_id, progress.generation)
        if self.peer.workers > 1 and not progress.positions:  # now there are slices to share
            at = dict.fromkeys(range(of.slices), START)
            self._stop_at(progress._replace(positions=at))
            self.is_due = True
            return
        self._log = PeerLog(
            self.peer.replica_id, progress.generation, self._setting.replica_id, self._origins,
            self.begun_in, self._setting.entity_type, most_epochs(now_us),
        )  # fmt: skip
        self.core = LinkCore(
            self.peer.replica_id, of.slices, progress.positions,
            int(self._setting.look_up_after_s * 1e6), bool(self._wanted.filter),
        )  # fmt: skip
        self._pause_us, self.error, self.refusal = RETRY_US[0], "", None
        if not self._wanted.version:
            self._come_in()

    def _come_in(self) -> None:
        if self.core is not None and not self._is_under:
            self._is_under = True
            self.perform(self.core.come_in(sorted(self._progress.coming_in)))

    def _on_said(self, said: ReplicaStarted) -> None:
        """Of a log that was restored, or that shows more than before, the run is over. So it is
        where something waits, or is asked for, that may not be shown any more."""
        before = self.progress()
        after = before.through(said.shown.filter)
        if after.generation != said.generation:
            after = after.again("", said.generation)  # of another journal, maybe
        waits = self.core is not None and bool(self.core.blocked_count or self.core.coming_in)
        is_other = waits and before.shown != after.shown
        if before.positions and (is_other or _lets_in(before, after)):
            self._stop_at(after)
            self.is_due = True
        else:
            self._progress = after

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
                said = state_meta(StateMeta({self.peer.replica_id: found.seq_nr}, {}))
            state = self._log.state(entity_id, body.manifest, body.payload, said)
            self.perform(core.on_state(entity_id, state, found.seq_nr))

    # --- where the peer's log is trimmed ---

    def _find_beginning(self, trimmed: TrimmedError, now_us: int) -> None:
        """Ask where each slice begins, to go on from there."""
        slices = self.core.slices if self.core is not None else len(self._progress.positions)
        if not slices:
            self._fail(trimmed, now_us)
        for slice_ in range(slices):
            self._marks[slice_] = None
            self._ask_ids(slice_, "", to_mark=True)

    def _ask_ids(self, slice_: int, after: str, to_mark: bool = False) -> None:
        run, source = self._run, self._source
        assert source is not None

        def hand(found: EntityIds | LookUpFailed) -> None:
            self._put(Came(self, run, _IdsOf(slice_, found, to_mark)))

        source.entity_ids(slice_, after, hand)

    def _on_ids(self, ids: _IdsOf, now_us: int) -> None:
        if isinstance(ids.found, LookUpFailed):
            self._fail(ids.found.error, now_us)
        elif ids.to_mark:
            self._marks[ids.slice] = ids.found.trimmed_to
            marks = {n: mark for n, mark in self._marks.items() if mark is not None}
            if len(marks) == len(self._marks):
                before = self.progress()
                self._stop_at(before.joined(marks))
                if self._progress == before:  # trimmed again meanwhile: after a pause
                    self._retry_us = now_us + self._pause_us
                else:
                    self._start()
        elif self.core is not None:
            self._is_asking = False
            self._progress = self._progress.fetched(ids.slice, ids.found.ids)
            passes = Evaluator(self._wanted.filter).passes_by_entity
            self.perform(self.core.come_in(one for one in ids.found.ids if passes(one)))

    def _join(self) -> None:
        """Fetch the next entities of which all events may be trimmed, once the last ones are here.
        Those that have later events are found by these, too."""
        core, joining = self.core, self._progress.joining
        if joining and core is not None and self._is_under and not core.coming_in:
            slice_, after = next(iter(sorted(joining.items())))
            if not self._is_asking:
                self._is_asking = True
                self._ask_ids(slice_, after)

    # --- what goes ---

    def perform(self, actions: list[Action]) -> None:
        """Do what the core decided; commands are left to the group."""
        source, core, run = self._source, self.core, self._run
        assert source is not None
        assert core is not None
        for action in actions:
            if isinstance(action, Submit):
                self.submits.append((core, action))
            elif isinstance(action, Handled):
                source.handled(action.batch)
            elif isinstance(action, LookUp):
                source.look_up(action.lookup, self._hand(run))
            elif isinstance(action, GetState):
                hand = partial(self._state_of, run, action.entity_id)
                source.entity_state(action.entity_id, action.fresh, hand)

    def send_known(self, known: Known) -> None:
        """Tell the peer, if a call is open."""
        if self._source is not None:
            self._source.send_known(known)

    def on_tick(self, now_us: int) -> None:
        """Retries that are due."""
        if self._retry_us and now_us >= self._retry_us:
            self._start()
        elif self.core is not None:
            self.perform(self.core.on_tick(now_us))
            self._join()

    def wakeup_us(self) -> int | None:
        """When on_tick is due."""
        if self._retry_us:
            return self._retry_us
        return None if self.core is None else self.core.wakeup_us()

    @property
    def is_in_trouble(self) -> bool:
        """No call comes about: the peer does not answer, or refuses."""
        source = self._source
        return bool(self._retry_us) or (source is not None and bool(source.trouble))

    @property
    def heard(self) -> ReplicaStarted | ThespianDcError | None:
        """What the peer said last: of itself, or why it refuses."""
        refused = self.refusal if self._retry_us else None
        return refused if isinstance(refused, ThespianDcError) else self.said

    # --- for people ---

    def facts(self) -> LinkFacts:
        """As things stand."""
        peer, core, progress = self.peer.replica_id, self.core, self.progress()
        trouble = "" if self._source is None else self._source.trouble
        state = "closed" if self.is_closed else "starting" if self.node is None else LENT
        if self._retry_us:
            state = "failed"
        elif trouble:
            state = "down"
        elif core is not None:
            state = "up"
        facts = LinkFacts(
            peer, state, self.error if self._retry_us else trouble,
            {n: at.offset for n, at in progress.positions.items()},
            dict(self._heads), progress.generation,
            replicas=self.said.replicas if self.said else (), relayed_by=self.relayed_by,
            node=self.node or "",
        )  # fmt: skip
        if core is None:
            return facts
        return facts._replace(
            waits=tuple(core.blocked(WAITS_SHOWN)), waiting=core.blocked_count,
            coming_in=len(core.coming_in), joining=len(progress.joining), taken=core.taken,
            listed=tuple(core.listed.values())[-LISTED_SHOWN:], counts=dict(core.counts),
        )  # fmt: skip


def _lets_in(before: LinkProgress, after: LinkProgress) -> bool:
    """Something below the positions may be lacking that was not wanted before."""
    return not after.positions or bool(after.coming_in - before.coming_in)
