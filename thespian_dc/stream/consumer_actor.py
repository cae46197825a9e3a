"""ConsumerActor: the leaf that runs a node's projections. gRPC and databases are opened in
`begin`, here only."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from thespian_dc.shell.leaf_actor import LeafActor
from thespian_dc.shell.protocol import Begin

if TYPE_CHECKING:  # what it imports opens nothing, but this class is also only looked at
    from thespian_dc.stream.consumer import RunningProjections


class ConsumerActor(LeafActor):
    """Begin.settings is a StartConsumer. A projection that fails is restarted by its own thread."""

    def __init__(self) -> None:
        super().__init__()
        self._running: RunningProjections | None = None

    def begin(self, begin: Begin) -> None:
        from thespian_dc.stream.consumer import RunningProjections

        self._running = RunningProjections(begin.settings)
        self._running.start()

    def facts(self) -> dict[str, Any]:
        """projections: a ProjectionStatus each, as a dict."""
        statuses = self._running.status() if self._running else ()
        return {"projections": [asdict(status) for status in statuses]}

    def end(self, within_s: float) -> None:
        if self._running is not None:
            self._running.stop(within_s)
