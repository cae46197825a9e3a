"""`thespian-dc stream tail`: look at another service's stream, without a position of one's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any

import click
import msgpack

from thespian_dc.cli.events import time_of
from thespian_dc.cli.filters import criteria_options, events_only_option
from thespian_dc.cli.journals import json_option
from thespian_dc.cli.numbers import FROM_ONE
from thespian_dc.cli.output import json_line, safe, styled
from thespian_dc.codec.api import readable
from thespian_dc.model.criteria import UNFILTERED, Criteria, Filter, VersionedFilter
from thespian_dc.model.position import START
from thespian_dc.model.record import CONTROL, Record, shown_as
from thespian_dc.model.settings import Remote, Tls
from thespian_dc.projection.api import Source, SourceBatch, SourceDescription, SourceEvents

LOOK_S = 0.2


@click.group()
def stream() -> None:
    """Look at the streams of other services."""


@stream.command()
@click.argument("target", metavar="HOST:PORT")
@click.argument("stream_id", metavar="STREAM")
@click.option("--from", "begin", type=click.Choice(["now", "beginning"]), default="now",
              show_default=True, help="Where to begin.")  # fmt: skip
@click.option("--since", metavar="TIME",
              help="Begin at the first event written then or later: ISO 8601, UTC.")  # fmt: skip
@criteria_options
@events_only_option
@click.option("--limit", metavar="N", type=FROM_ONE, help="End after so many events.")
@click.option("--tls-certificate", metavar="FILE", help="Ours, PEM; with the next two.")
@click.option("--tls-key", metavar="FILE", help="Its key.")
@click.option("--tls-authority", metavar="FILE", help="The CA of the producer's certificate.")
@click.option("--metadata", metavar="KEY=VALUE", multiple=True,
              help="Of the requests; file:PATH is what a file holds.")  # fmt: skip
@click.option("--plaintext-beyond-loopback", is_flag=True,
              help="Without TLS to another machine.")  # fmt: skip
@json_option
def tail(
    target: str, stream_id: str, begin: str, since: str | None, events_only: bool,
    limit: int | None, tls_certificate: str | None, tls_key: str | None,
    tls_authority: str | None, metadata: tuple[str, ...], plaintext_beyond_loopback: bool,
    as_json: bool,
    **criteria: tuple[str, ...],
) -> None:  # fmt: skip
    """Print the events of a stream as they come, until interrupted.

    With criteria only what they select. Nothing is stored: the next call begins anew.
    """
    from thespian_dc.stream.client import RemoteSource  # grpc: on use

    tls = None
    if tls_certificate and tls_key and tls_authority:
        tls = Tls(tls_certificate, tls_key, tls_authority)
    elif tls_certificate or tls_key or tls_authority:
        raise click.UsageError("--tls-certificate, --tls-key and --tls-authority go together")
    chosen = Filter(include=Criteria(**criteria), events_only=events_only).spelled_out()
    filter_ = VersionedFilter(1, chosen) if chosen else UNFILTERED
    if any("=" not in one for one in metadata):
        raise click.UsageError("--metadata is KEY=VALUE")
    carried = dict(one.split("=", 1) for one in metadata)
    remote = Remote(stream_id, target, tls, plaintext_beyond_loopback, metadata=carried)
    source = RemoteSource(remote, "stream tail", looks_on=True)
    logging.getLogger("thespian_dc").addHandler(logging.NullHandler())  # `_events` says it whole
    for count, event in enumerate(_events(source, begin, since, filter_), 1):
        click.echo(json_line(event) if as_json else _text(event))
        if count == limit:
            return


def _events(
    source: Source, begin: str, since: str | None, filter_: VersionedFilter
) -> Iterator[dict[str, Any]]:
    items: SimpleQueue[Any] = SimpleQueue()  # bounded by the source's credit
    if since is not None:
        positions = dict(source.positions_at(_time_us(since)).positions)
    else:
        positions = dict(source.heads().positions) if begin == "now" else {}
    source.start(
        "", positions, filter_, None, SourceEvents(items.put, items.put, _ignore, items.put)
    )
    entity_type, told = "", ""
    try:
        while True:
            try:
                item = items.get(timeout=LOOK_S)  # in pieces, so that an interrupt is heard
            except Empty:
                if source.trouble and source.trouble != told:
                    told = source.trouble
                    click.echo(f"nothing comes, and it is tried again: {safe(told)}", err=True)
                continue
            told = ""
            if isinstance(item, SourceDescription):
                entity_type = item.entity_type
            elif isinstance(item, SourceBatch):
                yield from _of_batch(item, entity_type, positions.get(item.slice, START).offset)
                source.handled(item)
            else:
                raise item
    finally:
        source.stop()


def _of_batch(batch: SourceBatch, entity_type: str, from_offset: int) -> Iterator[dict[str, Any]]:
    for commit in batch.commits:
        records = msgpack.unpackb(commit.body) if commit.body else []
        kept = commit.kept or range(len(records))
        for offset, fields in zip(kept, records, strict=True):
            record = Record(*fields)
            if record.kind == CONTROL or commit.first_offset + offset < from_offset:
                continue
            manifest, payload = record.manifest, record.payload
            if record.kind:
                manifest, payload = shown_as(record.kind, manifest, payload, record.meta)
            yield {
                "entity_type": entity_type, "entity_id": record.entity_id,
                "seq_nr": record.seq_nr, "slice": batch.slice,
                "offset": commit.first_offset + offset, "timestamp_us": commit.time_us,
                "manifest": manifest, "tags": list(record.tags),
                "payload": readable(manifest, payload),
            }  # fmt: skip


def _text(event: dict[str, Any]) -> str:
    tags = f" tags={','.join(event['tags'])}" if event["tags"] else ""
    return " ".join(
        (
            styled(safe(f"{event['entity_type']}/{event['slice']}@{event['offset']}"), dim=True),
            safe(time_of(event["timestamp_us"])),
            styled(safe(f"{event['entity_id']}#{event['seq_nr']}"), bold=True),
            safe(f"{event['manifest']}{tags}"),
            json_line(event["payload"]),
        )
    )


def _time_us(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"--since must be ISO 8601, not {text!r}") from error
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def _ignore(_: Any) -> None:
    """A filter is in force: what comes shows it."""
