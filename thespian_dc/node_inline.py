"""A node on simpleSystemBase: entities, timers and local projections in this process, for tests."""

from __future__ import annotations

import os
import time
from typing import Any

from thespian_dc.entity.inline_actor import InlineHostActor, InlineTypeActor
from thespian_dc.model.errors import UnknownEntityTypeError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.node_errors import NodeSettingsDifferError
from thespian_dc.model.settings import Settings
from thespian_dc.node_checks import differences, entity_types
from thespian_dc.shell import simple
from thespian_dc.shell.protocol import coordinator_name
from thespian_dc.stream.consumer import RunningProjections
from thespian_dc.stream.protocol import StartConsumer

STEP_S = 0.01


class InlineNode:
    """Found again by the host actor's global name."""

    def __init__(self, system: Any, host: InlineHostActor, running: RunningProjections) -> None:
        self._system, self._host, self._running = system, host, running

    @classmethod
    def start(cls, system: Any, settings: Settings) -> InlineNode:
        name = coordinator_name(settings.service)
        found = simple.instance_of(system, name)
        if found is not None:
            differ = differences(found.settings, settings)
            if differ:
                raise NodeSettingsDifferError(settings.service, differ)
            return cls(system, found, found.projections)
        host = simple.create(system, InlineHostActor, name)
        try:
            host.start(settings)
        except BaseException:
            simple.end(system, name)
            raise
        projections = tuple(settings.projections)
        running = RunningProjections(StartConsumer(settings.service, settings.journal, projections))
        running.start()
        host.projections = running
        return cls(system, host, running)

    def status(self) -> dict[str, Any]:
        settings, core = self._host.settings, self._host.host.core
        leaf = {"name": "inline", "role": "hosts", "state": "up", "pid": os.getpid(), "address": ""}
        return {
            "service": settings.service,
            "node_id": "inline",
            "coordinator": {"pid": os.getpid()},
            "hosts": [{**leaf, "restarts": 0, **core.status()}],
            "producers": [],
            "consumers": [],
            "replication": [],
            "types": [],
        }

    def address_of(self, entity_type: str) -> Any:
        served = tuple(entity_types(self._host.settings))
        if entity_type not in served:
            raise UnknownEntityTypeError(entity_type, served)
        name = f"{coordinator_name(self._host.settings.service)}:type:{entity_type}"
        actor = simple.instance_of(self._system, name)
        if actor is None:
            actor = simple.create(self._system, InlineTypeActor, name)
            actor.serves = (entity_type, self._host.myAddress)
        return actor.myAddress

    def run_until_idle(self, timeout_s: float) -> bool:
        until = time.monotonic() + timeout_s
        while True:
            left = until - time.monotonic()
            ran = simple.run_sends(self._system, max(0.0, min(STEP_S, left)))
            self._host.host.tick()
            if not ran and self._is_idle(max(0.0, left)):
                return True
            if left <= 0:
                return False

    def stop(self) -> None:
        self._running.stop(5.0)
        self._host.host.close()
        self._host.host.journal.close()
        for entity_type in entity_types(self._host.settings):
            name = f"{coordinator_name(self._host.settings.service)}:type:{entity_type}"
            simple.end(self._system, name)
        simple.end(self._system, coordinator_name(self._host.settings.service))

    def _is_idle(self, left_s: float) -> bool:
        """Nothing under way; no timer of an entity falls due in time; projections are at the
        head."""
        host = self._host.host
        due_s = host.due_s()
        return (
            host.core.idle
            and (due_s is None or due_s > left_s)
            and all(
                self._is_caught_up(one.source, status)
                for one, status in zip(
                    self._host.settings.projections, self._running.status(), strict=True
                )
            )
        )

    def _is_caught_up(self, source: Any, status: Any) -> bool:
        entity_type = source.entity_type
        journal = self._host.host.journal
        slices = journal.slice_counts().get(entity_type, 0)
        return all(
            status.positions.get(number, 0) >= journal.find_head(SliceKey(entity_type, number)).head
            for number in range(slices)
        )
