"""`thespian-dc verify`: read everything in a journal and name what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from thespian_dc.cli.journals import journal_option, json_option, opened, slice_keys, trimmed_to
from thespian_dc.cli.output import json_line, safe, styled
from thespian_dc.journal.api import Journal
from thespian_dc.model.errors import (
    CorruptJournalError,
    CorruptRecordError,
    GapError,
    JournalDivergedError,
)

DAMAGE = (CorruptJournalError, CorruptRecordError, GapError, JournalDivergedError)


@click.command()
@journal_option()
@click.option("--type", "entity_type", metavar="TYPE", help="Only this entity type's slices.")
@json_option
@click.pass_context
def verify(context: click.Context, url: str, entity_type: str | None, as_json: bool) -> None:
    """Read a whole journal: every checksum, offset, seq_nr, index row and snapshot.

    Prints each damage with its place, then what was read. Exits with 1 where there is any.
    """
    damaged = 0
    with opened(url) as journal:
        for fault in _faults(journal, entity_type):
            damaged += 1
            click.echo(json_line(described(fault)) if as_json else damage_line(fault))
        slices, records = _counted(journal, entity_type)
    found = {"kind": "summary", "damaged": damaged, "slices": slices, "records": records}
    if as_json:
        click.echo(json_line(found))
    else:
        verdict = f"{damaged} damaged" if damaged else "sound"
        click.echo(f"{styled(verdict, fg=_colour(damaged))}: {slices} slices, {records} records")
    if damaged:
        context.exit(1)


def described(fault: Exception) -> dict[str, Any]:
    """A damage as fields: its error's name and text, and where it is."""
    return {
        "kind": "damage",
        "error": type(fault).__name__,
        "message": str(fault),
        **{name: value for name, value in vars(fault).items() if not name.startswith("_")},
    }


def damage_line(fault: Exception) -> str:
    """A damage as one line of text."""
    return f"{styled('damage', fg='red')}: {type(fault).__name__}: {safe(str(fault))}"


def _faults(journal: Journal, entity_type: str | None) -> Iterator[Exception]:
    """What `verify` returns, and what it raises where damage keeps it from going on."""
    try:
        if entity_type is not None:
            slice_keys(journal, entity_type)  # a type that is not there is not sound, it is a typo
        yield from journal.verify(entity_type)
    except DAMAGE as fault:
        yield fault


def _counted(journal: Journal, entity_type: str | None) -> tuple[int, int]:
    """(slices, records) as far as they can be read; what cannot was named before."""
    slices, records = 0, 0
    try:
        keys = slice_keys(journal, entity_type)
    except DAMAGE:
        return 0, 0
    for key in keys:
        try:
            records += journal.find_head(key).head - trimmed_to(journal, key)
            slices += 1
        except DAMAGE:
            continue
    return slices, records


def _colour(damaged: int) -> str:
    return "red" if damaged else "green"
