"""Replicas that cannot be dialled: their producers call, and who reads them is lent such a call, as
stream/offering.py, stream/edges.py and stream/relay.py do it.

Laws:
- Of one edge the latest call counts. Each of its ends hears of the other one's end soon, or late.
- A call is lent once. Its reader's end ends it, and the edge calls again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.testkit.simulation.call import TOLD, Call
from thespian_dc.testkit.simulation.network import Network, NetworkFaults

if TYPE_CHECKING:
    from thespian_dc.testkit.simulation.replicas.linking import LinksProcess
    from thespian_dc.testkit.simulation.replicas.serving import ReplicaProducer

CALL_US = (30_000, 300_000)
DELAY_US = (200, 4_000)
CALLED_US = 400_000
"""How long a reader waits for an edge to call."""


class Line:
    """A call that an edge's producer opened to another replica's."""

    def __init__(self, caller: ReplicaProducer, to: ReplicaProducer) -> None:
        self.caller, self._born = caller, caller.incarnation
        self.to, self.called = to, to.incarnation
        self.call: Call | None = None
        """Once it is lent."""
        self.is_over = False

    def lend(self, reader: LinksProcess, network: Network) -> Call:
        """To who reads the edge; whether it carries anything shows later."""
        self.to.world.hit("replica: a call of an edge lent")
        call = self.call = Call(self.to.world, _Relayed(network, self.to), reader, self.caller)
        call.producer.incarnation = self._born
        self.caller.enter(self._born, self.caller.accept, call.producer)
        return call

    def end(self) -> None:
        """From this end, or by a crash."""
        self.is_over = True
        if self.call is not None:
            self.call.breaks()


class _Relayed(Network):
    """As a network, while the process between the two is not paused."""

    def __init__(self, network: Network, relay: ReplicaProducer) -> None:
        super().__init__(relay.world, NetworkFaults())
        self._network, self._relay = network, relay

    def passes(self, sender: str, receiver: str) -> bool:
        return not self._relay.paused and self._network.passes(sender, receiver)


class Calling:
    """By one run of an edge's producer, to one peer."""

    def __init__(self, producer: ReplicaProducer, network: Network, to: ReplicaProducer) -> None:
        self._producer, self._network, self._to = producer, network, to
        self._line: Line | None = None
        self._look()

    def _look(self) -> None:
        world = self._producer.world
        if self._line is None or (self._has_ended(self._line) and _is_told(self._producer)):
            self._call()
        self._producer.after(world.between(*CALL_US), self._look)

    def _has_ended(self, line: Line) -> bool:
        if line.call is None:
            return line.is_over or not self._to.alive or self._to.incarnation != line.called
        return all(one.end is not line.call.producer for one in self._producer.calls)

    def _call(self) -> None:
        mine, to, self._line = self._producer.name, self._to, None
        passes = self._network.passes(mine, to.name) and self._network.passes(to.name, mine)
        if not to.alive or to.paused or not passes:
            self._producer.world.hit("replica: an edge calls in vain")
            return
        line = self._line = Line(self._producer, to)
        came = partial(to.enter, to.incarnation, to.lines.came, line)
        self._producer.world.after(self._producer.world.between(*DELAY_US), came)

    def crash(self) -> None:
        """The other end hears of it, or believes in the call until something is to pass."""
        if self._line is not None and _is_told(self._producer):
            self._line.end()


def _is_told(process: ReplicaProducer) -> bool:
    return not process.world.faulty or process.world.chance(TOLD)


class Lines:
    """Of one run of a producer that edges call: the latest call of each."""

    def __init__(self, producer: ReplicaProducer) -> None:
        self._producer = producer
        self._open: dict[str, Line] = {}
        self._waiting: list[Callable[[], bool]] = []

    def came(self, line: Line) -> None:
        """An edge has called."""
        world, name = self._producer.world, line.caller.replica_id
        before = self._open.pop(name, None)
        if before is not None:
            if not before.is_over:
                world.hit("replica: an edge calls again")
            before.end()
        self._open[name] = line
        self.end_retired()
        self._waiting = [one for one in self._waiting if not one()]

    def find(self, name: str, lend: bool, take: Callable[[Line], None]) -> None:
        """Take the call of this edge, at once or when it comes. lend: one that is not lent yet; it
        is for nobody else from then on."""
        until_us = self._producer.world.now_us + CALLED_US

        def serve() -> bool:
            """Is this over?"""
            line = self._open.get(name)
            if self._producer.world.now_us >= until_us:
                return True
            if line is None or line.is_over or (lend and line.call is not None):
                return False
            take(line)
            return True

        if not serve():
            self._waiting.append(serve)

    def end_retired(self) -> None:
        """The calls of replicas that do not belong to the group any more."""
        for name, line in self._open.items():
            try:
                self._producer.check_retired(name)
            except ThespianDcError:
                line.end()

    def crash(self) -> None:
        for line in self._open.values():
            line.end()
