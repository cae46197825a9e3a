"""Replicas that come later and that leave: a plain entity becomes a replicated one, a third replica
joins two that run, one retires."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.processes.replicas import WITHIN_S, Change, Read, agree, replicas
from tests.processes.running import free_port, running
from thespian_dc.client.api import Client
from thespian_dc.crdt.api import Counted, PnCounter
from thespian_dc.entity.api import EventSourcedActor, ReplicatedEventSourcedActor
from thespian_dc.journal.api import open_journal
from thespian_dc.model.replication_errors import ReplicaRetiredError
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
            eventually(lambda one=one, other=other: _lag(one, other) == 0, WITHIN_S)  # type: ignore[misc]
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
    """Keeps what was noted, in the order of its replica; a state of it can be stored."""

    entity_type = "notes"
    events = [Noted]  # noqa: RUF012  as users write it
    snapshot_every = 1

    def empty_state(self) -> Any:
        return []

    def receiveMsg_Noted(self, message: Noted, sender: Any) -> None:
        self.persist(message).then_reply(len)

    def receiveMsg_Read(self, message: Read, sender: Any) -> None:
        self.reply(sorted(self.state))

    def apply_event(self, state: Any, event: Noted) -> Any:
        return [*state, event.text]


def test_a_replica_joins_where_the_log_is_trimmed(tmp_path: Path) -> None:
    """It begins at what is left, and fetches the states of what is gone."""
    with ExitStack() as stack:
        ports = {name: free_port() for name in "ab"}

        def begin(name: str, other: str, dials: bool) -> tuple[Any, Any, Client]:
            peers = [Peer(other, f"127.0.0.1:{ports[other]}" if dials else "")]
            settings = Settings(
                service=f"notes-{name}", journal=f"sqlite:///{tmp_path}/{name}.db",
                entities=[Notes], listen=f"127.0.0.1:{ports[name]}", slices=4,
                replication=[Replication(Notes, name, peers)],
            )  # fmt: skip
            system = stack.enter_context(running())
            node = system.start(settings)
            return (
                node,
                Replicas(settings.journal, "notes"),
                Client.connect(system.system, settings.service),
            )

        def note(client: Client, entity_id: str, text: str) -> None:
            client.entity("notes", entity_id).ask(Noted(text), timeout_s=WITHIN_S)

        def read(client: Client, entity_id: str) -> Any:
            return client.entity("notes", entity_id).ask(Read(), timeout_s=WITHIN_S)

        _, api_a, a = begin("a", "b", dials=False)
        ids = [f"n-{n}" for n in range(40)]
        for entity_id in ids:
            for text in "xyz":
                note(a, entity_id, text)

        def trimmed() -> bool:
            rows = api_a.trim(without=["b", "replica b, which never said how far it is"])
            return all(row.after == row.head for row in rows)

        eventually(trimmed, WITHIN_S)
        note(a, "n-0", "later")
        note(a, "new", "later")
        _, api_b, b = begin("b", "a", dials=True)
        for entity_id in ids[1:]:
            eventually(lambda one=entity_id: read(b, one) == ["x", "y", "z"], WITHIN_S)  # type: ignore[misc]
        eventually(lambda: read(b, "n-0") == ["later", "x", "y", "z"], WITHIN_S)
        eventually(lambda: read(b, "new") == ["later"], WITHIN_S)
        note(b, "n-1", "here")
        assert read(b, "n-1") == ["here", "x", "y", "z"]

        def joining() -> list[int]:
            links = api_b.status().links
            return [] if links is None else [one["joining"] for one in links.links]

        eventually(lambda: joining() == [0], WITHIN_S)
        journal = open_journal(f"sqlite:///{tmp_path}/b.db")
        assert journal.verify("notes") == []
        journal.close()
        for client in (a, b):
            client.close()


def _lag(replica: Any, peer: Any) -> int | None:
    link = replica.links().get(peer.name)
    return None if link is None or link["state"] != "up" else link["lag"]


def _dial(replica: Any, target: str, peer: str) -> None:
    """Have its settings dial this peer."""
    [setting] = replica.settings.replication
    peers = [Peer(peer, target) if one.replica_id == peer else one for one in setting.peers]
    replica.settings = replace(replica.settings, replication=[replace(setting, peers=peers)])
