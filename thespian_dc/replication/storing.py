"""The thread that keeps a link group's registry entries: progress, status, what was listed, and the
filters of both ends. The journal may be slow or away; the group goes on meanwhile.

Progress that is stored late, or never, costs that events come again which are known.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Event, Lock, Thread

from thespian_dc.entity.api import Failed, add_listed, store_failed, stored_failed
from thespian_dc.journal.api import Journal
from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.replication import Listed
from thespian_dc.replication.failed import ASK_US
from thespian_dc.replication.link_facts import LinkFacts
from thespian_dc.replication.progress import KeptProgress
from thespian_dc.replication.status import store_status
from thespian_dc.shell.clock import now_us
from thespian_dc.stream.destination_filters import destination_filter

log = logging.getLogger(__name__)

EVERY_S = 0.2
STATUS_US = 1_000_000
AGAIN_US = 5_000_000
"""A status that did not change is stored so often."""
LISTED_MAX = 1_000


class Storing:
    """kept: by peer, loaded. filters: by the names of their entries. changed: is called from this
    thread with the name and the filter that is another one now; failed: now and then, with those
    that take no commands. `offer` and `list_` may be called from any thread."""

    def __init__(
        self,
        journal: Journal,
        entity_type: str,
        node_id: str,
        kept: Mapping[str, KeptProgress],
        filters: Mapping[str, VersionedFilter],
        changed: Callable[[str, VersionedFilter], None],
        failed: Callable[[Mapping[str, Failed]], None],
    ) -> None:
        self._journal, self._entity_type, self._node_id = journal, entity_type, node_id
        self._kept, self._changed, self._on_failed = kept, changed, failed
        self._versions = {name: one.version for name, one in filters.items()}
        self._lock = Lock()
        self._progress: dict[str, LinkProgress] = {}
        self._facts: Sequence[LinkFacts] = ()
        self._listed: deque[Listed] = deque(maxlen=LISTED_MAX)
        self._failed: dict[str, Failed | None] = {}
        self._shown: Sequence[LinkFacts] = ()
        self._shown_us, self._read_us = 0, now_us()
        self._stop = Event()
        self.error = ""
        """Why nothing could be stored last time."""
        self._thread = Thread(target=self._main, name=f"stores links {entity_type}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """Store what was offered, and end."""
        self._stop.set()
        self._thread.join(within_s)

    def offer(self, progress: Mapping[str, LinkProgress], facts: Sequence[LinkFacts]) -> None:
        """To be stored soon; what was offered before and is not stored yet is replaced."""
        with self._lock:
            self._progress.update(progress)
            self._facts = facts

    def list_(self, listed: Sequence[Listed]) -> None:
        """What people should know of; the oldest are lost where there are too many at once."""
        self._listed.extend(listed)

    def change_failed(self, changes: Mapping[str, Failed | None]) -> None:
        """Entities that fail now, and such as do no more (None)."""
        with self._lock:
            self._failed.update(changes)

    def _main(self) -> None:
        stopped = False
        while not stopped:
            stopped = self._stop.wait(EVERY_S)
            try:
                self._store(stopped)
                self.error = ""
            except Exception as error:  # noqa: BLE001  logged; what follows is stored all the same
                self._on_error(error)

    def _on_error(self, error: Exception) -> None:
        """Logged once as long as it stays the same: this comes round five times a second."""
        before, self.error = self.error, f"{type(error).__name__}: {error}"
        if self.error == before:
            return
        unforeseen = None if isinstance(error, ThespianDcError) else error
        log.warning("replication_not_stored", extra={"error": self.error}, exc_info=unforeseen)

    def _store(self, stopped: bool) -> None:
        with self._lock:
            progress, self._progress = self._progress, {}
        try:
            self._store_listed()  # first: what a cursor has passed does not come again
            for peer in list(progress):
                self._kept[peer].store(progress[peer])
                del progress[peer]
        except BaseException:
            with self._lock:  # of what was offered meanwhile the newer one counts
                self._progress = progress | self._progress
            raise
        self._store_failed()
        self._store_status(stopped)
        for name, version in self._versions.items():
            found = destination_filter(self._journal, name)
            if found.version != version:
                self._versions[name] = found.version
                self._changed(name, found)
        self._read_failed()

    def _store_listed(self) -> None:
        if self._listed:
            listed = list(self._listed)
            add_listed(self._journal, self._entity_type, listed, now_us())
            for _ in listed:
                self._listed.popleft()

    def _store_failed(self) -> None:
        with self._lock:
            changes = dict(self._failed)
        if changes:
            store_failed(self._journal, self._entity_type, changes)
            with self._lock:
                self._failed = {
                    one: found for one, found in self._failed.items()
                    if one not in changes or changes[one] != found
                }  # fmt: skip

    def _read_failed(self) -> None:
        """Hosts find them too, and other nodes."""
        if now_us() - self._read_us >= ASK_US:
            self._read_us = now_us()
            self._on_failed(stored_failed(self._journal, self._entity_type))

    def _store_status(self, stopped: bool) -> None:
        now, facts = now_us(), self._facts
        pause_us = STATUS_US if facts != self._shown else AGAIN_US
        if now - self._shown_us >= pause_us or stopped:
            store_status(self._journal, self._entity_type, self._node_id, facts, now)
            self._shown, self._shown_us = facts, now
