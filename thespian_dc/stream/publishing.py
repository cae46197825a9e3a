"""Tells of what a destination wrote: the streams of its own process, and the node's consumers, for
their local sources. A hint; polling is the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from thespian_dc.model.record import Commit
from thespian_dc.shell.doorbell import Ringer


class Publishing:
    """push: to the streams of this process. `publish` is called by the threads that write."""

    def __init__(self, push: Callable[[Sequence[Commit]], None]) -> None:
        self._push = push
        self._local: Sequence[str] = ()
        self._ringer = Ringer()

    def on_local(self, addresses: Sequence[str]) -> None:
        """Of consumers of this machine, as "ip:port"."""
        self._local = tuple(addresses)

    def publish(self, commits: Sequence[Commit]) -> None:
        """Fresh, durable ones."""
        self._push(commits)
        if self._local:
            self._ringer.ring(self._local, commits)

    def close(self) -> None:
        self._ringer.close()
