"""Entities that are handed from replica to replica: each takes those that are at it, by a tag that
their events carry."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.processes.replicas import WITHIN_S, Replica, replicas
from thespian_dc import Exclude, Include, ReplicatedEventSourcedActor
from thespian_dc.testkit.eventually import eventually


@dataclass(frozen=True)
class HandOver:
    to: str


@dataclass(frozen=True)
class Where:
    pass


@dataclass(frozen=True)
class HandedOver:
    to: str


class Parcel(ReplicatedEventSourcedActor):
    """Its state is the way it came: (by whom, to whom), oldest first."""

    entity_type = "parcel"
    events = [HandedOver]  # noqa: RUF012  as users write it

    def empty_state(self) -> tuple[tuple[str, str], ...]:
        return ()

    def receiveMsg_HandOver(self, command: HandOver, sender: Any) -> None:
        self.persist(HandedOver(command.to)).then_reply(len)

    def receiveMsg_Where(self, query: Where, sender: Any) -> None:
        self.reply(self.state)

    def apply_event(self, state: Any, event: HandedOver) -> Any:
        return (*state, (self.origin, event.to))

    def tags_for(self, state: Any, event: HandedOver) -> list[str]:
        return [f"at:{event.to}"]


def way(replica: Replica, parcel: str) -> Any:
    return replica.client.entity("parcel", parcel).ask(Where(), timeout_s=WITHIN_S)


def hand(giver: Replica, parcel: str, taker: Replica, expected: list[str]) -> None:
    """It comes to the taker with all that was before, in order."""
    giver.client.entity("parcel", parcel).ask(HandOver(taker.name), timeout_s=WITHIN_S)
    came = tuple(pairwise(expected))
    eventually(lambda: way(taker, parcel) == came, WITHIN_S)


def test_an_entity_is_handed_on_with_all_of_its_events_and_no_other_one_comes(
    tmp_path: Path,
) -> None:
    """From a to b, back, and on to c, which gets from a what b wrote."""
    own = {name: {"wanted": Exclude.all() + Include.tags(f"at:{name}")} for name in "abc"}
    with replicas(tmp_path, "abc", own=own, entity=Parcel) as found:
        a, b, c = found.values()
        for parcel in ("kept", "given"):
            hand(a, parcel, a, ["a", "a"])
        hand(a, "given", b, ["a", "a", "b"])
        hand(b, "given", a, ["a", "a", "b", "a"])
        hand(a, "given", c, ["a", "a", "b", "a", "c"])
        hand(a, "last", b, ["a", "b"])  # what was to come to b before this is there
        eventually(lambda: b.links()["a"]["lag"] == 0, WITHIN_S)
        assert way(b, "given") == (("a", "a"), ("a", "b"), ("b", "a")), "it went on without b"
        assert way(b, "kept") == way(c, "kept") == ()
