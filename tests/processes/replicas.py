"""Replicas of one entity type in actor systems of their own, over SQLite files of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes.running import Running, free_port, running
from thespian_dc.client.api import Client
from thespian_dc.crdt.api import Counted, PnCounter
from thespian_dc.entity.replicated import ReplicatedEventSourcedActor
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.settings import Settings
from thespian_dc.node import Node
from thespian_dc.testkit.eventually import eventually

WITHIN_S = 20.0


@dataclass(frozen=True)
class Change:
    by: int


@dataclass(frozen=True)
class Read:
    pass


class Tally(ReplicatedEventSourcedActor):
    """Counts up and down at every replica; answers (value, events by origin)."""

    entity_type = "tally"
    events = [Counted]  # noqa: RUF012  as users write it
    snapshot_every = 20

    def empty_state(self) -> Any:
        return {"tally": PnCounter(), "from": {}}

    def receiveMsg_Change(self, message: Change, sender: Any) -> None:
        change = self.state["tally"].add(message.by, self.replica_id)
        self.persist(change).then_reply(lambda state: state["tally"].value)

    def receiveMsg_Read(self, message: Read, sender: Any) -> None:
        self.reply((self.state["tally"].value, dict(sorted(self.state["from"].items()))))

    def apply_event(self, state: Any, event: Counted) -> Any:
        seen = {**state["from"], self.origin: state["from"].get(self.origin, 0) + 1}
        return {"tally": state["tally"].apply(event), "from": seen}


class Fragile(Tally):
    """Its entities are named by files: as long as one is there, replica b cannot apply events."""

    def apply_event(self, state: Any, event: Counted) -> Any:
        if self.replica_id == "b" and Path(self.ref.entity_id).exists():
            raise ValueError("the code of b has a bug")
        return super().apply_event(state, event)


@dataclass
class Replica:
    """One of them, in its own actor system."""

    name: str
    settings: Settings
    system: Running
    node: Node
    client: Client

    def change(self, entity_id: str, by: int) -> None:
        self.client.entity("tally", entity_id).ask(Change(by), timeout_s=WITHIN_S)

    def read(self, entity_id: str) -> Any:
        return self.client.entity("tally", entity_id).ask(Read(), timeout_s=WITHIN_S)

    def links(self) -> dict[str, Any]:
        """By peer, as `node.status()` has it."""

        def said() -> Any:
            (leaf,) = self.node.status()["replication"]
            return leaf.get("links")  # none while its process starts, or is too busy to say

        return {one["peer"]: one for one in eventually(said)}

    def kill(self, role: str) -> None:
        """SIGKILL one of its processes."""
        pid = eventually(lambda: self.node.status()[role][0]["pid"])  # none while it starts
        os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """Stop the node."""
        self.client.close()
        self.node.stop()

    def begin(self) -> None:
        """Start the node again, after it was stopped."""
        self.node = self.system.start(self.settings)
        self.client = Client.connect(self.system.system, self.settings.service)


@contextmanager
def replicas(
    folder: Path,
    names: str,
    links: Sequence[str] = (),
    edges: Sequence[str] = (),
    own: Mapping[str, Mapping[str, Any]] = {},
    workers: int = 1,
    entity: type = Tally,
    hosts: int = 1,
    **more: Any,
) -> Iterator[dict[str, Replica]]:
    """links: "ab" for a that dials b; none: all dial all. edges: "ab" for a that alone can dial, b
    and nobody else. workers: of each Peer. hosts: of each node. more: of each Replication; own: of
    the one of this name."""
    ports = {name: free_port() for name in names}
    mesh = [one + other for one in names for other in names if one != other]
    dials = links or ([] if edges else mesh)
    with ExitStack() as stack:
        found: dict[str, Replica] = {}
        for name in names:
            peers = [
                Peer(
                    other,
                    f"127.0.0.1:{ports[other]}" if name + other in (*dials, *edges) else "",
                    workers=workers,
                    edge=name + other in edges or other + name in edges,
                )
                for other in names
                if other != name
            ]
            settings = Settings(
                service=f"tallies-{name}", journal=f"sqlite:///{folder}/{name}.db",
                entities=[entity], listen=f"127.0.0.1:{ports[name]}", slices=4, hosts=hosts,
                replication=[Replication(entity, name, peers, **{**more, **own.get(name, {})})],
            )  # fmt: skip
            system = stack.enter_context(running())
            node = system.start(settings)
            client = Client.connect(system.system, settings.service)
            found[name] = Replica(name, settings, system, node, client)
        yield found
        for one in found.values():
            one.client.close()


def agree(among: Sequence[Replica], entity_id: str, expected: Any) -> None:
    """All of them come to this state."""
    for one in among:
        eventually(lambda one=one: one.read(entity_id) == expected, WITHIN_S)  # type: ignore[misc]
