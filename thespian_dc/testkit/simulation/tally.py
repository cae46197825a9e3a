"""The durable-state entity that simulations run: it adds as a `Counter` does, and can be deleted.

Its records are states, each with the nonce of its command; two of three carry a change event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from thespian_dc.entity.actor import DurableStateActor
from thespian_dc.model.entity_errors import CommandRejectedError
from thespian_dc.testkit.simulation.counter import Add, Added, Adder, Look, Seen, tags_of


@dataclass(frozen=True, slots=True)
class AddAt:
    """As Add, where the revision is this one; else RevisionConflictError."""

    nonce: str
    amounts: tuple[int, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Clear:
    """Delete the state. revision: None where it does not matter."""

    nonce: str
    revision: int | None


@dataclass(frozen=True, slots=True)
class Cleared:
    nonce: str


class Tally(Adder, DurableStateActor):
    """Its amounts of one command are one change of its state."""

    events: ClassVar[list[Any]] = [Added, Cleared]

    def empty_state(self) -> dict[str, Any]:
        return {"nonce": "", "total": 0, "note": b""}

    def receiveMsg_Add(self, command: Add, sender: Any) -> None:
        self._add(command.nonce, command.amounts, command.note, None)

    def receiveMsg_AddAt(self, command: AddAt, sender: Any) -> None:
        self._add(command.nonce, command.amounts, b"", command.revision)

    def _add(self, nonce: str, amounts: tuple[int, ...], note: bytes, revision: int | None) -> None:
        if not amounts:
            raise CommandRejectedError("nothing to add")
        amount, next_revision = sum(amounts), self.seq_nr + 1
        state = {"nonce": nonce, "total": self.state["total"] + amount, "note": note}
        change = Added(nonce, amount, b"") if amount % 3 else None
        self.persist(state, change, expected_revision=revision).then_reply(
            lambda state: Seen(next_revision, state["total"])
        )

    def receiveMsg_Clear(self, command: Clear, sender: Any) -> None:
        next_revision = self.seq_nr + 1
        self.delete(Cleared(command.nonce), expected_revision=command.revision).then_reply(
            lambda state: Seen(next_revision, state["total"])
        )

    def tags_for(self, state: dict[str, Any], event: Any) -> list[str]:
        return tags_of(state["total"])

    def receiveMsg_Look(self, command: Look, sender: Any) -> None:
        self.reply(Seen(self.seq_nr, self.state["total"]))
