"""How a link reads a replica that cannot be dialled: over a call that this one opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from thespian_dc.model.stream_errors import PeerUnavailableError
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.replicas.edges import CALLED_US, Line
from thespian_dc.testkit.simulation.replicas.serving import ReplicaProducer
from thespian_dc.testkit.simulation.replicas.source import ReplicaSource, ask, once
from thespian_dc.testkit.simulation.stream_source import REFUSED_US
from thespian_dc.wire.conversion import Credit

if TYPE_CHECKING:
    from thespian_dc.testkit.simulation.replicas.linking import LinksProcess


def find_line(
    reader: LinksProcess, name: str, lend: bool, on_line: Callable[[Line | None], None]
) -> None:
    """An edge's call, by way of the producer on the reader's machine; on_line is called once, with
    None where none comes in time."""
    relay, take = reader.relay, once(on_line)
    if relay is None or not relay.alive:
        reader.after(reader.world.between(*REFUSED_US), take, None)
    else:
        reader.after(CALLED_US, take, None)
        relay.enter(relay.incarnation, relay.lines.find, name, lend, reader.into(take))


def ask_edge(
    reader: LinksProcess, network: Network, name: str, question: Callable[[ReplicaProducer], Any],
    on_answer: Callable[[Any], None],
) -> None:  # fmt: skip
    """A question that goes the way of the edge's call."""

    def on_line(line: Line | None) -> None:
        if line is None:
            on_answer(_none_open(name))
        else:
            ask(reader, network, line.caller, question, on_answer)

    find_line(reader, name, False, on_line)


def _none_open(name: str) -> PeerUnavailableError:
    return PeerUnavailableError(name, "it calls by itself, and has not")


class EdgeSource(ReplicaSource):
    """Over calls that the peer opened."""

    _process: LinksProcess

    def _dial(self, outstanding: Credit) -> None:
        if self._stopped:
            return
        core = self._core = self._core_for(outstanding)

        def on_line(line: Line | None) -> None:
            if self._stopped or core is not self._core:
                if line is not None and line.call is None:
                    self._process.world.hit("replica: a call of an edge that nobody wants any more")
            elif line is None or line.call is not None:
                self._process.world.hit("replica: no call of an edge is open")
                self._failed(core, _none_open(self._to.name))
            else:
                self._open(core, line.lend(self._process, self._network))

        find_line(self._process, self._to.replica_id, True, on_line)

    def _ask_peer(
        self, question: Callable[[ReplicaProducer], Any], answered: Callable[[Any], None]
    ) -> None:
        ask_edge(self._process, self._network, self._to.replica_id, question, answered)
