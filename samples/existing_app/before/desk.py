"""An order desk as ordinary Thespian actors: a price list, and a desk that prices orders."""

from __future__ import annotations

from dataclasses import dataclass

from thespian.actors import ActorTypeDispatcher


@dataclass(frozen=True)
class PriceOf:
    sku: str


@dataclass(frozen=True)
class Price:
    sku: str
    cents: int


@dataclass(frozen=True)
class Order:
    customer: str
    sku: str
    quantity: int


@dataclass(frozen=True)
class Confirmed:
    customer: str
    cents: int


class PriceList(ActorTypeDispatcher):
    prices = {"apple": 40, "pear": 55, "plum": 25}

    def receiveMsg_PriceOf(self, message, sender):
        self.send(sender, Price(message.sku, self.prices[message.sku]))


class OrderDesk(ActorTypeDispatcher):
    """Asks its price list for each order and confirms to whoever ordered."""

    def __init__(self):
        super().__init__()
        self.waiting = {}

    def receiveMsg_Order(self, message, sender):
        if not hasattr(self, "price_list"):
            self.price_list = self.createActor(PriceList)
        self.waiting.setdefault(message.sku, []).append((message, sender))
        self.send(self.price_list, PriceOf(message.sku))

    def receiveMsg_Price(self, message, sender):
        order, customer = self.waiting[message.sku].pop(0)
        self.send(customer, Confirmed(order.customer, order.quantity * message.cents))
