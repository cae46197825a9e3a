"""A simulated consumer: the projection core over a source that loses, doubles and reorders.

It performs the core's actions as the runner does: load, claim, start the source, handle batches,
store positions with the effects. Its source reads the journal slice by slice.
"""

from __future__ import annotations

from collections.abc import Sequence

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit, entities_of, records_of
from thespian_dc.projection.api import CommitView, SourceBatch, SourceDescription
from thespian_dc.projection.core import Claim as ClaimPositions
from thespian_dc.projection.core import Drop, Halt, Move, ProjectionCore, StartSource
from thespian_dc.testkit.simulation.journal import SimulatedJournal
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.positions import Effect, SimulatedPositions
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.world import World

POLL_US = 40_000
SILENCE_US = 600_000
RETURN_US = (2_000_000, 6_000_000)
READ_BYTES = 2_000
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
        action = self._core.on_loaded(self._positions.load())
        if isinstance(action, ClaimPositions):
            self._claim(action)
        else:
            self._start_source(action)

    def _claim(self, action: ClaimPositions) -> None:
        claimed = self._positions.claim(action.slices, action.journal_id)
        self.world.hit("projection: slices claimed")
        for start in self._core.on_claimed(claimed):
            self._start_source(start)

    def _start_source(self, action: StartSource) -> None:
        self._run = object()
        self._reading = dict.fromkeys(range(self._slices), 0)
        self._reading.update({slice_: at.offset for slice_, at in action.positions.items()})
        self._heard_us = dict.fromkeys(self._reading, self.world.now_us)
        self.after(100, self._on_started, self._run)
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
        if self.world.now_us - self._heard_us[slice_] > SILENCE_US:
            self._heard_us[slice_] = self.world.now_us
            self._reading[slice_] = self._core.positions()[slice_].offset
        key, offset = SliceKey(self._entity_type, slice_), self._reading[slice_]
        answer = self.into(lambda commits: self._on_read(run, slice_, offset, commits))
        read = self._journal.memory.read
        self._journal.call(self.name, lambda: read(key, offset, READ_BYTES), answer)
        self.after(POLL_US, self._poll, run, slice_)

    def _on_read(
        self, run: object, slice_: int, offset: int, commits: Sequence[Commit]
    ) -> None:
        if run is not self._run or not commits or offset != self._reading[slice_]:
            return
        views = [
            CommitView(c.base_offset, c.end_offset, c.write_id, c.time_us, c.body) for c in commits
        ]
        head = commits[-1].end_offset
        self._reading[slice_] = head
        batch = SourceBatch(slice_, offset, head, head, views)
        deliver = self.into(lambda: self._on_batch(run, batch, commits))
        self._network.send("source", self.name, deliver)

    # --- the handler ---
    def _on_batch(self, run: object, batch: SourceBatch, commits: Sequence[Commit]) -> None:
        if run is not self._run or self.halted:
            return
        try:
            action = self._core.on_batch(batch)
            if isinstance(action, Drop):
                self.world.hit("projection: duplicate dropped")
                return
            self._heard_us[batch.slice] = self.world.now_us
            until = self._until(batch, action.from_offset)
            effects = _effects(batch.slice, commits, action.from_offset, until)
            self._core.on_handled(batch, until)
            self._store(effects, self._core.moves())
        except ThespianDcError as error:
            self._core.on_rolled_back()
            self._fail(error)
        else:
            if until < batch.next_offset:
                self._fail(ThespianDcError("the handler raised"))

    def _until(self, batch: SourceBatch, from_offset: int) -> int:
        """How far the handler gets: it raises now and then, also in the middle of a commit."""
        if self.world.faulty and self.world.chance(RAISES):
            self.world.hit("fault: handler raised")
            return self.world.rng.randrange(from_offset, batch.next_offset)
        return batch.next_offset

    def _store(self, effects: list[Effect], moves: list[Move]) -> None:
        self._positions.transact(effects, moves)
        self._core.on_committed()
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


def _effects(
    slice_: int, commits: Sequence[Commit], from_offset: int, until_offset: int
) -> list[Effect]:
    found = []
    for commit in commits:
        assert len(entities_of(commit)) == commit.count
        for offset, record in enumerate(records_of(commit), commit.base_offset):
            if from_offset <= offset < until_offset:
                found.append(Effect(slice_, offset, record.entity_id, record.seq_nr))
    return found
