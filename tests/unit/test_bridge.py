"""The shell's parts that need no actor: bridge, outbox, frames."""

from __future__ import annotations

import enum
import select
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

import pytest

from thespian_dc.model.errors import MessageUnreadableError, MessageUnsendableError
from thespian_dc.shell import bridge as module
from thespian_dc.shell.bridge import Bridge
from thespian_dc.shell.frames import pack, pack_error, pack_reply, unpack
from thespian_dc.shell.outbox import NOTHING, UNDER_WAY_MAX, Outbox


def test_nothing_put_by_many_threads_is_lost_or_stays_behind() -> None:
    """The reader sleeps on the descriptor alone: one forgotten wake-up would hang it."""
    bridge, each = Bridge(), 20_000
    threads = [
        Thread(target=lambda n=n: [bridge.put((n, i)) for i in range(each)]) for n in range(3)
    ]
    for thread in threads:
        thread.start()
    got: list[tuple[int, int]] = []
    while len(got) < 3 * each:
        assert select.select([bridge.fileno()], [], [], 10)[0], "a wake-up was forgotten"
        got += bridge.drain()
    for n in range(3):
        assert [i for number, i in got if number == n] == list(range(each))
    bridge.close()


def test_a_spurious_wake_up_is_empty_and_a_large_rest_is_signalled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thespian delivers a watch twice now and then, and its own messages need their turn."""
    monkeypatch.setattr(module, "DRAIN_MAX", 10)
    bridge = Bridge()
    assert bridge.drain() == []
    for i in range(25):
        bridge.put(i)
    taken = []
    while select.select([bridge.fileno()], [], [], 0)[0]:
        taken.append(bridge.drain())
    assert [len(one) for one in taken if one] == [10, 10, 5]
    bridge.close()
    bridge.put("after close")


class Wire:
    """Collects what an outbox sends; `done` says it arrived."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, Any]] = []
        self.done: deque[Callable[[bool], None]] = deque()

    def transmit(self, address: Any, message: Any, on_done: Callable[[bool], None]) -> None:
        self.sent.append((address, message))
        self.done.append(on_done)


def _taking(queue: list[Any]) -> Any:
    return queue.pop(0) if queue else NOTHING


def test_one_message_is_under_way_to_a_peer_and_the_rest_follows_in_order() -> None:
    """Two might overtake each other, and Thespian's queues are slow when long."""
    wire, queue = Wire(), [1, 2, 3]
    outbox = Outbox(wire.transmit)
    for _ in range(3):
        outbox.offer("p", "address", partial(_taking, queue), lambda: None)
    for count in (1, 2, 3):
        assert len(wire.sent) == count
        wire.done.popleft()(True)
    assert [message for _, message in wire.sent] == [1, 2, 3]
    assert outbox.idle()


def test_peers_take_turns_within_thespians_bound() -> None:
    """More peers than may be sent to at a time: none starves."""
    wire = Wire()
    outbox = Outbox(wire.transmit)
    queues = {n: [n, n] for n in range(UNDER_WAY_MAX + 10)}
    for n, queue in queues.items():
        outbox.offer(n, n, partial(_taking, queue), lambda: None)
    assert len(wire.sent) == UNDER_WAY_MAX
    while wire.done:
        wire.done.popleft()(True)
    assert sorted(n for n, _ in wire.sent) == sorted([*queues, *queues])
    assert {n for n, _ in wire.sent[: len(queues)]} == set(queues)
    assert outbox.idle()


def test_a_peer_that_is_gone_is_said_to_be() -> None:
    """What waits for it is its owner's to drop; the peer may be offered something again."""
    wire, queue, gone = Wire(), [1, 2], []
    outbox = Outbox(wire.transmit)

    def drop() -> None:
        gone.append(list(queue))
        queue.clear()

    outbox.offer("p", "a", partial(_taking, queue), drop)
    wire.done.popleft()(False)
    assert gone == [[2]]
    assert outbox.idle()
    queue.append(3)
    outbox.offer("p", "a", partial(_taking, queue), drop)
    assert wire.sent[-1] == ("a", 3)


def test_messages_that_cannot_travel_are_named() -> None:
    """An error of that one message, at the caller or at the receiver."""
    with pytest.raises(MessageUnsendableError, match="function"):
        pack(lambda: None)
    with pytest.raises(MessageUnreadableError, match="nowhere"):
        unpack(b"cnowhere.at_all\nThing\n.")
    assert unpack(pack({"a": (1, b"x")})) == {"a": (1, b"x")}


class StrangeError(Exception):
    """Pickles, and cannot be built again: `args` lacks an argument."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)
        self.two = two


def test_an_error_that_does_not_pickle_travels_as_its_text() -> None:
    """The asker learns at least what it said."""
    assert isinstance(unpack(pack_error(ValueError("plain"))), ValueError)
    told = unpack(pack_error(StrangeError("first", "second")))
    assert isinstance(told, MessageUnsendableError)
    assert "StrangeError" in str(told)
    assert "first" in str(told)


def test_a_reply_that_is_a_number_a_truth_value_or_none_travels_as_it_is() -> None:
    """Whoever takes a reply unpacks bytes and nothing else: so bytes are packed themselves."""
    for plain in (7, 2**80, 1.5, True, None):
        assert pack_reply(plain) is plain
    for other in (b"7", "7", Weekday.MONDAY, (1, 2)):
        packed = pack_reply(other)
        assert type(packed) is bytes
        assert unpack(packed) == other
        assert type(unpack(packed)) is type(other)


class Weekday(enum.IntEnum):
    """A number that is more than one."""

    MONDAY = 1
