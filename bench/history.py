"""Journals with a history: written the way a host writes it, through the entity core, or as bare
commits where only their number matters."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bench.entities import TEXT, Account, Add, Added
from bench.harness import must_equal
from thespian_dc.codec.api import Registry
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.inline import InlineHost
from thespian_dc.entity.protocol import Command
from thespian_dc.journal.api import Journal, Outcome, append_wait, open_journal
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.record import EVENT, Record, make_commit, pack_record

PER_COMMIT = 320
"""Records in a commit: what 5,000 commands in flight over 16 slices make."""
AT_ONCE = 50
"""Events of one command, where only their number matters."""


class Writer:
    """Sends each message to its entity; all is durable and indexed when `write` returns."""

    def __init__(self, journal: Journal, slices: int, entity: type = Account) -> None:
        self.journal, self.durable = journal, 0
        self._host = InlineHost(
            journal, [EntityType.of(entity, slices)], "history", lambda _: None, lambda *_: None,
            published=self._count,
        )  # fmt: skip
        self._host.tick()

    def write(self, commands: Iterator[tuple[str, Any]], at_a_time: int) -> None:
        """at_a_time: commands in one commit of a slice."""
        while batch := list(islice(commands, at_a_time)):
            self._host.commands(
                [Command("account", entity_id, message) for entity_id, message in batch]
            )
            self._host.tick()
        while not self._host.core.idle:
            time.sleep(min(self._host.due_s() or 0.0, 0.1))
            self._host.tick()

    def close(self) -> None:
        self._host.close()

    def _count(self, commit: Any) -> None:
        self.durable += commit.count


def write_log(
    url: str,
    events: int,
    entities: int,
    slices: int,
    per_commit: int = PER_COMMIT,
    tags_of: Callable[[int], Sequence[str]] = lambda _: (),
) -> dict[str, int]:
    """Append `events` of `entities` accounts, round-robin, with command ids and replies as a
    client's commands leave them, at most per_commit to a commit; returns (entity, last seq_nr).
    tags_of: the number of an event, from 0."""
    journal, last = open_journal(url), Counter[str]()
    manifest, payload = Registry([Added]).encode(Added(TEXT, 1))
    journal.slices("account", slices)
    keys = [SliceKey("account", number) for number in range(slices)]
    at: dict[SliceKey, tuple[int, int]] = {}  # head, epoch
    for key in keys:
        epoch = journal.claim(key, "history", os.urandom(16)).epoch
        must_equal(f"{key} installed", True, journal.install(key, 0, epoch))
        at[key] = (0, epoch)
    packed: dict[SliceKey, list[tuple[str, bytes]]] = {key: [] for key in keys}

    def append() -> None:
        commits = [
            make_commit(key, at[key][0], os.urandom(16), at[key][1], time.time_ns() // 1000, some)
            for key, some in packed.items()
            if some
        ]
        for answer in append_wait(journal, commits):
            must_equal(f"append to {answer.commit.key}", Outcome.DONE, answer.outcome)
            at[answer.commit.key] = (answer.commit.end_offset, answer.commit.epoch)
            packed[answer.commit.key] = []

    ids = [f"a-{n}" for n in range(entities)]
    homes = [keys[slice_of(entity_id, slices)] for entity_id in ids]
    for n in range(events):
        entity_id, home = ids[n % entities], homes[n % entities]
        if len(packed[home]) == per_commit:
            append()
        last[entity_id] += 1
        record = Record(
            EVENT, entity_id, last[entity_id], manifest, payload, tuple(tags_of(n)),
            f"0123456789ab-{n}", b"\1",
        )  # fmt: skip
        packed[home].append((entity_id, pack_record(record)))
    append()
    journal.close()
    return dict(last)


@dataclass(frozen=True, slots=True)
class AddMany:
    """`times` events of one command."""

    times: int


class Kept(Account):
    """The same entities, writing a snapshot at exactly one of these lengths of their history."""

    snapshots = (100, 10_000)

    def receiveMsg_AddMany(self, command: AddMany, sender: Any) -> None:
        self.persist([Added(TEXT, 1)] * command.times)

    def snapshot_when(self, state: Any, event: Any, seq_nr: int) -> bool:
        return seq_nr in self.snapshots


def fill(
    url: str, entities: int, others: int, short: int, long: int, tail: int
) -> tuple[list[str], list[str]]:
    """One slice with `entities` accounts of short + tail events and as many of long + tail, each
    with a snapshot `tail` events before its end, and `others` records of other accounts evenly
    among all of them. Returns the ids of both.

    The last `tail` events of each were a command each, the rest came AT_ONCE to a command.
    """
    must_equal("lengths with a snapshot", Kept.snapshots, (short, long))
    journal = open_journal(url)
    shorts = [f"short-{n}" for n in range(entities)]
    longs = [f"long-{n}" for n in range(entities)]
    writer = Writer(journal, 1, Kept)
    many, one = AddMany(AT_ONCE), Add(TEXT, 1)
    strangers = _rounds([f"other-{n}" for n in range(1000)], many, others // AT_ONCE)
    before = _rounds(shorts, many, entities * short // AT_ONCE)
    before += _rounds(longs, many, entities * long // AT_ONCE)
    after = _rounds(shorts + longs, one, 2 * entities * tail)
    half = len(strangers) // 2
    writer.write(_mixed(before, strangers[:half]), 2000 // AT_ONCE)
    writer.write(_mixed(after, strangers[half:]), PER_COMMIT // AT_ONCE)
    records = entities * (short + long + 2 * tail) + len(strangers) * AT_ONCE
    must_equal("records written", records, writer.durable)
    writer.close()
    journal.close()
    return shorts, longs


Commands = list[tuple[str, Any]]


def _rounds(ids: list[str], message: Any, count: int) -> Commands:
    """`count` commands in all, round-robin."""
    return [(ids[n % len(ids)], message) for n in range(count)]


def _mixed(some: Commands, others: Commands) -> Iterator[tuple[str, Any]]:
    """All of both, each in its order, evenly among each other."""
    taken = 0
    for n, one in enumerate(some, 1):
        yield one
        until = len(others) * n // len(some)
        yield from others[taken:until]
        taken = until
