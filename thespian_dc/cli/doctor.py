"""`thespian-dc doctor`: what is wrong with this machine, installation, journal; what to do."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping

import click

from thespian_dc.cli.certificates import check_tls
from thespian_dc.cli.finding import FAIL, OK, WARN, Finding
from thespian_dc.cli.journal_checks import check_journal
from thespian_dc.cli.journals import JOURNAL_HELP, journal_option, json_option
from thespian_dc.cli.machine import check_clock, check_packages
from thespian_dc.cli.output import json_line, safe, styled
from thespian_dc.cli.ports import ADMIN_PORT_DEFAULT, check_admin_port
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.settings import Remote, Settings, Tls
from thespian_dc.settings_file import settings_from_toml

_COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}


@click.command()
@journal_option(required=False)
@click.option("--admin-port", metavar="N", type=click.IntRange(1, 65535),
              default=ADMIN_PORT_DEFAULT, show_default=True,
              help="Thespian's Admin Port.")  # fmt: skip
@click.option("--settings", "settings_path", metavar="FILE", help="A node's settings in TOML.")
@click.option("--accept", metavar="CHECK", multiple=True,
              help="A FAIL of this check is known and taken care of.")  # fmt: skip
@json_option
@click.pass_context
def doctor(
    context: click.Context, url: str | None, admin_port: int, settings_path: str | None,
    accept: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Check this machine, this installation and, where given, a journal and a node's settings.

    Each check is OK, WARN or FAIL, with what to do. Exits with 1 where one is FAIL.
    """
    failed = False
    for found in _findings(url, admin_port, settings_path):
        finding = found
        if found.status == FAIL and found.check in accept:
            finding = found._replace(status=WARN, found=f"accepted: {found.found}")
        failed |= finding.status == FAIL
        click.echo(json_line(finding._asdict()) if as_json else _text(finding))
    if failed:
        context.exit(1)


def _findings(url: str | None, admin_port: int, settings_path: str | None) -> Iterator[Finding]:
    yield from check_admin_port(admin_port)
    settings = None
    if settings_path is not None:
        try:
            settings = _settings(settings_path)
            yield Finding("settings", OK, f"{settings_path}: service {settings.service}")
        except (SettingsError, OSError) as error:
            yield Finding("settings", FAIL, str(error), f"correct {settings_path}")
    where = url or (settings.journal if settings else None)
    extras = frozenset({"cassandra"} if (where or "").startswith("cassandra:") else ())
    yield from check_packages(extras)
    yield from check_clock()
    if settings is not None:
        for name, tls in tls_of(settings).items():
            yield from check_tls(name, tls, time.time())
    if where is None:
        yield Finding("journal", OK, "none given", f"--journal URL; {JOURNAL_HELP}")
    else:
        yield from check_journal(where, time.time_ns() // 1000, slices_of(settings))


def _settings(path: str) -> Settings:
    """With this folder's modules importable, as `python -m` has them."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    return settings_from_toml(path)


def tls_of(settings: Settings) -> Mapping[str, Tls]:
    """Each set of TLS files by the setting that names it."""
    found = {"tls": settings.tls} if settings.tls else {}
    for index, projection in enumerate(settings.projections):
        if isinstance(projection.source, Remote) and projection.source.tls:
            found[f"projections[{index}].source.tls"] = projection.source.tls
    return found


def slices_of(settings: Settings | None) -> Mapping[str, int]:
    """The slice count that settings ask for, by entity type."""
    if settings is None:
        return {}
    names = [getattr(entity, "entity_type", "") for entity in settings.entities]
    return {name: settings.slices for name in names if name}


def _text(finding: Finding) -> str:
    status = styled(f"{finding.status:<4}", fg=_COLOURS[finding.status])
    hint = f"\n     {'->' if finding.status != OK else 'hint:'} {safe(finding.remedy)}"
    return f"{status} {safe(finding.check)}: {safe(finding.found)}{hint if finding.remedy else ''}"
