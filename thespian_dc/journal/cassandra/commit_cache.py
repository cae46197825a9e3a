"""Rows of the log that were read lately. A row never changes, so what was read once stays true.

Entities of a slice share commits: without this, a host that recovers many of them (after a restart)
would fetch the same rows again for each.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit

_OVERHEAD_BYTES = 400


class CommitCache:
    """The least recently used leave first. From any thread."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max, self._bytes = bytes_max, 0
        self._commits: OrderedDict[tuple[SliceKey, int], Commit] = OrderedDict()
        self._lock = Lock()

    def get(self, key: SliceKey, base_offset: int) -> Commit | None:
        with self._lock:
            commit = self._commits.get((key, base_offset))
            if commit is not None:
                self._commits.move_to_end((key, base_offset))
            return commit

    def put(self, commit: Commit) -> None:
        """Keep a sound commit; a damaged one is read again each time, until it is restored."""
        size = commit.size_bytes + _OVERHEAD_BYTES
        with self._lock:
            place = (commit.key, commit.base_offset)
            if place in self._commits or size > self._bytes_max:
                return
            self._commits[place] = commit
            self._bytes += size
            while self._bytes > self._bytes_max:
                _, gone = self._commits.popitem(last=False)
                self._bytes -= gone.size_bytes + _OVERHEAD_BYTES
