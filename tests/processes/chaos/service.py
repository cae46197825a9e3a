"""A service's process: its actor system and, when told, its node. `python -m …service ADMIN_PORT`.

Orders come as lines on stdin, facts go out as lines of JSON on stdout. Order "start": the rest of
the line is JSON of what `settings` takes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from thespian.actors import ActorSystem

from tests.processes.chaos.ledger import ENTITY_TYPE, STREAM, Book, Ledger, Noted
from tests.processes.chaos.shared_ledger import SharedLedger, Show
from thespian_dc import Client, Node, Peer, Projection, Remote, Replication, Settings, Stream
from thespian_dc.shell.talk import Talk


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def settings(
    service: str, journal: str = "", listen: str = "", hosts: int = 1, producer: str = "",
    database: str = "", replica: str = "", peers: Mapping[str, str] | None = None,
) -> Settings:  # fmt: skip
    """Of a service that serves ledgers (journal, and listen for a stream), of one that serves them
    as one replica of several (peers: target by id), or of one that keeps a book (producer,
    database)."""
    if producer:
        projection = Projection(
            "book", source=Remote(STREAM, producer), handler=Book,
            positions=f"sqlite:///{database}", events=[Noted],
        )  # fmt: skip
        return Settings(service=service, projections=[projection])
    if replica:
        others = [Peer(one, target) for one, target in (peers or {}).items()]
        return Settings(
            service=service, journal=journal, entities=[SharedLedger], hosts=hosts, listen=listen,
            replication=[Replication(SharedLedger, replica, others)],
        )  # fmt: skip
    streams = [Stream(STREAM, Ledger)] if listen else []
    return Settings(
        service=service, journal=journal, entities=[Ledger], hosts=hosts, streams=streams,
        listen=listen,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("admin_port", type=int)
    options = parser.parse_args()
    system = ActorSystem("multiprocTCPBase", {"Admin Port": options.admin_port})
    node: Node | None = None
    say(up=True)
    for line in sys.stdin:
        order, _, rest = line.strip().partition(" ")
        try:
            if order == "start":
                node = Node.start(system, settings(**json.loads(rest)))
                say(started=True)
            elif order == "status":
                say(status=status(system, node))
            elif order == "states":
                say(states=states(system, node, json.loads(rest)))
            elif order == "stop":
                node.stop(float(rest or 5.0)) if node else None
                say(stopped=True)
            elif order == "end":
                break
        except Exception as failed:
            say(failed=f"{order}: {type(failed).__name__}: {failed}")
    system.shutdown()


def status(system: Any, node: Node | None) -> dict[str, Any]:
    """The node's, and the address of its coordinator; where it cannot be had now, why."""
    if node is None:
        return {"error": "not started"}
    try:
        with Talk.of_system(system) as talk:
            coordinator = str(talk.coordinator(node.service) or "")
        return {**node.status(), "coordinator": coordinator}
    except Exception as failed:
        return {"error": f"{type(failed).__name__}: {failed}"}


def states(system: Any, node: Node | None, entity_ids: list[str]) -> dict[str, Any]:
    """Of each of these shared ledgers what `Show` answers; where it cannot be had now, why."""
    try:
        assert node is not None, "not started"
        with Client.connect(system, node.service, timeout_s=10) as client:
            asks = {one: client.entity(ENTITY_TYPE, one) for one in entity_ids}
            return {one: entity.ask(Show(), timeout_s=10) for one, entity in asks.items()}
    except Exception as failed:
        return {"error": f"{type(failed).__name__}: {failed}"}


if __name__ == "__main__":
    main()
