"""A simulated consumer: the projection's cores over a source, as one worker of several.

It performs the cores' actions as a run does: load, claim, start the source, handle batches, look up
what is owed, store positions with effects, marks and debts. Its handler takes time, sometimes long.
Somebody changes the filter now and then; where a position write is answered by nothing, the run
begins again from what is stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.ids import slice_of
from thespian_dc.model.stream_errors import PositionStoreError
from thespian_dc.projection.api import (
    FilterInForce,
    LookedUp,
    Lookup,
    SourceBatch,
    SourceDescription,
)
from thespian_dc.projection.core import Claim as ClaimPositions
from thespian_dc.projection.core import Drop, Halt, Move, ProjectionCore, StartSource
from thespian_dc.projection.healing import Healing
from thespian_dc.testkit.simulation.positions import Effect, SimulatedPositions
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.sharing import BEAT_US, Sharing
from thespian_dc.testkit.simulation.sink_checker import SinkChecker
from thespian_dc.testkit.simulation.source import Ears, JournalSource, effects_of
from thespian_dc.testkit.simulation.stream_source import StreamSource
from thespian_dc.testkit.simulation.world import World

RETURN_US = (2_000_000, 6_000_000)
HEAL_US = 30_000
HANDLE_US = (50, 1_000)
SLOW_HANDLE_US = (150_000, 1_000_000)
"""What one batch takes, usually and where the sink is slow."""
LEAVES_US = (1_000_000, 4_000_000)
UNKNOWN = 0.02
"""How often a transaction of the sink is answered by nothing: half of them took place."""
RAISES = 0.02
"""How often a handler raises at some event of a batch."""


class SimulatedConsumer(Process):
    """One worker of a projection. make_source: of a source for each run; judge: told of each
    batch before its events are chosen, and of what was owed before it is handled."""

    def __init__(
        self,
        world: World,
        positions: SimulatedPositions,
        name: str,
        slices: int,
        make_source: Callable[[SimulatedConsumer], JournalSource | StreamSource],
        judge: SinkChecker,
    ) -> None:
        super().__init__(world, name)
        self._positions, self._slices = positions, slices
        self._make_source, self._judge = make_source, judge
        self.halted = self.leaving = False
        self.slow_until_us = 0
        self.source: JournalSource | StreamSource | None = None

    def boot(self) -> None:
        self.halted = self.leaving = False
        self.source = None
        self._core = ProjectionCore("simulated", (100, 1_000))
        self._sharing = Sharing(self.world, self._positions, self.name, self._slices)
        self._serves: frozenset[int] = frozenset()
        self._run: object = None
        self._beat()

    # --- which slices ---

    def _beat(self) -> None:
        serves = self._sharing.beat(self.leaving or self.halted, self._serves)
        if serves != self._serves:
            self._serve(serves)
        self.after(BEAT_US, self._beat)

    def compete(self) -> None:
        """Claim all slices at once, whoever holds them."""
        self._serve(frozenset(range(self._slices)))

    def leave(self) -> None:
        """Give all slices back, and come again later."""
        self.leaving = True
        self.after(self.world.between(*LEAVES_US), self._come_again)

    def _come_again(self) -> None:
        self.leaving = False

    def _serve(self, slices: frozenset[int]) -> None:
        """End the run between two transactions; begin another with these."""
        self._serves = slices
        self._stop()
        if slices and not self.halted:
            self.world.hit("projection: slices changed")
            self._begin()

    # --- a run ---

    def _stop(self) -> None:
        self._run = None
        if self.source is not None:
            self.source.stop()
            self.source = None

    def _begin(self) -> None:
        """A run, from what is stored."""
        run = self._run = object()
        self._healing = Healing(lookups_max=3, marks_max=10)
        self._note_filter()
        action = self._core.on_loaded(self._positions.load(), sorted(self._serves))
        self.after(HEAL_US, self._heal, run)
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
        if self.source is not None:
            self.source.stop()
        self._inbox: deque[tuple[Callable[..., Any], Any]] = deque()  # bounded by the window
        self._working = False
        self._healing.on_source_lost()
        source = self.source = self._make_source(self)
        ears = Ears(
            self._on_started,
            lambda *item: self._put(source, self._on_batch, item),
            lambda said: self._put(source, self._on_in_force, (said,)),
            self._fail,
        )
        slices = sorted(self._serves)
        source.start(action.journal_id, action.positions, self._wanted, slices, ears)

    def _on_started(self, described: SourceDescription) -> None:
        for claim in self._core.on_started(described):
            self._claim(claim)

    # --- one thing after the other ---

    def _put(self, source: object, run: Callable[..., Any], item: Any) -> None:
        if source is self.source:
            self._inbox.append((run, item))
            self._work_on()

    def _work_on(self) -> None:
        if not self._working and self._inbox:
            self._working = True
            slow = self.world.now_us < self.slow_until_us
            takes_us = self.world.between(*(SLOW_HANDLE_US if slow else HANDLE_US))
            self.after(takes_us, self._work, self.source)

    def _work(self, source: object) -> None:
        if source is not self.source or source is None:
            return
        self._working = False
        run, item = self._inbox.popleft()
        run(*item)
        if source is self.source:
            self._work_on()

    def _note_filter(self) -> None:
        self._wanted = self._positions.wanted
        self._healing.on_filter(self._wanted)

    # --- the handler ---
    def _on_batch(self, batch: SourceBatch, events: Sequence[Effect]) -> None:
        source = self.source
        assert source is not None
        try:
            action = self._core.on_batch(batch)
            if isinstance(action, Drop):
                self.world.hit("projection: duplicate dropped")
                source.handled(batch)
                return
            self._judge.on_batch(batch, events)
            until = self._until(batch, [e.offset for e in events if e.offset >= action.from_offset])
            here = [one for one in events if action.from_offset <= one.offset < until]
            effects = self._judged(batch, action.from_offset, here)
            self._core.on_handled(batch, until)
            self._store(effects, self._core.moves())
        except ThespianDcError as error:
            self._undo(error)
        else:
            if until < batch.next_offset:
                self._fail(ThespianDcError("the handler raised"))
            else:
                source.handled(batch)

    def _judged(self, batch: SourceBatch, reached: int, events: list[Effect]) -> list[Effect]:
        """Those that are to be handled now."""
        healing, version = self._healing, batch.filter_version
        if healing.lets_all_pass(batch.slice, version):
            return events
        healing.on_version(batch.slice, version, reached)
        self._load_marks(batch.slice, [one.entity_id for one in events])
        found = [
            one for one in events
            if healing.judge(
                batch.slice, version, one.entity_id, one.seq_nr, one.offset, one.whole
            )
        ]  # fmt: skip
        healing.settle(True)
        return found

    def _load_marks(self, slice_: int, entity_ids: list[str]) -> None:
        missing = self._healing.missing(entity_ids)
        self._healing.on_marks(slice_, missing, self._positions.marks)

    def _on_in_force(self, said: FilterInForce) -> None:
        positions, healing, version = self._core.positions(), self._healing, said.version
        included = healing.on_in_force(version)
        for slice_, start in said.starts.items():
            if slice_ not in positions or healing.lets_all_pass(slice_, version):
                continue
            mine = [one for one in included if slice_of(one, self._slices) == slice_]
            healing.on_version(slice_, version, positions[slice_].offset)
            self._load_marks(slice_, mine)
            healing.include(slice_, version, start, mine)
            self.world.hit("projection: filter in force")
            if not self._in_own_transaction(slice_, []):
                return

    # --- what is owed ---
    def _heal(self, run: object) -> None:
        """Look whether the filter was changed, and ask for what is owed."""
        if run is not self._run:
            return
        if self.source is not None:
            if self._wanted.version != self._positions.wanted.version:
                self._note_filter()
                self.source.change_filter(self._wanted)
            for lookup in self._healing.due(self.world.now_us, lambda _: False):
                self._look_up(self.source, lookup)
        self.after(HEAL_US, self._heal, run)

    def _look_up(self, source: JournalSource | StreamSource, lookup: Lookup) -> None:
        def on_answer(answer: LookedUp | None) -> None:
            if source is not self.source:
                return
            if answer is not None:
                self._on_answer(answer)
            else:
                self.world.hit("fault: lookup not answered")
                self._healing.on_failed(lookup, self.world.now_us)

        source.look_up(lookup, on_answer)

    def _on_answer(self, answer: LookedUp) -> None:
        if not self._healing.is_asked(answer):
            return
        slice_, end = answer.lookup.slice, answer.below_offset
        effects = [
            one for one in effects_of(SourceBatch(slice_, 0, end, end, answer.commits))
            if self._healing.judge_owed(slice_, one.entity_id, one.seq_nr, one.offset, one.whole)
        ]  # fmt: skip
        self._healing.on_paid(answer)
        if effects:
            self.world.hit("projection: owed events handled")
            self._judge.on_owed(effects)
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

    def _until(self, batch: SourceBatch, offsets: Sequence[int]) -> int:
        """How far the handler gets: it raises now and then, also in the middle of a commit."""
        if self.world.faulty and offsets and self.world.chance(RAISES):
            self.world.hit("fault: handler raised")
            return self.world.rng.choice(offsets)
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
        if any(one.whole for one in effects):
            self.world.hit("projection: state handled for all before it")

    def _fail(self, error: Exception) -> None:
        self._stop()
        run = self._run = object()
        action = self._core.on_failure(error, self.world.now_us, self.world.rng.random())
        self.world.hit(f"projection: {type(error).__name__}")
        if isinstance(action, Halt):
            # An operator, or the supervisor of another node, starts it again some time.
            self.halted = True
            self.after(self.world.between(*RETURN_US), self._return)
        else:
            self.after(action.at_us - self.world.now_us, self._begin_again, run)

    def _begin_again(self, failed: object) -> None:
        if failed is self._run and self._serves:
            self._begin()

    def _return(self) -> None:
        self.crash(0)
