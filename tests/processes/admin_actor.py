"""An actor system on a free port, until a line comes in: `admin_actor.py [start method]`."""

from __future__ import annotations

import socket
import sys

from thespian.actors import ActorSystem

if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    capabilities = {"Admin Port": port}
    if len(sys.argv) > 1:
        capabilities["Process Startup Method"] = sys.argv[1]
    system = ActorSystem("multiprocTCPBase", capabilities)
    print(port, flush=True)
    sys.stdin.readline()
    system.shutdown()
