"""`thespian-dc filters`: which events a projection wants, changed while it runs or while it does
not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from thespian_dc.cli.journals import json_option
from thespian_dc.cli.numbers import COUNT, FROM_ONE
from thespian_dc.cli.output import json_line, safe
from thespian_dc.cli.positions import name_argument, positions_option
from thespian_dc.model.criteria import Criteria, Exclude, Filter, VersionedFilter, plain_of
from thespian_dc.projection.api import Projections

F = TypeVar("F", bound=Callable[..., Any])

ONE = {"entity_ids": "id", "regexes": "regex", "tags": "tag", "topics": "topic"}

expected_option = click.option(
    "--expected", metavar="VERSION", type=COUNT,
    help="Only if this is the filter's version now.",
)  # fmt: skip
events_only_option = click.option(
    "--events-only", is_flag=True,
    help="Tags and topics select single events; nothing earlier of their entities comes first.",
)  # fmt: skip
all_option = click.option("--all", "everything", is_flag=True, help="Everything.")


def criteria_options(function: F) -> F:
    """`--id`, `--regex`, `--tag`, `--topic`, each as often as wanted."""
    for name, field, text in (
        ("--topic", "topics", "Entities by a topic expression with + and #."),
        ("--tag", "tags", "Entities by a tag of their events."),
        ("--regex", "regexes", "Entities whose whole id matches (RE2)."),
        ("--id", "entity_ids", "An entity by its id."),
    ):
        function = click.option(name, field, metavar="TEXT", multiple=True, help=text)(function)
    return function


@click.group()
def filters() -> None:
    """Which events a projection wants; exclude first, include overrides."""


@filters.command()
@name_argument
@positions_option
@json_option
def show(projection: str, url: str, as_json: bool) -> None:
    """The filter and its version."""
    _print(projection, Projections(url).filter(projection), as_json)


@filters.command()
@name_argument
@positions_option
@criteria_options
@click.option("--from-seq-nr", metavar="N", type=FROM_ONE,
              help="Replay the ids given from this seq_nr on.")  # fmt: skip
@events_only_option
@expected_option
@json_option
def include(
    projection: str, url: str, from_seq_nr: int | None, events_only: bool, expected: int | None,
    as_json: bool, **criteria: tuple[str, ...],
) -> None:  # fmt: skip
    """Want these although they are excluded; earlier events of their entities come first."""
    wanted = Criteria(**criteria)
    starts = [(one, from_seq_nr) for one in wanted.entity_ids] if from_seq_nr else []
    if from_seq_nr and not starts:
        raise click.UsageError("--from-seq-nr is of ids: give --id")
    _add(projection, url, Filter(Criteria(), wanted, events_only, starts), expected, as_json)


@filters.command()
@name_argument
@positions_option
@criteria_options
@all_option
@events_only_option
@expected_option
@json_option
def exclude(
    projection: str, url: str, everything: bool, events_only: bool, expected: int | None,
    as_json: bool, **criteria: tuple[str, ...],
) -> None:  # fmt: skip
    """Do not want these, unless they are included."""
    unwanted = Filter(Criteria(**criteria), events_only=events_only)
    if everything:
        unwanted += Exclude.all()
    _add(projection, url, unwanted, expected, as_json)


@filters.command()
@name_argument
@click.argument("side", type=click.Choice(["include", "exclude"]))
@positions_option
@criteria_options
@all_option
@expected_option
@json_option
def remove(
    projection: str, side: str, url: str, everything: bool, expected: int | None, as_json: bool,
    **criteria: tuple[str, ...],
) -> None:  # fmt: skip
    """Take criteria out of one side; those that are not there change nothing."""
    given = Criteria(**criteria)
    if everything:
        given += Exclude.all().exclude
    _check_given(bool(given))
    less = Filter(include=given) if side == "include" else Filter(given)
    changed = Projections(url).remove_criteria(projection, less, expected)
    _print(projection, changed, as_json)


@filters.command()
@name_argument
@positions_option
@expected_option
@json_option
def clear(projection: str, url: str, expected: int | None, as_json: bool) -> None:
    """Want everything again."""
    _print(projection, Projections(url).set_filter(projection, Filter(), expected), as_json)


def _add(projection: str, url: str, more: Filter, expected: int | None, as_json: bool) -> None:
    _check_given(bool(more))
    _print(projection, Projections(url).add_criteria(projection, more, expected), as_json)


def _check_given(given: bool) -> None:
    if not given:
        raise click.UsageError("give --id, --regex, --tag or --topic")


def print_criteria(shown: Filter) -> None:
    """A line for each."""
    starts = dict(shown.from_seq_nrs)
    plain = plain_of(shown)
    for side in ("exclude", "include"):
        for kind, texts in plain.get(side, {}).items():
            for text in texts:
                start = starts.get(text) if side == "include" else None
                more = f" from seq_nr {start}" if start and kind == "entity_ids" else ""
                click.echo(safe(f"{side} {ONE[kind]} {text}{more}"))


def _print(projection: str, found: VersionedFilter, as_json: bool) -> None:
    if as_json:
        plain = plain_of(found.filter)
        click.echo(json_line({"projection": projection, "version": found.version, **plain}))
        return
    click.echo(safe(f"{projection}: filter version {found.version}"))
    if not found.filter:
        click.echo("everything passes")
    print_criteria(found.filter)
    if found.filter.events_only:
        click.echo("tags and topics select single events")
