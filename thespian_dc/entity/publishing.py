"""Hints of fresh commits from a host to its node's producers: gathered in a round, rung at its
end."""

from __future__ import annotations

from collections.abc import Sequence

from thespian_dc.model.record import Commit
from thespian_dc.shell.doorbell import Ringer


class Publishing:
    """`publish` each durable commit, `flush` at the end of a round. Without producers nothing is
    kept."""

    def __init__(self) -> None:
        self._producers: Sequence[str] = ()
        self._fresh: list[Commit] = []
        self._ringer: Ringer | None = None

    def on_producers(self, addresses: Sequence[str]) -> None:
        """The node's producers now, as "ip:port"."""
        self._producers = addresses
        if addresses and self._ringer is None:
            self._ringer = Ringer()

    def publish(self, commit: Commit) -> None:
        if self._producers:
            self._fresh.append(commit)

    def flush(self) -> None:
        """Ring once for all that was published since."""
        if self._fresh and self._ringer is not None:
            self._ringer.ring(self._producers, self._fresh)
            self._fresh = []
