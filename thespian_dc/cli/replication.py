"""`thespian-dc replication`: look after the replicas of this journal's entity types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from thespian_dc.cli.journals import journal_option, json_option, opened
from thespian_dc.cli.numbers import AMOUNT
from thespian_dc.cli.output import is_terminal, json_line, print_rows, safe, styled
from thespian_dc.cli.replication_filter import filter_, type_option
from thespian_dc.cli.trimming import print_trimmed, urls_of, waiting_options
from thespian_dc.replication.catch_up import Behind
from thespian_dc.replication.management import Replicas, ReplicaView, all_types, view_of
from thespian_dc.shell.clock import now_us

F = TypeVar("F", bound=Callable[..., Any])

LINKS = ("peer", "state", "lag", "waiting", "coming_in", "joining", "taken", "node", "error")
SLICES = ("peer", "slice", "offset", "head", "lag")
WAITS = ("peer", "slice", "entity", "for_s", "waits_for", "error")
FAILED = ("failed", "for_s", "why")
LISTED = ("time_us", "what", "entity", "origin", "n", "epoch", "text")
BEHIND = ("replica", "behind", "reason")
TROUBLE = ("failed", "down")


def timeout_option(default: float) -> Callable[[F], F]:
    """`--timeout SECONDS`."""
    return click.option(
        "--timeout", "timeout_s", metavar="SECONDS", type=AMOUNT, default=default,
        show_default=True, help="How long to wait for it.",
    )  # fmt: skip


@click.group()
def replication() -> None:
    """Look after the replicas of this journal's entity types."""


replication.add_command(filter_)


@replication.command()
@click.option("--type", "entity_type", metavar="TYPE", help="One type only.")
@click.option("--slices", "by_slice", is_flag=True, help="Positions slice by slice, too.")
@click.option("--listed", "with_listed", is_flag=True, help="What was listed, too.")
@journal_option()
@json_option
@click.pass_context
def status(
    context: click.Context, entity_type: str | None, by_slice: bool, with_listed: bool, url: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Roles, links, lag, what a cursor waits for and since when, what went wrong.

    Exits with 1 where the node does not run, a link does not work, an entity holds a cursor or
    takes no commands, or the replica takes none although it should.
    """
    with opened(url) as journal:
        types = [entity_type] if entity_type else all_types(url)
        views = [view_of(journal, one) for one in types]
    for view in views:
        if as_json:
            click.echo(json_line(fields_of(view)))
        else:
            _print(view, by_slice, with_listed)
    context.exit(1 if any(_is_in_trouble(view) for view in views) else 0)


@replication.command()
@type_option
@journal_option()
@timeout_option(30.0)
@click.option("--force", is_flag=True,
              help="Go on without what cannot be had in time: history may fork.")  # fmt: skip
@json_option
def promote(entity_type: str, url: str, timeout_s: float, force: bool, as_json: bool) -> None:
    """Make this journal's replica the active one, once it has all that its peers have."""
    promoted = Replicas(url, entity_type).promote(timeout_s, force)
    rows = [_behind_row(peer, one) for peer, one in sorted(promoted.behind.items())]
    if as_json:
        click.echo(json_line({"type": entity_type, "epoch": promoted.epoch, "behind": rows}))
        return
    click.echo(safe(f"{entity_type}: active, epoch {promoted.epoch}"))
    print_rows(BEHIND, rows, False)


@replication.command()
@type_option
@journal_option()
@timeout_option(10.0)
@json_option
def demote(entity_type: str, url: str, timeout_s: float, as_json: bool) -> None:
    """Let this journal's replica, the active one, stand by; nobody is active until one is
    promoted."""
    epoch = Replicas(url, entity_type).demote(timeout_s)
    if as_json:
        click.echo(json_line({"type": entity_type, "epoch": epoch}))
    else:
        click.echo(safe(f"{entity_type}: nobody is active, epoch {epoch}"))


@replication.command()
@type_option
@journal_option()
@timeout_option(10.0)
@json_option
def resume(entity_type: str, url: str, timeout_s: float, as_json: bool) -> None:
    """Take commands although the peers that know what a restored journal lost are gone: history
    may fork when they come back."""
    Replicas(url, entity_type).resume(timeout_s)
    said = f"{entity_type}: no longer recovering"
    click.echo(json_line({"type": entity_type, "resumed": True}) if as_json else safe(said))


@replication.command()
@click.argument("replica", metavar="REPLICA")
@type_option
@journal_option()
@timeout_option(60.0)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_context
def retire(
    context: click.Context, replica: str, entity_type: str, url: str, timeout_s: float, yes: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Let another REPLICA leave for good, as far as this one goes: say it at each of those that
    stay. Its id is never taken again. Exits with 1 where it still goes on when the time is over."""
    if not yes and is_terminal():
        click.confirm(f"Take nothing from {safe(replica)} any more, for ever?", abort=True)
    waits = Replicas(url, entity_type).retire(replica, timeout_s)
    if as_json:
        click.echo(json_line({"type": entity_type, "replica": replica, "waits_for": waits}))
    elif waits:
        rows = [{"replica": one, "state": text} for one, text in sorted(waits.items())]
        print_rows(("replica", "state"), rows, False)
    else:
        click.echo(safe(f"{replica} is retired"))
    context.exit(1 if waits else 0)


@replication.command()
@type_option
@journal_option()
@waiting_options
@timeout_option(30.0)
@json_option
def trim(
    entity_type: str, url: str, without: tuple[str, ...], projections: tuple[str, ...],
    consumer_days: float, dry_run: bool, timeout_s: float, as_json: bool,
) -> None:  # fmt: skip
    """Delete from this journal what all replicas and projections have and stored states contain.

    States that are lacking are stored by the node's hosts first, where it runs.
    """
    where = urls_of(projections)
    rows = Replicas(url, entity_type).trim(without, where, consumer_days, dry_run, timeout_s)
    print_trimmed(rows, as_json)


# --- showing ---


def fields_of(view: ReplicaView) -> dict[str, Any]:
    """For --json."""
    roles = view.roles
    return {
        "type": view.entity_type,
        "replica": roles.replica_id,
        "group": list(view.group),
        "lives": view.lives,
        "one_active": roles.one_active,
        "epoch": roles.epoch,
        "active": roles.active,
        "is_active": roles.is_active and not roles.closed,
        "closed": roles.closed,
        "step": view.step,
        "generation": roles.generation,
        "lacks": dict(view.lacks),
        "retiring": {one: dict(waits) for one, waits in view.retiring.items()},
        "retired": sorted(roles.retired),
        "links": _links(view),
        "waits": _waits(view),
        "failed": _failed(view),
        "listed": view.listed.total,
        "listed_newest": [_listed_row(*one) for one in view.listed.newest],
        "wishes": [wish._asdict() for wish in view.wishes],
    }


def line_of(view: ReplicaView) -> str:
    """One line: what it is and what it does."""
    roles = view.roles
    said = styled("runs", fg="green") if view.lives else styled("does not run", fg="red")
    parts = [safe(f"{view.entity_type}: replica {roles.replica_id}"), said]
    if roles.closed:
        parts.append(f"takes no commands: {roles.closed}")
    elif not roles.one_active:
        parts.append("all replicas are active")
    elif roles.is_active:
        parts.append(f"active, epoch {roles.epoch}")
    else:
        active = f"{roles.active} is active" if roles.active else "nobody is active"
        parts.append(safe(f"stands by; {active}, epoch {roles.epoch}"))
    if view.step:
        parts.append(f"promotion: {view.step}")
    if roles.generation:
        parts.append(f"generation {roles.generation}")
    return "  ".join(parts)


def _print(view: ReplicaView, by_slice: bool, with_listed: bool) -> None:
    click.echo(line_of(view))
    for peer, text in sorted(view.lacks.items()):
        click.echo(safe(f"recovering: of {peer}: {text}"))
    for replica, waits in view.retiring.items():
        for peer, text in waits.items():
            click.echo(safe(f"retiring {replica}: {peer} {text}"))
    if view.roles.retired:
        click.echo(safe(f"retired: {', '.join(sorted(view.roles.retired))}"))
    links = _links(view)
    for one in links:
        if one["relayed_by"]:
            relays = ", ".join(one["relayed_by"])
            click.echo(safe(f"shown: {one['peer']} withholds what is shown by {relays}"))
    print_rows(LINKS, [{c: one[c] for c in LINKS} for one in links], False)
    if by_slice:
        print_rows(SLICES, [row for one in _links(view) for row in one["slices"]], False)
    waits_ = _waits(view)
    if waits_:
        print_rows(WAITS, waits_, False)
    if view.failed:
        print_rows(FAILED, _failed(view), False)
    if with_listed:
        print_rows(LISTED, [_listed_row(*one) for one in view.listed.newest], False)
    elif view.listed.total:
        click.echo(f"{view.listed.total} events are listed: see --listed")


def _links(view: ReplicaView) -> list[dict[str, Any]]:
    found = view.links.links if view.links is not None else ()
    return [
        {
            **{name: link.get(name, "") for name in LINKS},  # an earlier version stored fewer
            "relayed_by": link.get("relayed_by", []),
            "slices": [
                {"peer": link["peer"], "slice": n, "offset": at, "head": head, "lag": head - at}
                for n, at, head in link["slices"]
            ],
        }
        for link in found
    ]


def _waits(view: ReplicaView) -> list[dict[str, Any]]:
    now = now_us()
    return [
        {
            "peer": link["peer"],
            "slice": wait["slice"],
            "entity": wait["entity_id"],
            "for_s": round(max(0, now - wait["since_us"]) / 1e6, 1),
            "waits_for": " ".join(map(str, wait["missing"])),
            "error": wait["text"],
        }
        for link in (view.links.links if view.links is not None else ())
        for wait in link["waits"]
    ]


def _failed(view: ReplicaView) -> list[dict[str, Any]]:
    now = now_us()
    return [
        {"failed": one, "for_s": round(max(0, now - found.since_us) / 1e6, 1), "why": found.why}
        for one, found in view.failed.items()
    ]


def _listed_row(time_us: int, listed: Any) -> dict[str, Any]:
    return {
        "time_us": time_us, "what": listed.what, "entity": listed.entity_id,
        "origin": listed.origin, "n": listed.n, "epoch": listed.epoch, "text": listed.text,
    }  # fmt: skip


def _behind_row(peer: str, behind: Behind) -> dict[str, Any]:
    events = "unknown" if behind.events is None else behind.events
    return {"replica": peer, "behind": events, "reason": behind.reason}


def _is_in_trouble(view: ReplicaView) -> bool:
    broken = any(one["state"] in TROUBLE or one["waiting"] for one in _links(view))
    return not view.lives or bool(view.roles.closed) or broken or bool(view.failed)
