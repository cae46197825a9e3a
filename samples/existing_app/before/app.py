"""Takes orders from the command line: `python app.py ann:apple:3 bob:pear:1`."""

from __future__ import annotations

import sys

from desk import Order, OrderDesk
from thespian.actors import ActorSystem


def start(admin_port):
    system = ActorSystem("multiprocTCPBase", {"Admin Port": admin_port})
    return system, system.createActor(OrderDesk)


def take(system, desk, line):
    customer, sku, quantity = line.split(":")
    confirmed = system.ask(desk, Order(customer, sku, int(quantity)), 10)
    return f"{confirmed.customer} pays {confirmed.cents / 100:.2f}"


def main(lines, admin_port=19711):
    system, desk = start(admin_port)
    try:
        for line in lines:
            print(take(system, desk, line))
    finally:
        system.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
