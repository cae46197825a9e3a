"""Checks of single settings, each a SettingsError that names the field. Pure: they look at what is
given, and import nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any

from thespian_dc.model.errors import SettingsError

STARTS = ("stored", "beginning", "now")
WORKERS_MAX = 64
OF_ITS_OWN = (
    "a handler's tables could be the journal's there: give the projections a file of its own"
)
CALLED = (
    "start", "handle", "flush", "stop", "rebuild",
    "started", "stopped", "failed", "positions", "before_batch", "before_event", "after_event",
)  # fmt: skip
"""What is called of a handler, and of hooks."""


def check_workers(projection: str, workers: int) -> None:
    """SettingsError for a number of workers that no node runs."""
    if not 1 <= workers <= WORKERS_MAX:
        raise SettingsError(
            f"projection {projection}: workers must be 1..{WORKERS_MAX}, not {workers}"
        )


def check_start(projection: str, start: Any) -> None:
    """SettingsError for what is no start of a projection."""
    what = f"projection {projection}: start"
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise SettingsError(f"{what} needs a time zone: datetime(…, tzinfo=UTC)")
    elif not isinstance(start, str):
        check_importable(what, start)
    elif start not in STARTS:
        known = ", ".join(map(repr, STARTS))
        raise SettingsError(f"{what} must be {known}, a datetime or a function, not {start!r}")


def check_unique(what: str, names: Sequence[str]) -> None:
    """SettingsError where a name stands twice."""
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"{what} {name!r} stands twice")


def check_importable(what: str, thing: Any) -> None:
    """SettingsError for what another process cannot import: lambdas, local functions and
    classes."""
    if thing is None:
        return
    name = getattr(thing, "__qualname__", "")
    if not callable(thing) or not name or "<" in name or not getattr(thing, "__module__", ""):
        raise SettingsError(
            f"{what} must be a class or function at the top of an importable module, not {thing!r}"
        )


def check_positions(projection: str, url: str) -> None:
    """SettingsError where it names no database that positions can be kept in."""
    if not url.startswith(("sqlite:///", "cassandra://")):
        raise SettingsError(
            f"projection {projection}: positions must be 'sqlite:///path' or "
            f"'cassandra://host/keyspace', not {url!r}"
        )


def check_events(where: str, events: Any) -> None:
    """SettingsError for one class where a list of them is wanted."""
    if isinstance(events, type | str) or not isinstance(events, Iterable):
        raise SettingsError(f"{where}: events must be a list of classes, not {events!r}")


def check_called(where: str, thing: Any) -> None:
    """SettingsError where a function, or a method by which a handler or a hook is called, would
    only return something that nobody awaits or goes through: its event would count as handled."""
    called = [getattr(thing, name, None) for name in CALLED] if isinstance(thing, type) else [thing]
    for one in called:
        if one is not None and is_lazy(one):
            how = "a generator" if isgeneratorfunction(one) else "async"
            raise SettingsError(
                f"{where}: {one.__qualname__} must not be {how}: "
                "it is called on the projection's thread, and nobody looks at what it returns"
            )


def is_lazy(function: Any) -> bool:
    """Called, it would only return something to await or go through, and nothing of it would
    run."""
    lazy = iscoroutinefunction, isgeneratorfunction, isasyncgenfunction
    return any(one(function) for one in lazy)
