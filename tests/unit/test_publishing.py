"""Hints from hosts to producers: whole commits at rest, bare heads under load, one frame under
way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from thespian_dc.entity import publishing
from thespian_dc.entity.publishing import FRAME_BYTES_MAX, SPACING_US, Publishing
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit, make_commit
from thespian_dc.shell.outbox import Outbox

KEY = SliceKey("cart", 3)


class Wire:
    """What the outbox was asked to send, and a clock."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, Any, Callable[[bool], None]]] = []
        self.now = 10**9

    def transmit(self, address: Any, message: Any, on_done: Callable[[bool], None]) -> None:
        self.sent.append((address, message, on_done))


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    made = Wire()
    monkeypatch.setattr(publishing, "now_us", lambda: made.now)
    return made


def commit(base: int, size: int = 10) -> Commit:
    return make_commit(KEY, base, b"w" * 16, 1, 0, [("c-1", b"\xc4\xff" + b"x" * size)])


def test_at_rest_a_commit_goes_whole_and_at_once(wire: Wire) -> None:
    """No poll stands between an event and a consumer at the tail."""
    hints = Publishing(Outbox(wire.transmit))
    hints.on_producers(["127.0.0.1:1"])
    first = commit(0)
    hints.publish(first)
    hints.flush(wire.now)
    [(_, frame, _)] = wire.sent
    assert (frame.commits, frame.heads) == ((first,), ())
    assert hints.due_us() is None


def test_frames_keep_a_distance_and_gather(wire: Wire) -> None:
    """A busy host spends little of its thread on hints."""
    hints = Publishing(Outbox(wire.transmit))
    hints.on_producers(["127.0.0.1:1"])
    hints.publish(commit(0))
    hints.flush(wire.now)
    wire.sent[0][2](True)
    hints.publish(commit(1))
    hints.publish(commit(2))
    hints.flush(wire.now)
    assert len(wire.sent) == 1
    due = hints.due_us()
    assert due == wire.now + SPACING_US
    wire.now = due
    hints.flush(wire.now)
    assert [one.base_offset for one in wire.sent[1][1].commits] == [1, 2]


def test_much_is_told_by_heads_alone(wire: Wire) -> None:
    """The producer reads the journal anyway; the bytes need not go twice. Bounded by that."""
    hints = Publishing(Outbox(wire.transmit))
    hints.on_producers(["127.0.0.1:1"])
    for base in range(100):
        hints.publish(commit(base, FRAME_BYTES_MAX // 10))
    hints.flush(wire.now)
    [(_, frame, _)] = wire.sent
    assert sum(one.size_bytes for one in frame.commits) <= FRAME_BYTES_MAX
    assert dict(frame.heads)[KEY] >= 90


def test_without_producers_nothing_is_kept(wire: Wire) -> None:
    """A node without streams pays nothing; one that went away is forgotten."""
    hints = Publishing(Outbox(wire.transmit))
    hints.publish(commit(0))
    hints.on_producers(["127.0.0.1:1"])
    hints.flush(wire.now)
    assert wire.sent == []
    hints.publish(commit(1))
    hints.on_producers([])
    hints.flush(wire.now)
    assert wire.sent == []
