"""`thespian-dc destination-filter`: what a destination wants of the stream that is pushed to it,
changed while it comes."""

from __future__ import annotations

import click

from thespian_dc.cli.filters import expected_option
from thespian_dc.cli.journals import journal_option, json_option, opened
from thespian_dc.cli.output import json_line, safe
from thespian_dc.cli.stream_filter import filter_of, side_options
from thespian_dc.model.criteria import Filter, VersionedFilter, plain_of
from thespian_dc.stream.destination_filters import destination_filter as read_filter
from thespian_dc.stream.destination_filters import set_destination_filter


@click.group(name="destination-filter")
def destination_filter() -> None:
    """What is wanted of a stream that is pushed here; exclude first, include overrides."""


@destination_filter.command()
@click.argument("stream")
@journal_option()
@json_option
def show(stream: str, url: str, as_json: bool) -> None:
    """The filter that is wanted now. The journal is the receiving node's."""
    with opened(url) as journal:
        _print(stream, read_filter(journal, stream), as_json)


@destination_filter.command(name="set")
@click.argument("stream")
@journal_option()
@side_options
@expected_option
@json_option
def set_(
    stream: str, url: str, expected: int | None, as_json: bool, **criteria: tuple[str, ...]
) -> None:
    """Want this and nothing else; includes alone let through only what they include.

    Tags and topics select single events. What is let in later comes whole. Producers that push
    now are told within a second.
    """
    wanted = filter_of(criteria)
    with opened(url) as journal:
        _print(stream, set_destination_filter(journal, stream, wanted, expected), as_json)


@destination_filter.command()
@click.argument("stream")
@journal_option()
@expected_option
@json_option
def clear(stream: str, url: str, expected: int | None, as_json: bool) -> None:
    """Want everything."""
    with opened(url) as journal:
        _print(stream, set_destination_filter(journal, stream, Filter(), expected), as_json)


def _print(stream: str, found: VersionedFilter, as_json: bool) -> None:
    plain = plain_of(found.filter)
    if as_json:
        row = {"stream": stream, "version": found.version, "filter": plain}
        click.echo(json_line(row))
    else:
        text = json_line(plain) if plain else "everything"
        click.echo(f"{safe(stream)}: {text} (version {found.version})")
