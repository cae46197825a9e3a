"""Hints of fresh commits from a host to its node's producers.

What an append made durable is rung by its own thread, before the host hears of it: a consumer need
not wait for a host that is busy. What is found durable later is gathered in a round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from thespian_dc.journal.api import Appended, Outcome
from thespian_dc.model.record import Commit
from thespian_dc.shell.doorbell import Ringer


class Publishing:
    """`on_appended` from the threads that append; then on the host's, in each round: `on_results`,
    `publish` each durable commit, `flush`. Without producers nothing is kept."""

    def __init__(self) -> None:
        self._producers: Sequence[str] = ()
        self._fresh: list[Commit] = []
        self._rung: set[bytes] = set()  # write ids of this round's results
        self._ringer: Ringer | None = None

    def on_producers(self, addresses: Sequence[str]) -> None:
        """The node's producers now, as "ip:port"."""
        self._producers = addresses
        if addresses and self._ringer is None:
            self._ringer = Ringer()

    def on_appended(self, answer: Appended) -> None:
        """Ring for it, from any thread."""
        if self._ringer is not None and self._producers and answer.outcome is Outcome.DONE:
            self._ringer.ring(self._producers, [answer.commit])

    def on_results(self, results: Iterable[Any]) -> None:
        """What a round begins with; `on_appended` had the appended ones."""
        if self._producers:
            self._rung = {
                one.commit.write_id
                for one in results
                if isinstance(one, Appended) and one.outcome is Outcome.DONE
            }

    def publish(self, commit: Commit) -> None:
        if self._producers and commit.write_id not in self._rung:
            self._fresh.append(commit)

    def flush(self) -> None:
        """Ring once for all that was published since."""
        self._rung.clear()
        if self._fresh and self._ringer is not None:
            self._ringer.ring(self._producers, self._fresh)
            self._fresh = []
