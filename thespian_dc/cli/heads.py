"""`thespian-dc heads`: where each slice log stands and who may append to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from thespian_dc.cli.journals import journal_option, json_option, opened, slice_keys, trimmed_to
from thespian_dc.cli.output import print_rows
from thespian_dc.journal.api import Journal
from thespian_dc.model.ids import SliceKey

COLUMNS = ("entity_type", "slice", "head", "epoch", "trimmed", "owner", "claimed")


@click.command()
@journal_option()
@click.option("--type", "entity_type", metavar="TYPE", help="Only this entity type's slices.")
@json_option
def heads(url: str, entity_type: str | None, as_json: bool) -> None:
    """Show each slice's head, epoch, owner and trim mark.

    head: the offset of the next record. epoch: the one that may append. owner: the member that
    claimed the slice last, claimed: the epoch it got (higher than epoch while it takes over).
    trimmed: records below this offset are deleted.
    """
    with opened(url) as journal:
        print_rows(COLUMNS, _rows(journal, slice_keys(journal, entity_type)), as_json)


def _rows(journal: Journal, keys: Iterable[SliceKey]) -> Iterator[dict[str, Any]]:
    for key in keys:
        if key.slice == 0:
            owners = journal.owners(key.entity_type)
        at, owner = journal.find_head(key), owners.get(key.slice)
        yield {
            "entity_type": key.entity_type,
            "slice": key.slice,
            "head": at.head,
            "epoch": at.epoch,
            "trimmed": trimmed_to(journal, key) if at.head else 0,
            "owner": owner.member_id if owner else None,
            "claimed": owner.epoch if owner else 0,
        }
