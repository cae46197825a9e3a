"""The punctuality service, one process: its own ActorSystem and databases. Two projections consume
the flight service's stream, one of them through a filter that others change while it runs; a third
reads what the flight service pushes into this one's own journal."""

from __future__ import annotations

import argparse
import json
import sys

from fleets import FIRST, PROJECTION
from flight_service import say
from punctuality import EVENTS, Fleets, Punctuality
from thespian.actors import ActorSystem

from thespian_dc import Destination, Include, Local, Node, Projection, Remote, Settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--admin-port", type=int, required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--fleets", required=True)
    parser.add_argument("--cancellations", required=True)
    parser.add_argument("--journal", required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--producer", required=True)
    options = parser.parse_args()
    system = ActorSystem("multiprocTCPBase", {"Admin Port": options.admin_port})
    try:
        aircraft = Remote("aircraft", options.producer)
        figures = Projection(
            "punctuality",
            source=aircraft,
            handler=Punctuality,
            positions=options.database,
            events=EVENTS,
        )
        fleets = Projection(
            PROJECTION,
            source=aircraft,
            handler=Fleets,
            positions=options.fleets,
            events=EVENTS,
            filter=Include.tags(FIRST),
        )
        cancellations = Projection(
            "cancellations",
            source=Local("cancelled-flight"),
            handler=Punctuality,
            positions=options.cancellations,
            events=EVENTS,
        )
        node = Node.start(
            system,
            Settings(
                service="punctuality",
                projections=[figures, fleets, cancellations],
                journal=options.journal,
                listen=options.listen,
                destinations=[
                    Destination(
                        "cancellations",
                        "cancelled-flight",
                        origins={"flights": ""},
                        without_identity=True,  # on this machine
                    )
                ],
            ),
        )
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
