"""`thespian-dc stream-filter`: what a stream shows at all, changed while it is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from thespian_dc.cli.filters import ONE, expected_option
from thespian_dc.cli.journals import journal_option, json_option, opened
from thespian_dc.cli.output import json_line, print_rows, safe
from thespian_dc.model.criteria import Criteria, Filter, plain_of
from thespian_dc.stream.filter_registry import StreamFilter, set_stream_filter, stored_filters

F = TypeVar("F", bound=Callable[..., Any])

COLUMNS = ("stream", "version", "filter")
SIDES = ("exclude", "include")
_TEXTS = {
    "entity_ids": "of this entity",
    "regexes": "of entities whose whole id matches (RE2)",
    "tags": "with this tag",
    "topics": "of a topic, by an expression with + and #",
}


def side_options(function: F) -> F:
    """`--include-tag`, `--exclude-id` and the like, each as often as wanted."""
    for side in SIDES:
        for kind, one in ONE.items():
            verb = "Withhold" if side == "exclude" else "Show"
            function = click.option(
                f"--{side}-{one}", f"{side}_{kind}", metavar="TEXT", multiple=True,
                help=f"{verb} events {_TEXTS[kind]}.",
            )(function)  # fmt: skip
    return function


def filter_of(criteria: dict[str, tuple[str, ...]]) -> Filter:
    """What the options of `side_options` say; UsageError where they say nothing."""
    exclude, include = (
        Criteria(**{kind: criteria[f"{side}_{kind}"] for kind in ONE}) for side in SIDES
    )
    wanted = Filter(exclude, include)
    if not wanted:
        raise click.UsageError("say what to exclude or include, or use clear")
    return wanted


@click.group(name="stream-filter")
def stream_filter() -> None:
    """What streams show at all, whoever asks; exclude first, include overrides."""


@stream_filter.command(name="list")
@journal_option()
@json_option
def list_(url: str, as_json: bool) -> None:
    """Every stream that was ever served from this journal, and what is set for it."""
    with opened(url) as journal:
        stored = stored_filters(journal)
    rows = (_row(stream_id, stored.filter_of(stream_id)) for stream_id in sorted(stored.plain))
    if not as_json:
        rows = ({**row, "filter": _text(row["filter"])} for row in rows)
    print_rows(COLUMNS, rows, as_json)


@stream_filter.command(name="set")
@click.argument("stream")
@journal_option()
@side_options
@expected_option
@json_option
def set_(
    stream: str, url: str, expected: int | None, as_json: bool, **criteria: tuple[str, ...]
) -> None:
    """Show this instead of what the stream's settings say; includes alone show nothing else.

    A filter function in the settings always applies too. Producers obey within about a second.
    """
    wanted = filter_of(criteria)
    _change(stream, url, wanted, expected, as_json)


@stream_filter.command()
@click.argument("stream")
@journal_option()
@expected_option
@json_option
def clear(stream: str, url: str, expected: int | None, as_json: bool) -> None:
    """Show again what the stream's settings say."""
    _change(stream, url, None, expected, as_json)


def _change(
    stream: str, url: str, wanted: Filter | None, expected: int | None, as_json: bool
) -> None:
    with opened(url) as journal:
        changed = set_stream_filter(journal, stream, wanted, expected)
    row = _row(stream, changed)
    if as_json:
        click.echo(json_line(row))
    else:
        click.echo(f"{safe(stream)}: {_text(row['filter'])} (version {changed.version})")


def _row(stream_id: str, found: StreamFilter) -> dict[str, Any]:
    plain = None if found.filter is None else plain_of(found.filter)
    return {"stream": stream_id, "version": found.version, "filter": plain}


def _text(plain: dict[str, Any] | None) -> str:
    return "as its settings say" if plain is None else json_line(plain)
