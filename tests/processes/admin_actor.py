"""An actor system on a free port, until a line comes in: `admin_actor.py [start method]`."""

from __future__ import annotations

import sys

from thespian.actors import ActorSystem

from tests.ports import free_port

if __name__ == "__main__":
    port = free_port()
    capabilities = {"Admin Port": port}
    if len(sys.argv) > 1:
        capabilities["Process Startup Method"] = sys.argv[1]
    system = ActorSystem("multiprocTCPBase", capabilities)
    print(port, flush=True)
    sys.stdin.readline()
    system.shutdown()
