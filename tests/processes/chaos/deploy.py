"""Deploys what stands in the application's folder: starts its node in an actor system that is up,
or stops the one that runs. `python -m …deploy ADMIN_PORT FOLDER JOURNAL start|stop`."""

from __future__ import annotations

import importlib
import sys

from thespian.actors import ActorSystem

from thespian_dc import Node, Settings


def main() -> None:
    admin_port, folder, journal, what = sys.argv[1:]
    sys.path.insert(0, folder)
    till = importlib.import_module("till").Till
    system = ActorSystem("multiprocTCPBase", {"Admin Port": int(admin_port)})
    if what == "start":
        Node.start(system, Settings(service="ledgers", journal=journal, entities=[till], hosts=2))
    else:
        Node(system, "ledgers", None).stop(drain_s=2.0)


if __name__ == "__main__":
    main()
