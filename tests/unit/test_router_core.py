"""RouterCore: order, one frame on its way, NOT_OWNER, hosts that die, time-outs, bounds."""

from __future__ import annotations

import random
from typing import Any

import pytest

from thespian_dc.entity.protocol import Route, Status, TypeRoutes
from thespian_dc.entity.router_core import (
    BACKOFF_US,
    FRAME_BYTES_MAX,
    FRAME_COMMANDS_MAX,
    RESEND_US,
    SUSPECT_US,
    AskRoutes,
    Deliver,
    Outgoing,
    RouterCore,
    SendFrame,
)
from thespian_dc.model.errors import AskTimeoutError, ClientBusyError, UnknownEntityTypeError
from thespian_dc.model.ids import slice_of

OK, NOT_OWNER = int(Status.OK), int(Status.NOT_OWNER)
A, B = "10.0.0.1:1", "10.0.0.2:2"
MS = 1000


def command(entity_id: str, ticket: Any = None, size: int = 1) -> Outgoing:
    return Outgoing("cart", entity_id, b"x" * size, ticket or entity_id)


def routes(*owners: tuple[str, int]) -> list[dict[str, TypeRoutes]]:
    return [{"cart": TypeRoutes(len(owners), owners)}]


def frames(actions: list[Any]) -> list[SendFrame]:
    return [one for one in actions if isinstance(one, SendFrame)]


def outcomes(actions: list[Any]) -> list[tuple[Any, int, Any]]:
    return [tuple(one) for one in actions if isinstance(one, Deliver)]


def routed(window: int = 2, *owners: tuple[str, int]) -> RouterCore:
    core = RouterCore(window=window)
    core.on_routes(routes(*(owners or ((A, 1),))), 0)
    return core


def answers(frame: SendFrame) -> list[tuple[int, int, Any]]:
    return [(c.correlation, OK, c.ticket) for c in frame.commands]


def test_commands_wait_for_routes_and_then_go_in_one_frame() -> None:
    """Nothing is lost that was submitted before a host was known."""
    core = RouterCore()
    actions = core.submit([command("a"), command("b")], 5, 0)
    assert actions == [AskRoutes()]
    (frame,) = frames(core.on_routes(routes((A, 1)), 10))
    assert frame.address == A
    assert [c.entity_id for c in frame.commands] == ["a", "b"]


def test_one_frame_is_on_its_way_and_a_window_is_unacknowledged() -> None:
    """Thespian may let the later of two frames overtake; a host is not flooded."""
    core = routed(2)
    (first,) = frames(core.submit([command("a")], 5, 0))
    assert not frames(core.submit([command("b"), command("c")], 5, 1))
    (second,) = frames(core.on_sent(A, first.frame_nr, True, 2))
    assert [c.entity_id for c in second.commands] == ["b", "c"]
    core.submit([command("d")], 5, 3)
    assert not frames(core.on_sent(A, second.frame_nr, True, 4))
    (third,) = frames(core.on_reply([first.frame_nr], [], A, 5))
    assert [c.entity_id for c in third.commands] == ["d"]


def test_a_frame_is_alone_where_all_before_it_are_acknowledged() -> None:
    """It may take another way than those: it cannot overtake them. One that is sent again is not
    alone: it was on its way before."""
    core = routed(2)
    (first,) = frames(core.submit([command("a")], 5, 0))
    core.on_sent(A, first.frame_nr, True, 1)
    (second,) = frames(core.submit([command("b")], 5, 2))
    assert (first.alone, second.alone) == (True, False)
    core.on_sent(A, second.frame_nr, True, 3)
    core.on_reply([second.frame_nr], [], A, 4)
    (third,) = frames(core.submit([command("c")], 5, 5))
    core.on_sent(A, third.frame_nr, True, 6)
    core.on_reply([first.frame_nr, third.frame_nr], [], A, 7)
    (fourth,) = frames(core.submit([command("d")], 5, 8))
    assert (third.alone, fourth.alone) == (False, True)
    core.on_sent(A, fourth.frame_nr, True, 9)
    (again,) = frames(core.on_tick(9 + RESEND_US))
    assert (again.frame_nr, again.alone) == (fourth.frame_nr, False)


def test_frames_are_bounded_in_commands_and_bytes() -> None:
    """One command may be larger than a frame; it goes alone."""
    core = routed(1)
    (frame,) = frames(core.submit([command(str(n)) for n in range(FRAME_COMMANDS_MAX + 1)], 5, 0))
    assert len(frame.commands) == FRAME_COMMANDS_MAX
    core = routed(1)
    big = [command("a"), command("b", size=FRAME_BYTES_MAX + 1), command("c")]
    (first,) = frames(core.submit(big, 5, 0))
    assert [c.entity_id for c in first.commands] == ["a"]
    core.on_sent(A, first.frame_nr, True, 1)
    (second,) = frames(core.on_reply([first.frame_nr], [], A, 2))
    assert [c.entity_id for c in second.commands] == ["b"]


def test_a_slice_that_moves_keeps_the_order_of_its_commands() -> None:
    """What comes while its commands come back waits behind them."""
    core = routed(1)
    (frame,) = frames(core.submit([command("a", n) for n in range(1, 4)], 5, 0))
    core.on_sent(A, frame.frame_nr, True, 0)
    moved = Route("cart", 0, B, 2)
    items = [(c.correlation, NOT_OWNER, moved) for c in frame.commands]
    assert not frames(core.on_reply([], items[:1], A, 1))
    assert not frames(core.submit([command("a", 4)], 5, 2))
    (sent,) = frames(core.on_reply([frame.frame_nr], items[1:], A, 3))
    assert sent.address == B
    assert [c.ticket for c in sent.commands] == [1, 2, 3, 4]


def test_not_owner_without_an_address_is_tried_again_after_a_pause() -> None:
    """A slice between two owners: a growing pause, not a storm."""
    core = routed(1)
    nowhere = Route("cart", 0, "", 1)
    now, pauses = 0, []
    (frame,) = frames(core.submit([command("a")], 60, now))
    for _ in range(8):
        core.on_sent(A, frame.frame_nr, True, now)
        sent_us = now
        item = (frame.commands[0].correlation, NOT_OWNER, nowhere)
        assert not frames(core.on_reply([], [item], A, now))
        core.on_reply([frame.frame_nr], [], A, now)
        while not (again := frames(core.on_tick(now))):
            now += MS
        (frame,) = again
        pauses.append(now - sent_us)
    assert pauses == sorted(pauses)
    assert BACKOFF_US[0] <= pauses[0] < pauses[-1] <= BACKOFF_US[1]


def test_a_frame_that_is_not_acknowledged_is_sent_again_with_its_number() -> None:
    """The host knows it by that, and by the commands' ids."""
    core = routed(1)
    (frame,) = frames(core.submit([command("a"), command("b")], 60, 0))
    core.on_sent(A, frame.frame_nr, True, 0)
    core.on_reply([], answers(frame)[:1], A, 1)
    assert not frames(core.on_tick(RESEND_US - 1))
    (again,) = frames(core.on_tick(RESEND_US))
    assert (again.address, again.frame_nr) == (A, frame.frame_nr)
    assert [c.entity_id for c in again.commands] == ["b"]
    assert not frames(core.on_tick(RESEND_US + 1))


def test_what_a_dead_host_had_goes_to_the_next_owner_in_order() -> None:
    """Acknowledged and not answered, on its way, and queued: all of it."""
    core = routed(1)
    (first,) = frames(core.submit([command("a", 1), command("a", 2)], 60, 0))
    core.on_sent(A, first.frame_nr, True, 0)
    (second,) = frames(core.submit([command("a", 3)], 60, 0) + core.on_reply(
        [first.frame_nr], answers(first)[:1], A, 1))  # fmt: skip
    core.submit([command("a", 4)], 60, 2)
    actions = core.on_sent(A, second.frame_nr, False, 3)
    assert AskRoutes() in actions
    assert not frames(core.on_routes(routes((A, 1)), 4))  # an old view: nobody is there
    (sent,) = frames(core.on_routes(routes((B, 2)), 5))
    assert [c.ticket for c in sent.commands] == [2, 3, 4]


def test_a_host_that_refused_is_believed_in_again_after_a_while() -> None:
    """It may have been too slow to take a frame, and still own the slice."""
    core = routed(1)
    (frame,) = frames(core.submit([command("a")], 60, 0))
    core.on_sent(A, frame.frame_nr, False, 0)
    assert not frames(core.on_routes(routes((A, 1)), SUSPECT_US - 1))
    assert frames(core.on_routes(routes((A, 1)), SUSPECT_US + 1))


def test_a_new_epoch_sends_again_what_the_former_owner_did_not_answer() -> None:
    """It may stand still, or have forgotten; the new one knows commands by their ids. Its late
    answers still count, its NOT_OWNER does not."""
    core = routed(1)
    (frame,) = frames(core.submit([command("a", 1), command("a", 2)], 60, 0))
    core.on_sent(A, frame.frame_nr, True, 0)
    (sent,) = frames(core.on_routes(routes((B, 2)), 1))
    assert [c.ticket for c in sent.commands] == [1, 2]
    late = [(frame.commands[0].correlation, OK, b"1")]
    assert outcomes(core.on_reply([], late, A, 2)) == [(1, OK, b"1")]
    stale = [(frame.commands[1].correlation, NOT_OWNER, Route("cart", 0, A, 1))]
    assert not core.on_reply([], stale, A, 3)
    (answer,) = [item for item in answers(sent) if item[2] == 2]
    assert outcomes(core.on_reply([], [answer], B, 4)) == [(2, OK, 2)]


def test_an_older_view_does_not_move_a_slice_back() -> None:
    """Coordinators and hosts learn at different times; the highest epoch counts."""
    core = routed(1, (B, 5))
    core.on_routes(routes((A, 4)), 1)
    (frame,) = frames(core.submit([command("a")], 5, 2))
    assert frame.address == B


def test_time_over_is_an_error_and_a_late_answer_is_dropped() -> None:
    """Exactly one outcome each."""
    core = routed(1)
    (frame,) = frames(core.submit([command("a")], 0.05, 0))
    assert not outcomes(core.on_tick(49 * MS))
    ((ticket, _, error),) = outcomes(core.on_tick(50 * MS))
    assert ticket == "a"
    assert isinstance(error, AskTimeoutError)
    assert "cart|a" in str(error)
    assert A in str(error)
    assert not outcomes(core.on_reply([frame.frame_nr], answers(frame), A, 51 * MS))
    assert core.dropped_answers == 1
    assert core.wakeup_us(52 * MS) is None


def test_nobody_waits_for_a_told_command_and_its_end_is_the_acknowledgement() -> None:
    """It is kept, for sending again, until a host has it."""
    core = routed(1)
    (frame,) = frames(core.submit([Outgoing("cart", "a", b"x")], 60, 0))
    core.on_sent(A, frame.frame_nr, True, 0)
    assert core.under_way() == 1
    assert not core.on_reply([frame.frame_nr], [], A, 1)
    assert core.under_way() == 0


def test_an_unknown_type_is_an_error_once_hosts_have_answered() -> None:
    """Before that it may only be that no host is up."""
    core = RouterCore()
    core.submit([Outgoing("bike", "b", b"", "b")], 5, 0)
    assert not outcomes(core.on_routes([], 1))
    ((_, _, error),) = outcomes(core.on_routes(routes((A, 1)), 2))
    assert isinstance(error, UnknownEntityTypeError)
    assert error.known == ("cart",)


def test_more_than_the_bound_is_refused_by_name() -> None:
    """I7: and those within it are not."""
    core = RouterCore(commands_max=3)
    got = outcomes(core.submit([command(str(n)) for n in range(5)], 5, 0))
    assert [ticket for ticket, *_ in got] == ["3", "4"]
    assert all(isinstance(error, ClientBusyError) for *_, error in got)
    assert core.under_way() == 3


class World:
    """Two hosts that own slices by turns, lose frames, answer late or never, and die: whatever a
    router may meet. Hosts handle a command once, by its correlation."""

    def __init__(self, seed: int) -> None:
        self.random, self.now, self.step_us = random.Random(seed), 0, 20 * MS
        self.core = RouterCore(window=2)
        self.slices = 4
        self.owner = [(self.random.choice((A, B)), 1) for _ in range(self.slices)]
        self.to_do: list[Any] = []
        self.handled: dict[str, list[int]] = {}
        self.known: set[int] = set()
        self.ended: dict[int, int] = {}
        self.hits: dict[str, int] = dict.fromkeys(("moved", "died", "doubled", "not_owner"), 0)

    def run(self, actions: list[Any]) -> None:
        for action in actions:
            if isinstance(action, Deliver):
                assert action.ticket not in self.ended, "two outcomes"
                self.ended[action.ticket] = action.status
            elif isinstance(action, SendFrame):
                self.to_do.append(("arrive", action))
            else:
                self.to_do.append(("routes", None))

    def step(self) -> None:
        self.now += self.random.randrange(1, self.step_us)
        self.run(self.core.on_tick(self.now))
        if self.random.random() < 0.03:
            number = self.random.randrange(self.slices)
            address, epoch = self.owner[number]
            self.owner[number] = (B if address == A else A, epoch + 1)
            self.hits["moved"] += 1
        if self.to_do:
            what, value = self.to_do.pop(0)
            getattr(self, what)(value)

    def routes(self, _: Any) -> None:
        self.run(self.core.on_routes(routes(*self.owner), self.now))

    def arrive(self, frame: SendFrame) -> None:
        if self.random.random() < 0.05:
            self.hits["died"] += 1
            if self.random.random() < 0.5:
                self.handle(frame)  # and nobody hears of it
            self.run(self.core.on_sent(frame.address, frame.frame_nr, False, self.now))
            return
        items = self.handle(frame)
        self.run(self.core.on_sent(frame.address, frame.frame_nr, True, self.now))
        if self.random.random() < 0.9:  # else the answer is lost, and the frame comes again
            self.to_do.append(("answer", (frame, items)))

    def handle(self, frame: SendFrame) -> list[tuple[int, int, Any]]:
        items: list[tuple[int, int, Any]] = []
        for one in frame.commands:
            number = slice_of(one.entity_id, self.slices)
            address, epoch = self.owner[number]
            if address != frame.address:
                self.hits["not_owner"] += 1
                items.append((one.correlation, NOT_OWNER, Route("cart", number, address, epoch)))
                continue
            if one.correlation in self.known:
                self.hits["doubled"] += 1
            else:
                self.known.add(one.correlation)
                self.handled.setdefault(one.entity_id, []).append(one.ticket)
            items.append((one.correlation, OK, b""))
        return items

    def answer(self, what: tuple[SendFrame, list[Any]]) -> None:
        frame, items = what
        self.run(self.core.on_reply([frame.frame_nr], items, frame.address, self.now))


def test_random_worlds_end_every_command_once() -> None:
    """Slices move, hosts die, answers get lost: each command ends in one outcome, and none that
    was answered OK was handled twice. Every kind of trouble was met."""
    met: dict[str, int] = {}
    for seed in range(60):
        world = World(seed)
        for ticket in range(200):
            entity_id = f"e{world.random.randrange(12)}"
            world.run(world.core.submit([command(entity_id, ticket or -1)], 20, world.now))
            world.step()
        for _ in range(4000):
            if not world.core.under_way():
                break
            world.step()
        assert len(world.ended) == 200, f"seed {seed}"
        handled = [ticket for tickets in world.handled.values() for ticket in tickets]
        assert len(handled) == len(set(handled))
        assert {t for t, status in world.ended.items() if status == OK} <= set(handled)
        for kind, hits in world.hits.items():
            met[kind] = met.get(kind, 0) + hits
    assert all(met.values()), met


@pytest.mark.parametrize("seed", range(20))
def test_moving_slices_keep_each_entitys_order(seed: int) -> None:
    """Without deaths and losses: a client's commands to one entity are handled in the order it
    submitted them. (A slice that moves away and back within the life of one frame is beyond what a
    router can see: its first command is refused, its second is not.)"""
    world = World(seed)
    world.step_us = MS // 10  # answers come long before a moving slice is held no more
    world.random.random = _never(world.random)  # type: ignore[method-assign]
    for ticket in range(1, 300):
        entity_id = f"e{world.random.randrange(6)}"
        world.run(world.core.submit([command(entity_id, ticket)], 60, world.now))
        world.step()
        if ticket % 20 == 0:
            number = ticket // 20 % world.slices
            address, epoch = world.owner[number]
            world.owner[number] = (B if address == A else A, epoch + 1)
    for _ in range(4000):
        if not world.core.under_way():
            break
        world.step()
    assert set(world.ended.values()) == {OK}
    for tickets in world.handled.values():
        assert tickets == sorted(tickets)


def _never(source: random.Random) -> Any:
    """A coin that never falls on trouble but always on an answer: between the two thresholds."""
    del source
    return lambda: 0.5


def test_a_closed_router_sends_nothing_more() -> None:
    """Its transport may still tell that a frame failed, or another answer may come."""
    core = routed(1)
    [frame] = frames(core.submit([command("a")], 5, 0))
    assert not frames(core.submit([command("b")], 5, 0)), "one frame at a time"
    assert sorted(core.close()) == ["a", "b"]
    assert core.on_sent(A, frame.frame_nr, False, MS) == []
    assert core.on_routes(routes((B, 2)), MS) == []
    assert core.on_reply([frame.frame_nr], answers(frame), A, MS) == []
    assert core.on_tick(10 * RESEND_US) == []
    assert core.wakeup_us(MS) is None
