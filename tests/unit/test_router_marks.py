"""What RouterCore says of a command, so that its host can tell whether anybody had it before."""

from __future__ import annotations

from typing import Any

from tests.unit.test_router_core import NOT_OWNER, A, B, command, frames, routed
from thespian_dc.entity.protocol import SENT_BEFORE, Route, TypeRoutes
from thespian_dc.entity.router_core import RESEND_US, Outgoing, RouterCore, SendFrame


def marks(frame: SendFrame) -> list[tuple[Any, int | None, int]]:
    return [(c.ticket, c.epoch, c.since) for c in frame.commands]


def test_a_command_says_for_whom_it_was_sent_first_and_from_where_on_it_may_be_persisted() -> None:
    """A host that is this owner knows that nobody can have had it before."""
    core = RouterCore(window=2)
    core.on_routes([{"cart": TypeRoutes(1, ((A, 3),), (70,))}], 0)
    core.on_routes([{"cart": TypeRoutes(1, ((A, 3),), (60,))}], 0)  # an older view
    (frame,) = frames(core.submit([command("a")], 5, 0))
    assert marks(frame) == [("a", 3, 70)]


def test_a_command_that_is_sent_again_says_so_and_no_more_about_its_owner() -> None:
    """To a host that may be the same, or another: either may have it from the first time. The
    offset stays that of the first time."""
    core = routed()
    (first,) = frames(core.submit([command("a")], 5, 0))
    assert marks(first) == [("a", 1, 0)]
    (second,) = frames(core.on_routes([{"cart": TypeRoutes(1, ((B, 2),), (50,))}], 1))
    assert (second.address, marks(second)) == (B, [("a", SENT_BEFORE, 0)])


def test_an_unacknowledged_frame_says_so_too() -> None:
    """Its host may have forgotten that it had the frame."""
    core = routed()
    (first,) = frames(core.submit([command("a")], 50, 0))
    assert marks(first) == [("a", 1, 0)]
    core.on_sent(A, first.frame_nr, True, 0)
    (again,) = frames(core.on_tick(RESEND_US))
    assert (again.frame_nr, marks(again)) == (first.frame_nr, [("a", SENT_BEFORE, 0)])


def test_what_a_host_sent_back_may_have_run_there() -> None:
    """NOT_OWNER also answers commands whose commit was lost, whatever became of it."""
    core = routed()
    (first,) = frames(core.submit([command("a")], 50, 0))
    core.on_sent(A, first.frame_nr, True, 0)
    moved = [(first.commands[0].correlation, NOT_OWNER, Route("cart", 0, B, 2))]
    (again,) = frames(core.on_reply([first.frame_nr], moved, A, 1))
    assert (again.address, marks(again)) == (B, [("a", SENT_BEFORE, 0)])


def test_a_command_that_others_may_have_is_marked_from_the_start() -> None:
    """A host sends on what it got from a client, which may have sent it elsewhere meanwhile."""
    core = routed()
    (frame,) = frames(core.submit([Outgoing("cart", "a", b"x", "a", since=40)], 5, 0))
    assert marks(frame) == [("a", SENT_BEFORE, 40)]
