"""What clients sent and what they were told, and what the database really did, in order of time."""

from __future__ import annotations

from dataclasses import dataclass, field

from thespian_dc.model.ids import SliceKey
from thespian_dc.testkit.simulation.counter import Seen


@dataclass(slots=True)
class Told:
    """One answer that reached a client. error: the class name of the error, "" for a reply. found:
    the revision that it names."""

    at_us: int
    seen: Seen | None
    error: str
    found: int | None = None


@dataclass(slots=True)
class Sent:
    """One command. command_id: "" for one that is sent once and never again."""

    nonce: str
    command_id: str
    entity_id: str
    amounts: tuple[int, ...]
    sent_us: int
    given_up: bool = False
    after: str = ""
    """The nonce of the command whose entity sends this one, once it is durable."""
    revision: int | None = None
    """That the state must have had."""
    told: list[Told] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return bool(self.told) or self.given_up


@dataclass(slots=True)
class Broken:
    """An invariant that does not hold: its name, and what was seen."""

    invariant: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}"


@dataclass(slots=True)
class History:
    """Of one run."""

    sent: dict[str, Sent] = field(default_factory=dict)
    epochs: dict[SliceKey, int] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    def breaks(self, invariant: str, what: str) -> None:
        self.broken.append(Broken(invariant, what))
