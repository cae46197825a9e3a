"""One link: where it is in a peer's log, and its runs, one after the other (link_run.py). On the
leaf's main thread; the sources' threads only hand over.

A run ends when it fails, or when it has to begin further back (the peer's log is another one, a
filter lets in what was left out); the next one begins at the cursors.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.replication_handshake import (
    Known,
    OriginPositions,
    ReplicaStart,
    ReplicaStarted,
)
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.projection.api import SourceBatch
from thespian_dc.replication.link_actions import Action, Submit
from thespian_dc.replication.link_core import LinkCore
from thespian_dc.replication.link_facts import LENT, LinkFacts
from thespian_dc.replication.link_run import End, Failed, GoOn, Place, Run, lets_in
from thespian_dc.replication.reading import Claims
from thespian_dc.replication.sources import ReplicaSource
from thespian_dc.stream.replica_call import ReplicaCall

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
        self._at = Place()
        self.run: Run | None = None
        self._runs = 0
        self._origins = set(setting.replicas)  # and those that were retired
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
        self.submits: list[tuple[LinkCore, Submit]] = []
        self.claims: Claims = {}
        """What this replica has of each origin's own log; the group keeps it up."""
        self.in_flight = 0
        """Commands whose outcome is not known, those of former runs too."""
        self.begun_in = 0
        """The own generation in which the run began."""

    @property
    def core(self) -> LinkCore | None:
        """Of the run that is open; None: there is none, or its peer has not answered yet."""
        return None if self.run is None else self.run.core

    # --- runs ---

    def place(self, progress: LinkProgress, wanted: VersionedFilter) -> None:
        """Where to go on from, under which filter; `restart` begins."""
        self._at.progress, self._at.wanted = progress.under(wanted.filter), wanted

    def end(self) -> None:
        """Stop the source; what is under way counts no more."""
        self._at.progress = self.progress()
        run, self.run = self.run, None
        if run is not None:
            run.source.stop()

    def lend(self) -> LinkProgress:
        """Another node reads this peer from now on; returns how far it is."""
        self.end()
        self.node, self.is_due, self._retry_us = "", False, 0
        return self._at.progress

    def place_lent(self, progress: LinkProgress) -> None:
        """How far the other node is."""
        self._at.progress = progress.under(self._at.wanted.filter)
        self.begun_in = progress.life

    def take_over(self, progress: LinkProgress) -> None:
        """This node reads it from now on, from there; `restart` begins."""
        self.node, self._at.progress = None, progress.under(self._at.wanted.filter)

    def close(self) -> None:
        """Take nothing from this peer any more."""
        self.end()
        self.is_closed, self.is_due, self._retry_us = True, False, 0

    def progress(self) -> LinkProgress:
        """To be stored: all below its positions is durable here, known, or out of scope."""
        return self._at.progress if self.run is None else self.run.progress()

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
        self._at.wanted, self._at.progress = wanted, before.under(wanted.filter)
        # Also of a call that is not open yet: its peer may pass records under the former filter.
        is_begun = bool(before.positions) or self.run is not None
        waits = self.core is not None and self.core.blocked_count > 0
        if is_begun and (waits or lets_in(before, self._at.progress)):
            self._stop_at(self._at.progress)
            return True
        if self.run is not None:
            self.run.change_filter()
        return False

    def begin_life(self, generation: int) -> None:
        """The own journal was restored: from the first record at the next `restart`."""
        self._stop_at(self.progress().in_life(generation))

    def restart(self) -> None:
        """After `place`, `change_filter` or `begin_life`, or when what is said at the beginning of
        a call has changed."""
        if self.run is not None:
            self.end()
        if not self.is_closed and self.node is None:
            self._start()

    def _start(self) -> None:
        self._runs += 1
        self._retry_us, self.is_due = 0, False
        hand = self._hand(self._runs)
        said = self._say()
        self.begun_in = said.generation
        self._origins.update(said.retired)
        self.run = Run(
            self._runs, self.peer, self._setting, self._at, self._new_source(hand), hand,
            self._submit, self._origins, self.begun_in,
        )  # fmt: skip
        self.run.start()

    def _new_source(self, on_started: Callable[[ReplicaStarted], None]) -> ReplicaSource:
        call = ReplicaCall(self._say, self.peer.replica_id, on_started)
        return self._make_source(self.peer, call)

    def heads(self) -> dict[int, int]:
        """Where the peer's slices end now. Blocks; from any thread. ThespianDcError."""
        run = self.run
        if run is None or self.peer.target:  # an edge can be asked on its call alone
            positions = self._new_source(lambda _: None).heads().positions
        else:
            positions = run.source.heads().positions
        return {slice_: at.offset for slice_, at in positions.items()}

    def _hand(self, run: int) -> Callable[[Any], None]:
        """For the source's threads."""
        put = self._put
        return lambda what: put(Came(self, run, what))

    def _submit(self, core: LinkCore, submit: Submit) -> None:
        self.submits.append((core, submit))

    def _stop_at(self, progress: LinkProgress) -> None:
        self.end()
        self._at.progress = progress

    def _over(self, end: End, now_us: int) -> None:
        """What the run says of the next one."""
        if isinstance(end, Failed):
            self._fail(end.error, now_us)
            return
        self._stop_at(end.progress)
        if not isinstance(end, GoOn):
            self.is_due = True
        elif end.at_once:
            self._start()
        else:
            self._retry_us = now_us + self._pause_us

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
        run, what = self.run, came.what
        if run is None or came.run != run.number:
            return []
        try:
            if isinstance(what, SourceBatch):
                run.on_batch(what, self.claims, now_us)
            elif isinstance(what, ReplicaStarted):
                self._check(what)
                self.said = what
                self._origins.update(what.retired)
                end = run.on_said(what)
                if end is not None:
                    self._over(end, now_us)
                return [what]
            else:
                self._on_rare(run, what, now_us)
        except ThespianDcError as refused:
            self._fail(refused, now_us)
        except Exception as unforeseen:  # a batch that is lost here would be a gap for ever
            log.exception("replication_link_broke", extra={"peer": self.peer.replica_id})
            self._fail(unforeseen, now_us)
        return []

    def on_batch_at_once(self, came: Came, now_us: int) -> bool:
        """A batch on the source's own thread, which must not end the run: what is wrong with it is
        put. False: nothing was done; it is no batch of this run."""
        run, batch = self.run, came.what
        if run is None or came.run != run.number or run.core is None:
            return False
        if not isinstance(batch, SourceBatch):
            return False
        try:
            run.on_batch(batch, self.claims, now_us)
        except Exception as failed:  # noqa: BLE001 - whatever it is, it ends the run
            self._put(Came(self, came.run, failed))
        return True

    def _on_rare(self, run: Run, what: Any, now_us: int) -> None:
        was_open = run.core is not None
        end = run.on_rare(what, now_us)
        if run.core is not None and not was_open:  # the call came about
            self._pause_us, self.error, self.refusal = RETRY_US[0], "", None
        if end is not None:
            self._over(end, now_us)

    # --- what goes ---

    def perform(self, actions: list[Action]) -> None:
        """Do what the core decided; commands are left to the group."""
        assert self.run is not None
        self.run.perform(actions)

    def send_known(self, known: Known) -> None:
        """Tell the peer, if a call is open."""
        if self.run is not None:
            self.run.source.send_known(known)

    def on_tick(self, now_us: int) -> None:
        """Retries that are due."""
        if self._retry_us and now_us >= self._retry_us:
            self._start()
        elif self.run is not None:
            self.run.on_tick(now_us)

    def wakeup_us(self) -> int | None:
        """When on_tick is due."""
        if self._retry_us:
            return self._retry_us
        return None if self.core is None else self.core.wakeup_us()

    @property
    def is_in_trouble(self) -> bool:
        """No call comes about: the peer does not answer, or refuses."""
        return bool(self._retry_us) or (self.run is not None and bool(self.run.source.trouble))

    @property
    def heard(self) -> ReplicaStarted | ThespianDcError | None:
        """What the peer said last: of itself, or why it refuses."""
        refused = self.refusal if self._retry_us else None
        return refused if isinstance(refused, ThespianDcError) else self.said

    # --- for people ---

    def facts(self) -> LinkFacts:
        """As things stand."""
        peer, core, progress = self.peer.replica_id, self.core, self.progress()
        trouble, heads = ("", {}) if self.run is None else (self.run.source.trouble, self.run.heads)
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
            dict(heads), progress.generation,
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
