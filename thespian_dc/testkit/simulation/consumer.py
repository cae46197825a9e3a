"""A simulated consumer: the projection's cores over a source that loses, doubles and reorders.

It performs the cores' actions as a run does: load, claim, start the source, handle batches, look up
what is owed, store positions with effects, marks and debts. Its source reads the journal slice by
slice and evaluates the filter by entity id, with code of its own. Somebody changes the filter now
and then; where a position write is answered by nothing, the run begins again from what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from thespian_dc.journal.api import Found
from thespian_dc.model.criteria import Filter
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.record import Commit, entities_of, records_of
from thespian_dc.model.stream_errors import PositionStoreError
from thespian_dc.projection.api import (
    CommitView,
    LookedUp,
    Lookup,
    SourceBatch,
    SourceDescription,
)
from thespian_dc.projection.core import Claim as ClaimPositions
from thespian_dc.projection.core import Drop, Halt, Move, ProjectionCore, StartSource
from thespian_dc.projection.healing import Healing
from thespian_dc.testkit.simulation.journal import SimulatedJournal
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.positions import Effect, SimulatedPositions
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.world import World

POLL_US = 40_000
SILENCE_US = 600_000
RETURN_US = (2_000_000, 6_000_000)
READ_BYTES = 2_000
HEAL_US = 30_000
LOOK_UP_US = 400_000
PAGE = 4
"""Events of one answer to a lookup."""
UNKNOWN = 0.02
"""How often a transaction of the sink is answered by nothing: half of them took place."""
RAISES = 0.02
"""How often a handler raises at some event of a batch."""


class SimulatedConsumer(Process):
    """One worker of a projection. Two of them over the same positions compete."""

    def __init__(
        self,
        world: World,
        network: Network,
        journal: SimulatedJournal,
        positions: SimulatedPositions,
        name: str,
        entity_type: str,
        slices: int,
    ) -> None:
        super().__init__(world, name)
        self._network, self._journal, self._positions = network, journal, positions
        self._entity_type, self._slices = entity_type, slices
        self.halted = False

    def boot(self) -> None:
        self.halted = False
        self._core = ProjectionCore("simulated", (100, 1_000))
        self._begin()

    def _begin(self) -> None:
        """A run, from what is stored."""
        self._run = object()
        self._reading: dict[int, int] = {}
        self._heard_us: dict[int, int] = {}
        self._healing = Healing(lookups_max=3, marks_max=10)
        self._note_filter()
        action = self._core.on_loaded(self._positions.load())
        if isinstance(action, ClaimPositions):
            self._claim(action)
        else:
            self._start_source(action)

    def _claim(self, action: ClaimPositions) -> None:
        claimed = self._positions.claim(action.slices, action.journal_id)
        self.world.hit("projection: slices claimed")
        self._healing.on_loaded(self._positions.remembered(list(claimed.slices)))
        for start in self._core.on_claimed(claimed):
            self._start_source(start)

    def _start_source(self, action: StartSource) -> None:
        self._run = object()
        self._reading = dict.fromkeys(range(self._slices), 0)
        self._reading.update({slice_: at.offset for slice_, at in action.positions.items()})
        self._heard_us = dict.fromkeys(self._reading, self.world.now_us)
        self._versions = dict.fromkeys(self._reading, 0)
        self._healing.on_source_lost()
        self.after(100, self._on_started, self._run)
        self.after(HEAL_US, self._heal, self._run)
        for slice_ in self._reading:
            self.after(1_000 + slice_, self._poll, self._run, slice_)

    def _on_started(self, run: object) -> None:
        if run is self._run:
            journal_id = self._journal.memory.journal_id
            described = SourceDescription(journal_id, self._entity_type, self._slices)
            for claim in self._core.on_started(described):
                self._claim(claim)

    # --- the source ---
    def _poll(self, run: object, slice_: int) -> None:
        """Ask for what follows; where nothing came for long, from the stored position again."""
        if run is not self._run:
            return
        self._apply_filter(run, slice_)
        if self.world.now_us - self._heard_us[slice_] > SILENCE_US:
            self._heard_us[slice_] = self.world.now_us
            self._reading[slice_] = self._core.positions()[slice_].offset
        key, offset = SliceKey(self._entity_type, slice_), self._reading[slice_]
        answer = self.into(lambda commits: self._on_read(run, slice_, offset, commits))
        read = self._journal.memory.read
        self._journal.call(self.name, lambda: read(key, offset, READ_BYTES), answer)
        self.after(POLL_US, self._poll, run, slice_)

    def _on_read(self, run: object, slice_: int, offset: int, commits: Sequence[Commit]) -> None:
        if run is not self._run or not commits or offset != self._reading[slice_]:
            return
        wanted = self._wanted
        views = [
            CommitView(c.base_offset, c.end_offset, c.write_id, c.time_us, c.body) for c in commits
        ]
        head = commits[-1].end_offset
        self._reading[slice_] = head
        batch = SourceBatch(slice_, offset, head, head, views, self._versions[slice_])
        events = [one for one in _effects(slice_, commits) if passes(wanted.filter, one.entity_id)]
        deliver = self.into(lambda: self._on_batch(run, batch, events))
        self._network.send("source", self.name, deliver)

    def _note_filter(self) -> None:
        self._wanted = self._positions.wanted
        self._healing.on_filter(self._wanted)

    def _apply_filter(self, run: object, slice_: int) -> None:
        """Read under another filter from here on, and say so."""
        if self._wanted.version != self._positions.wanted.version:
            self._note_filter()
        version, start = self._wanted.version, self._reading[slice_]
        if self._versions[slice_] != version:
            self._versions[slice_] = version
            deliver = self.into(lambda: self._on_in_force(run, slice_, version, start))
            self._network.send("source", self.name, deliver)

    # --- the handler ---
    def _on_batch(self, run: object, batch: SourceBatch, events: Sequence[Effect]) -> None:
        if run is not self._run or self.halted:
            return
        try:
            action = self._core.on_batch(batch)
            if isinstance(action, Drop):
                self.world.hit("projection: duplicate dropped")
                return
            self._heard_us[batch.slice] = self.world.now_us
            until = self._until(batch, action.from_offset)
            here = [one for one in events if action.from_offset <= one.offset < until]
            effects = self._judged(batch, action.from_offset, here)
            self._core.on_handled(batch, until)
            self._store(effects, self._core.moves())
        except ThespianDcError as error:
            self._undo(error)
        else:
            if until < batch.next_offset:
                self._fail(ThespianDcError("the handler raised"))

    def _judged(self, batch: SourceBatch, reached: int, events: list[Effect]) -> list[Effect]:
        """Those that are to be handled now."""
        healing, version = self._healing, batch.filter_version
        if healing.lets_all_pass(batch.slice, version):
            return events
        healing.on_version(batch.slice, version, reached)
        self._load_marks(batch.slice, [one.entity_id for one in events])
        found = [
            one for one in events
            if healing.judge(batch.slice, version, one.entity_id, one.seq_nr, one.offset)
        ]  # fmt: skip
        healing.settle(True)
        return found

    def _load_marks(self, slice_: int, entity_ids: list[str]) -> None:
        missing = self._healing.missing(entity_ids)
        self._healing.on_marks(slice_, missing, self._positions.marks)

    def _on_in_force(self, run: object, slice_: int, version: int, start: int) -> None:
        positions = self._core.positions()
        if run is not self._run or self.halted or slice_ not in positions:
            return
        healing = self._healing
        included = healing.on_in_force(version)
        if healing.lets_all_pass(slice_, version):
            return
        mine = [one for one in included if slice_of(one, self._slices) == slice_]
        healing.on_version(slice_, version, positions[slice_].offset)
        self._load_marks(slice_, mine)
        healing.include(slice_, version, start, mine)
        self.world.hit("projection: filter in force")
        self._in_own_transaction(slice_, [])

    # --- what is owed ---
    def _heal(self, run: object) -> None:
        if run is not self._run or self.halted:
            return
        for lookup in self._healing.due(self.world.now_us, lambda _: False):
            self._look_up(run, lookup)
        self.after(HEAL_US, self._heal, run)

    def _look_up(self, run: object, lookup: Lookup) -> None:
        key, answered = SliceKey(self._entity_type, lookup.slice), [False]
        read, head = self._journal.memory.read_entity, self._journal.memory.find_head

        def read_all() -> tuple[list[Found], int]:
            below = head(key).head
            return read(key, lookup.entity_id, lookup.from_seq_nr, below), below

        def on_read(found: tuple[list[Found], int]) -> None:
            if not answered[0]:
                answered[0] = True
                self._on_answer(run, lookup, *found)

        def on_time_out() -> None:
            if not answered[0] and run is self._run:
                answered[0] = True
                self.world.hit("fault: lookup not answered")
                self._healing.on_failed(lookup, self.world.now_us)

        self._journal.call(self.name, read_all, self.into(on_read))
        self.after(LOOK_UP_US, on_time_out)

    def _on_answer(
        self, run: object, lookup: Lookup, found: Sequence[Found], below_offset: int
    ) -> None:
        if run is not self._run or self.halted:
            return
        last = lookup.until_seq_nr or len(found) + lookup.from_seq_nr
        wanted = [one for one in found if one.record.seq_nr <= last]
        page = wanted[:PAGE]
        commits = [CommitView(one.offset, one.offset + 1, b"", 0, b"x") for one in page
                   if one.offset >= lookup.from_offset]  # fmt: skip
        through = page[-1].record.seq_nr if page else lookup.from_seq_nr - 1
        answer = LookedUp(lookup, commits, through, below_offset, len(page) < len(wanted))
        if not self._healing.is_asked(answer):
            return
        slice_, id_ = lookup.slice, lookup.entity_id
        effects = [
            Effect(slice_, one.offset, id_, one.record.seq_nr) for one in page
            if one.offset >= lookup.from_offset
            and self._healing.judge_owed(slice_, id_, one.record.seq_nr, one.offset)
        ]  # fmt: skip
        self._healing.on_paid(answer)
        if effects:
            self.world.hit("projection: owed events handled")
        if self._in_own_transaction(slice_, effects):
            self._healing.on_answered(answer, self.world.now_us)

    def _in_own_transaction(self, slice_: int, effects: list[Effect]) -> bool:
        """Without a move: the row is compared all the same."""
        try:
            self._store(effects, [], [(slice_, *self._core.expects(slice_))])
        except ThespianDcError as error:
            self._undo(error)
            return False
        return True

    def _undo(self, error: ThespianDcError) -> None:
        self._core.on_rolled_back()
        self._healing.on_rolled_back()
        self._fail(error)

    def _until(self, batch: SourceBatch, from_offset: int) -> int:
        """How far the handler gets: it raises now and then, also in the middle of a commit."""
        if self.world.faulty and self.world.chance(RAISES):
            self.world.hit("fault: handler raised")
            return self.world.rng.randrange(from_offset, batch.next_offset)
        return batch.next_offset

    def _store(
        self,
        effects: list[Effect],
        moves: list[Move],
        checks: Sequence[tuple[int, int, int]] = (),
    ) -> None:
        """In one transaction, of which one does not always hear how it ended."""
        unknown = self.world.faulty and self.world.chance(UNKNOWN)
        if not unknown or self.world.chance(0.5):
            self._positions.transact(effects, moves, self._healing.changes(), checks)
        if unknown:
            self.world.hit("fault: position write unknown")
            raise PositionStoreError("simulated", "no answer")
        self._core.on_committed()
        self._healing.on_committed()
        if effects:
            self.world.hit("projection: batch handled")

    def _fail(self, error: Exception) -> None:
        self._run = object()
        action = self._core.on_failure(error, self.world.now_us, self.world.rng.random())
        self.world.hit(f"projection: {type(error).__name__}")
        if isinstance(action, Halt):
            # An operator, or the supervisor of another node, starts it again some time.
            self.halted = True
            self.after(self.world.between(*RETURN_US), self._return)
        else:
            self.after(action.at_us - self.world.now_us, self._begin)

    def _return(self) -> None:
        self.crash(0)


def passes(wanted: Filter, entity_id: str) -> bool:
    """Exclude first, include overrides; by ids, or by the one pattern that matches all."""
    if entity_id in wanted.include.entity_ids:
        return True
    return not (entity_id in wanted.exclude.entity_ids or wanted.exclude.regexes)


def _effects(slice_: int, commits: Sequence[Commit]) -> list[Effect]:
    found = []
    for commit in commits:
        assert len(entities_of(commit)) == commit.count
        for offset, record in enumerate(records_of(commit), commit.base_offset):
            found.append(Effect(slice_, offset, record.entity_id, record.seq_nr))
    return found
