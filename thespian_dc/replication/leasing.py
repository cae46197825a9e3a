"""The thread that shares the links of one replica among its nodes: it beats, takes and gives back
peers as LeaseCore says, and tells the main thread. The leases are one entry of the registry.

What a peer says, or why it refuses, only its reader hears; an entry per peer keeps it for the other
nodes, whose keepers act upon it as if they had heard it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping
from threading import Event, Lock, Thread
from typing import Any, NamedTuple
from uuid import uuid4

from google.protobuf.message import DecodeError

from thespian_dc.entity.api import known_roles
from thespian_dc.journal.api import Entry, Journal, change_entry
from thespian_dc.model.errors import JournalUnavailableError, ThespianDcError
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.replication_handshake import ReplicaStarted
from thespian_dc.replication.lease_core import (
    LeaseCore,
    Leases,
    Plan,
    Reader,
    leases_of,
    plain_of_leases,
)
from thespian_dc.replication.progress import KeptProgress, joined
from thespian_dc.shell.clock import now_us
from thespian_dc.shell.outages import OutageLog
from thespian_dc.shell.processes import lives, machine
from thespian_dc.wire import streams_pb2 as pb
from thespian_dc.wire.replicas import replica_started_of, write_replica_started
from thespian_dc.wire.status import named_by, problem_of

log = logging.getLogger(__name__)

LOOK_S, LOOK_AT_SERVER_S = 0.2, 0.5
"""Between two looks at the registry."""
STORED_US = 1_000_000
"""How far others are, and what they heard, is read so often."""

Heard = ReplicaStarted | ThespianDcError
"""What a peer said of itself, or why it refused this replica."""


class Share(NamedTuple):
    """Which peers are to be read here. stored: how far the others are, and those that are new here.
    nodes: who reads the others. heard: what peers said to them, since the last Share."""

    read: frozenset[str]
    stored: Mapping[str, LinkProgress]
    nodes: Mapping[str, str]
    heard: Mapping[str, Heard] = {}


class LinksNow(NamedTuple):
    """As the main thread has them. able: peers that may be read. served: those that are. troubled:
    of these, those whose link does not come about. heard: what these peers said last."""

    able: frozenset[str]
    served: frozenset[str]
    troubled: frozenset[str] = frozenset()
    heard: Mapping[str, Heard] = {}


class Leasing:
    """put: takes Share, from this thread. able: peers that can be read, all of which are at first.
    `on_links` and `let_go` may be called from any thread."""

    def __init__(
        self,
        journal: Journal,
        entity_type: str,
        node_id: str,
        able: Collection[str],
        put: Callable[[Any], None],
    ) -> None:
        self._journal, self._type, self._put = journal, entity_type, put
        self._node_id = node_id
        # `place.incarnation`: a process that is started again finds its share where it was.
        me = f"{node_id}.{uuid4().hex[:12]}"
        self._core = LeaseCore(entity_type, me, Reader(0, node_id, machine(), os.getpid()))
        self._now = LinksNow(frozenset(able), frozenset())
        self._read = frozenset(able)
        self._let_go: dict[str, LinkProgress] = {}
        self._lock = Lock()
        self._stored_us = 0
        self._nodes: Mapping[str, str] = {}
        self._heard_versions: dict[str, int] = {}  # as read, bounded by the peers
        self._told: dict[str, Heard] = {}  # as stored
        self._stop = Event()
        self._look_s = LOOK_AT_SERVER_S if journal.derived_index else LOOK_S
        self._registry = OutageLog(log, "registry")
        self._thread = Thread(target=self._run, name=f"leases of {entity_type}", daemon=True)

    def start(self) -> None:
        """Look at once. All links run by then: see LeaseCore."""
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """Take nothing any more; `leave` follows when all is stored."""
        self._stop.set()
        self._thread.join(within_s)

    def leave(self) -> None:
        """Others shall read what was read here."""

        def change(before: Entry) -> tuple[Any, None]:
            return plain_of_leases(self._core.leave(leases_of(before.value))), None

        try:
            change_entry(self._journal, _name(self._type), change)
        except ThespianDcError as failed:  # then they wait for its death
            log.warning("leases_not_given_back", extra={"reason": str(failed)})

    # --- from the main thread ---

    def on_links(self, now: LinksNow) -> None:
        """How things stand; often."""
        self._now = now

    def let_go(self, progress: Mapping[str, LinkProgress]) -> None:
        """These links were ended; how far they are is stored before they are given back."""
        with self._lock:
            self._let_go.update(progress)

    # --- the thread ---

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                share = self.look(now_us())
                if share is not None:
                    self._put(share)
            except JournalUnavailableError as failed:
                self._registry.failed(failed)
            except Exception:
                log.exception("leasing_failed", extra={"entity_type": self._type})
            self._registry.turn()
            self._stop.wait(self._look_s)

    def look(self, now: int) -> Share | None:
        """One turn; None: nothing is new."""
        links = self._now  # before what was let go is stored: it may be given back then
        self._store_let_go()
        plan = self._change(links, now)
        if len(plan.after.readers) > 1:
            self._tell_heard(links.heard)
        nodes = {peer: plan.after.readers[one].node for peer, one in plan.lent.items()}
        is_new = plan.read != self._read or nodes != self._nodes
        if not is_new and (not nodes or now - self._stored_us < STORED_US):
            return None
        stored = {
            peer: KeptProgress(self._journal, self._type, peer).load()
            for peer in links.able - (plan.read & self._read)
        }
        share = Share(plan.read, stored, nodes, self._hear(plan.lent))
        self._read, self._nodes, self._stored_us = plan.read, nodes, now
        return share

    def _store_let_go(self) -> None:
        with self._lock:
            waiting = dict(self._let_go)
        for peer, progress in waiting.items():
            kept = KeptProgress(self._journal, self._type, peer)
            kept.store(joined(progress, kept.load()))
            with self._lock:
                if self._let_go.get(peer) is progress:
                    del self._let_go[peer]

    def _change(self, links: LinksNow, now: int) -> Plan:
        """Read the leases, and store them where they are others now."""

        def change(before: Entry) -> tuple[Any, Plan]:
            stored, able = leases_of(before.value), links.able
            gone = [
                name for name, row in stored.readers.items()
                if row.machine and row.machine == machine() and not lives(row.pid)
            ]  # fmt: skip
            if able - stored.holders.keys():
                # Who gave it back may have done so for good: read after the leases.
                able -= known_roles(self._journal, self._type).fenced - links.served
            plan = self._core.on_read(stored, able, links.served, links.troubled, gone, now)
            return plain_of_leases(plan.after), plan

        return change_entry(self._journal, _name(self._type), change)

    # --- what peers say ---

    def _tell_heard(self, heard: Mapping[str, Heard]) -> None:
        for peer, said in heard.items():
            if self._told.get(peer) == said:
                continue
            started = refused = b""
            if isinstance(said, ReplicaStarted):
                started = write_replica_started(said).SerializeToString()
            else:
                refused = problem_of(said).SerializeToString()
            self._put_heard(peer, [self._core.me, started, refused])
            self._told[peer] = said

    def _put_heard(self, peer: str, value: list[Any]) -> None:
        change_entry(self._journal, _heard_name(self._type, peer), lambda _: (value, None))

    def _hear(self, lent: Mapping[str, str]) -> dict[str, Heard]:
        """Of living readers only: what others heard may be of a former life of this journal."""
        found = {}
        for peer, reader in lent.items():
            entry = self._journal.entry(_heard_name(self._type, peer))
            if entry.value is None or entry.value[0] != reader:
                continue
            if self._heard_versions.get(peer) == entry.version:
                continue
            self._heard_versions[peer] = entry.version
            said = _heard_of(*entry.value[1:])
            if said is not None:
                found[peer] = said
        return found


def _heard_of(started: bytes, refused: bytes) -> Heard | None:
    """None: what another version stored, and cannot be read here."""
    try:
        if refused:
            return named_by(pb.Problem.FromString(refused))
        return replica_started_of(pb.ReplicaStarted.FromString(started))
    except (DecodeError, ThespianDcError):
        return None


def stored_leases(journal: Journal, entity_type: str) -> Leases:
    """Who reads what. Blocks."""
    return leases_of(journal.entry(_name(entity_type)).value)


def _name(entity_type: str) -> str:
    return f"replica_leases:{entity_type}"


def _heard_name(entity_type: str, peer: str) -> str:
    return f"replica_heard:{entity_type}:{peer}"
