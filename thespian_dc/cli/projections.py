"""`thespian-dc projections`: look after the projections of a consumer's database."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import click

from thespian_dc.cli.journals import json_option
from thespian_dc.cli.numbers import COUNT
from thespian_dc.cli.output import is_terminal, json_line, print_rows, safe
from thespian_dc.cli.positions import (
    fields_of,
    line_of,
    name_argument,
    positions_option,
    timeout_option,
)
from thespian_dc.projection.api import Progress, Projections, ProjectionView, progress

LIST = ("projection", "phase", "lag", "workers", "error")
POSITIONS = ("slice", "offset", "head", "lag")
WORKERS = ("worker", "pid", "health", "slices", "events", "restarts", "error")
LOOK_S, LINE_S = 0.5, 2.0
TROUBLE = ("failing", "halted", "stuck")

slice_option = click.option(
    "--slice", "slice_", metavar="N", type=COUNT, required=True, help="Which slice."
)
offset_option = click.option(
    "--offset", metavar="N", type=COUNT, required=True, help="An offset in it."
)
follow_option = click.option(
    "--follow", "-f", is_flag=True, help="Go on showing progress: until nothing waits any more."
)


@click.group()
def projections() -> None:
    """Look after the projections of a consumer's database."""


@projections.command("list")
@positions_option
@json_option
def list_(url: str, as_json: bool) -> None:
    """All that ever ran there."""
    manage = Projections(url)
    rows = []
    for name in manage.names():
        fields = fields_of(manage.status(name))
        living = [one for one in fields["workers"] if one["health"] != "dead"]
        error = next((one["error"] for one in living if one["error"]), "")
        rows.append({**fields, "workers": len(living), "error": error})
    print_rows(LIST, ({column: row[column] for column in LIST} for row in rows), as_json)


@projections.command()
@name_argument
@positions_option
@follow_option
@json_option
@click.pass_context
def status(
    context: click.Context, projection: str, url: str, follow: bool, as_json: bool
) -> None:  # fmt: skip
    """What it does, where it stands, who works on it. Exits with 1 where it fails, halted or is
    stuck."""
    manage = Projections(url)
    view = manage.status(projection)
    if follow:
        view = _follow(manage, view, as_json)
    elif as_json:
        click.echo(json_line(fields_of(view)))
    else:
        _print(view)
    context.exit(1 if view.phase in TROUBLE else 0)


@projections.command()
@name_argument
@positions_option
@timeout_option(10.0)
@json_option
def pause(projection: str, url: str, timeout_s: float, as_json: bool) -> None:
    """Handle nothing more until `resume`, also after restarts. Waits until no worker has an event
    in its hands."""
    _print_line(Projections(url).pause(projection, timeout_s), as_json)


@projections.command()
@name_argument
@positions_option
@timeout_option(10.0)
@json_option
def resume(projection: str, url: str, timeout_s: float, as_json: bool) -> None:
    """Go on from the stored positions."""
    _print_line(Projections(url).resume(projection, timeout_s), as_json)


@projections.group()
def position() -> None:
    """Show or change where a projection stands."""


@position.command()
@name_argument
@positions_option
@json_option
def get(projection: str, url: str, as_json: bool) -> None:
    """The stored offset of each slice, and its head as last known."""
    rows = fields_of(Projections(url).status(projection))["slices"]
    print_rows(POSITIONS, ({column: row[column] for column in POSITIONS} for row in rows), as_json)


@position.command("set")
@name_argument
@positions_option
@slice_option
@offset_option
@click.option("--expected", metavar="N", type=COUNT,
              help="Only if it stands there now.")  # fmt: skip
@timeout_option(10.0)
@json_option
def set_(
    projection: str, url: str, slice_: int, offset: int, expected: int | None, timeout_s: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Let a slice go on at an offset: back, and events are handled again; ahead, and they never
    are."""
    manage = Projections(url)
    manage.set_position(projection, slice_, offset, expected, timeout_s)
    _done(f"slice {slice_} of {projection} goes on at {offset}", as_json,
          projection=projection, slice=slice_, offset=offset)  # fmt: skip


@projections.command()
@name_argument
@positions_option
@slice_option
@offset_option
@timeout_option(10.0)
@json_option
def skip(
    projection: str, url: str, slice_: int, offset: int, timeout_s: float, as_json: bool
) -> None:
    """Leave out the event at this offset, where the slice must stand now."""
    Projections(url).skip(projection, slice_, offset, timeout_s)
    _done(f"the event at {offset} of slice {slice_} is left out", as_json,
          projection=projection, slice=slice_, skipped=offset)  # fmt: skip


@projections.command()
@name_argument
@positions_option
@timeout_option(10.0)
@follow_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def rebuild(
    projection: str, url: str, timeout_s: float, follow: bool, yes: bool, as_json: bool
) -> None:
    """Delete what the projection wrote, by its handler's `rebuild`, and handle all events again."""
    manage = Projections(url)
    manage.status(projection)
    if not yes and is_terminal():
        click.confirm(f"Delete all that {safe(projection)} wrote?", abort=True)
    view = manage.rebuild(projection, timeout_s)
    if follow:
        _follow(manage, view, as_json)
    else:
        _print_line(view, as_json)


@projections.command()
@name_argument
@click.argument("workers", metavar="WORKERS")
@positions_option
@json_option
def rescale(projection: str, workers: str, url: str, as_json: bool) -> None:
    """Run so many WORKERS in each node of the projection; `settings`: as many as its settings
    say."""
    if workers != "settings" and not workers.isdigit():
        raise click.UsageError(f"WORKERS must be a number or 'settings', not {workers!r}")
    wished = None if workers == "settings" else int(workers)
    _print_line(Projections(url).rescale(projection, wished), as_json)


# --- showing ---


def _print(view: ProjectionView) -> None:
    click.echo(line_of(view))
    fields = fields_of(view)
    print_rows(POSITIONS, ({c: row[c] for c in POSITIONS} for row in fields["slices"]), False)
    workers = [
        {**one, "slices": ",".join(map(str, one["slices"]))} for one in fields["workers"]
    ]  # fmt: skip
    print_rows(WORKERS, ({column: row[column] for column in WORKERS} for row in workers), False)


def _print_line(view: ProjectionView, as_json: bool) -> None:
    click.echo(json_line(fields_of(view)) if as_json else line_of(view))


def _done(said: str, as_json: bool, **fields: Any) -> None:
    click.echo(json_line({**fields, "done": True}) if as_json else safe(said))


def _follow(manage: Projections, first: ProjectionView, as_json: bool) -> ProjectionView:
    """Show progress until nothing waits: one line that changes on a terminal, a line every two
    seconds elsewhere. Returns the last view."""
    live = is_terminal() and not as_json
    before, before_s, shown_s = first, time.monotonic(), 0.0
    view, seen = first, None
    while True:
        over = view.phase in ("stopped", "halted") or (
            view.phase == "running" and not view.lag and seen is not None
        )
        if live or over or time.monotonic() - shown_s >= LINE_S:
            shown_s = time.monotonic()
            _show(view, seen, as_json, live)
        if over:
            if live:
                click.echo()
            return view
        time.sleep(LOOK_S)
        view = manage.status(view.projection)
        now_s = time.monotonic()
        seen = progress(before, view, now_s - before_s)
        if now_s - before_s > 4 * LOOK_S:
            before, before_s = view, now_s


def _show(view: ProjectionView, seen: Progress | None, as_json: bool, live: bool) -> None:
    if as_json:
        click.echo(json_line({**fields_of(view), "progress": asdict(seen) if seen else None}))
    elif live:
        click.echo(f"\r\x1b[K{line_of(view, seen)}", nl=False)
    else:
        click.echo(line_of(view, seen))
