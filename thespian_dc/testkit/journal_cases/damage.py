"""Damage: one bit flipped anywhere in the storage is found on read, named, and hurts nobody else.

Each round flips one bit, reads everything the contract can read, compares it with what was read
before, runs `verify`, and puts the bit back. What is read is the truth or a named error. Only where
the flipped column is part of a key may a look-up find nothing (the row is not where it was);
`verify` finds those.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from thespian_dc.journal.api import Entry, Journal, Member, StateRow
from thespian_dc.model.errors import (
    CorruptJournalError,
    CorruptRecordError,
    GapError,
    JournalError,
    SliceCountDiffersError,
)
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import records_of
from thespian_dc.testkit.journal_cases.storage import (
    SLICES,
    TYPE,
    Flip,
    JournalStorage,
    Suite,
    Writer,
)

KEYS = [SliceKey(TYPE, 0), SliceKey(TYPE, 1)]
ENTITIES = {key: [f"e-{key.slice}-{n}" for n in range(6)] for key in KEYS}
FIRST_TIME_US = 1_700_000_000_000_000
TRIMMED = 3
COMMIT_RECORDS_MAX = 4
_ABSENT: tuple[Any, ...] = (None, [], {}, Entry(0, None))
Reads = dict[tuple[Any, ...], Any]


class DamageCases(Suite):
    """Bit flips over every stored column."""

    flips: ClassVar[int] = 1_000
    """At least; a thousand and more go on until each column was hit."""
    flip_seed: ClassVar[int] = 20_240_229

    def test_every_flipped_bit_is_found_and_named(self, journal_factory: JournalStorage) -> None:
        """No silent wrong answer, no unnamed damage, no bystander that cannot be read."""
        journal = journal_factory.open()
        _fill(journal)
        truth = _read_everything(journal)
        assert not [key for key, value in truth.items() if isinstance(value, Exception)]
        assert journal.verify() == []
        rng, how = random.Random(self.flip_seed), Counter[str]()
        columns, hit, flips = journal_factory.columns(), set[str](), 0
        while flips < self.flips or (flips >= 1_000 and hit != columns and flips < 5_000):
            flip = journal_factory.flip(rng)
            how[_judge(journal, flip, truth)] += 1
            flip.undo()
            hit.add(flip.where.split(" ", 1)[0])
            flips += 1
        assert journal.verify() == []
        assert _read_everything(journal) == truth
        journal.close()
        print(f"{flips} flips in {len(hit)} of {len(columns)} columns: {dict(how)}")
        assert hit <= columns
        assert flips < 1_000 or hit == columns


def _fill(journal: Journal) -> None:
    """Two slices of some commits each, with everything that can be stored beside them."""
    journal.slices(TYPE, SLICES)
    rng = random.Random(5)
    for key in KEYS:
        writer = Writer(journal, key, member_id=f"m-{key.slice}").take_over()
        for turn in range(9):
            writer.write(*rng.choices(ENTITIES[key], k=1 + turn % COMMIT_RECORDS_MAX))
        journal.advance_index(key, journal.read(key, writer.head // 2)[0].base_offset)
        for entity_id in ENTITIES[key]:
            if found := journal.read_entity(key, entity_id):
                seq_nr, offset = found[-1].record.seq_nr, found[-1].offset
                journal.write_states(key, [StateRow(entity_id, seq_nr, offset, b"s" * 30)])
    journal.trim(KEYS[1], TRIMMED)
    journal.announce(Member("m-0", "(T|:1900)", "node-a", (TYPE,), 7))
    journal.put_entry("filter/x", 0, {"tags": ["a"]})


def _reads(journal: Journal) -> list[tuple[tuple[Any, ...], Callable[[], Any]]]:
    """(what, how to read it) for everything."""
    reads: list[tuple[tuple[Any, ...], Callable[[], Any]]] = [
        (("slices",), lambda: journal.slices(TYPE, SLICES)),
        (("slice_counts",), journal.slice_counts),
        (("members",), journal.members),
        (("entry",), lambda: journal.entry("filter/x")),
    ]
    for key in KEYS:
        reads += [
            (("head", key), partial(journal.find_head, key)),
            (("owner", key), partial(journal.owner, key)),
            (("log", key), partial(_whole_log, journal, key)),
        ]
        for offset in range(4, 12, 2):
            reads.append((("position", key, offset), partial(journal.position_before, key, offset)))
            time_us = FIRST_TIME_US + 10 * offset
            reads.append((("time", key, offset), partial(journal.offset_at, key, time_us)))
        # The trimmed slice's entities are read behind what is gone, as with a snapshot.
        first = 1 if key == KEYS[0] else 4
        for name in ENTITIES[key]:
            reads.append((("entity", key, name), partial(journal.read_entity, key, name, first)))
            reads.append((("state", key, name), partial(journal.read_state, key, name)))
    return reads


def _whole_log(journal: Journal, key: SliceKey) -> list[Any]:
    records: list[Any] = []
    offset = TRIMMED if key == KEYS[1] else 0
    while page := journal.read(key, offset, 500):
        for commit in page:
            records += [(commit.time_us, commit.write_id, record) for record in records_of(commit)]
        offset = page[-1].end_offset
    return records


def _read_everything(journal: Journal) -> Reads:
    """What each read returned, or the named error it raised."""
    seen: Reads = {}
    for what, how in _reads(journal):
        try:
            seen[what] = how()
        except JournalError as error:
            seen[what] = error
    return seen


def _judge(journal: Journal, flip: Flip, truth: Reads) -> str:
    """Assert all three promises; say how the flip was found: on read, or only by verify."""
    seen, verified = _read_everything(journal), journal.verify()
    raised = [value for value in seen.values() if isinstance(value, JournalError)]
    wrong = {what: value for what, value in seen.items() if value != truth[what]}
    unexplained = {
        what: value
        for what, value in wrong.items()
        if not isinstance(value, JournalError) and not _may_be_absent(what, value, flip, truth)
    }
    assert not unexplained, f"{flip.where}: read as truth: {unexplained}"
    assert verified, f"{flip.where}: verify found nothing; reads raised {raised}"
    assert any(_names(error, flip) for error in [*raised, *verified]), (
        f"{flip.where}: {flip.key} {flip.base_offset} {set(flip.entity_ids)} is not named by "
        f"{[str(error) for error in [*raised, *verified]]}"
    )
    assert any(_names(error, flip) for error in verified), (
        f"{flip.where}: verify does not name it: {[str(error) for error in verified]}"
    )
    hurt = {what: value for what, value in wrong.items() if _is_bystander(what, flip)}
    assert not hurt, f"{flip.where}: hurts others: {hurt}"
    return "on read" if raised else "by verify only"


def _may_be_absent(what: tuple[Any, ...], value: Any, flip: Flip, truth: Reads) -> bool:
    """A damaged state or member is treated as absent; a row that lost its key is not found by
    it."""
    if what[0] in {"state", "members"}:
        return value in _ABSENT
    if not flip.moves:
        return False
    if isinstance(value, list):
        return bool(value == truth[what][: len(value)])
    return value in _ABSENT


def _names(error: Exception, flip: Flip) -> bool:
    """The error says which slice, and which row and entity as far as the flip has them."""
    if flip.key is None:
        return isinstance(error, CorruptJournalError | SliceCountDiffersError)
    if isinstance(error, GapError):
        return str(flip.key) in error.where or any(e in error.where for e in flip.entity_ids)
    if not isinstance(error, CorruptRecordError):
        return flip.moves and isinstance(error, CorruptJournalError)
    if flip.moves and error.entity_id in flip.entity_ids:
        return True
    same_type = error.entity_type == flip.key.entity_type or flip.moves
    if error.slice != flip.key.slice or not same_type:
        return False
    if flip.base_offset is not None:
        beside = error.offset not in range(flip.base_offset, flip.base_offset + COMMIT_RECORDS_MAX)
        return error.entity_id in {"", *flip.entity_ids} and (flip.moves or not beside)
    return not flip.entity_ids or error.entity_id in flip.entity_ids or flip.moves


def _is_bystander(what: tuple[Any, ...], flip: Flip) -> bool:
    """True for a read of an entity or a slice that the flipped row has nothing to do with."""
    if what[0] not in {"entity", "log", "head", "owner"}:
        return False
    if what[0] == "entity" and flip.entity_ids:  # of either slice: a row may have moved to another
        return what[2] not in flip.entity_ids
    if flip.key is None or what[1] != flip.key:
        return True
    return what[0] in {"head", "owner"} and bool(flip.entity_ids)
