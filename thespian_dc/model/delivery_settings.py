"""What a user says about a projection's handler beyond its class: groups, actors, failures. Pure.

Re-exported by `model/settings.py`; frozen data, checked when built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from thespian_dc.model.errors import SettingsError

STRATEGIES: Final = ("fail", "skip", "retry-and-fail", "retry-and-skip", "retry-and-park")
DELIVERIES: Final = ("exactly-once", "at-least-once", "at-most-once")
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Recovery:
    """What happens at an event whose handler raised.

    strategy: "fail" starts the projection again after a pause (`restart_backoff_ms`) and tries the
    event again, for ever; "skip" goes on behind it; "retry-and-…" tries it again first, and then
    fails, skips it, or parks its entity: the event and the entity's later ones are stored, other
    entities go on.
    """

    strategy: str = "fail"
    retries: int = 5
    """Tries after the first one, of "retry-and-…"."""
    delay_ms: int = 100
    """Pause before the first retry; the projection does nothing else meanwhile."""
    growth: float = 2.0
    """Each pause is so many times the one before."""
    delay_ms_max: int = 5_000
    """The longest pause."""
    crashes_max: int = 3
    """An event during whose handling the process died so many times in a row is not handed to the
    handler again: it is parked or skipped if the strategy says so, else the projection halts. At
    least 2: the first death does not tell which event it was. One that told only in which batch
    it was does not count."""
    parked_events_max: int = 10_000
    """Parked events of the projection; one more is ParkedFullError, which stops it."""
    parked_bytes_max: int = 64 * MIB
    """Their records' bytes, likewise."""

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise SettingsError(
                f"recovery strategy must be one of {', '.join(STRATEGIES)}, not {self.strategy!r}"
            )
        _at_least(self, 1, "retries", "delay_ms", "parked_events_max", "parked_bytes_max")
        _at_least(self, 2, "crashes_max")
        _at_least(self, 1.0, "growth")
        if self.delay_ms_max < self.delay_ms:
            raise SettingsError("recovery.delay_ms_max must not be below recovery.delay_ms")

    @property
    def retrying(self) -> bool:
        return self.strategy.startswith("retry-and-")


@dataclass(frozen=True, slots=True)
class Group:
    """How many events a grouped handler gets at once, at most, and how long the first of them waits
    for others."""

    events: int = 100
    within_ms: int = 100

    def __post_init__(self) -> None:
        _at_least(self, 1, "events")
        _at_least(self, 0, "within_ms")
        if self.within_ms > 10_000:
            raise SettingsError("group.within_ms must be at most 10000")


@dataclass(frozen=True, slots=True)
class ToActor:
    """In the place of a handler: events go to a Thespian actor, and the position moves when it
    says that it handled them (at least once).

    actor: its class, or "module.Class"; created with global_name if nobody has yet. address: of an
    actor that is there already, in the place of both. events_max: events on the way to it, at most.
    timeout_s: without an answer for so long, the delivery has failed.
    """

    actor: type | str = ""
    global_name: str = ""
    address: Any = None
    events_max: int = 100
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if self.address is None and not (self.actor and self.global_name):
            raise SettingsError("ToActor needs actor and global_name, or address")
        if self.address is not None and (self.actor or self.global_name):
            raise SettingsError("ToActor takes address, or actor and global_name, not both")
        _at_least(self, 1, "events_max")
        if self.timeout_s <= 0:
            raise SettingsError("ToActor.timeout_s must be above 0")


def _at_least(settings: Any, least: float, *names: str) -> None:
    for name in names:
        if getattr(settings, name) < least:
            what = type(settings).__name__.lower()
            raise SettingsError(f"{what}.{name} must be at least {least:g}")
