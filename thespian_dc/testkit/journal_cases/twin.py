"""A journal beside a deliberately dumb twin: a list of records. Hypothesis looks for a history
that tells them apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from thespian_dc.journal.api import Head, Outcome, StateRow
from thespian_dc.model.errors import JournalDivergedError, TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import START, Position
from thespian_dc.model.record import Commit, records_of
from thespian_dc.testkit.journal_cases.storage import JournalStorage, Suite, Writer

ENTITIES = st.sampled_from(["a", "b", "c"])
OFFSETS = st.integers(0, 30)


@dataclass
class Twin:
    """What the journal should hold of one slice."""

    commits: list[Commit] = field(default_factory=list)
    epoch: int = 0
    trimmed: Position = START
    states: dict[str, StateRow] = field(default_factory=dict)

    @property
    def head(self) -> int:
        return self.commits[-1].end_offset if self.commits else 0

    def covering(self, offset: int) -> Commit:
        return next(c for c in self.commits if c.base_offset <= offset < c.end_offset)

    def end_at_or_below(self, offset: int) -> Position:
        ends = [Position(c.end_offset, c.write_id) for c in self.commits if c.end_offset <= offset]
        return max([self.trimmed, *ends])


class JournalMachine(RuleBasedStateMachine):
    """Two views of one storage, two writers, one twin. Each example has an entity type of its
    own."""

    storage: ClassVar[JournalStorage]
    examples: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).examples += 1
        self.key = SliceKey(f"twin-{type(self).examples}", 0)
        self.views = [self.storage.open(), self.storage.open()]
        for view in self.views:
            view.slices(self.key.entity_type, 1)
        self.writers = [Writer(v, self.key, f"m-{n}") for n, v in enumerate(self.views)]
        self.twin = Twin()

    def teardown(self) -> None:
        assert self.views[0].verify(self.key.entity_type) == []
        for view in self.views:
            view.close()

    @rule(who=st.integers(0, 1))
    def take_over(self, who: int) -> None:
        writer, twin = self.writers[who], self.twin
        owner = writer.journal.claim(self.key, writer.member_id, writer.rng.randbytes(16))
        assert owner.epoch > twin.epoch
        assert writer.journal.find_head(self.key) == Head(twin.head, twin.epoch)
        assert writer.journal.install(self.key, twin.head, owner.epoch)
        writer.head, writer.epoch, writer.seq_nrs = twin.head, owner.epoch, {}
        for commit in twin.commits:
            writer.note(commit)
        twin.epoch = owner.epoch

    @precondition(lambda self: self.twin.epoch > 0)
    @rule(who=st.integers(0, 1), ids=st.lists(ENTITIES, min_size=1, max_size=6))
    def append(self, who: int, ids: list[str]) -> None:
        writer, twin = self.writers[who], self.twin
        commit = writer.commit(*ids)
        may = (writer.head, writer.epoch) == (twin.head, twin.epoch)
        assert writer.send(commit) is (Outcome.DONE if may else Outcome.CONFLICT)
        if may:
            twin.commits.append(commit)

    @rule(who=st.integers(0, 1), to=OFFSETS, recent=st.booleans())
    def advance_index(self, who: int, to: int, recent: bool) -> None:
        view = self.views[who]
        until = self.twin.end_at_or_below(to).offset
        before = view.index_mark(self.key)
        commits = self.twin.commits[-2:] if recent else []
        assert view.advance_index(self.key, until, commits) >= max(before, until)

    @rule(who=st.integers(0, 1), to=OFFSETS)
    def trim(self, who: int, to: int) -> None:
        view, twin = self.views[who], self.twin
        twin.trimmed = twin.end_at_or_below(min(to, view.index_mark(self.key)))
        assert view.trim(self.key, to) == twin.trimmed.offset

    @rule(who=st.integers(0, 1), entity_id=ENTITIES, offset=OFFSETS, body=st.binary(max_size=8))
    def write_state(self, who: int, entity_id: str, offset: int, body: bytes) -> None:
        stored = self.twin.states.get(entity_id)
        row = StateRow(entity_id, offset + 1, offset, body)
        self.views[who].write_states(self.key, [row])
        if stored is None or stored.offset < offset:
            self.twin.states[entity_id] = row
        elif stored.offset == offset:  # a host has one state per offset: either may stay
            kept = self.views[who].read_state(self.key, entity_id)
            assert kept in (stored, row)
            self.twin.states[entity_id] = kept
        assert self.views[1 - who].read_state(self.key, entity_id) == self.twin.states[entity_id]

    @rule(who=st.integers(0, 1), offset=OFFSETS, bytes_max=st.integers(1, 500))
    def read(self, who: int, offset: int, bytes_max: int) -> None:
        view, twin = self.views[who], self.twin
        if offset < twin.trimmed.offset:
            with pytest.raises(TrimmedError):
                view.read(self.key, offset, bytes_max)
            return
        found = view.read(self.key, offset, bytes_max)
        expected = [commit for commit in twin.commits if commit.end_offset > offset]
        assert found == expected[: len(found)]
        assert bool(found) == bool(expected)

    @rule(
        who=st.integers(0, 1),
        entity_id=ENTITIES,
        seq_nr=st.integers(1, 12),
        until=st.none() | OFFSETS,
    )
    def read_entity(self, who: int, entity_id: str, seq_nr: int, until: int | None) -> None:
        view, twin = self.views[who], self.twin
        expected = [
            (commit.base_offset + n, record)
            for commit in twin.commits
            for n, record in enumerate(records_of(commit))
            if record.entity_id == entity_id and record.seq_nr >= seq_nr
        ]
        gone = bool(expected) and expected[0][0] < twin.trimmed.offset
        try:
            found = view.read_entity(self.key, entity_id, seq_nr, until)
        except TrimmedError:
            assert gone
            return
        end = twin.head if until is None else until
        assert not gone or expected[0][0] >= end or not found
        if not gone:
            assert [(f.offset, f.record) for f in found] == [e for e in expected if e[0] < end]

    @rule(who=st.integers(0, 1), offset=OFFSETS)
    def position(self, who: int, offset: int) -> None:
        view, twin = self.views[who], self.twin
        if offset > twin.head:
            with pytest.raises(JournalDivergedError):
                view.position_before(self.key, offset)
        elif offset < twin.trimmed.offset:
            with pytest.raises(TrimmedError):
                view.position_before(self.key, offset)
        else:
            write_id = twin.covering(offset - 1).write_id if offset else b""
            assert view.position_before(self.key, offset) == Position(offset, write_id)

    @rule(who=st.integers(0, 1), step=st.integers(0, 40))
    def time(self, who: int, step: int) -> None:
        twin, time_us = self.twin, 1_700_000_000_000_000 + 10 * step
        left = [c for c in twin.commits if c.base_offset >= twin.trimmed.offset]
        expected = next((c.base_offset for c in left if c.time_us >= time_us), twin.head)
        assert self.views[who].offset_at(self.key, time_us) == expected

    @invariant()
    def heads_agree(self) -> None:
        for view in self.views:
            assert view.find_head(self.key) == Head(self.twin.head, self.twin.epoch)


class TwinCases(Suite):
    """Random histories against the twin."""

    twin_examples: ClassVar[int] = 40
    twin_steps: ClassVar[int] = 40

    def test_no_history_tells_the_journal_from_its_twin(
        self, journal_factory: JournalStorage
    ) -> None:
        """Whatever order things happen in, a journal is a list of records with a fence before
        it."""

        class Machine(JournalMachine):
            storage = journal_factory

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=self.twin_examples,
                stateful_step_count=self.twin_steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        assert Machine.examples >= self.twin_examples // 2
