"""Names that stand in one module and are imported from another when they are first used. Pure.

An actor system forks, and processes start often: a door shows all its names, and whoever takes one
pays for that one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from sys import modules
from typing import Any


def lazily(door: str, where: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of module `door`. where: for each name, the module below thespian_dc that
    has it."""

    def find(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {door!r} has no attribute {name!r}")
        value = getattr(import_module(f"thespian_dc.{where[name]}"), name)
        setattr(modules[door], name, value)
        return value

    return find
