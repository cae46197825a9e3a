"""What the verbs that delete from a log share: who is waited for, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from thespian_dc.cli.numbers import AMOUNT
from thespian_dc.cli.output import json_line, print_rows
from thespian_dc.projection.api import CONSUMER_DAYS, Trimmed

F = TypeVar("F", bound=Callable[..., Any])

TRIMMED = ("slice", "before", "after", "head", "held_by")

_OPTIONS = (
    click.option(
        "--without", metavar="NAME", multiple=True,
        help="Do not wait for this replica or consumer, by the name shown.",
    ),
    click.option(
        "--projection", "projections", metavar="SERVICE/NAME=URL", multiple=True,
        help="Where a projection keeps its positions, which then count.",
    ),
    click.option(
        "--consumer-days", metavar="DAYS", type=AMOUNT, default=CONSUMER_DAYS,
        show_default=True, help="Who did not begin to read for so long counts no more.",
    ),
    click.option("--dry-run", is_flag=True, help="Delete nothing, say what would be."),
)  # fmt: skip


def waiting_options(function: F) -> F:
    """`--without`, `--projection`, `--consumer-days` and `--dry-run`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def urls_of(projections: Iterable[str]) -> dict[str, str]:
    """Of `--projection`: "service/name" -> URL. UsageError."""
    pairs = [one.partition("=") for one in projections]
    if not all(equals for _, equals, _ in pairs):
        raise click.UsageError("--projection is SERVICE/NAME=URL")
    return {name: url for name, _, url in pairs}


def print_trimmed(rows: Iterable[Trimmed], as_json: bool) -> None:
    """A line per slice."""
    if as_json:
        for row in rows:
            held = [{"by": one.by, "offset": one.offset} for one in row.held]
            click.echo(json_line({**row._asdict(), "held": held}))
        return
    held_by = ({**row._asdict(), "held_by": row.held[0].by if row.held else ""} for row in rows)
    print_rows(TRIMMED, ({c: row[c] for c in TRIMMED} for row in held_by), False)
