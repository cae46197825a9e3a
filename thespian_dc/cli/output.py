"""What a verb prints: one JSON object per line, or text; tables and colour only on a terminal.

Law: nothing that came from a journal reaches a terminal unescaped. Control characters, invisible
ones and those that turn the direction of text come as \\uNNNN, in JSON and in text alike.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any

import click

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def safe(text: str) -> str:
    """The text on one line, with every character visible that a terminal would act upon."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _HIDDEN else c for c in text)


def _escaped(character: str) -> str:
    """As JSON writes it: beyond U+FFFF as a pair."""
    return json.dumps(character)[1:-1] if ord(character) > 127 else f"\\u{ord(character):04x}"


def json_line(value: Any) -> str:
    """A value on one line. What JSON lacks comes as text."""
    # Escapes can only stand inside strings here, where JSON reads them as what they stand for.
    return safe(json.dumps(value, ensure_ascii=False, default=str))


def is_terminal() -> bool:
    """Whether a person is looking at standard output."""
    return sys.stdout.isatty()


def styled(text: str, **style: Any) -> str:
    """The text in colour where a terminal shows it and NO_COLOR does not forbid it."""
    if not is_terminal() or os.environ.get("NO_COLOR"):
        return text
    return click.style(text, **style)


def print_rows(columns: Sequence[str], rows: Iterable[dict[str, Any]], as_json: bool) -> None:
    """Rows of one shape: JSON lines, a table on a terminal, tab-separated lines elsewhere.

    JSON and tab-separated lines are printed as the rows come; a table needs them all.
    """
    if as_json:
        for row in rows:
            click.echo(json_line(row))
        return
    if not is_terminal():
        rows = iter(rows)
        first = list(islice(rows, 1))  # who has none to give says so before anything is printed
        click.echo("\t".join(columns))
        for row in chain(first, rows):
            click.echo("\t".join(_cell(row[column]) for column in columns))
        return
    lines = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    click.echo(styled(_aligned(columns, widths), bold=True))
    for line in lines:
        click.echo(_aligned(line, widths))


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cell(value: Any) -> str:
    return "-" if value in (None, "") else safe(str(value))
