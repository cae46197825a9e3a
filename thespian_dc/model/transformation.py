"""What a stream shows of each type of event, said type by type. Pure values; they pickle.

    to_public = (
        Transformation()
        .payload(ItemAdded, public_item)        # function(payload) -> public payload
        .envelope(CheckedOut, public_order)     # function(envelope) -> public payload
        .identity(Renamed)                      # as it is stored
        .drop(CardCharged)                      # never shown
        .otherwise(public_rest)                 # function(envelope), for all other types
    )

Functions may be `async def`; None from any of them leaves that event out. A type that is not named,
where there is no `otherwise`, ends the stream with UnmappedEventError: nothing is left out by
oversight. Types are exact: a subclass is another type. Of a durable state without change events the
types are its states', `type(None)` for its deletion.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from thespian_dc.model.errors import SettingsError

Function = Callable[[Any], Any]


class How(enum.Enum):
    """What a step is given, or what becomes of its events without a function."""

    PAYLOAD = "payload"
    ENVELOPE = "envelope"
    IDENTITY = "identity"
    DROP = "drop"


class Step(NamedTuple):
    """For events of one type. function: of PAYLOAD and ENVELOPE."""

    kind: type
    how: How
    function: Function | None = None


@dataclass(frozen=True, slots=True)
class Transformation:
    """Built up by type; each method returns a new one. SettingsError for a type that stands
    twice."""

    steps: tuple[Step, ...] = ()
    rest: Function | None = None

    def payload(self, kind: type, function: Function) -> Transformation:
        """function(payload) -> public payload or None."""
        return self._with(Step(kind, How.PAYLOAD, function))

    def envelope(self, kind: type, function: Function) -> Transformation:
        """function(envelope) -> public payload or None; for what needs tags, time or seq_nr."""
        return self._with(Step(kind, How.ENVELOPE, function))

    def identity(self, *kinds: type) -> Transformation:
        """Shown as they are stored: their types are public then."""
        return self._with(*(Step(kind, How.IDENTITY) for kind in kinds))

    def drop(self, *kinds: type) -> Transformation:
        """Never shown; positions move along."""
        return self._with(*(Step(kind, How.DROP) for kind in kinds))

    def otherwise(self, function: Function) -> Transformation:
        """function(envelope) -> public payload or None, for every type not named."""
        if self.rest is not None:
            raise SettingsError("a Transformation has `otherwise` twice")
        return replace(self, rest=function)

    def functions(self) -> Iterator[Function]:
        """All that is called, in the order given."""
        for step in self.steps:
            if step.function is not None:
                yield step.function
        if self.rest is not None:
            yield self.rest

    def _with(self, *added: Step) -> Transformation:
        known = {step.kind for step in self.steps}
        for step in added:
            if not isinstance(step.kind, type):
                raise SettingsError(f"a Transformation goes by type, {step.kind!r} is none")
            if step.kind in known:
                raise SettingsError(f"a Transformation names {step.kind.__qualname__} twice")
            known.add(step.kind)
        return replace(self, steps=(*self.steps, *added))


def functions_of(transform: Transformation | Function | None) -> tuple[Function, ...]:
    """What a stream's `transform` calls, itself where it is a function."""
    if isinstance(transform, Transformation):
        return tuple(transform.functions())
    return () if transform is None else (transform,)


def importables(transform: Transformation | Function | None) -> tuple[Any, ...]:
    """What must be the same thing in another process: its functions and the types it names."""
    kinds = [s.kind for s in transform.steps] if isinstance(transform, Transformation) else []
    return (*functions_of(transform), *kinds)
