"""CoordinatorActor: one per service and actor system, found by its global name.

It creates the node's leaves, restarts them with a growing pause, and answers who runs where. No
threads, no I/O: it may be forked from and can always answer. It holds nothing that cannot be found
out again: a new one gets StartNode from a leaf and finds the living leaves by their global names.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, final

from thespian.actors import ActorExitRequest, ChildActorExited, WakeupMessage

from thespian_dc.shell.clock import now_us
from thespian_dc.shell.facts import show_facts
from thespian_dc.shell.processes import lives
from thespian_dc.shell.protocol import (
    Begin,
    Drain,
    GetRoutes,
    GetStatus,
    LeafSpec,
    NodeStarted,
    NodeStopped,
    Peers,
    Report,
    Routes,
    StartLeaf,
    StartNode,
    Status,
    StopLeaf,
    StopNode,
)
from thespian_dc.shell.typed_actor import TypedActor

log = logging.getLogger(__name__)

TICK = timedelta(milliseconds=250)
SILENT_US = 3_000_000  # a leaf that has not reported for so long has ended, or stands still
BACKOFF_US = (200_000, 10_000_000)
STEADY_US = 30_000_000  # after so long without a restart the pause starts small again
RETIRE_DRAIN_S = 5.0
STOP_GRACE_US = 6_000_000  # beyond the drain time, before a leaf counts as left behind


@dataclass(slots=True)
class _Leaf:
    spec: LeafSpec
    address: Any = None
    report: Report | None = None
    created_us: int = 0
    heard_us: int = 0
    restarts: int = 0
    pause_us: int = BACKOFF_US[0]
    create_at_us: int = 0  # 0: nothing to do
    gone: bool = False
    retired: bool = False  # to be forgotten when it has ended
    silent: bool = False  # its process lives and reports nothing: user code that never returns, say

    @property
    def heard(self) -> Report | None:
        """What it says of itself, where it can be reached."""
        return None if self.silent else self.report

    @property
    def state(self) -> str:
        """For the status."""
        if self.silent:
            return "silent"
        return "starting" if self.report is None else "up" if self.report.begun else "failed"


class CoordinatorActor(TypedActor):
    """See the module. Never raises out of receiveMessage."""

    def __init__(self) -> None:
        super().__init__()
        self._node: StartNode | None = None
        self._leaves: dict[str, _Leaf] = {}
        self._parent = 0
        self._stopping_until_us = 0
        self._asked_to_stop: list[Any] = []

    @final
    def receiveMessage(self, msg: Any, sender: Any) -> None:
        try:
            self._receive(msg, sender)
        except Exception:  # the edge of the actor
            log.exception("coordinator_failed", extra={"received": type(msg).__name__})

    def _receive(self, message: Any, sender: Any) -> None:
        match message:
            case WakeupMessage():
                self._tick()
            case Report():
                self._heard(message, sender)
            case GetRoutes():
                self.send(sender, self._routes())
            case GetStatus():
                self.send(sender, self._status())
            case StartNode():
                self._start(message)
                assert self._node is not None
                self.send(sender, NodeStarted(self._node.node_id, self._node.settings))
            case StartLeaf(leaf):
                self._add(leaf)
                self.send(sender, self._status())
            case StopLeaf(name):
                self._retire(name)
            case ChildActorExited():
                self._exited(message.childAddress)
            case StopNode(drain_s):
                self._asked_to_stop.append(sender)
                self._stop(drain_s)

    # --- starting and restarting ---

    def _start(self, node: StartNode) -> None:
        if self._node is not None:
            return
        show_facts()
        self._node, self._parent = node, os.getppid()
        for leaf in node.leaves:
            self._add(leaf)
        self.wakeupAfter(TICK)

    def _add(self, spec: LeafSpec) -> None:
        if spec.name not in self._leaves and not self._stopping_until_us:
            self._leaves[spec.name] = _Leaf(spec)
            self._create(self._leaves[spec.name])

    def _retire(self, name: str) -> None:
        leaf = self._leaves.get(name)
        if leaf is None or leaf.retired:
            return
        leaf.retired = True
        if leaf.gone or leaf.address is None:
            del self._leaves[name]
        else:
            self.send(leaf.address, Drain(RETIRE_DRAIN_S))

    def _create(self, leaf: _Leaf) -> None:
        """Create the leaf, or find it by its name where it lives; it begins only once."""
        assert self._node is not None
        node, spec, now = self._node, leaf.spec, now_us()
        leaf.create_at_us, leaf.created_us, leaf.heard_us, leaf.gone = 0, now, now, False
        leaf.address = self.createActor(spec.actor, globalName=spec.name)
        begin = Begin(
            node.service, node.node_id, spec.name, spec.role, spec.actor, spec.settings, node
        )
        self.send(leaf.address, begin)

    def _heard(self, report: Report, sender: Any) -> None:
        leaf = self._leaves.get(report.name)
        if leaf is None:  # one that this coordinator, brought back, was not told of
            self.send(sender, self._peers())
            return
        if leaf.report is not None and leaf.report.pid != report.pid:
            log.info("leaf_came_back", extra={"leaf": report.name, "leaf_pid": report.pid})
        leaf.address, leaf.report, leaf.heard_us = sender, report, now_us()
        leaf.silent = False
        self.send(sender, self._peers())

    def _exited(self, address: Any) -> None:
        for leaf in list(self._leaves.values()):
            if leaf.address == address:
                self._lost(leaf)

    def _lost(self, leaf: _Leaf) -> None:
        leaf.gone, leaf.report, leaf.silent = True, None, False
        if leaf.retired:
            self._leaves.pop(leaf.spec.name, None)
            return
        if self._stopping_until_us or leaf.create_at_us:
            return
        now = now_us()
        steady = now - leaf.created_us > STEADY_US
        leaf.pause_us = BACKOFF_US[0] if steady else min(leaf.pause_us * 2, BACKOFF_US[1])
        leaf.create_at_us = now + leaf.pause_us
        leaf.restarts += 1
        facts = {"leaf": leaf.spec.name, "again_in_ms": leaf.pause_us // 1000}
        log.warning("leaf_ended", extra=facts)

    def _not_heard(self, leaf: _Leaf) -> None:
        """Another one by its name would be the one that stands still."""
        if leaf.report is None or not lives(leaf.report.pid):
            self._lost(leaf)
        elif not leaf.silent:
            leaf.silent = True
            facts = {"leaf": leaf.spec.name, "leaf_pid": leaf.report.pid}
            log.warning("leaf_silent", extra=facts)

    def _tick(self) -> None:
        now = now_us()
        if self._node is not None and os.getppid() != self._parent:
            self.send(self.myAddress, ActorExitRequest())  # orphaned: the Admin is gone
            return
        if self._stopping_until_us:
            self._stopped_when_done(now)
        else:
            for leaf in list(self._leaves.values()):
                if leaf.create_at_us and now >= leaf.create_at_us:
                    self._create(leaf)
                elif not leaf.create_at_us and now - leaf.heard_us > SILENT_US:
                    self._not_heard(leaf)
        self.wakeupAfter(TICK)

    # --- answering ---

    def _peers(self) -> Peers:
        return Peers(
            tuple(
                (leaf.spec.name, leaf.spec.role, leaf.heard.address)
                for leaf in self._leaves.values()
                if leaf.heard is not None
            )
        )

    def _routes(self) -> Routes:
        reports = [leaf.heard for leaf in self._leaves.values() if leaf.heard is not None]
        service = self._node.service if self._node else ""
        return Routes(service, tuple(r.routes for r in reports if r.routes is not None))

    def _status(self) -> Status:
        leaves, errors = {}, {}
        for name, leaf in self._leaves.items():
            report = leaf.report
            leaves[name] = {
                "name": name,
                "role": leaf.spec.role,
                "state": leaf.state,
                "pid": report.pid if report else None,
                "address": report.address if report else "",
                "restarts": leaf.restarts,
                **(report.facts if report else {}),
            }
            if report is not None and report.error is not None:
                errors[name] = report.error
        node = self._node
        settings = node.settings if node else None
        return Status(node.node_id if node else "", os.getpid(), settings, leaves, errors)

    # --- stopping ---

    def _stop(self, drain_s: float) -> None:
        if self._stopping_until_us:
            return
        now = now_us()
        self._stopping_until_us = now + int(drain_s * 1e6) + STOP_GRACE_US
        for leaf in self._leaves.values():
            # One between death and re-creation, or never created, has nothing to drain.
            leaf.gone = leaf.gone or leaf.address is None
            if not leaf.gone:
                self.send(leaf.address, Drain(drain_s))
        self._stopped_when_done(now)

    def _stopped_when_done(self, now: int) -> None:
        left = tuple(name for name, leaf in self._leaves.items() if not leaf.gone)
        if left and now < self._stopping_until_us:
            return
        for name in left:
            self.send(self._leaves[name].address, ActorExitRequest())
        for asker in self._asked_to_stop:
            self.send(asker, NodeStopped(left))
        self.send(self.myAddress, ActorExitRequest())
