"""The history of a run: one line per attempt, written when its outcome is known.

Times are microseconds of CLOCK_MONOTONIC, which all processes of one machine share.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TextIO

PUT, LOOK = "put", "look"
ACKNOWLEDGED, ERROR, UNKNOWN = "acknowledged", "error", "unknown"


class Attempt(NamedTuple):
    """One sending of a command. number, amount: of a Put, else 0. command_id: "" for a Look.

    reply: (seq_nr, total) where acknowledged; error: name of the exception's class elsewhere.
    """

    kind: str
    command_id: str
    entity_id: str
    number: int
    amount: int
    sent_us: int
    done_us: int
    outcome: str
    reply: tuple[int, int] | None
    error: str


def write(to: TextIO, attempt: Attempt) -> None:
    to.write(json.dumps(attempt) + "\n")


def read(*paths: Path) -> list[Attempt]:
    """All attempts, in the order of their ends; without the last line where it is not whole, as
    its writer was killed."""
    lines = [line for path in paths for line in path.read_text().splitlines(keepends=True)]
    found = [_parse(json.loads(line)) for line in lines if line.endswith("\n")]
    return sorted(found, key=lambda attempt: attempt.done_us)


def puts(history: Iterable[Attempt]) -> list[Attempt]:
    return [attempt for attempt in history if attempt.kind == PUT]


def _parse(fields: list[Any]) -> Attempt:
    attempt = Attempt(*fields)
    reply: Any = tuple(attempt.reply) if attempt.reply else None
    return attempt._replace(reply=reply)
