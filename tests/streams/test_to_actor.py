"""A projection whose handler is a Thespian actor: the position moves on its word."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from thespian.actors import ActorTypeDispatcher

from tests.streams.material import ENTITY_TYPE, SLICES, Added, Writer, offsets, projection, rows
from tests.streams.test_actors import admin, facts, node
from thespian_dc.model.criteria import Exclude, Filter, Include
from thespian_dc.model.delivery_settings import Recovery, ToActor
from thespian_dc.model.settings import Local
from thespian_dc.projection.management import Projections
from thespian_dc.projection.protocol import ProjectedEvents
from thespian_dc.shell.protocol import LeafSpec, StopNode
from thespian_dc.stream.protocol import CONSUMER_ACTOR, StartConsumer
from thespian_dc.testkit.eventually import eventually, never

__all__ = ["admin"]  # a fixture
pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


class Seen(ActorTypeDispatcher):
    """Gathers what it is sent. quantity 1: refuses, 2: says nothing, 3: raises; each only so often
    as `mood` says."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.seen: list[tuple[str, int]] = []
        self.largest = 0
        self.patience: dict[int, int] = {}

    def receiveMsg_ProjectedEvents(self, message: ProjectedEvents, sender: Any) -> None:
        self.largest = max(self.largest, len(message.events))
        for event in message.events:
            quantity = event.payload.quantity
            self.patience[quantity] = self.patience.get(quantity, 0) + 1
            if quantity in (1, 2, 3) and self.patience[quantity] <= 4:
                if quantity == 1:
                    self.send(sender, message.refused("not today"))
                elif quantity == 3:
                    raise ValueError("no")
                return
        self.seen.extend((event.entity_id, event.seq_nr) for event in message.events)
        self.send(sender, message.handled())

    def receiveMsg_str(self, message: str, sender: Any) -> None:
        self.send(sender, (self.seen, self.largest))


class Holds(ActorTypeDispatcher):
    """Says nothing to the first message with a quantity of 1, which it does not keep, and of 2,
    which it does keep."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.seen: list[tuple[str, int]] = []
        self.held: list[int] = []

    def receiveMsg_ProjectedEvents(self, message: ProjectedEvents, sender: Any) -> None:
        quantities = {event.payload.quantity for event in message.events}
        holding = [one for one in (1, 2) if one in quantities and one not in self.held]
        self.held += holding
        if 1 not in holding:
            self.seen.extend((event.entity_id, event.seq_nr) for event in message.events)
        if not holding:
            self.send(sender, message.handled())

    def receiveMsg_str(self, message: str, sender: Any) -> None:
        self.send(sender, (self.seen, self.held))


@pytest.fixture
def system(admin: Callable[[str], Any]) -> Any:
    """An actor system whose Admin is a process of its own."""
    return admin("fork")


def consumer(system: Any, settings: Any) -> Any:
    """A node with this one projection; its coordinator."""
    consuming = StartConsumer("ranking", "", (settings,))
    leaf = LeafSpec("ranking:consumer", "consumers", CONSUMER_ACTOR, consuming)
    return node(system, "ranking", None, leaf)


def to_actor(tmp_path: Path, to: ToActor, **changes: Any) -> Any:
    source = Local(ENTITY_TYPE, f"sqlite:///{tmp_path}/journal.db")
    settings: dict[str, Any] = {"handler": to, "delivery": "at-least-once"}
    return projection(tmp_path / "read.db", source, **(settings | changes))


def test_an_actor_gets_events_in_order_and_the_position_follows_its_word(
    writer: Writer, system: Any, tmp_path: Path
) -> None:
    """By global name; it is created when the first events come; never more on the way than said."""
    for nr in range(30):
        writer.add([(f"c-{nr % 3}", Added("a", 10 + nr))])
    node = consumer(system, to_actor(tmp_path, ToActor(Seen, "seen", events_max=7)))
    try:
        eventually(lambda: sum(offsets(tmp_path / "read.db").values()) == 30, 30)
        seen, largest = system.ask(system.createActor(Seen, globalName="seen"), "seen", 10)
        assert largest <= 7
        for entity in range(3):
            assert [nr for id_, nr in seen if id_ == f"c-{entity}"] == list(range(1, 11))
    finally:
        system.ask(node, StopNode(2.0), 20)


@pytest.mark.parametrize("quantity", [1, 2, 3])
def test_a_refusal_a_silence_and_a_raise_are_tried_again(
    writer: Writer, system: Any, tmp_path: Path, quantity: int
) -> None:
    """Each counts as a raise of the handler: the policy decides, and nothing is passed before the
    actor has said that it is handled. By address this time."""
    address = system.createActor(Seen)
    writer.add([("c-1", Added("a", 10)), ("c-1", Added("a", quantity)), ("c-1", Added("a", 11))])
    recovery = Recovery("retry-and-fail", retries=10, delay_ms=1)
    to = ToActor(address=address, timeout_s=0.3)
    node = consumer(system, to_actor(tmp_path, to, recovery=recovery))
    try:
        eventually(lambda: sum(offsets(tmp_path / "read.db").values()) == 3, 30)
        seen, _ = system.ask(address, "seen", 10)
        assert sorted(set(seen)) == [("c-1", 1), ("c-1", 2), ("c-1", 3)]
        assert seen[-1] == ("c-1", 3)
    finally:
        system.ask(node, StopNode(2.0), 20)


@pytest.mark.parametrize(
    ("quantity", "strategy"), [(10, "fail"), (1, "fail"), (1, "skip")],
    ids=["handled", "refused for a while", "left out"],
)  # fmt: skip
def test_an_actor_is_brought_up_to_date_where_a_filter_changes(
    writer: Writer, system: Any, tmp_path: Path, quantity: int, strategy: str
) -> None:
    """By id at once, and where the filter goes: what was left out comes before what is new, in
    order, each event once, also where the actor refuses the tenth of them; the recovery policy
    applies to that one alone."""
    address = system.createActor(Seen)
    read_model = tmp_path / "read.db"
    node = consumer(system, to_actor(
        tmp_path, ToActor(address=address, events_max=4), recovery=Recovery(strategy),
        filter=Exclude.entity_ids("a", "c"),
    ))  # fmt: skip

    def handled(**last: int) -> bool:
        """Each of these up to this seq_nr, in order and once, and nothing else."""
        seen, largest = system.ask(address, "seen", 10)
        assert largest <= 4
        found: dict[str, list[int]] = {}
        for entity_id, seq_nr in seen:
            found.setdefault(entity_id, []).append(seq_nr)
        return found == {
            one: [nr for nr in range(1, end + 1) if nr != 10 or one == "b" or strategy != "skip"]
            for one, end in last.items()
        }

    try:
        for nr in range(20):
            writer.add([(one, Added("x", quantity if nr == 9 else 10)) for one in "ac"])
            writer.add([("b", Added("x", 10))])
        eventually(lambda: handled(b=20))
        eventually(lambda: offsets(read_model) == heads(writer))
        manage = Projections(f"sqlite:///{read_model}")
        manage.add_criteria("popularity", Include.entity_ids("a"))
        for _ in range(20):  # while it is brought up to date
            writer.add([(one, Added("x", 10)) for one in "abc"])
        eventually(lambda: handled(a=40, b=40))
        include_all(read_model)
        writer.add([(one, Added("x", 10)) for one in "abc"])
        eventually(lambda: handled(a=41, b=41, c=41))
        eventually(lambda: not rows(read_model, "select entity_id from thespian_dc_debts"))
        eventually(lambda: offsets(read_model) == heads(writer))
    finally:
        system.ask(node, StopNode(2.0), 20)


def test_a_consumer_killed_while_its_actor_is_brought_up_to_date(
    writer: Writer, system: Any, tmp_path: Path
) -> None:
    """SIGKILL in the middle of what a filter's change owes to an entity: at an event that its actor
    has not kept, and at one that it has, where nobody heard so. Nothing is lost, each entity's
    events come in order, and what was not acknowledged comes again."""
    address = system.createActor(Holds)
    read_model = tmp_path / "read.db"
    node = consumer(system, to_actor(
        tmp_path, ToActor(address=address, events_max=4, timeout_s=60),
        filter=Exclude.entity_ids("a"),
    ))  # fmt: skip

    def came() -> dict[str, list[int]]:
        found: dict[str, list[int]] = {"a": [], "b": []}
        for entity_id, seq_nr in system.ask(address, "seen", 10)[0]:
            found[entity_id].append(seq_nr)
        return found

    def handled(last: int) -> bool:
        """All up to this seq_nr; none before the one below it was."""
        for one in (found := came()).values():
            assert all(seq_nr <= before + 1 for before, seq_nr in pairwise([0, *one]))
        return all(set(one) == set(range(1, last + 1)) for one in found.values())

    try:
        for nr in range(1, 21):
            writer.add([("a", Added("x", {10: 1, 15: 2}.get(nr, 10))), ("b", Added("x", 10))])
        eventually(lambda: offsets(read_model) == heads(writer))
        assert came() == {"a": [], "b": list(range(1, 21))}
        include_all(read_model)
        writer.add([("a", Added("x", 10)), ("b", Added("x", 10))])
        for holding in ([1], [1, 2]):
            eventually(lambda h=holding: system.ask(address, "held", 10)[1] == h)
            assert rows(read_model, "select entity_id from thespian_dc_debts") == [("a",)]
            pid = eventually(lambda: facts(system, node, "ranking:consumer"))["pid"]
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: handled(21))
        eventually(lambda: not rows(read_model, "select entity_id from thespian_dc_debts"))
        eventually(lambda: offsets(read_model) == heads(writer))
        assert came()["a"].count(10) == 1
        assert came()["a"].count(15) == 2
    finally:
        system.ask(node, StopNode(2.0), 20)


def include_all(read_model: Path) -> None:
    """Returns once the filter is in force everywhere: what comes before is still left out by the
    former one."""
    manage = Projections(f"sqlite:///{read_model}")
    manage.set_filter("popularity", Filter())
    version = manage.filter("popularity").version
    in_force = "select count(*) from thespian_dc_filter_starts where version = ?"
    eventually(lambda: rows(read_model, in_force, version) == [(SLICES,)])


def heads(writer: Writer) -> dict[int, int]:
    return {key.slice: head for key, head in writer.heads.items()}


def test_a_stop_does_not_wait_for_a_silent_actor(
    writer: Writer, system: Any, tmp_path: Path
) -> None:
    """Its time-out may be long; the node's stop is not."""
    address = system.createActor(Seen)
    writer.add([("c-1", Added("a", 2))])
    node = consumer(system, to_actor(tmp_path, ToActor(address=address, timeout_s=60)))
    never(lambda: sum(offsets(tmp_path / "read.db").values()), within_s=0.5)
    assert system.ask(node, StopNode(2.0), 8) is not None
