"""Deploys a version of the application into an actor system that is up: stops the node that runs,
exchanges the folder, starts the new one. `python -m …deploy ADMIN_PORT FOLDER VERSION JOURNAL`.

FOLDER is a link to the folder of a version; the actor system's Admin has it on its path.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from thespian.actors import ActorSystem

from tests.processes.chaos import ledger
from thespian_dc import Node, Settings
from thespian_dc.journal.api import open_journal

DRAIN_S = 1.0  # clients never stop asking, so all of it is used


def main() -> None:
    admin_port, folder, version, journal = sys.argv[1:]
    system = ActorSystem("multiprocTCPBase", {"Admin Port": int(admin_port)})
    open_journal(journal).close()  # whatever that imports is imported before the pause
    Node(system, "ledgers", None).stop(DRAIN_S)  # nothing, the first time
    Path(folder).unlink(missing_ok=True)
    Path(folder).symlink_to(version)
    sys.path.insert(0, folder)
    till = importlib.import_module("till").Till
    assert issubclass(till, ledger.Ledger)
    Node.start(system, Settings(service="ledgers", journal=journal, entities=[till], hosts=2))


if __name__ == "__main__":
    main()
