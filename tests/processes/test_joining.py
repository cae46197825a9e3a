"""Replicas that come later and that leave: a plain entity becomes a replicated one, a third replica
joins two that run, one retires."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.processes.replicas import WITHIN_S, Change, Read, agree, replicas
from tests.processes.running import free_port, running
from thespian_dc.client.api import Client
from thespian_dc.crdt.api import Counted, PnCounter
from thespian_dc.entity.api import EventSourcedActor, ReplicatedEventSourcedActor
from thespian_dc.journal.api import open_journal
from thespian_dc.model.criteria import Exclude, Include
from thespian_dc.model.replication_errors import ReplicaRecoveringError, ReplicaRetiredError
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.settings import Settings
from thespian_dc.replication.management import Replicas
from thespian_dc.testkit.eventually import eventually


class PlainTally(EventSourcedActor):
    """What Tally was before it was replicated."""

    entity_type = "tally"
    events = [Counted]  # noqa: RUF012  as users write it
    snapshot_every = 20

    def empty_state(self) -> Any:
        return {"tally": PnCounter(), "from": {}}

    def receiveMsg_Change(self, message: Change, sender: Any) -> None:
        change = self.state["tally"].add(message.by, "a")
        self.persist(change).then_reply(lambda state: state["tally"].value)

    def receiveMsg_Read(self, message: Read, sender: Any) -> None:
        self.reply((self.state["tally"].value, dict(sorted(self.state["from"].items()))))

    def apply_event(self, state: Any, event: Counted) -> Any:
        seen = {**state["from"], "a": state["from"].get("a", 0) + 1}
        return {"tally": state["tally"].apply(event), "from": seen}


def write_plainly(folder: Path, counts: dict[str, int]) -> None:
    """As many events of each entity, by a node that knows of no replicas."""
    settings = Settings(
        service="tallies-a", journal=f"sqlite:///{folder}/a.db", entities=[PlainTally], slices=4
    )
    with running() as system:
        node = system.start(settings)
        client = Client.connect(system.system, "tallies-a")
        for entity_id, count in counts.items():
            for _ in range(count):
                client.entity("tally", entity_id).ask(Change(1), timeout_s=WITHIN_S)
        client.close()
        node.stop()


def test_a_plain_entity_becomes_replicated_without_a_change_of_its_journal(tmp_path: Path) -> None:
    """Peers get all of its events, those of before too."""
    counts = {"few": 3, "many": 50}
    write_plainly(tmp_path, counts)
    before = open_journal(f"sqlite:///{tmp_path}/a.db")
    heads = [before.find_head(key) for key in _keys()]
    before.close()
    with replicas(tmp_path, "ab") as found:
        a, b = found.values()
        for entity_id, count in counts.items():
            agree([a, b], entity_id, (count, {"a": count}))
        journal = open_journal(a.settings.journal)
        assert [journal.find_head(key).head for key in _keys()] == [one.head for one in heads]
        journal.close()
        b.change("many", 5)
        a.change("few", 1)
        agree([a, b], "many", (55, {"a": 50, "b": 1}))
        agree([a, b], "few", (4, {"a": 4}))


def _keys() -> list[Any]:
    from thespian_dc.model.ids import SliceKey

    return [SliceKey("tally", number) for number in range(4)]


def test_a_third_replica_joins_two_that_run_and_one_leaves(tmp_path: Path) -> None:
    """The others list it and are started again, one by one; it gets everything there is. Later the
    first one retires: the others have all it wrote, and its id is never taken again."""
    with replicas(tmp_path, "abc", ["ab", "ba"]) as found:
        a, b, c = found.values()
        for n in range(30):
            a.change(f"e-{n % 3}", 1)
            b.change(f"e-{n % 3}", 1)
        for one, other in ((a, b), (b, a)):
            one.client.close()
            one.node.stop()
            _dial(one, c.settings.listen, "c")
            one.begin()
            eventually(partial(_is_level, one, other), WITHIN_S)
        c.client.close()
        c.node.stop()
        _dial(c, a.settings.listen, "a")
        _dial(c, b.settings.listen, "b")
        c.begin()
        for n in range(3):
            agree([a, b, c], f"e-{n}", (20, {"a": 10, "b": 10}))
        c.change("e-0", 1)
        a.change("e-1", 1)
        agree([a, b, c], "e-0", (21, {"a": 10, "b": 10, "c": 1}))

        asked = Replicas(c.settings.journal, "tally").retire("a", timeout_s=0)
        assert "b" in asked  # nobody wished it there so far
        waits = Replicas(b.settings.journal, "tally").retire("a", timeout_s=2 * WITHIN_S)
        assert waits == {}
        eventually(
            lambda: Replicas(c.settings.journal, "tally").status().roles.retired == {"a"}, WITHIN_S
        )
        agree([b, c], "e-1", (21, {"a": 11, "b": 10}))

        def refuses() -> bool:
            try:
                a.change("e-2", 1)
            except ReplicaRetiredError:
                return True
            return False

        eventually(refuses, WITHIN_S)
        b.change("e-2", 1)
        c.change("e-2", 1)
        agree([b, c], "e-2", (22, {"a": 10, "b": 11, "c": 1}))
        with pytest.raises(ReplicaRetiredError):
            a.change("e-2", 1)


@dataclass(frozen=True)
class Noted:
    text: str


class Notes(ReplicatedEventSourcedActor):
    """Keeps what was noted, in the order of its replica. It makes no snapshots by itself."""

    entity_type = "notes"
    events = [Noted]  # noqa: RUF012  as users write it
    snapshot_every = 0

    def empty_state(self) -> Any:
        return []

    def receiveMsg_Noted(self, message: Noted, sender: Any) -> None:
        self.persist(message).then_reply(len)

    def receiveMsg_Read(self, message: Read, sender: Any) -> None:
        self.reply(sorted(self.state))

    def apply_event(self, state: Any, event: Noted) -> Any:
        return [*state, event.text]


class NotesReplica:
    """A replica of Notes in an actor system of its own."""

    def __init__(
        self, stack: ExitStack, folder: Path, name: str, ports: dict[str, int], **more: Any
    ) -> None:
        peers = [Peer(one, f"127.0.0.1:{port}") for one, port in ports.items() if one != name]
        self.path = folder / f"{name}.db"
        self.settings = Settings(
            service=f"notes-{name}", journal=f"sqlite:///{self.path}", entities=[Notes],
            listen=f"127.0.0.1:{ports[name]}", slices=4,
            replication=[Replication(Notes, name, peers, **more)],
        )  # fmt: skip
        self.system = stack.enter_context(running())
        self.api = Replicas(self.settings.journal, "notes")
        self.begin()

    def begin(self) -> None:
        self.node = self.system.start(self.settings)
        self.client = Client.connect(self.system.system, self.settings.service)

    def stop(self) -> None:
        self.client.close()
        self.node.stop()
        for leftover in self.path.parent.glob(f"{self.path.name}-*"):
            leftover.unlink()

    def note(self, entity_id: str, text: str) -> None:
        self.client.entity("notes", entity_id).ask(Noted(text), timeout_s=WITHIN_S)

    def takes(self, entity_id: str, text: str) -> bool:
        """It handles a command, or says that it is not whole yet."""
        try:
            self.note(entity_id, text)
        except ReplicaRecoveringError:
            return False
        return True

    def holds(self, entity_id: str, *texts: str) -> bool:
        found: list[str] = self.client.entity("notes", entity_id).ask(Read(), timeout_s=WITHIN_S)
        return found == sorted(texts)

    def is_trimmed(self, *without: str) -> bool:
        rows = self.api.trim(without=without)
        return all(row.after == row.head for row in rows)

    def check(self) -> None:
        """Its journal is sound."""
        journal = open_journal(self.settings.journal)
        assert journal.verify("notes") == []
        journal.close()


def test_a_replica_joins_where_the_log_is_trimmed(tmp_path: Path) -> None:
    """It begins at what is left, and fetches the states of what is gone."""
    with ExitStack() as stack:
        ports = {name: free_port() for name in "ab"}
        a = NotesReplica(stack, tmp_path, "a", ports)
        ids = [f"n-{n}" for n in range(40)]
        for entity_id in ids:
            for text in "xyz":
                a.note(entity_id, text)
        eventually(lambda: a.is_trimmed("b"), WITHIN_S)
        a.note("n-0", "later")
        a.note("new", "later")
        b = NotesReplica(stack, tmp_path, "b", ports)
        for entity_id in ids[1:]:
            eventually(partial(b.holds, entity_id, "x", "y", "z"), WITHIN_S)
        eventually(lambda: b.holds("n-0", "later", "x", "y", "z"), WITHIN_S)
        eventually(lambda: b.holds("new", "later"), WITHIN_S)
        b.note("n-1", "here")
        eventually(lambda: a.holds("n-1", "here", "x", "y", "z"), WITHIN_S)

        def joining() -> list[int]:
            links = b.api.status().links
            return [] if links is None else [one["joining"] for one in links.links]

        eventually(lambda: joining() == [0], WITHIN_S)
        b.check()


def test_an_entity_whose_events_are_trimmed_comes_into_scope_by_its_state(tmp_path: Path) -> None:
    """And goes on from there at both replicas."""
    with ExitStack() as stack:
        ports = {name: free_port() for name in "ab"}
        wanted = Exclude.all() + Include.entity_ids("early")
        a = NotesReplica(stack, tmp_path, "a", ports)
        b = NotesReplica(stack, tmp_path, "b", ports, wanted=wanted)
        for text in "xy":
            a.note("early", text)
            a.note("late", text)
        eventually(lambda: b.holds("early", "x", "y"), WITHIN_S)
        eventually(lambda: a.is_trimmed("b"), WITHIN_S)
        assert b.holds("late")
        b.api.add_criteria(Include.entity_ids("late"))
        eventually(lambda: b.holds("late", "x", "y"), WITHIN_S)
        a.note("late", "of a")
        eventually(lambda: b.holds("late", "of a", "x", "y"), WITHIN_S)
        b.note("late", "of b")
        eventually(lambda: a.holds("late", "of a", "of b", "x", "y"), WITHIN_S)
        b.check()


def test_what_a_restored_replica_lost_may_be_in_states_only(tmp_path: Path) -> None:
    """Its peer has trimmed the events that it fetches."""
    with ExitStack() as stack:
        ports = {name: free_port() for name in "ab"}
        a = NotesReplica(stack, tmp_path, "a", ports)
        b = NotesReplica(stack, tmp_path, "b", ports)
        a.note("x", "first")
        eventually(lambda: b.holds("x", "first"), WITHIN_S)
        a.stop()
        saved = tmp_path / "saved.db"
        shutil.copyfile(a.path, saved)
        a.begin()
        a.note("x", "second")
        a.note("y", "second")
        eventually(lambda: b.holds("x", "first", "second") and b.holds("y", "second"), WITHIN_S)
        eventually(lambda: b.is_trimmed("a"), WITHIN_S)
        a.stop()
        shutil.copyfile(saved, a.path)
        a.begin()
        eventually(lambda: a.takes("x", "third"), WITHIN_S)
        eventually(lambda: a.holds("x", "first", "second", "third"), WITHIN_S)
        eventually(lambda: a.holds("y", "second"), WITHIN_S)
        eventually(lambda: b.holds("x", "first", "second", "third"), WITHIN_S)
        assert a.api.status().listed.total == 0
        a.check()


def test_a_replica_whose_database_is_lost_comes_back_under_its_id(tmp_path: Path) -> None:
    """With an empty one: it fetches all it wrote that others have, and goes on counting there."""
    with ExitStack() as stack:
        ports = {name: free_port() for name in "ab"}
        a = NotesReplica(stack, tmp_path, "a", ports)
        b = NotesReplica(stack, tmp_path, "b", ports)
        a.note("x", "first")
        b.note("x", "second")
        for one in (a, b):
            eventually(partial(one.holds, "x", "first", "second"), WITHIN_S)
        a.stop()
        a.path.unlink()
        a.begin()
        eventually(lambda: a.takes("x", "third"), WITHIN_S)
        for one in (a, b):
            eventually(partial(one.holds, "x", "first", "second", "third"), WITHIN_S)
        assert a.api.status().roles.generation == 1
        assert [one.api.status().listed.total for one in (a, b)] == [0, 0]


def _is_level(replica: Any, peer: Any) -> bool:
    link = replica.links().get(peer.name)
    return link is not None and link["state"] == "up" and not link["lag"]


def _dial(replica: Any, target: str, peer: str) -> None:
    """Have its settings dial this peer."""
    [setting] = replica.settings.replication
    peers = [Peer(peer, target) if one.replica_id == peer else one for one in setting.peers]
    replica.settings = replace(replica.settings, replication=[replace(setting, peers=peers)])
