"""Takes orders from the command line: `python app.py ann:apple:3 bob:pear:1`."""

from __future__ import annotations

import sys

from desk import Order, OrderDesk
from points import Earn, Points
from thespian.actors import ActorSystem

from thespian_dc import Client, Node, Settings


def start(admin_port):
    system = ActorSystem("multiprocTCPBase", {"Admin Port": admin_port})
    Node.start(system, Settings("orders", journal="sqlite:///orders.db", entities=[Points]))
    return system, system.createActor(OrderDesk), Client.connect(system, service="orders")


def take(system, desk, client, line):
    customer, sku, quantity = line.split(":")
    confirmed = system.ask(desk, Order(customer, sku, int(quantity)), 10)
    points = client.entity("points", customer).ask(Earn(confirmed.cents))
    return f"{confirmed.customer} pays {confirmed.cents / 100:.2f} and has {points} points"


def main(lines, admin_port=19711):
    system, desk, client = start(admin_port)
    try:
        for line in lines:
            print(take(system, desk, client, line))
    finally:
        system.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
