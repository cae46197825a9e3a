"""Client: entities from outside the actor system. Any process, any thread, any event loop.

    client = Client.connect(system, service="shop")
    client.entity("cart", "c-1").ask(AddItem("apple", 2), timeout_s=5.0)
    await client.aio.entity("cart", "c-1").ask(AddItem("pear", 1))

A client starts no actors and needs no entity class, only the messages'. Commands carry an id: the
caller's, or one of the client's own; a host that knows it answers what it answered before.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from threading import Lock
from typing import Any

from thespian.actors import ActorSystem

from thespian_dc.client.inline_link import InlineLink
from thespian_dc.client.link import Link
from thespian_dc.client.sinks import Batch, LoopSink, Waiter, is_error, outcome
from thespian_dc.entity.api import Outgoing
from thespian_dc.model.errors import AskTimeoutError, SettingsError
from thespian_dc.model.ids import check_command_id, check_name, type_name
from thespian_dc.shell.frames import pack
from thespian_dc.shell.systems import SIMPLE, kind_of

GRACE_S = 2.0  # the I/O thread says that time is over; beyond this it is asked no more
TELL_TIMEOUT_S = 60.0
TIMEOUT_S_MAX = 1e8  # three years; threads and the system's timers can wait that long


class Client:
    """Build with `connect`. Threads may share one. Close it, or use it in a `with` block."""

    def __init__(self, system: ActorSystem, service: str, commands_max: int) -> None:
        self.service = service
        self._system, self._commands_max = system, commands_max
        self._lock = Lock()
        self._link = self._new_link()
        self._loops: dict[asyncio.AbstractEventLoop, LoopSink] = {}

    @classmethod
    def connect(
        cls, system: ActorSystem, service: str, timeout_s: float = 10.0, commands_max: int = 100_000
    ) -> Client:
        """Find the service's node in this actor system. Starts one thread here, no actors anywhere.

        commands_max: commands under way; one more is ClientBusyError. ServiceNotFoundError where no
        node of the service answers within timeout_s.
        """
        client = cls(system, service, commands_max)
        try:
            client._link.wait_for_service(timeout_s)
        except BaseException:
            client.close()
            raise
        return client

    def entity(self, entity_type: type | str, entity_id: str) -> Entity:
        """One entity. entity_type: its name, or its class where that is at hand. SettingsError
        where no entity can have this name."""
        return Entity(self, entity_type, entity_id)

    @property
    def aio(self) -> Aio:
        """The same for coroutines: `await client.aio.entity(...).ask(...)`."""
        return Aio(self)

    def ask_many(
        self,
        commands: Iterable[tuple[Any, ...]],
        in_flight: int = 1000,
        timeout_s: float = 30.0,
        return_errors: bool = False,
    ) -> Iterator[Any]:
        """Ask many entities at once, at most `in_flight` unanswered; yields the replies in order.

        commands: (entity_type, entity_id, message) or (entity_type, entity_id, message,
        command_id), the type as in `entity`; read as replies are taken. The first command that ends
        in an error raises it when its turn comes; with return_errors the exception is yielded in
        its place. Commands of one entity are handled in order. timeout_s: of each command.
        """
        timeout_s = _seconds(timeout_s)
        if in_flight < 1:
            raise SettingsError(f"in_flight must be at least 1, not {in_flight!r}")
        return _pipeline(self, iter(commands), in_flight, timeout_s, return_errors)

    def close(self) -> None:
        """End the I/O thread; commands under way end in ClientClosedError. Idempotent."""
        if self._link.pid == os.getpid():
            self._link.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _new_link(self) -> Link | InlineLink:
        if kind_of(self._system) == SIMPLE:
            return InlineLink(self._system, self.service)
        return Link(self._system, self.service, self._commands_max)

    def _live(self) -> Link | InlineLink:
        """This process's link: a forked child has the parent's object and not its thread."""
        if self._link.pid != os.getpid():
            with self._lock:
                if self._link.pid != os.getpid():
                    self._link.leave_to_parent()
                    self._loops = {}
                    self._link = self._new_link()
        return self._link

    def _loop_sink(self) -> LoopSink:
        loop = asyncio.get_running_loop()
        sink = self._loops.get(loop)
        if sink is None:
            self._loops = {known: s for known, s in self._loops.items() if not known.is_closed()}
            sink = self._loops[loop] = LoopSink(loop)
        return sink


class Entity:
    """One entity as a client sees it. Cheap; build it when needed."""

    __slots__ = ("_client", "entity_id", "entity_type")

    def __init__(self, client: Client, entity_type: type | str, entity_id: str) -> None:
        self._client = client
        self.entity_type = type_name(entity_type)
        self.entity_id = check_name("entity_id", entity_id)

    def ask(self, message: Any, timeout_s: float = 5.0, command_id: str = "") -> Any:
        """The entity's reply. Raises what the entity's host answered instead of one (the handler
        failed, was unanswered, …), or AskTimeoutError; never returns None for "no answer".

        timeout_s: up to 1e8. command_id: asked again with the same id, at most 255 bytes of UTF-8,
        the entity does not handle the command twice. SettingsError for others.
        """
        timeout_s = _seconds(timeout_s)
        waiter = Waiter()
        command = _command(self, message, (waiter, 0), command_id)
        self._client._live().submit([command], timeout_s)
        if not waiter.wait(timeout_s + GRACE_S):
            raise AskTimeoutError(str(self), timeout_s, "the client's I/O thread did not answer")
        result = outcome(waiter.status, waiter.value)
        if is_error(waiter.status, result):
            raise result
        return result

    def tell(self, message: Any, command_id: str = "") -> None:
        """Send without an answer. When it returns, the command is queued in this process, no more:
        it is sent again until a host has it in memory, for at most a minute. Whether the entity
        handles it is not known; ask where a command must not be lost.
        """
        command = _command(self, message, None, command_id)
        self._client._live().submit([command], TELL_TIMEOUT_S)

    def __str__(self) -> str:
        return f"{self.entity_type}|{self.entity_id}"


class Aio:
    """The asyncio face: futures are resolved on the loop that asked."""

    __slots__ = ("_client",)

    def __init__(self, client: Client) -> None:
        self._client = client

    def entity(self, entity_type: type | str, entity_id: str) -> AioEntity:
        return AioEntity(self._client, entity_type, entity_id)


class AioEntity:
    """Like Entity, with `await`."""

    __slots__ = ("_client", "entity_id", "entity_type")

    def __init__(self, client: Client, entity_type: type | str, entity_id: str) -> None:
        self._client = client
        self.entity_type = type_name(entity_type)
        self.entity_id = check_name("entity_id", entity_id)

    async def ask(self, message: Any, timeout_s: float = 5.0, command_id: str = "") -> Any:
        """See Entity.ask. Cancelling it does not take the command back."""
        timeout_s = _seconds(timeout_s)
        sink = self._client._loop_sink()
        future = asyncio.get_running_loop().create_future()
        command = _command(self, message, (sink, future), command_id)
        self._client._live().submit([command], timeout_s)
        return await future

    async def tell(self, message: Any, command_id: str = "") -> None:
        """See Entity.tell."""
        Entity(self._client, self.entity_type, self.entity_id).tell(message, command_id)


def _seconds(timeout_s: float) -> float:
    """SettingsError in the caller's own line: the I/O thread serves all callers."""
    if not isinstance(timeout_s, int | float) or not timeout_s <= TIMEOUT_S_MAX:
        raise SettingsError(
            f"timeout_s must be a number of seconds up to {TIMEOUT_S_MAX:g}, not {timeout_s!r}"
        )
    return max(0.0, timeout_s)


def _command(to: Entity | AioEntity, message: Any, ticket: Any, command_id: str) -> Outgoing:
    check_command_id(command_id)
    return Outgoing(to.entity_type, to.entity_id, pack(message), ticket, command_id)


def _pipeline(
    client: Client,
    commands: Iterator[tuple[Any, ...]],
    in_flight: int,
    timeout_s: float,
    return_errors: bool,
) -> Iterator[Any]:
    """Chunks of an eighth of the window: few hand-overs, and the host never runs dry."""
    batch, link = Batch(), client._live()
    chunk = max(1, min(500, in_flight // 8))
    submitted = yielded = 0
    more = True
    while more or yielded < submitted:
        # The second bound: replies that came early, while the one before them is not there.
        while (
            more
            and submitted - batch.answered <= in_flight - chunk
            and submitted - yielded <= 8 * in_flight
        ):
            taken = list(islice(commands, chunk))
            more = len(taken) == chunk
            link.submit([_outgoing(c, batch, n) for n, c in enumerate(taken, submitted)], timeout_s)
            submitted += len(taken)
        if yielded == submitted:
            continue
        answered = batch.answered
        ready = batch.take(yielded)
        if not ready and not batch.wait(yielded, answered, timeout_s + GRACE_S):
            raise AskTimeoutError("ask_many", timeout_s, "the client's I/O thread did not answer")
        for status, value in ready:
            yielded += 1
            result = outcome(status, value)
            if is_error(status, result) and not return_errors:
                raise result
            yield result


def _outgoing(command: tuple[Any, ...], batch: Batch, number: int) -> Outgoing:
    try:
        entity_type, entity_id, message, *more = command
        (command_id,) = more or ("",)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            "ask_many takes (entity_type, entity_id, message) or, with a command_id, four of them; "
            f"not {command!r:.100}"
        ) from error
    check_name("entity_id", entity_id)
    if type(entity_type) is not str:
        entity_type = type_name(entity_type)
    check_command_id(command_id)
    return Outgoing(entity_type, entity_id, pack(message), (batch, number), command_id)
