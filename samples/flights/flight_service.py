"""The flight service, one process: its own ActorSystem and journal, a stream that others read and
one that it pushes. Reads the flights and sends them as commands.

Talks to whoever started it in lines of JSON on stdout: {"ready": …}, {"acknowledged": n}, {"done":
…} and {"failed": why}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

from aircraft import Aircraft, FlightCancelled, RecordFlight, cancellations
from flights import Flight, read_flights
from thespian.actors import ActorSystem

from thespian_dc import Client, Node, Push, Settings, Stream

RESEND_EVERY = 97
RESEND_TOGETHER = 5
"""So a command comes again within 500 flights: an entity remembers the ids of its last 512."""


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def commands(first: int, until: int) -> Iterator[tuple[str, str, Any, str]]:
    """(entity type, id, command, command id) of flights first..until; one in RESEND_EVERY is sent a
    second time, later."""
    again: list[Flight] = []
    for number, flight in enumerate(islice(read_flights(), first, until)):
        yield command_of(flight)
        if number % RESEND_EVERY == 0:
            again.append(flight)
        if len(again) == RESEND_TOGETHER:
            yield from map(command_of, again)
            again.clear()
    yield from map(command_of, again)


def command_of(flight: Flight) -> tuple[str, str, Any, str]:
    command = RecordFlight(flight.carrier, flight.cancelled, flight.arr_delay_min)
    return "aircraft", flight.aircraft, command, flight.flight_id


def main() -> None:
    options = parse()
    system = ActorSystem("multiprocTCPBase", {"Admin Port": options.admin_port})
    try:
        cancelled = Stream("cancellations", Aircraft, cancellations, [FlightCancelled])
        node = Node.start(
            system,
            Settings(
                service="flights",
                journal=options.journal,
                entities=[Aircraft],
                streams=[Stream("aircraft", Aircraft)],
                pushes=[Push(cancelled, options.push_to)],
                listen=options.listen,
            ),
        )
        client = Client.connect(system, service="flights")
        say(ready=True, pid=os.getpid())
        for line in sys.stdin:
            order = json.loads(line)
            if order["do"] == "send":
                sending = (client, order["first"], order["until"], order["in_flight"])
                threading.Thread(target=send, args=sending, daemon=True).start()
            elif order["do"] == "status":
                say(status=node.status())
            elif order["do"] == "stop":
                break
        client.close()
        node.stop()
    finally:
        system.shutdown()
    say(stopped=True)


def send(client: Client, first: int, until: int, in_flight: int) -> None:
    """Send a range of flights, so many in flight; each is acknowledged by its own reply."""
    acknowledged = 0
    try:
        for _ in client.ask_many(commands(first, until), in_flight=in_flight, timeout_s=60):
            acknowledged += 1
            if acknowledged % 500 == 0:
                say(acknowledged=acknowledged)
    except (Exception, SystemExit) as error:
        say(failed=f"{type(error).__name__}: {error}")
        raise
    say(acknowledged=acknowledged, done=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--admin-port", type=int, required=True)
    parser.add_argument("--journal", required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--push-to", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
