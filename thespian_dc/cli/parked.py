"""`thespian-dc parked`: entities whose events wait because a handler raised at one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import msgpack

from thespian_dc.cli.events import time_of
from thespian_dc.cli.journals import json_option
from thespian_dc.cli.numbers import FROM_ONE
from thespian_dc.cli.output import json_line, print_rows, safe
from thespian_dc.cli.positions import name_argument, positions_option
from thespian_dc.codec.api import readable
from thespian_dc.model.handler_errors import UnknownParkedError
from thespian_dc.model.record import Record, shown_as
from thespian_dc.projection.api import Projections

LIST = ("entity_id", "slice", "seq_nr", "events", "size_bytes", "attempts", "parked", "wished",
        "cause")  # fmt: skip
PAGE = 100

id_argument = click.argument("entity_id", metavar="ENTITY_ID")
seq_nr_option = click.option(
    "--seq-nr", metavar="N", type=FROM_ONE, help="Only if this is its first event."
)


@click.group()
def parked() -> None:
    """Entities that wait because a handler raised at one of their events."""


@parked.command("list")
@name_argument
@positions_option
@json_option
def list_(projection: str, url: str, as_json: bool) -> None:
    """Which wait, for how many events, and what was raised at the first of them."""
    print_rows(LIST, _entities(Projections(url), projection), as_json)


@parked.command()
@name_argument
@id_argument
@positions_option
@json_option
def show(projection: str, entity_id: str, url: str, as_json: bool) -> None:
    """The stored events of one entity, in order."""
    found = False
    for event in _events(Projections(url), projection, entity_id):
        click.echo(json_line(event) if as_json else _text(event))
        found = True
    if not found:
        raise UnknownParkedError(projection, entity_id, 0, "nothing of it is parked")


@parked.command()
@name_argument
@id_argument
@positions_option
@seq_nr_option
@json_option
def retry(projection: str, entity_id: str, url: str, seq_nr: int | None, as_json: bool) -> None:
    """Hand its events over again, in order. A running worker begins within a moment."""
    Projections(url).retry_parked(projection, entity_id, seq_nr)
    _wished(projection, entity_id, "retry", as_json)


@parked.command()
@name_argument
@id_argument
@positions_option
@seq_nr_option
@json_option
def skip(projection: str, entity_id: str, url: str, seq_nr: int | None, as_json: bool) -> None:
    """Leave out its first event for good and hand over the others."""
    Projections(url).skip_parked(projection, entity_id, seq_nr)
    _wished(projection, entity_id, "skip", as_json)


def _wished(projection: str, entity_id: str, what: str, as_json: bool) -> None:
    if as_json:
        click.echo(json_line({"projection": projection, "entity_id": entity_id, "wished": what}))
    else:
        click.echo(safe(f"{what} of {entity_id} is wished; `parked list` shows what came of it"))


def _entities(manage: Projections, projection: str) -> Iterator[dict[str, Any]]:
    after = ""
    while page := manage.parked(projection, after, PAGE):
        for one in page:
            row = one._asdict()
            row["parked"] = time_of(row.pop("parked_us"))
            yield {column: row[column] for column in LIST}
        after = page[-1].entity_id


def _events(manage: Projections, projection: str, entity_id: str) -> Iterator[dict[str, Any]]:
    after = 0
    while page := manage.parked_events(projection, entity_id, after, PAGE):
        for one in page:
            manifest, tags, payload = _shown(one.record) if one.record else ("", [], None)
            yield {
                "slice": one.slice, "offset": one.offset, "entity_id": one.entity_id,
                "seq_nr": one.seq_nr, "timestamp_us": one.time_us, "manifest": manifest,
                "tags": tags, "payload": payload, "attempts": one.attempts, "cause": one.cause,
            }  # fmt: skip
        after = page[-1].seq_nr


def _shown(packed: bytes) -> tuple[str, list[str], Any]:
    """Manifest, tags and readable payload."""
    record = Record(*msgpack.unpackb(packed))
    manifest, payload = record.manifest, record.payload
    if record.kind:
        manifest, payload = shown_as(record.kind, manifest, payload, record.meta)
    return manifest, list(record.tags), readable(manifest, payload)


def _text(event: dict[str, Any]) -> str:
    cause = f"  {event['attempts']} tries: {event['cause']}" if event["cause"] else ""
    where = f"{event['slice']}@{event['offset']} {time_of(event['timestamp_us'])}"
    who = f"{event['entity_id']}#{event['seq_nr']} {event['manifest']}"
    return f"{safe(f'{where} {who}')} {json_line(event['payload'])}{safe(cause)}"
