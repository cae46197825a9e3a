"""What a backend brings to the suite, and a writer that behaves as a host does. Knows no
backend."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import pytest

from thespian_dc.journal.api import Journal, Outcome, append_wait
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import EVENT, Commit, Record, make_commit, pack_record, records_of

TYPE = "cart"
SLICES = 4
_seeds = itertools.count()  # two writers never draw the same write_id


@dataclass(frozen=True, slots=True)
class Flip:
    """One bit flipped in a backend's storage, and what it may have hurt.

    where: the column, as JournalStorage.columns calls it, a space, and what else helps. key: the
    slice it belongs to; None: no slice (a registry cell). base_offset: the row of the log
    that was hit. entity_ids: the entities it belongs to; empty with a key and no base_offset: every
    entity of the slice. moves: the column is part of a key, so a look-up may now find nothing where
    something was; `verify` finds it. undo: puts the bit back.
    """

    where: str
    undo: Callable[[], None]
    key: SliceKey | None = None
    base_offset: int | None = None
    entity_ids: frozenset[str] = frozenset()
    moves: bool = False


class JournalStorage(Protocol):
    """Fresh storage, empty at the start of a test. `journal_factory` yields one and cleans it
    up."""

    def open(self) -> Journal:
        """Another view of this storage, as another process would have it. The suite closes what
        it opens."""

    def flip(self, rng: random.Random, only_states: bool = False) -> Flip:
        """Flip one random bit of one random stored column (any table, any column), past all
        caches."""

    def columns(self) -> set[str]:
        """`table.column` of each that holds something now; a flip may hit any of them."""

    race_url: str | None
    """The URL under which other processes open it; None: only this process can (threads race
    instead)."""


class Suite:
    """What all parts of the suite share. A backend states its differences in these attributes."""

    segment_records: ClassVar[int | None] = None
    """Records per segment of the storage under test (make it small: 8); None: the backend has no
    segments."""

    @pytest.fixture
    def journal_factory(self) -> Any:
        """Override: return or yield a JournalStorage."""
        raise NotImplementedError

    @pytest.fixture
    def journal(self, journal_factory: JournalStorage) -> Iterator[Journal]:
        """One view, with the type's slice count recorded."""
        journal = journal_factory.open()
        assert journal.slices(TYPE, SLICES) == SLICES
        yield journal
        journal.close()

    @pytest.fixture
    def other(self, journal_factory: JournalStorage, journal: Journal) -> Iterator[Journal]:
        """A second view of the same storage."""
        other = journal_factory.open()
        yield other
        other.close()


@dataclass
class Writer:
    """One host's view of one slice: what it believes of head and epoch, and what it has written."""

    journal: Journal
    key: SliceKey
    member_id: str = "m-1"
    head: int = 0
    epoch: int = 0
    time_us: int = 1_700_000_000_000_000
    seq_nrs: dict[str, int] = field(default_factory=dict)
    rng: random.Random = field(default_factory=lambda: random.Random(next(_seeds)))

    def take_over(self) -> Writer:
        """Claim, find the head, install, recover: as DESIGN's protocol has it."""
        self.epoch = self.journal.claim(self.key, self.member_id, self.rng.randbytes(16)).epoch
        self.head = self.journal.find_head(self.key).head
        assert self.journal.install(self.key, self.head, self.epoch)
        self.seq_nrs = {}
        for commit in all_commits(self.journal, self.key):
            self.time_us = commit.time_us
            self.seq_nrs |= {record.entity_id: record.seq_nr for record in records_of(commit)}
        return self

    def commit(
        self, *entity_ids: str, payload: bytes = b"p" * 20, base: int | None = None
    ) -> Commit:
        """A commit with one record per id, at the believed head under the believed epoch. Moves
        nothing."""
        seq_nrs, pairs = dict(self.seq_nrs), []
        for entity_id in entity_ids:
            seq_nrs[entity_id] = seq_nrs.get(entity_id, 0) + 1
            record = Record(EVENT, entity_id, seq_nrs[entity_id], "Added:1", payload, ["t"], "")
            pairs.append((entity_id, pack_record(record)))
        at = self.head if base is None else base
        return make_commit(
            self.key, at, self.rng.randbytes(16), self.epoch, self.time_us + 10, pairs
        )

    def send(self, commit: Commit) -> Outcome:
        """Append the commit; where it is done, believe it."""
        (answer,) = append_wait(self.journal, [commit])
        assert answer.commit.write_id == commit.write_id
        if answer.outcome is Outcome.DONE:
            self.note(commit)
        return answer.outcome

    def note(self, commit: Commit) -> None:
        """The commit is in the log."""
        self.head, self.time_us = commit.end_offset, commit.time_us
        for record in records_of(commit):
            self.seq_nrs[record.entity_id] = record.seq_nr

    def write(self, *entity_ids: str, payload: bytes = b"p" * 20) -> Commit:
        """Append one commit that must be done."""
        commit = self.commit(*entity_ids, payload=payload)
        assert self.send(commit) is Outcome.DONE
        return commit


def all_commits(journal: Journal, key: SliceKey, from_offset: int = 0) -> list[Commit]:
    """The whole slice log, page by page."""
    commits: list[Commit] = []
    offset = from_offset
    while page := journal.read(key, offset, 2_000):
        commits += page
        offset = page[-1].end_offset
    return commits


def offsets_of(commits: Sequence[Commit]) -> list[int]:
    """The offset of every record, in order."""
    return [offset for commit in commits for offset in range(commit.base_offset, commit.end_offset)]
