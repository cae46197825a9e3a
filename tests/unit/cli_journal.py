"""A journal with a little in it, written through the real backend, for tests of the command."""

from __future__ import annotations

import sqlite3
import uuid
from dataclasses import dataclass
from pathlib import Path

from thespian_dc.codec.api import Registered, Registry
from thespian_dc.journal.api import Outcome, append_wait, open_journal
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.record import EVENT, Record, make_commit, pack_record

SLICES = 4
TIME_US = 1_700_000_000_000_000
ESCAPES = "\x1b[31mred\x07\u202e\u2028\x9b2J"


@dataclass(frozen=True)
class Added:
    sku: str
    photo: bytes = b""


@dataclass(frozen=True)
class Noted:
    text: str


REGISTRY = Registry([Added, Registered(Noted, encoding="json")])


def fill(url: str, events: list[tuple[str, object]], time_us: int = TIME_US) -> None:
    """Claim all slices and append the events, one commit each, a second apart."""
    journal = open_journal(url)
    try:
        journal.slices("cart", SLICES)
        heads, epochs = {}, {}
        for key in (SliceKey("cart", number) for number in range(SLICES)):
            epochs[key] = journal.claim(key, "member-1", uuid.uuid4().bytes).epoch
            heads[key] = journal.find_head(key).head
            assert journal.install(key, heads[key], epochs[key])
        seq_nrs: dict[str, int] = {}
        for index, (entity_id, event) in enumerate(events):
            seq_nrs[entity_id] = seq_nrs.get(entity_id, 0) + 1
            manifest, payload = (
                event if isinstance(event, tuple) else REGISTRY.encode(event)
            )  # fmt: skip
            record = Record(EVENT, entity_id, seq_nrs[entity_id], manifest, payload, ("large",))
            key = SliceKey("cart", slice_of(entity_id, SLICES))
            commit = make_commit(
                key, heads[key], uuid.uuid4().bytes, epochs[key], time_us + index * 1_000_000,
                [(entity_id, pack_record(record))],
            )  # fmt: skip
            (answer,) = append_wait(journal, [commit])
            assert answer.outcome is Outcome.DONE
            heads[key] = commit.end_offset
    finally:
        journal.close()


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'shop.db'}"


def damage(url: str, entity_id: str, nth: int) -> tuple[int, int]:
    """Flip a bit of a commit's body in the entity's slice; its (slice, base offset)."""
    number = slice_of(entity_id, SLICES)
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        base, body = connection.execute(
            "select c.base_offset, c.body from commits c join slice s on s.id = c.slice"
            " where s.slice = ? order by c.base_offset limit 1 offset ?",
            (number, nth),
        ).fetchone()
        broken = bytes([*body[:-1], body[-1] ^ 1])
        connection.execute(
            "update commits set body = ? where base_offset = ? and slice ="
            " (select id from slice where slice = ?)",
            (broken, base, number),
        )
    connection.close()
    return number, base
