"""Node: entities, streams and projections in an ActorSystem that is already there.

    node = Node.start(system, Settings(service="shop", entities=[Cart], ...))

One screen: what is checked, what is created, in which order. The coordinator (shell/) does the
rest; on simpleSystemBase everything runs in this process (node_inline.py).
"""

from __future__ import annotations

import os
import time
from typing import Any
from uuid import uuid4

from thespian.actors import ActorSystem

from thespian_dc.entity.type_actor import type_leaf
from thespian_dc.model.errors import SettingsError, ThespianDcError, UnknownEntityTypeError
from thespian_dc.model.ids import type_name
from thespian_dc.model.node_errors import (
    NodeError,
    NodeSettingsDifferError,
    NodeStartError,
    ServiceNotFoundError,
)
from thespian_dc.model.settings import Settings
from thespian_dc.node_checks import check_in_system, check_settings, differences
from thespian_dc.node_inline import InlineNode
from thespian_dc.replication.protocol import REPLICATION_ACTOR, StartReplication
from thespian_dc.shell.addresses import address_of
from thespian_dc.shell.leaf_actor import COORDINATOR
from thespian_dc.shell.protocol import (
    GetStatus,
    LeafSpec,
    NodeStarted,
    NodeStopped,
    StartNode,
    Status,
    StopNode,
    coordinator_name,
)
from thespian_dc.shell.systems import SIMPLE, check_asked, kind_of
from thespian_dc.shell.talk import Talk
from thespian_dc.stream.protocol import (
    CONSUMER_ACTOR,
    PRODUCER_ACTOR,
    StartConsumer,
    StartProducer,
    worker_leaves,
)

HOST_ACTOR = "thespian_dc.entity.host_actor.HostActor"
UP_WITHIN_S = 60.0
ROLES = ("hosts", "producers", "consumers", "replication", "types")


class Node:
    """A service's node in one actor system. Build with `start`; any process may, and gets the same.

    It lives on when this process ends: `stop` ends it, or the actor system's shutdown.
    """

    def __init__(self, system: ActorSystem, service: str, inline: InlineNode | None) -> None:
        self.service, self._system, self._inline = service, system, inline

    @classmethod
    def start(cls, system: ActorSystem, settings: Settings) -> Node:
        """Start the service's node, or find it where it runs with the same settings.

        Before anything is created: SettingsError and its kin, NotSupportedError (the base),
        WrongActorSystemError, NotImportableError, JournalError (URL, schema, slice counts),
        NodeSettingsDifferError. NodeStartError, or the process's own error, where one does not come
        up: the node is stopped again then.
        """
        kind = kind_of(system)
        settings = check_settings(settings, simple=kind == SIMPLE)
        if kind == SIMPLE:
            check_asked(system, system._systemBase.system.capabilities)
            return cls(system, settings.service, InlineNode.start(system, settings))
        with Talk.of_system(system) as talk:
            status = talk.system_status()
            if status is None:
                raise NodeError("the actor system's Admin does not answer; is it still running?")
            check_asked(system, status.capabilities)
            coordinator = status.globalActors.get(coordinator_name(settings.service))
            if not cls._runs(talk, coordinator, settings):
                check_in_system(system, talk, settings)
                coordinator = system.createActor(
                    COORDINATOR, globalName=coordinator_name(settings.service)
                )
                started = talk.ask(coordinator, plan(settings), NodeStarted, 10.0)
                if started is None:
                    raise NodeStartError(settings.service, "its coordinator does not answer")
                _check_same(started.settings, settings)
            cls._wait_until_up(talk, coordinator, settings.service)
        return cls(system, settings.service, None)

    def status(self) -> dict[str, Any]:
        """Plain data: service, node_id, coordinator (its pid), and for each role ("hosts",
        "producers", "consumers", "replication", "types") a list of its processes: name, state
        ("starting", "up", "failed", "silent"), pid, address, restarts, and what it counts."""
        if self._inline is not None:
            return self._inline.status()
        with Talk.of_system(self._system) as talk:
            status = talk.ask(self._coordinator(talk), GetStatus(), Status, 10.0)
        if status is None:
            raise NodeError(f"the coordinator of service {self.service!r} does not answer")
        leaves = [status.leaves[name] for name in sorted(status.leaves)]
        found: dict[str, Any] = {"service": self.service, "node_id": status.node_id}
        found["coordinator"] = {"pid": status.pid}
        for role in ROLES:
            found[role] = [dict(leaf) for leaf in leaves if leaf["role"] == role]
        return found

    def address_of(self, entity: type | str) -> Any:
        """The ActorAddress that takes ToEntity(entity_id, message) for this type, of anybody."""
        name = type_name(entity)
        if self._inline is not None:
            return self._inline.address_of(name)
        with Talk.of_system(self._system) as talk:
            coordinator = self._coordinator(talk)
            status = talk.ask(coordinator, GetStatus(), Status, 10.0)
            served = [e.entity_type for e in status.settings.entities] if status else []
            if name not in served:
                raise UnknownEntityTypeError(name, tuple(served))
            text = talk.leaf_address(coordinator, type_leaf(self.service, name))
        if not text:
            raise NodeStartError(self.service, f"the address of {name!r} did not come up")
        return address_of(text)

    def stop(self, drain_s: float = 5.0) -> None:
        """End the node's processes: no new work, what is under way is finished for at most drain_s.

        Everything acknowledged is in the journal. Idempotent. The actor system stays.
        """
        if self._inline is not None:
            self._inline.stop()
            return
        with Talk.of_system(self._system) as talk:
            coordinator = talk.coordinator(self.service)
            if coordinator is None:
                return
            talk.ask(coordinator, StopNode(drain_s), NodeStopped, drain_s + 15.0)
            until = time.monotonic() + 10.0
            while talk.coordinator(self.service) is not None and time.monotonic() < until:
                talk.pause(20_000)

    def run_until_idle(self, timeout_s: float = 5.0) -> bool:
        """On simpleSystemBase: let actors, entities, timers and projections run until nothing is
        left to do; False where there still is after timeout_s. Elsewhere they run by themselves."""
        if self._inline is None:
            raise NodeError("run_until_idle is for simpleSystemBase: this node runs by itself")
        return self._inline.run_until_idle(timeout_s)

    # --- inside ---

    def _coordinator(self, talk: Talk) -> Any:
        coordinator = talk.coordinator(self.service)
        if coordinator is None:
            raise ServiceNotFoundError(self.service, str(talk.admin))
        return coordinator

    @staticmethod
    def _runs(talk: Talk, coordinator: Any, settings: Settings) -> bool:
        status = talk.ask(coordinator, GetStatus(), Status, 5.0) if coordinator else None
        if status is None or status.settings is None:
            return False
        _check_same(status.settings, settings)
        return True

    @staticmethod
    def _wait_until_up(talk: Talk, coordinator: Any, service: str) -> None:
        until = time.monotonic() + UP_WITHIN_S
        while True:
            status = talk.ask(coordinator, GetStatus(), Status, 5.0)
            states = {leaf["state"] for leaf in status.leaves.values()} if status else {"silent"}
            if states <= {"up"}:
                return
            errors = dict(status.errors) if status else {}
            if errors or time.monotonic() > until:
                talk.ask(coordinator, StopNode(0.0), NodeStopped, 15.0)
                name, error = next(iter(errors.items()), ("a process", None))
                if isinstance(error, ThespianDcError):
                    raise error
                reason = f"{name}: {error or f'not up after {UP_WITHIN_S:.0f} s'}"
                raise NodeStartError(service, reason) from error
            talk.pause(50_000)


def plan(settings: Settings) -> StartNode:
    """What the coordinator is to run."""
    prefix = f"thespian_dc:{settings.service}"
    leaves = []
    if settings.entities:
        leaves += [
            LeafSpec(f"{prefix}:host:{n}", "hosts", HOST_ACTOR, settings)
            for n in range(settings.hosts)
        ]
    if settings.streams or settings.pushes or settings.destinations or settings.replication:
        producer = StartProducer(
            settings.service,
            settings.journal,
            tuple(settings.streams),
            settings.listen,
            settings.slices,
            settings.tls,
            settings.plaintext_beyond_loopback,
            settings.access,
            tuple(settings.pushes),
            tuple(settings.destinations),
            tuple(settings.replication),
        )
        leaves.append(LeafSpec(f"{prefix}:producer", "producers", PRODUCER_ACTOR, producer))
    if settings.projections:
        consumer = StartConsumer(settings.service, settings.journal, tuple(settings.projections))
        first = f"{prefix}:consumer"
        leaves.append(LeafSpec(first, "consumers", CONSUMER_ACTOR, consumer))
        workers = {one.name: one.workers for one in settings.projections}
        leaves += worker_leaves(first, consumer, workers).values()
    for one in settings.replication:
        links = StartReplication(settings.service, settings.journal, one, settings.slices)
        name = f"{prefix}:replication:{one.entity_type}"
        leaves.append(LeafSpec(name, "replication", REPLICATION_ACTOR, links))
    node_id = f"{os.uname().nodename}-{uuid4().hex[:8]}"
    return StartNode(settings.service, node_id, settings, tuple(leaves))


def _check_same(running: Settings, wanted: Settings) -> None:
    differ = differences(running, wanted)
    if differ:
        raise NodeSettingsDifferError(wanted.service, differ)


__all__ = ["Node", "SettingsError", "plan"]
