"""The simulated journal: the memory backend behind a network that delays, loses and reorders.

Laws:
- Each step of an operation is linearizable by itself; between two steps anything may happen. What
  takes several reads in a database takes several steps here.
- A request is applied once, at any later time, or never. Its answer may be lost: then the caller is
  told "unknown" after a while, or nothing at all; of an append, the answer may still follow.
- `on_applied` and `on_installed` tell the checker what really happened, when it happened.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from thespian_dc.entity.actions import (
    AdvanceIndex,
    IndexAdvanced,
    JournalAction,
    Recover,
    Recovered,
    Result,
    StatesWritten,
    WriteStates,
)
from thespian_dc.entity.perform import perform
from thespian_dc.journal.api import Appended, Found, Head, Outcome, StateRow
from thespian_dc.journal.cells import Cell
from thespian_dc.journal.memory import MemoryJournal, MemoryStorage
from thespian_dc.journal.reading import check_contiguous, found_in
from thespian_dc.model.errors import JournalError, JournalUnavailableError, TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit
from thespian_dc.slices.actions import Claim, Failed, FindHead, FoundHead, Install, Operation
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.world import World

JOURNAL = "journal"
POISON = b"\xe2\x98\xa0poison"
"""A commit that holds these bytes is always refused, as one is that a database finds too large."""

Steps = Generator[None, None, Any]


@dataclass(frozen=True, slots=True)
class JournalFaults:
    """Probabilities per request, while the world is faulty; delays in microseconds."""

    lost: float = 0.03
    answer_lost: float = 0.05
    answer_late: float = 0.05
    late: float = 0.10
    refused: float = 0.12
    silent: float = 0.3
    """Of lost answers and late requests: the caller is told nothing at all. Only what slice writers
    ask for: they have time-outs of their own, the rest relies on its shell to be told."""
    delay_us: tuple[int, int] = (200, 5_000)
    late_us: tuple[int, int] = (1_000, 2_500_000)
    answer_late_us: tuple[int, int] = (10_000, 1_000_000)
    """Often after the time-out."""
    timeout_us: tuple[int, int] = (10_000, 400_000)


CALMER = JournalFaults()
OVERLOADED = JournalFaults(
    lost=0.1, answer_lost=0.1, late=0.3, refused=0.4, silent=0.1, timeout_us=(10_000, 150_000)
)
"""A busy database does it all at once: times out, applies late, refuses."""


class Fate(enum.Enum):
    """What becomes of one request."""

    NORMAL = "normal"
    LOST = "request lost"
    ANSWER_LOST = "answer lost"
    ANSWER_LATE = "answer late"
    LATE = "applied late"


class SimulatedJournal:
    """Shells call `perform` and `append`; answers come later through the callback, at most once."""

    def __init__(
        self, world: World, network: Network, segment_records: int, name: str = "simulated"
    ) -> None:
        storage = MemoryStorage(segment_records)
        storage.cells["journal/id"] = Cell.make("journal/id", 1, f"{name}-{world.seed}")
        self.memory = MemoryJournal("memory:simulated", storage)
        self._segment_records = segment_records
        self._world, self._network, self._faults = world, network, CALMER
        self._heads: dict[SliceKey, int] = {}
        self.refusing: set[str] = set()
        """Callers whose next append is refused."""
        self.on_applied: Callable[[str, Commit], None] = lambda caller, commit: None
        self.on_installed: Callable[[SliceKey, int], None] = lambda key, epoch: None
        self.on_state: Callable[[SliceKey, StateRow, StateRow | None], None] = lambda *_: None

    def overload(self, for_us: int) -> None:
        """Be OVERLOADED for so long."""
        self._faults = OVERLOADED
        self._world.after(for_us, self._recover_from_overload)

    def _recover_from_overload(self) -> None:
        self._faults = CALMER

    def heads(self, entity_type: str, slices: int) -> tuple[int, ...]:
        """Of each slice's log, as they are now."""
        return tuple(self.head(SliceKey(entity_type, n)) for n in range(slices))

    def head(self, key: SliceKey) -> int:
        """Of one log, as it is now."""
        return self._heads.get(key, 0)

    # --- requests ---
    def perform(
        self, caller: str, action: JournalAction | Operation, answer: Callable[[Result], None]
    ) -> None:
        """A core's action; its result, or Failed, comes by `answer`."""
        writes = isinstance(action, Claim | Install | WriteStates | AdvanceIndex)
        silent = 0.0 if isinstance(action, JournalAction) else self._faults.silent
        failed = Failed(action, "simulated time-out")
        self._request(caller, lambda: self._steps(action), answer, failed, writes, silent)

    def call(self, caller: str, run: Callable[[], Any], answer: Callable[[Any], None]) -> None:
        """Any other call of the memory journal, in one step; nothing comes back where it fails."""
        self._request(caller, lambda: _one_step(run), answer, None, True, 1.0)

    def append(self, caller: str, commit: Commit, answer: Callable[[Appended], None]) -> None:
        """One commit; each of a shell's gathered appends has a fate of its own."""
        world, faults = self._world, self._faults
        unknown = Appended(commit, Outcome.UNKNOWN, "simulated time-out")
        poisoned = POISON in commit.body
        if poisoned or self._is_refused(caller):
            reason = "poison" if poisoned else "overloaded"
            world.hit(f"fault: append refused, {reason}")
            refused = Appended(commit, Outcome.REFUSED, reason)
            delay_us = world.between(*faults.delay_us)
            world.after(delay_us, self._answer, caller, answer, refused, partial(answer, unknown))
            return
        append = partial(self._append, caller, commit)
        self._request(
            caller, lambda: _one_step(append), answer, unknown, True, self._faults.silent,
            late_too=True,
        )  # fmt: skip

    # --- the way there and back ---
    def _is_refused(self, caller: str) -> bool:
        if caller in self.refusing:
            self.refusing.discard(caller)
            self._world.hit("fault: append refused while an earlier send is in doubt")
            return True
        return self._world.faulty and self._world.chance(self._faults.refused)

    def _fate(self, caller: str) -> Fate:
        faults = self._faults
        if not self._network.passes(caller, JOURNAL):
            return Fate.LOST
        if not self._world.faulty:
            return Fate.NORMAL
        chances = {
            Fate.LOST: faults.lost,
            Fate.ANSWER_LOST: faults.answer_lost,
            Fate.ANSWER_LATE: faults.answer_late,
            Fate.LATE: faults.late,
        }
        chances[Fate.NORMAL] = 1 - sum(chances.values())
        return self._world.rng.choices(list(chances), list(chances.values()))[0]

    def _request(
        self,
        caller: str,
        start: Callable[[], Steps],
        answer: Callable[[Any], None],
        unknown: Any,
        writes: bool,
        silent: float,
        late_too: bool = False,
    ) -> None:
        """`unknown` is what the caller's own time-out says, unless it is left silent. late_too: an
        answer that comes after the time-out is passed on as well."""
        world, faults = self._world, self._faults
        fate = self._fate(caller)
        time_out = _nobody if world.chance(silent) else partial(answer, unknown)
        if fate is not Fate.NORMAL:
            world.hit(f"fault: {'write' if writes else 'read'} {fate.value}")
        if fate is Fate.ANSWER_LATE:
            if late_too:
                world.after(world.between(*faults.timeout_us), time_out)
            answer = partial(world.after, world.between(*faults.answer_late_us), answer)
        elif fate is not Fate.NORMAL:
            world.after(world.between(*faults.timeout_us), time_out)
            answer, time_out = _nobody, _nobody
        if fate is not Fate.LOST:
            delay_us = world.between(*(faults.late_us if fate is Fate.LATE else faults.delay_us))
            world.after(delay_us, self._step, caller, start(), answer, time_out)

    def _step(
        self,
        caller: str,
        steps: Steps,
        answer: Callable[[Any], None],
        time_out: Callable[[], None],
    ) -> None:
        delay_us = self._world.between(*self._faults.delay_us)
        try:
            next(steps)
        except StopIteration as done:
            self._world.after(delay_us, self._answer, caller, answer, done.value, time_out)
        else:
            self._world.after(delay_us, self._step, caller, steps, answer, time_out)

    def _answer(
        self,
        caller: str,
        answer: Callable[[Any], None],
        value: Any,
        time_out: Callable[[], None],
    ) -> None:
        if self._network.passes(caller, JOURNAL):
            answer(value)
        else:
            self._world.after(self._world.between(*self._faults.timeout_us), time_out)

    # --- what a request does ---
    def _append(self, caller: str, commit: Commit) -> Appended:
        outcome = self._compare_and_append(commit)
        if outcome is Outcome.DONE:
            self._heads[commit.key] = commit.end_offset
            self.on_applied(caller, commit)
        else:
            self._world.hit("fault: append met another head or epoch")
        return Appended(commit, outcome)

    def _compare_and_append(self, commit: Commit) -> Outcome:
        answers: list[Appended] = []
        self.memory.append([commit], answers.append)
        return answers[0].outcome

    def _steps(self, action: JournalAction | Operation) -> Steps:
        match action:
            case FindHead(key):
                head = yield from self._find_head(key)
                return FoundHead(action, head)
            case Recover():
                try:
                    return (yield from self._recover(action))
                except JournalUnavailableError as failed:
                    return Failed(action, str(failed))
                except JournalError as error:
                    return Recovered(action, None, [], error)
            case AdvanceIndex():
                yield from self._advance_index(action)
                return IndexAdvanced(action)
            case WriteStates(key, rows):
                for row in rows:
                    before = self.memory.read_state(key, row.entity_id)
                    self._write_state(key, row)
                    self.on_state(key, row, before)
                return StatesWritten(action)
            case Install(key, _, epoch):
                result = perform(self.memory, action)
                if getattr(result, "installed", False):
                    self.on_installed(key, epoch)
                return result
            case _:
                return perform(self.memory, action)
        yield  # makes a generator of the cases above that have one step

    def _find_head(self, key: SliceKey) -> Steps:
        """From segment to segment, one read a step, as a database is read."""
        found, segment = Head(0, 0), 0
        while (here := self.memory.head_at(key, segment * self._segment_records)) is not None:
            found = here
            if here.head // self._segment_records <= segment:
                break
            segment = here.head // self._segment_records
            yield
        return found

    def _recover(self, action: Recover) -> Steps:
        row = None if action.replay else self.memory.read_state(action.key, action.entity_id)
        if row is not None and row.offset >= action.until_offset:
            row = None
        yield
        after = row.seq_nr + 1 if row else 1
        found = yield from self._read_entity(
            action.key, action.entity_id, after, action.until_offset
        )
        return Recovered(action, row, found)

    def _read_entity(
        self, key: SliceKey, entity_id: str, from_seq_nr: int, until_offset: int
    ) -> Steps:
        """First the mark, then the index, then the log from the mark on; each is one step."""
        mark = self.memory.index_mark(key)
        yield
        bases = self.memory._indexed(key, entity_id, from_seq_nr, min(mark, until_offset))
        yield
        trimmed = self.memory._trimmed(key).offset
        if bases and bases[0] < trimmed:
            raise TrimmedError(f"{key.entity_type}|{entity_id}", bases[0], trimmed)
        indexed = (self.memory._at(key, entity_id, base) for base in bases)
        tail = self._tail(key, mark, until_offset)
        found: list[Found] = found_in(chain(indexed, tail), entity_id, from_seq_nr, until_offset)
        check_contiguous(key, entity_id, found, from_seq_nr, 0)
        return found

    def _tail(self, key: SliceKey, mark: int, until_offset: int) -> list[Commit]:
        return list(self.memory._all(key, mark, until_offset))

    def _advance_index(self, action: AdvanceIndex) -> Steps:
        """Commit by commit: the mark is never above what is indexed."""
        key, mark = action.key, self.memory.index_mark(action.key)
        at_hand = {commit.base_offset: commit for commit in action.recent}
        while mark < action.until_offset:
            commit = at_hand.get(mark) or self.memory.read(key, mark, 1)[0]
            mark = self.memory.advance_index(key, commit.end_offset, action.recent)
            yield

    def _write_state(self, key: SliceKey, row: StateRow) -> None:
        self.memory.write_states(key, [row])


def _one_step(run: Callable[[], Any]) -> Steps:
    return run()
    yield  # makes a generator of it


def _nobody(*_: Any) -> None:
    """Takes an answer that is lost, or a time-out that nobody waits for."""
