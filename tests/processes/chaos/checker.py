"""Reads a journal, a projection's table and a history after the run, and says what is wrong.

Shares nothing with the package's cores: bytes come from `open_journal`, everything else is worked
out here, from the promises alone.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from tests.processes.chaos.history import ACKNOWLEDGED, ERROR, LOOK, Attempt, puts
from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.ids import SliceKey

NOT_PERSISTED = {"CommandUnstableError", "CommandNotWrittenError", "HostBusyError",
                 "ClientBusyError"}  # fmt: skip
CONFIRMED_US = 1_000_000  # a read-only reply may rest on an ownership proved so long ago


class Stored(NamedTuple):
    """A record as it stands in the journal. total: of its entity's amounts up to it. said: what its
    meta says of its origin, where it is a replicated entity's."""

    slice: int
    offset: int
    epoch: int
    write_id: bytes
    time_us: int
    entity_id: str
    seq_nr: int
    command_id: str
    number: int
    amount: int
    total: int
    manifest: str
    said: Any = None
    payload: bytes = b""


Row = tuple[str, int, int, int]


def stored_in(url: str, entity_type: str) -> tuple[list[Stored], list[str]]:
    """Every record, by slice and offset; and what is wrong with the logs themselves."""
    journal, wrong = open_journal(url), list[str]()
    try:
        records: list[Stored] = []
        for slice_ in range(journal.slice_counts()[entity_type]):
            key = SliceKey(entity_type, slice_)
            records += _records(journal, key, wrong)
            found = journal.find_head(key).head
            ends = records[-1].offset + 1 if records and records[-1].slice == slice_ else 0
            if ends != found:
                wrong.append(f"slice {slice_}: head {found}, but its records end at {ends}")
        wrong += [f"verify: {error}" for error in journal.verify(entity_type)]
    finally:
        journal.close()
    return records, wrong


def _records(journal: Journal, key: SliceKey, wrong: list[str]) -> Iterator[Stored]:
    offset, epoch = 0, 0
    totals: Counter[str] = Counter()
    while commits := journal.read(key, offset):
        for commit in commits:
            if commit.base_offset != offset:
                wrong.append(f"{key}: a commit at {commit.base_offset}, expected at {offset}")
            if commit.epoch < epoch:
                wrong.append(f"{key}@{offset}: epoch {commit.epoch} wrote after epoch {epoch}")
            offset, epoch = commit.base_offset, commit.epoch
            for fields in msgpack.unpackb(commit.body):
                _, entity_id, seq_nr, manifest, payload, _, command_id, *_, meta = fields
                event = msgpack.unpackb(payload)
                totals[entity_id] += event["amount"]
                yield Stored(
                    key.slice, offset, epoch, commit.write_id, commit.time_us, entity_id, seq_nr,
                    command_id, event["number"], event["amount"], totals[entity_id], manifest,
                    (meta or {}).get("r"), payload if meta else b"",
                )  # fmt: skip
                offset += 1


def violations(
    history: Sequence[Attempt], records: Sequence[Stored], book: Sequence[Row] | None = None
) -> list[str]:
    """What the promises forbid and is there all the same; empty: all is well."""
    wrong = [*numbering(records), *origins(history, records), *outcomes(history, records)]
    wrong += stale(history)
    if book is not None:
        expected = {(r.entity_id, r.seq_nr, r.number, r.amount) for r in records}
        table = set(book)
        wrong += [f"projection lacks {row}" for row in sorted(expected - table)[:20]]
        wrong += [f"projection has {row}, the journal not" for row in sorted(table - expected)[:20]]
        if len(table) != len(book):
            wrong.append("projection holds a row twice")
    return wrong


def numbering(records: Sequence[Stored]) -> Iterator[str]:
    """seq_nr from 1 without holes, an entity in one slice, a time that never falls in a slice."""
    last: Counter[str] = Counter()
    slices: dict[str, int] = {}
    for record in records:
        last[record.entity_id] += 1
        if record.seq_nr != last[record.entity_id]:
            yield f"{record.entity_id}: seq_nr {record.seq_nr}, expected {last[record.entity_id]}"
        if slices.setdefault(record.entity_id, record.slice) != record.slice:
            yield f"{record.entity_id} is in slices {slices[record.entity_id]} and {record.slice}"
    for before, after in pairwise(records):
        if before.slice == after.slice and after.offset != before.offset + 1:
            yield f"slice {after.slice}: offset {after.offset} follows {before.offset}"


def origins(history: Sequence[Attempt], records: Sequence[Stored]) -> Iterator[str]:
    """Nothing is stored that nobody asked for, nothing twice, nothing under another's name."""
    asked = {a.command_id: (a.entity_id, a.number, a.amount) for a in puts(history)}
    stored_as: dict[str, list[int]] = defaultdict(list)
    for record in records:
        stored_as[record.command_id].append(record.seq_nr)
    for command_id, seq_nrs in stored_as.items():
        if len(seq_nrs) > 1:
            yield f"command {command_id} is stored {len(seq_nrs)} times, as {seq_nrs}"
    for record in records:
        wanted = asked.get(record.command_id)
        if wanted != (record.entity_id, record.number, record.amount):
            yield f"foreign event {record}, asked for was {wanted}"


def outcomes(history: Sequence[Attempt], records: Sequence[Stored]) -> Iterator[str]:
    by_command = {record.command_id: record for record in records}
    outcomes: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in puts(history):
        outcomes[attempt.command_id].append(attempt)
    for command_id, attempts in outcomes.items():
        record = by_command.get(command_id)
        for attempt in attempts:
            if attempt.outcome != ACKNOWLEDGED:
                continue
            if record is None:
                yield f"LOST: {attempt} was acknowledged and is not stored"
            elif attempt.reply != (record.seq_nr, record.total):
                yield f"{attempt}: the journal has seq_nr {record.seq_nr}, total {record.total}"
        refused = all(a.outcome == ERROR and a.error in NOT_PERSISTED for a in attempts)
        if refused and record is not None:
            yield f"{attempts} said that nothing is persisted; stored at {record.offset}"


def stale(history: Sequence[Attempt]) -> Iterator[str]:
    """A read-only reply knows all that was acknowledged a second before its question."""
    events = sorted(
        [(a.done_us + CONFIRMED_US, 0, a) for a in puts(history) if a.outcome == ACKNOWLEDGED]
        + [(a.sent_us, 1, a) for a in history if a.kind == LOOK and a.outcome == ACKNOWLEDGED]
    )
    known: Counter[str] = Counter()
    for _, is_look, attempt in events:
        assert attempt.reply is not None
        if is_look and attempt.reply[0] < known[attempt.entity_id]:
            yield f"stale: {attempt}, {known[attempt.entity_id]} events were acknowledged before"
        elif not is_look:
            known[attempt.entity_id] = max(known[attempt.entity_id], attempt.reply[0])


def book_in(database: Path) -> list[Row]:
    """The projection's table."""
    reader = sqlite3.connect(database, timeout=10)
    try:
        return reader.execute("select entity_id, seq_nr, number, amount from book").fetchall()
    except sqlite3.OperationalError:  # not made yet
        return []
    finally:
        reader.close()


def in_flight(
    history: Sequence[Attempt], records: Sequence[Stored], killed_us: int, killed_at_us: int,
    of_the_dead: bool,
) -> list[bytes]:  # fmt: skip
    """write_ids of commits that were on their way when a process was killed: made in the two
    seconds before, none of their commands acknowledged before it. of_the_dead: the process was
    their writer, so they are the last of their epoch in their slice.

    killed_us: monotonic, like the history's; killed_at_us: since 1970, like the journal's.
    """
    first_ack: dict[str, int] = {}
    for attempt in puts(history):  # in the order of their ends
        if attempt.outcome == ACKNOWLEDGED:
            first_ack.setdefault(attempt.command_id, attempt.done_us)
    commits: dict[bytes, list[Stored]] = defaultdict(list)
    for record in records:
        commits[record.write_id].append(record)
    found = []
    for mine, following in pairwise(commits.values()):
        last_of_epoch = mine[0].slice == following[0].slice and mine[0].epoch < following[0].epoch
        made_before = killed_at_us - 2_000_000 < mine[0].time_us <= killed_at_us
        unanswered = all(first_ack.get(r.command_id, killed_us + 1) > killed_us for r in mine)
        if (last_of_epoch or not of_the_dead) and made_before and unanswered:
            found.append(mine[0].write_id)
    return found
