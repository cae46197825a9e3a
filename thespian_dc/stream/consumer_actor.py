"""ConsumerActor: the leaf that runs a node's projections. gRPC and databases are opened in
`begin`, here only.

Process 0 runs the first worker of every projection, and has the coordinator start and end the
processes of the others, as many as settings or somebody's wish say.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from thespian.actors import PoisonMessage

from thespian_dc.model.settings import Local
from thespian_dc.projection.api import EventsHandled, EventsRefused, ProjectedEvents
from thespian_dc.shell.doorbell import open_bell
from thespian_dc.shell.leaf_actor import LeafActor
from thespian_dc.shell.protocol import Begin, Peers, StartLeaf, StopLeaf
from thespian_dc.stream.protocol import worker_leaves

if TYPE_CHECKING:  # what it imports opens nothing, but this class is also only looked at
    from thespian_dc.stream.consumer import RunningProjections
    from thespian_dc.stream.courier import LeafCourier


class ConsumerActor(LeafActor):
    """Begin.settings is a StartConsumer. A projection that fails is restarted by its own thread."""

    def __init__(self) -> None:
        super().__init__()
        self._running: RunningProjections | None = None
        self._courier: LeafCourier | None = None

    def begin(self, begin: Begin) -> None:
        from thespian_dc.stream.consumer import RunningProjections
        from thespian_dc.stream.courier import LeafCourier

        courier = LeafCourier(self.bridge.put, self.createActor, self.transmit)
        self._courier = courier
        self._running = RunningProjections(begin.settings, begin.node_id, courier)
        self._running.start()
        if any(isinstance(one.source, Local) for one in begin.settings.projections):
            bell = open_bell(self.address)
            if bell is not None:
                self._running.listen_to(bell)

    def on_items(self, items: list[Any]) -> None:
        """Of the courier."""
        assert self._courier is not None
        for item in items:
            self._courier.on_item(item)

    def on_message(self, message: Any, sender: Any) -> None:
        """The word of an actor that handles a projection's events."""
        if self._courier is not None and isinstance(message, EventsHandled | EventsRefused):
            self._courier.on_answer(message)

    def on_system(self, message: Any, sender: Any) -> None:
        """A poison message: the actor raised twice at events."""
        if isinstance(message, PoisonMessage) and self._courier is not None:
            events = message.poisonMessage
            if isinstance(events, ProjectedEvents):
                self._courier.on_answer(events.refused(f"it raised: {message.details}"))

    def on_peers(self, peers: Peers) -> None:
        """Start and end processes until there are as many workers as there are to be."""
        begun = self.begun
        if self._running is None or begun is None or begun.settings.worker:
            return
        wanted = worker_leaves(begun.name, begun.settings, self._running.workers())
        there = {name for name, _, _ in peers.leaves if name.startswith(f"{begun.name}:")}
        for name in wanted.keys() - there:
            self.send(self._coordinator, StartLeaf(wanted[name]))
        for name in there - wanted.keys():
            self.send(self._coordinator, StopLeaf(name))

    def facts(self) -> dict[str, Any]:
        """projections: a ProjectionStatus each, as a dict."""
        statuses = self._running.status() if self._running else ()
        return {"projections": [asdict(status) for status in statuses]}

    def end(self, within_s: float) -> None:
        if self._running is not None:
            self._running.stop(within_s)
