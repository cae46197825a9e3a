"""`thespian-dc schema apply|check`: a server's tables are made here and by no running actor; an
embedded journal's are migrated here without a time limit."""

from __future__ import annotations

import click

from thespian_dc.cli.journals import journal_option, json_option
from thespian_dc.cli.output import json_line, safe
from thespian_dc.journal.api import Schema, apply_schema, check_schema, open_journal
from thespian_dc.model.errors import HomeDataCentreError, SchemaError
from thespian_dc.model.handler_errors import ConsumerSchemaError
from thespian_dc.projection.api import apply_positions_schema, check_positions_schema

NOTHING = "nothing to do: an embedded journal makes its tables by itself"


positions_option = click.option(
    "--positions",
    metavar="URL",
    help="In the place of --journal: a consumer's tables, cassandra://host[,host][:port]/keyspace.",
)


@click.group()
def schema() -> None:
    """Make or check the tables of a journal, or of a projection's positions, on a server."""


@schema.command()
@journal_option(required=False)
@positions_option
@json_option
def apply(url: str | None, positions: str | None, as_json: bool) -> None:
    """Make what is missing and change nothing that is there; one at a time.

    The first time it records the home data centre, and a journal's id and segment size, for ever.
    An embedded journal of an older version is migrated, however long it takes.
    """
    if positions is not None:
        found, centre = apply_positions_schema(positions)
        done = "unchanged" if found else "made"
        _print_positions(positions, done, f"home data centre {centre}", as_json)
        return
    url = _given(url)
    applied = apply_schema(url)
    if applied is not None:
        done = "unchanged" if applied.found == applied.version else "made"
        _print(url, done, applied, as_json)
        return
    try:
        check_schema(url)
    except SchemaError as differs:
        open_journal(url).close()
        _print_migrated(differs, as_json)
    else:
        _print_nothing(url, as_json)


@schema.command()
@journal_option(required=False)
@positions_option
@json_option
@click.pass_context
def check(context: click.Context, url: str | None, positions: str | None, as_json: bool) -> None:
    """Compare the tables with what this version needs. Exits with 1 where they do not fit."""
    try:
        if positions is not None:
            check_positions_schema(positions)
            _print_positions(positions, "fits", "", as_json)
            return
        url = _given(url)
        found = check_schema(url)
    except (SchemaError, ConsumerSchemaError, HomeDataCentreError) as error:
        if as_json:
            where = {"positions": positions} if positions else {"journal": url}
            click.echo(json_line({**where, "result": "differs", "message": str(error)}))
        else:
            click.echo(f"differs: {safe(str(error))}")
        context.exit(1)
    if found is None:
        _print_nothing(url, as_json)
    else:
        _print(url, "fits", found, as_json)


def _given(url: str | None) -> str:
    if url is None:
        raise click.UsageError("say --journal URL or --positions URL")
    return url


def _print_positions(url: str, result: str, facts: str, as_json: bool) -> None:
    if as_json:
        click.echo(json_line({"positions": url, "result": result, "facts": facts}))
    else:
        click.echo(safe(f"{result}: positions {url} {facts}".rstrip()))


def _print(url: str, result: str, found: Schema, as_json: bool) -> None:
    if as_json:
        click.echo(json_line({"journal": url, "result": result, **found._asdict()}))
        return
    click.echo(
        safe(
            f"{result}: schema {found.version} of {url}, journal {found.journal_id}, home data "
            f"centre {found.home_dc}, {found.segment_records} records to a segment"
        )
    )


def _print_migrated(from_: SchemaError, as_json: bool) -> None:
    if as_json:
        fields = {"result": "migrated", "found": from_.found, "version": from_.wanted}
        click.echo(json_line({"journal": from_.where, **fields}))
        return
    click.echo(safe(f"migrated: schema {from_.found} of {from_.where} is {from_.wanted} now"))


def _print_nothing(url: str, as_json: bool) -> None:
    fields = {"journal": url, "result": "embedded", "message": NOTHING}
    click.echo(json_line(fields) if as_json else NOTHING)
