"""The punctuality service, one process: its own ActorSystem and database; consumes the flight
service's stream."""

from __future__ import annotations

import argparse
import json
import sys

from flight_service import say
from punctuality import EVENTS, Punctuality
from thespian.actors import ActorSystem

from thespian_dc import Node, Projection, Remote, Settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--admin-port", type=int, required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--producer", required=True)
    options = parser.parse_args()
    system = ActorSystem("multiprocTCPBase", {"Admin Port": options.admin_port})
    try:
        projection = Projection(
            "punctuality",
            source=Remote("aircraft", options.producer),
            handler=Punctuality,
            positions=options.database,
            events=EVENTS,
        )
        node = Node.start(system, Settings(service="punctuality", projections=[projection]))
        say(ready=True)
        for line in sys.stdin:
            order = json.loads(line)
            if order["do"] == "status":
                say(status=node.status())
            elif order["do"] == "stop":
                break
        node.stop()
    finally:
        system.shutdown()
    say(stopped=True)


if __name__ == "__main__":
    main()
