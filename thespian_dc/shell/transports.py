"""Close a TCP transport of Thespian that belongs to this process alone.

Its own `close` tells each sender that its message failed, while it walks over what is under way.
What a sender does then (try again, ask somebody else), and the waiting messages that Thespian puts
in the place of each failed one, change that: the walk ends in RuntimeError, and sockets stay open.
Idle connections are not closed at all.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any


def close_transport(transport: Any) -> None:
    """Release every socket. What is under way or waits is dropped without a word to its sender,
    nothing is sent any more. On the thread that runs it. A second time: nothing happens."""
    if not hasattr(transport, "_transmitIntents"):  # closed, or not of TCP
        return
    connections = [*transport._transmitIntents.values(), *transport._openSockets.values()]
    transport._aTB_queuedPendingTransmits.clear()
    transport._transmitIntents, transport._waitingTransmits = {}, []
    transport._finished_intents, transport._openSockets = [], {}
    for one in connections:
        with suppress(OSError):
            one.socket.close()
    transport.close()
