"""`thespian-dc destination-trim`: delete from a destination's log what all projections have."""

from __future__ import annotations

import click

from thespian_dc.cli.journals import journal_option, json_option, opened
from thespian_dc.cli.trimming import print_trimmed, urls_of, waiting_options
from thespian_dc.stream.destination_trimming import trim_destination


@click.command(name="destination-trim")
@click.argument("entity_type", metavar="TYPE")
@journal_option()
@waiting_options
@json_option
def destination_trim(
    entity_type: str, url: str, without: tuple[str, ...], projections: tuple[str, ...],
    consumer_days: float, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Delete from this journal what was pushed to TYPE and all projections have.

    What tells events that come again is stored first. The node may run.
    """
    where = urls_of(projections)
    with opened(url) as journal:
        rows = trim_destination(journal, entity_type, without, where, consumer_days, dry_run)
    print_trimmed(rows, as_json)
