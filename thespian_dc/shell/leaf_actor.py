"""LeafActor: the shell of every actor of ours that owns threads, connections or servers.

Laws, enforced here once:
- receiveMessage never raises (Thespian would deliver the message again) and always returns the
  watch of the bridge (without it no thread is heard any more).
- Nothing is opened before `Begin`: the class is also instantiated and forked for other reasons.
- No child is forked from here: a leaf has threads. What it needs is created by the Admin, by name.
- A leaf whose Admin is gone is an orphan: nobody could stop or replace it. It drains and exits.
- A leaf whose coordinator is gone brings it back by its global name.
- A leaf that could not begin says why, and ends: its coordinator tries again, after a pause.

Subclasses override the methods below `--- for subclasses ---`, all called on the main thread.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, final

from thespian.actors import (
    ActorExitRequest,
    ActorSystemMessage,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)
from thespian.system.transport import TransmitIntent

from thespian_dc.model.node_errors import NodeStartError
from thespian_dc.shell.addresses import text_of
from thespian_dc.shell.bridge import Bridge
from thespian_dc.shell.clock import now_us
from thespian_dc.shell.facts import show_facts
from thespian_dc.shell.outbox import NOTHING, Outbox
from thespian_dc.shell.protocol import (
    Begin,
    Drain,
    LeafSpec,
    Peers,
    Report,
    StartLeaf,
    coordinator_name,
)
from thespian_dc.shell.typed_actor import TypedActor

log = logging.getLogger(__name__)

COORDINATOR = "thespian_dc.shell.coordinator_actor.CoordinatorActor"
REPORT_EVERY_US = 500_000
TICK_US_MIN = 2_000
COORDINATOR_LOST_US = 2_500_000
END_S = 5.0
FAILED_FOR_US = 2_000_000  # long enough for whoever starts the node to hear why
TRANSMIT_FOR = timedelta(seconds=10)
TRANSMIT_RETRY = timedelta(seconds=1)


class LeafActor(TypedActor):
    """See the module. `self.bridge.put(item)` from any thread leads to `on_items` here."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: Begin | None = None
        self.bridge: Bridge
        self.outbox: Outbox
        self.address = ""
        self._watch: ThespianWatch | None = None
        self._coordinator: Any = None
        self._parent = 0
        self._failed: Exception | None = None
        self._failed_until_us = 0
        self._wakeups: list[int] = []
        self._report_us = 0
        self._heard_us = 0  # from the coordinator
        self._drain_until_us = 0
        self._ended = False

    @final
    def receiveMessage(self, msg: Any, sender: Any) -> Any:
        try:
            self._receive(msg, sender)
        except Exception:  # the edge of the actor: see the first law
            log.exception("leaf_failed", extra={"received": type(msg).__name__})
        return self._watch

    def _receive(self, message: Any, sender: Any) -> None:
        if isinstance(message, WatchMessage):
            items = self.bridge.drain()
            if items:
                self.on_items(items)
            if message.ready != [self.bridge.fileno()]:
                self.on_readable()
        elif isinstance(message, ActorExitRequest):
            self._end(END_S)
        elif isinstance(message, Begin):
            self._begin(message, sender)
        elif self.begun is None or self._ended:
            return
        elif isinstance(message, WakeupMessage):
            self._wakeups.remove(message.payload)
            self._tick()
        elif self._failed is None:
            self._receive_begun(message, sender)
        elif isinstance(message, Drain):
            self._exit()
        if self.begun is not None and not self._ended:
            self._schedule()

    def _receive_begun(self, message: Any, sender: Any) -> None:
        if isinstance(message, Peers):
            self._heard_us = now_us()
            if all(name != self._name for name, _, _ in message.leaves):
                self._introduce()
            self.on_peers(message)
        elif isinstance(message, Drain):
            self._drain_until_us = now_us() + int(message.drain_s * 1e6)
            self.drain()
        elif isinstance(message, ActorSystemMessage):
            self.on_system(message, sender)
        else:
            self.on_message(message, sender)

    def _begin(self, begin: Begin, coordinator: Any) -> None:
        self._coordinator = coordinator
        self._heard_us = now_us()
        if self.begun is None:
            show_facts()
            self.begun, self._parent = begin, os.getppid()
            self.address = text_of(self.myAddress)
            self.bridge, self.outbox = Bridge(), Outbox(self.transmit)
            self._watch = ThespianWatch([self.bridge.fileno()])
            try:
                self.begin(begin)
            except Exception as failed:
                log.exception("leaf_did_not_begin", extra={"leaf": begin.name})
                self._failed = failed
                self._failed_until_us = now_us() + FAILED_FOR_US
        self._report()

    def _tick(self) -> None:
        now = now_us()
        if os.getppid() != self._parent:
            log.warning("leaf_orphaned", extra={"leaf": self._name})
            self._exit()
            return
        if self._failed is None:
            self.on_tick(now)
        elif now >= self._failed_until_us:
            self._exit()
            return
        if now >= self._report_us:
            self._report()
        if self._drain_until_us and (self.drained() or now >= self._drain_until_us):
            self._exit()

    def _report(self) -> None:
        now = now_us()
        self._report_us = now + REPORT_EVERY_US
        if now - self._heard_us > COORDINATOR_LOST_US:
            self._revive_coordinator()
        facts = {} if self._failed else dict(self.facts())
        report = Report(
            self._name, os.getpid(), self.address, self._failed is None, self._failed, facts,
            None if self._failed else self.routes(),
        )  # fmt: skip
        pending = [report]
        self.outbox.offer(
            "coordinator",
            self._coordinator,
            lambda: pending.pop() if pending else NOTHING,
            _nothing,
        )

    def _revive_coordinator(self) -> None:
        """The Admin forgot a dead coordinator's name: creating it again is a no-op if it lives."""
        assert self.begun is not None
        log.warning("coordinator_lost", extra={"leaf": self._name})
        name = coordinator_name(self.begun.service)
        self._coordinator = self.createActor(COORDINATOR, globalName=name)
        self._heard_us = now_us()
        self.send(self._coordinator, self.begun.node)

    def _introduce(self) -> None:
        """To a coordinator that does not know this leaf: it was brought back since."""
        begun = self.begun
        assert begun is not None
        spec = LeafSpec(begun.name, begun.role, begun.actor, begun.settings)
        self.send(self._coordinator, StartLeaf(spec))

    def _schedule(self) -> None:
        """Thespian's wake-ups cannot be taken back, so one that is due in time is used again: were
        each to ask for the next, their number would only grow until nothing else is done."""
        now = now_us()
        tick_us = self._report_us if self._failed else self.next_tick_us()
        due = max(now + TICK_US_MIN, min(self._report_us, tick_us))
        if all(one > due for one in self._wakeups):
            self._wakeups.append(due)
            self.wakeupAfter(timedelta(microseconds=due - now), payload=due)

    def _exit(self) -> None:
        if not self._ended:
            self._end(END_S)
            self.send(self.myAddress, ActorExitRequest())

    def _end(self, within_s: float) -> None:
        if self.begun is not None and not self._ended:
            self._ended = True
            if self._failed is None:  # else nobody knows what of it is there: it ends with us
                self.end(within_s)
            self._watch = None

    @property
    def _name(self) -> str:
        return self.begun.name if self.begun else ""

    def transmit(self, address: Any, message: Any, on_done: Callable[[bool], None]) -> None:
        """Send, and hear whether the peer's process has the message: True, or False when it is gone
        or did not take it for TRANSMIT_FOR."""
        intent = TransmitIntent(
            address,
            message,
            onSuccess=lambda _result, _intent: on_done(True),
            onError=lambda _result, _intent: on_done(False),
            maxPeriod=TRANSMIT_FOR,
            retryPeriod=TRANSMIT_RETRY,
        )
        self._myRef._send_intent(intent)

    def createActor(
        self,
        actorClass: Any,
        targetActorRequirements: Any = None,
        globalName: str | None = None,
        sourceHash: Any = None,
    ) -> Any:
        """Only by globalName: the Admin forks, not this process with its threads."""
        if not globalName:
            raise NodeStartError(self._name, "a leaf creates actors by globalName only")
        return super().createActor(actorClass, targetActorRequirements, globalName, sourceHash)

    def watch(self, fileno: int) -> None:
        """Call `on_readable` whenever there is something to read, from now on."""
        self._watch = ThespianWatch([self.bridge.fileno(), fileno])

    def report_soon(self) -> None:
        """What the coordinator should know has changed."""
        self._report_us = 0

    # --- for subclasses ---

    def begin(self, begin: Begin) -> None:
        """Open what is needed and start threads. What it raises is reported; the leaf stays."""

    def on_items(self, items: list[Any]) -> None:
        """What threads put on the bridge, in order."""

    def on_readable(self) -> None:
        """What is watched has something to read."""

    def on_message(self, message: Any, sender: Any) -> None:
        """Any other message; may raise: it is logged and the message dropped."""

    def on_system(self, message: Any, sender: Any) -> None:
        """One of Thespian's own messages: a status, a poison message, an exited child."""

    def on_peers(self, peers: Peers) -> None:
        """The node's processes have changed."""

    def on_tick(self, now: int) -> None:
        """At `next_tick_us`, about; also at least twice a second."""

    def next_tick_us(self) -> int:
        """When `on_tick` is wanted, in the clock of now_us()."""
        return self._report_us

    def facts(self) -> dict[str, Any]:
        """Plain data for the node's status."""
        return {}

    def routes(self) -> Any:
        """For hosts: who owns which slice."""
        return None

    def drain(self) -> None:
        """Take no new work; the process ends when `drained` says so."""

    def drained(self) -> bool:
        return True

    def end(self, within_s: float) -> None:
        """Stop threads, close everything; nothing is called afterwards. At most within_s."""


def _nothing() -> None:
    """A report the coordinator did not take: the next one says more."""
