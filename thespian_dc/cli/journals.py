"""Open the journal that a verb was given: to look at it, never to make one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.errors import JournalUrlError, SchemaError, TrimmedError
from thespian_dc.model.ids import SliceKey

F = TypeVar("F", bound=Callable[..., Any])

JOURNAL_HELP = "URL: sqlite:///path or cassandra://host[,host][:port]/keyspace."


def journal_option(required: bool = True) -> Callable[[F], F]:
    """`--journal URL`, or THESPIAN_DC_JOURNAL."""
    return click.option(
        "--journal",
        "url",
        metavar="URL",
        envvar="THESPIAN_DC_JOURNAL",
        required=required,
        help=JOURNAL_HELP,
    )


def json_option(function: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")(
        function
    )


@contextmanager
def opened(url: str) -> Iterator[Journal]:
    """The journal, closed afterwards. An absent one is an error: looking must not make it."""
    if url.split(":", 1)[0] == "memory":
        raise JournalUrlError(url, "a journal in memory is seen by its own process alone")
    try:
        journal = open_journal(url, create=False)
    except SchemaError as error:
        if error.found == 0 and url.startswith("sqlite:"):
            reason = "there is no journal yet; the first node that uses it makes it"
            raise JournalUrlError(url, reason) from error
        raise
    try:
        yield journal
    finally:
        journal.close()


def slice_keys(journal: Journal, entity_type: str | None = None) -> list[SliceKey]:
    """All slices of all recorded types, or of one; UsageError for a type nobody recorded."""
    counts = journal.slice_counts()
    if entity_type is not None and entity_type not in counts:
        known = ", ".join(sorted(counts)) or "none"
        raise click.UsageError(f"entity type {entity_type!r} is not in this journal, only {known}")
    return [
        SliceKey(name, number)
        for name in sorted(counts)
        if entity_type in (None, name)
        for number in range(counts[name])
    ]


def trimmed_to(journal: Journal, key: SliceKey) -> int:
    """The offset below which the slice's records are deleted; 0: none are."""
    try:
        journal.read(key, 0, bytes_max=1)
    except TrimmedError as trimmed:
        return trimmed.trimmed_to
    return 0
