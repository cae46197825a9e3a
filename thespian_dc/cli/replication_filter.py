"""`thespian-dc replication filter`: which entities a replica takes from its peers, and which ones
it shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from thespian_dc.cli.filters import (
    all_option,
    criteria_options,
    expected_option,
    print_criteria,
)
from thespian_dc.cli.journals import journal_option, json_option
from thespian_dc.cli.output import json_line, safe
from thespian_dc.model.criteria import Criteria, Exclude, Filter, VersionedFilter, plain_of
from thespian_dc.replication.management import Replicas

F = TypeVar("F", bound=Callable[..., Any])

shown_option = click.option(
    "--shown", is_flag=True, help="What this replica shows its peers, not what it takes of them."
)


def type_option(function: F) -> F:
    """`--type TYPE`."""
    return click.option(
        "--type", "entity_type", metavar="TYPE", required=True, help="The replicated entity type."
    )(function)


@click.group(name="filter")
def filter_() -> None:
    """Which entities this replica takes from its peers, or shows them; exclude first, include
    overrides."""


@filter_.command()
@type_option
@journal_option()
@shown_option
@json_option
def show(entity_type: str, url: str, shown: bool, as_json: bool) -> None:
    """The filter and its version."""
    _print_filter(entity_type, Replicas(url, entity_type).filter(shown=shown), shown, as_json)


@filter_.command()
@type_option
@journal_option()
@shown_option
@criteria_options
@expected_option
@json_option
def include(
    entity_type: str, url: str, shown: bool, expected: int | None, as_json: bool,
    **criteria: tuple[str, ...],
) -> None:  # fmt: skip
    """Take these although they are excluded; each is brought up to date first."""
    _add(entity_type, url, Filter(include=Criteria(**criteria)), shown, expected, as_json)


@filter_.command()
@type_option
@journal_option()
@shown_option
@criteria_options
@all_option
@expected_option
@json_option
def exclude(
    entity_type: str, url: str, shown: bool, everything: bool, expected: int | None, as_json: bool,
    **criteria: tuple[str, ...],
) -> None:  # fmt: skip
    """Do not take these, unless they are included; what is there of them stays."""
    unwanted = Filter(Criteria(**criteria))
    unwanted = unwanted + Exclude.all() if everything else unwanted
    _add(entity_type, url, unwanted, shown, expected, as_json)


@filter_.command()
@type_option
@journal_option()
@shown_option
@expected_option
@json_option
def clear(entity_type: str, url: str, shown: bool, expected: int | None, as_json: bool) -> None:
    """Take all entities."""
    found = Replicas(url, entity_type).set_filter(Filter(), expected, shown=shown)
    _print_filter(entity_type, found, shown, as_json)


def _add(
    entity_type: str, url: str, more: Filter, shown: bool, expected: int | None, as_json: bool
) -> None:
    if not more:
        raise click.UsageError("give --id, --regex, --tag or --topic")
    found = Replicas(url, entity_type).add_criteria(more, expected, shown=shown)
    _print_filter(entity_type, found, shown, as_json)


def _print_filter(entity_type: str, found: VersionedFilter, shown: bool, as_json: bool) -> None:
    end = "shown" if shown else "wanted"
    if as_json:
        plain = {"type": entity_type, "end": end, "version": found.version}
        click.echo(json_line({**plain, **plain_of(found.filter)}))
        return
    click.echo(safe(f"{entity_type}: {end} filter, version {found.version}"))
    if not found.filter:
        click.echo(f"all entities are {'shown' if shown else 'taken'}")
    print_criteria(found.filter)
