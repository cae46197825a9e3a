"""The command `thespian-dc` and its verbs.

Exit codes: 0 all is well; 1 the verb found something wrong (damage, a schema that does not fit, a
FAIL of the doctor); 2 it could not do its work: one line `error: ...`. A traceback comes only where
THESPIAN_DC_DEBUG=1 asks for it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from thespian_dc import __version__
from thespian_dc.cli.destination_filter import destination_filter
from thespian_dc.cli.destination_trim import destination_trim
from thespian_dc.cli.doctor import doctor
from thespian_dc.cli.events import events
from thespian_dc.cli.filters import filters
from thespian_dc.cli.heads import heads
from thespian_dc.cli.output import safe
from thespian_dc.cli.parked import parked
from thespian_dc.cli.projections import projections
from thespian_dc.cli.replication import replication
from thespian_dc.cli.schema import schema
from thespian_dc.cli.stream import stream
from thespian_dc.cli.stream_filter import stream_filter
from thespian_dc.cli.verify import verify
from thespian_dc.model.errors import ThespianDcError

FOUND, FAILED, INTERRUPTED = 1, 2, 130
NO_VERB: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""What a group raises whose verb is missing: its text is help. click 8.1 prints that itself."""


class Verbs(click.Group):
    """A group whose errors are one line each."""

    def main(
        self, args: Any = None, prog_name: str | None = None, complete_var: str | None = None,
        standalone_mode: bool = True, **extra: Any,
    ) -> Any:  # fmt: skip
        if not standalone_mode or os.environ.get("THESPIAN_DC_DEBUG") == "1":
            return super().main(args, prog_name, complete_var, standalone_mode, **extra)
        for output in (sys.stdout, sys.stderr):  # what one cannot show must not end it
            if hasattr(output, "reconfigure"):
                output.reconfigure(errors="backslashreplace")
        try:
            code = super().main(args, prog_name, complete_var, False, **extra)
            sys.stdout.flush()
        except NO_VERB as error:
            click.echo(error.format_message(), err=True)
            code = FAILED
        except click.Abort:
            code = _failed("interrupted", INTERRUPTED)
        except BrokenPipeError:  # the reader has seen enough, as `head` does
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  flushed at exit
            code = FOUND
        except Exception as error:  # noqa: BLE001  # the edge of the program
            code = _failed(_text(error), FAILED)
        sys.exit(code if isinstance(code, int) else 0)


@click.group(cls=Verbs, invoke_without_command=True)
@click.version_option(__version__, prog_name="thespian-dc")
@click.pass_context
def main(context: click.Context) -> None:
    """Look after thespian_dc's journals, nodes and projections."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for verb in (
    destination_filter, destination_trim, doctor, events, filters, heads, parked, projections,
    replication, schema, stream, stream_filter, verify
):  # fmt: skip
    main.add_command(verb)


def _text(error: BaseException) -> str:
    if isinstance(error, click.UsageError):
        where = f"; see {error.ctx.command_path} --help" if error.ctx else ""
        return f"{error.format_message().rstrip('.')}{where}"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, ThespianDcError | OSError):
        return str(error)
    return (
        f"{type(error).__name__}: {error}; this is not expected, THESPIAN_DC_DEBUG=1 shows where "
        "it comes from"
    )


def _failed(text: str, code: int) -> int:
    click.echo(f"error: {safe(' '.join(text.split()))}", err=True)
    return code
