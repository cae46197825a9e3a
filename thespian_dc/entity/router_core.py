"""Who sends which command to which host, and what becomes of it. Pure: no Thespian, no clock.

in: submit, on_routes, on_reply, on_sent, on_tick, and now_us
out: SendFrame | AskRoutes | Deliver
Laws:
- Commands of one entity reach its host in the order of `submit`: a slice that moves (its host says
  NOT_OWNER) is held until all its commands are back, at most HELD_US_MAX, then sent on in order.
- At most `window` frames per host are not acknowledged, one of them on its way; what comes
  meanwhile makes the next frame.
- An unacknowledged frame is sent again with the same number and the same ids; commands whose host
  is gone, or whose slice has a new epoch, are sent again to the new one. Hosts drop what they know.
- Every command ends in exactly one Deliver: an answer, or an error when its time is over. One that
  nobody waits for ends, without a Deliver, when a host has acknowledged it.
- Each command says for which owner (epoch) it was sent when it was sent first, or SENT_BEFORE; and
  the slice's head as far as it was known then: what it led to is not below. So a host can tell
  whether somebody may have persisted it (lookup.py).
- Bounded: `commands_max` under way, then ClientBusyError.

Long because slices, hosts and commands are three views of one state, and every input moves all of
them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Any, NamedTuple

from thespian_dc.entity.protocol import SENT_BEFORE, Route, Status, TypeRoutes
from thespian_dc.model.errors import AskTimeoutError, ClientBusyError, UnknownEntityTypeError
from thespian_dc.model.ids import slice_of

FRAME_COMMANDS_MAX = 4000
FRAME_BYTES_MAX = 1 << 20
RESEND_US = 2_000_000
ROUTES_EVERY_US = 1_000_000  # while anything is under way
BACKOFF_US = (20_000, 500_000)
HELD_US_MAX = 500_000  # a moving slice waits so long for its commands to come back
SUSPECT_US = 2_000_000  # a host that refused a connection is not believed in for so long
TICK_US = 20_000
ERROR, NOT_OWNER = int(Status.ERROR), int(Status.NOT_OWNER)  # plain numbers compare faster


class SendFrame(NamedTuple):
    """Send these commands in one frame to the host at `address`; then on_sent. alone: the host has
    acknowledged all frames before, and this is not one of them again."""

    address: str
    frame_nr: int
    commands: Sequence[Outgoing]
    alone: bool = False


class AskRoutes(NamedTuple):
    """Ask the coordinator for routes; then on_routes. No answer needs no word: it comes again."""


class Deliver(NamedTuple):
    """A command's outcome. value: what `pack_reply` made of the reply (OK); an exception, packed or
    not (ERROR)."""

    ticket: Any
    status: int
    value: Any


Action = SendFrame | AskRoutes | Deliver


class Outgoing:
    """One command on its way. ticket: the submitter's, returned with the outcome; None: nobody
    waits. deadline_us: for those that wait. epoch, since: as in Command; epoch None: it was not
    sent yet."""

    __slots__ = (
        "body", "command_id", "correlation", "done", "entity_id", "entity_type", "epoch", "lane",
        "link", "sender", "since", "ticket",
    )  # fmt: skip

    def __init__(
        self,
        entity_type: str,
        entity_id: str,
        body: bytes,
        ticket: Any = None,
        command_id: str = "",
        sender: Any = None,
        since: int | None = None,
    ) -> None:
        """since: where others may have had it before; None: this router is the first."""
        self.entity_type, self.entity_id, self.body = entity_type, entity_id, body
        self.ticket, self.command_id, self.sender = ticket, command_id, sender
        self.correlation = 0
        self.epoch: int | None = None if since is None else SENT_BEFORE
        self.since = since or 0
        self.done = False
        self.lane: _Lane | None = None
        self.link: _Link | None = None


class _Lane:
    """A slice: where its commands go, and those that wait until that is known."""

    __slots__ = (
        "backoff_us", "epoch", "head", "held_until_us", "link", "out", "retry_us", "waiting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.link: _Link | None = None
        self.epoch = -1
        self.head = 0  # the log has reached this offset
        self.waiting: list[Outgoing] = []
        self.out = 0  # commands queued or sent to `link` and not ended
        self.held_until_us = 0  # moving: until all are back, at most until then
        self.retry_us = 0
        self.backoff_us = BACKOFF_US[0]


class _Frame:
    __slots__ = ("commands", "resend_us", "under_way")

    def __init__(self, commands: list[Outgoing], resend_us: int) -> None:
        self.commands, self.resend_us, self.under_way = commands, resend_us, True


class _Link:
    """A host: what waits for it and what it has not acknowledged."""

    __slots__ = ("address", "frames", "queue", "suspect_until_us")

    def __init__(self, address: str) -> None:
        self.address = address
        self.queue: deque[Outgoing] = deque()  # bounded by commands_max
        self.frames: dict[int, _Frame] = {}
        self.suspect_until_us = 0

    def is_free(self) -> bool:
        """No frame is on its way: of two that are, Thespian may let the later one overtake."""
        return not any(frame.under_way for frame in self.frames.values())


class RouterCore:
    """See the module. client_id is the shell's business; correlations and frame_nrs are unique
    here."""

    def __init__(self, commands_max: int = 100_000, window: int = 2) -> None:
        self.commands_max, self.window = commands_max, window
        self._commands: dict[int, Outgoing] = {}
        self._lanes: dict[str, list[_Lane]] = {}
        self._links: dict[str, _Link] = {}
        self._unrouted: dict[str, list[Outgoing]] = {}
        self._deadlines: list[tuple[int, int, int, float]] = []  # (when, first, until, timeout_s)
        self._moving: dict[int, _Lane] = {}
        self._routes_us = -ROUTES_EVERY_US
        self._last_correlation = 0
        self._last_frame = 0
        self._served: tuple[str, ...] | None = None
        self.dropped_answers = 0

    def under_way(self) -> int:
        return len(self._commands)

    def wakeup_us(self, now_us: int) -> int | None:
        """When the next tick is due; None where nothing is under way."""
        if not self._commands:
            return None
        first = self._deadlines[0][0] if self._deadlines else now_us + TICK_US
        return max(now_us, min(first, now_us + TICK_US))

    def close(self) -> list[Any]:
        """Forget everything; the tickets of those that wait, for their last word. Whatever comes
        later leads to nothing."""
        left = [c.ticket for c in self._commands.values() if c.ticket is not None]
        for kept in (
            self._commands, self._lanes, self._links, self._unrouted, self._deadlines, self._moving
        ):  # fmt: skip
            kept.clear()
        return left

    # --- inputs ---

    def submit(self, commands: list[Outgoing], timeout_s: float, now_us: int) -> list[Action]:
        """Take commands on, in order; all get the same time."""
        actions: list[Action] = []
        room = self.commands_max - len(self._commands)
        for refused in commands[max(0, room):]:
            self._deliver(refused, ERROR, ClientBusyError(self.commands_max), actions)
        taken = commands[: max(0, room)]
        if not taken:
            return actions
        first = self._last_correlation + 1
        deadline_us = now_us + int(timeout_s * 1e6)
        heappush(self._deadlines, (deadline_us, first, first + len(taken), timeout_s))
        for command in taken:
            self._last_correlation += 1
            command.correlation = self._last_correlation
            self._commands[self._last_correlation] = command
            self._route(command)
        self._ask_routes(now_us, actions)
        self._pump_all(now_us, actions)
        return actions

    def on_routes(self, reported: Iterable[dict[str, TypeRoutes]], now_us: int) -> list[Action]:
        """What hosts know, any number of views; the highest epoch of a slice counts."""
        actions: list[Action] = []
        views = list(reported)
        self._served = tuple(sorted({name for view in views for name in view}))
        for view in views:
            for entity_type, routes in view.items():
                lanes = self._lanes.get(entity_type)
                if lanes is None:
                    lanes = self._lanes[entity_type] = [_Lane() for _ in range(routes.slices)]
                for lane, head in zip(lanes, routes.heads, strict=False):
                    lane.head = max(lane.head, head)
                for lane, (address, epoch) in zip(lanes, routes.owners, strict=True):
                    if address:
                        self._learn(lane, address, epoch, now_us)
        self._place_unrouted(bool(views), actions)
        self._pump_all(now_us, actions)
        return actions

    def on_reply(
        self, acknowledged: Iterable[int], items: Iterable[tuple[int, int, Any]], address: str,
        now_us: int,
    ) -> list[Action]:  # fmt: skip
        """Answers of the host at `address`. Items come in the order of its answers."""
        actions: list[Action] = []
        commands = self._commands
        for correlation, status, value in items:
            command = commands.get(correlation) or commands.get(-correlation)
            if command is None:
                self.dropped_answers += 1  # late: its time was over, or answered twice
            elif status == NOT_OWNER:
                if command.link is not None and command.link.address == address:
                    self._not_owner(command, value, now_us)
            else:
                del commands[correlation]
                command.done = True
                if command.link is not None and command.lane is not None:
                    command.lane.out -= 1
                actions.append(Deliver(command.ticket, status, value))
        link = self._links.get(address)
        if link is not None:
            self._acknowledge(link, acknowledged)
        self._pump_all(now_us, actions)
        return actions

    def on_sent(self, address: str, frame_nr: int, delivered: bool, now_us: int) -> list[Action]:
        """The host's process has the frame, or it is gone."""
        actions: list[Action] = []
        link = self._links.get(address)
        if link is None:
            return actions
        frame = link.frames.get(frame_nr)
        if frame is not None:
            frame.under_way, frame.resend_us = False, now_us + RESEND_US
        if not delivered:
            self._lose(link, now_us, actions)
        self._pump_all(now_us, actions)
        return actions

    def on_tick(self, now_us: int) -> list[Action]:
        actions: list[Action] = []
        while self._deadlines and self._deadlines[0][0] <= now_us:
            _, first, until, timeout_s = heappop(self._deadlines)
            for correlation in range(first, until):
                if correlation in self._commands:
                    self._time_out(self._commands[correlation], timeout_s, actions)
        for link in self._links.values():
            for frame_nr, frame in link.frames.items():
                if frame.resend_us <= now_us and link.is_free():
                    frame.under_way = True
                    left = [c for c in frame.commands if not c.done and c.link is link]
                    for command in left:
                        command.epoch = SENT_BEFORE
                    actions.append(SendFrame(link.address, frame_nr, left))
        for lane in list(self._moving.values()):
            lane.waiting = [c for c in lane.waiting if not c.done]
            self._settle(lane, now_us)
        for entity_type, waiting in self._unrouted.items():
            self._unrouted[entity_type] = [c for c in waiting if not c.done]
        if self._commands:
            self._ask_routes(now_us, actions)
        self._pump_all(now_us, actions)
        return actions

    # --- routes ---

    def _route(self, command: Outgoing) -> None:
        lanes = self._lanes.get(command.entity_type)
        if lanes is None:
            self._unrouted.setdefault(command.entity_type, []).append(command)
            return
        lane = command.lane = lanes[slice_of(command.entity_id, len(lanes))]
        link = lane.link
        if link is None or lane.held_until_us:
            lane.waiting.append(command)
            self._moving[id(lane)] = lane
        else:
            command.link = link
            lane.out += 1
            link.queue.append(command)

    def _place_unrouted(self, answered: bool, actions: list[Action]) -> None:
        for entity_type in list(self._unrouted):
            if entity_type in self._lanes:
                for command in self._unrouted.pop(entity_type):
                    if not command.done:
                        self._route(command)
            elif answered:  # hosts answered, and none of them serves this type
                error = UnknownEntityTypeError(entity_type, self._served or ())
                for command in self._unrouted.pop(entity_type):
                    self._end(command, ERROR, error, actions)

    def _ask_routes(self, now_us: int, actions: list[Action]) -> None:
        homeless = self._unrouted or any(lane.link is None for lane in self._moving.values())
        pause_us = BACKOFF_US[0] * 5 if homeless else ROUTES_EVERY_US
        if now_us - self._routes_us >= pause_us:
            self._routes_us = now_us
            actions.append(AskRoutes())

    def _learn(self, lane: _Lane, address: str, epoch: int, now_us: int) -> None:
        """A host is said to own the slice since `epoch`."""
        known = lane.link.address if lane.link else ""
        if epoch < lane.epoch or (epoch == lane.epoch and known):
            return
        link = self._links.get(address)
        if link is None:
            link = self._links[address] = _Link(address)
        if link.suspect_until_us > now_us and epoch <= lane.epoch:
            return
        moved = lane.out > 0 and epoch > lane.epoch >= 0
        lane.link, lane.epoch, lane.retry_us, lane.held_until_us = link, epoch, 0, 0
        if moved:
            # What its former host still has is sent again: it may be gone, and ids are known.
            self._take_back(lane)
        self._release(lane)

    def _not_owner(self, command: Outgoing, route: Route, now_us: int) -> None:
        lane, said_by = command.lane, command.link
        assert lane is not None
        assert said_by is not None
        lane.out -= 1
        command.link = None
        lane.waiting.append(command)
        if route.address not in ("", said_by.address) and route.epoch >= lane.epoch:
            link = self._links.get(route.address)
            if link is None:
                link = self._links[route.address] = _Link(route.address)
            lane.link, lane.epoch, lane.retry_us = link, route.epoch, 0
        elif lane.link is said_by and not lane.retry_us:
            lane.retry_us = now_us + lane.backoff_us
            lane.backoff_us = min(lane.backoff_us * 2, BACKOFF_US[1])
            self._routes_us = min(self._routes_us, now_us - ROUTES_EVERY_US + BACKOFF_US[0])
        if not lane.held_until_us:
            lane.held_until_us = now_us + HELD_US_MAX
        self._moving[id(lane)] = lane
        self._settle(lane, now_us)

    def _settle(self, lane: _Lane, now_us: int) -> None:
        """Release a moving slice when its commands are back (or time is up) and its pause over."""
        if lane.link is None or now_us < lane.retry_us:
            return
        if lane.out == 0 or now_us >= lane.held_until_us:
            lane.held_until_us = lane.retry_us = 0
            self._release(lane)

    def _release(self, lane: _Lane) -> None:
        """Send on what waits, in the order of its submission."""
        self._moving.pop(id(lane), None)
        waiting, lane.waiting = lane.waiting, []
        link = lane.link
        assert link is not None
        for command in sorted(waiting, key=_by_submission):
            if not command.done:
                command.link = link
                lane.out += 1
                link.queue.append(command)

    def _take_back(self, lane: _Lane) -> None:
        for command in self._commands.values():
            if command.lane is lane and command.link is not None:
                command.link = None
                lane.waiting.append(command)
        lane.out = 0

    def _lose(self, link: _Link, now_us: int, actions: list[Action]) -> None:
        """The host is gone: everything it had or would have got looks for another one."""
        link.queue.clear()
        link.frames.clear()
        link.suspect_until_us = now_us + SUSPECT_US
        for lane in (lane for lanes in self._lanes.values() for lane in lanes):
            if lane.link is link:
                lane.link = None
                lane.held_until_us = lane.retry_us = 0
                self._moving[id(lane)] = lane
        for command in self._commands.values():
            if command.link is link:
                assert command.lane is not None
                command.link = None
                command.lane.out -= 1
                command.lane.waiting.append(command)
        self._routes_us = now_us - ROUTES_EVERY_US
        self._ask_routes(now_us, actions)

    # --- frames ---

    def _pump_all(self, now_us: int, actions: list[Action]) -> None:
        for link in self._links.values():
            while link.queue and len(link.frames) < self.window and link.is_free():
                commands = self._next_frame(link)
                if not commands:
                    break
                self._last_frame += 1
                alone = not link.frames
                link.frames[self._last_frame] = _Frame(commands, now_us + RESEND_US)
                actions.append(SendFrame(link.address, self._last_frame, commands, alone))

    def _next_frame(self, link: _Link) -> list[Outgoing]:
        commands: list[Outgoing] = []
        size, queue = 0, link.queue
        while queue and len(commands) < FRAME_COMMANDS_MAX:
            command = queue[0]
            if command.done or command.link is not link:
                queue.popleft()
                continue
            size += len(command.body)
            if commands and size > FRAME_BYTES_MAX:
                break
            self._mark(command)
            commands.append(command)
            queue.popleft()
        return commands

    def _mark(self, command: Outgoing) -> None:
        """It goes into a frame."""
        lane = command.lane
        assert lane is not None
        if command.epoch is None:
            command.epoch, command.since = lane.epoch, lane.head
        else:
            command.epoch = SENT_BEFORE

    def _acknowledge(self, link: _Link, frame_nrs: Iterable[int]) -> None:
        for frame_nr in frame_nrs:
            frame = link.frames.pop(frame_nr, None)
            if frame is None:
                continue
            for command in frame.commands:
                if command.link is not link or command.lane is None:
                    continue  # it came back, and is elsewhere by now
                command.lane.backoff_us = BACKOFF_US[0]
                if command.ticket is None and not command.done:
                    self._finish(command)

    # --- ends ---

    def _time_out(self, command: Outgoing, timeout_s: float, actions: list[Action]) -> None:
        if command.link is not None:
            where = f"sent to the host at {command.link.address}"
        elif command.lane is not None:
            where = "no host owns its slice at the moment"
        else:
            where = "no host was found"
        name = f"{command.entity_type}|{command.entity_id}"
        self._end(command, ERROR, AskTimeoutError(name, timeout_s, where), actions)

    def _end(
        self, command: Outgoing, status: int, value: Any, actions: list[Action]
    ) -> None:
        self._finish(command)
        self._deliver(command, status, value, actions)

    def _finish(self, command: Outgoing) -> None:
        command.done = True
        self._commands.pop(command.correlation, None)
        if command.lane is not None and command.link is not None:
            command.lane.out -= 1

    def _deliver(
        self, command: Outgoing, status: int, value: Any, actions: list[Action]
    ) -> None:
        command.done = True
        if command.ticket is not None:
            actions.append(Deliver(command.ticket, status, value))


def _by_submission(command: Outgoing) -> int:
    return command.correlation
