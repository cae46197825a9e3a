"""What no database or clock can hold is refused by name, before a verb does anything."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from thespian_dc.cli.main import main

NUMBERS = (
    (click.types.IntParamType, [str(2**63)]),
    (click.types.FloatParamType, ["nan", "inf", "1e300"]),
)


def calls(group: click.Group, *verbs: str) -> Iterator[tuple[str, ...]]:
    """Every verb with each of its options and such a number."""
    for name, verb in group.commands.items():
        if isinstance(verb, click.Group):
            yield from calls(verb, *verbs, name)
            continue
        for option in verb.params:
            for kind, numbers in NUMBERS:
                if isinstance(option.type, kind):
                    yield from ((*verbs, name, option.opts[0], number) for number in numbers)


@pytest.mark.parametrize("words", list(calls(main)), ids=" ".join)
def test_a_number_that_nothing_can_hold_is_refused_by_name(words: tuple[str, ...]) -> None:
    """It was an OverflowError or a ValueError that "is not expected"."""
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert f"error: Invalid value for '{words[-2]}'" in result.stderr


def test_every_such_option_is_met() -> None:
    """Those by which it was found are among them."""
    met = {(words[-3], words[-2]) for words in calls(main)}
    assert {("events", "--limit"), ("tail", "--limit"), ("trim", "--consumer-days")} <= met
