"""`thespian-dc events`: what is in a journal, without the classes it was written from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import click

from thespian_dc.cli.journals import journal_option, json_option, opened, slice_keys, trimmed_to
from thespian_dc.cli.numbers import COUNT, FROM_ONE
from thespian_dc.cli.output import json_line, safe, styled
from thespian_dc.cli.verify import DAMAGE, damage_line
from thespian_dc.codec.api import readable
from thespian_dc.journal.api import Found, Journal
from thespian_dc.model.errors import CorruptRecordError, GapError, TrimmedError
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.record import Commit, Record, entities_of, records_of, salvage

KINDS = ("event", "state", "control")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Line = tuple[SliceKey, Found]


@click.command()
@click.argument("entity_type", metavar="TYPE")
@click.argument("entity_id", metavar="[ENTITY_ID]", required=False)
@journal_option()
@click.option("--from", "from_seq_nr", metavar="SEQ", type=FROM_ONE,
              help="With ENTITY_ID: from this seq_nr on, inclusive.")  # fmt: skip
@click.option("--slice", "slice_", metavar="N", type=COUNT, help="Only this slice.")
@click.option("--offset", metavar="N", type=COUNT,
              help="With --slice: from this offset on, inclusive.")  # fmt: skip
@click.option("--limit", metavar="N", type=COUNT, help="At most this many.")
@json_option
@click.pass_context
def events(
    context: click.Context, entity_type: str, entity_id: str | None, url: str,
    from_seq_nr: int | None, slice_: int | None, offset: int | None, limit: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Print the records of one entity, of a slice, or of all slices one after the other.

    An entity's come in seq_nr order, a slice's in offset order, from the trim mark on. Damage is
    named on standard error, the rest goes on, and the exit code is 1.
    """
    if from_seq_nr is not None and entity_id is None:
        raise click.UsageError("--from counts an entity's records: give ENTITY_ID, or use --offset")
    if (slice_ is not None or offset is not None) and entity_id is not None:
        raise click.UsageError("--slice and --offset are of slices: leave ENTITY_ID out")
    if offset is not None and slice_ is None:
        raise click.UsageError("--offset counts within a slice: give --slice")
    damaged = False
    with opened(url) as journal:
        keys = slice_keys(journal, entity_type)
        if slice_ is not None and slice_ >= len(keys):
            raise click.UsageError(f"--slice {slice_}: {entity_type!r} has {len(keys)} slices")
        if entity_id is not None:
            lines = _of_entity(journal, len(keys), entity_type, entity_id, from_seq_nr or 1)
        else:
            chosen = keys if slice_ is None else [keys[slice_]]
            lines = (line for key in chosen for line in _of_slice(journal, key, offset))
        for line in islice(lines, limit):
            if isinstance(line, Exception):
                damaged = True
                click.echo(damage_line(line), err=True)
                continue
            click.echo(json_line(_fields(*line)) if as_json else _text(*line))
    if damaged:
        context.exit(1)


def _of_entity(
    journal: Journal, slices: int, entity_type: str, entity_id: str, from_seq_nr: int
) -> Iterator[Line | Exception]:
    key = SliceKey(entity_type, slice_of(entity_id, slices))
    try:
        for found in journal.read_entity(key, entity_id, from_seq_nr):
            yield key, found
    except TrimmedError:  # show what is left; where that begins only the log says
        for line in _of_slice(journal, key, None):
            if _concerns(line, entity_id, from_seq_nr):
                yield line
    except DAMAGE as damage:
        yield damage


def _concerns(line: Line | Exception, entity_id: str, from_seq_nr: int) -> bool:
    """Whether it is of this entity; damage of which nobody knows whose it is counts."""
    if isinstance(line, Exception):
        return getattr(line, "entity_id", "") in ("", entity_id)
    record = line[1].record
    return record.entity_id == entity_id and record.seq_nr >= from_seq_nr


def _of_slice(journal: Journal, key: SliceKey, offset: int | None) -> Iterator[Line | Exception]:
    """All records from the offset (None: the trim mark) on; damaged ones as what is wrong."""
    try:
        following = trimmed_to(journal, key) if offset is None else offset
        first = following
        while commits := journal.read(key, following):
            for commit in commits:
                items, following = _records(commit)
                for item in items:
                    if isinstance(item, Exception):
                        yield item
                    elif item[0] >= first:
                        yield key, Found(item[0], commit.time_us, item[1])
                if following != commit.end_offset:  # its count is damaged: look for the next anew
                    break
        head = journal.find_head(key).head
        if following < head:
            yield GapError(f"slice log {key}", head, following)
    except DAMAGE as damage:
        yield damage


def _records(commit: Commit) -> tuple[list[tuple[int, Record] | CorruptRecordError], int]:
    """A commit's records, or what is left of them, and the offset after them."""
    try:
        return list(enumerate(records_of(commit), commit.base_offset)), commit.end_offset
    except CorruptRecordError:
        left = list(salvage(commit))
    try:
        count = len(entities_of(commit))
    except Exception:  # noqa: BLE001  # any damage may raise anything here
        count = commit.count
    return left, commit.base_offset + max(count, 1)


def _fields(key: SliceKey, found: Found) -> dict[str, Any]:
    record = found.record
    return {
        "entity_type": key.entity_type,
        "entity_id": record.entity_id,
        "seq_nr": record.seq_nr,
        "slice": key.slice,
        "offset": found.offset,
        "timestamp_us": found.time_us,
        "kind": KINDS[record.kind] if 0 <= record.kind < len(KINDS) else record.kind,
        "manifest": record.manifest,
        "tags": list(record.tags),
        "command_id": record.command_id,
        "payload": readable(record.manifest, record.payload),
    }


def _text(key: SliceKey, found: Found) -> str:
    fields = _fields(key, found)
    kind = "" if fields["kind"] == "event" else f" {fields['kind']}"
    tags = f" tags={','.join(fields['tags'])}" if fields["tags"] else ""
    return " ".join(
        (
            styled(safe(f"{key}@{found.offset}"), dim=True),
            safe(time_of(found.time_us)),
            styled(safe(f"{found.record.entity_id}#{found.record.seq_nr}"), bold=True),
            safe(f"{found.record.manifest}{kind}{tags}"),
            json_line(fields["payload"]),
        )
    )


def time_of(time_us: int) -> str:
    """ISO 8601 in UTC; the bare number where no calendar has it."""
    try:
        return (_EPOCH + timedelta(microseconds=time_us)).isoformat(timespec="microseconds")
    except OverflowError:
        return f"{time_us}us"
