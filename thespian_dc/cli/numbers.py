"""Types of the options that take a number: within what every database and clock can hold."""

from __future__ import annotations

import math
from typing import Any

import click

COUNT, FROM_ONE = click.IntRange(0, 2**63 - 1), click.IntRange(1, 2**63 - 1)
"""What a 64-bit column can hold."""


class _Amount(click.FloatRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):  # it lies outside of no range
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


AMOUNT = _Amount(0, 1e9)
"""Of seconds or days: a wait of 31 years is longer than any, and far below what overflows."""
