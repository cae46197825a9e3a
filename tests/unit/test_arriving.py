"""What sources bring: a lone one is handled at once, by the thread that brings it; in order, one at
a time, whoever handles it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from thespian_dc.replication.arriving import Arriving, plain

JOIN_S = 30


class Place:
    """The main thread is the test's; `takes` says what can be handled at once."""

    def __init__(self, takes: Callable[[Any], bool] = lambda _: True) -> None:
        self.items: deque[Any] = deque()
        self.handled: list[Any] = []
        self.takes = takes
        self.arriving = Arriving(self.items.append, self._handle)

    def _handle(self, came: Any) -> bool:
        if not self.takes(came):
            return False
        self.handled.append(came)
        return True

    def bring(self, *came: Any) -> None:
        """From another thread."""
        thread = Thread(target=lambda: [self.arriving.bring(one) for one in came])
        thread.start()
        thread.join(JOIN_S)
        assert not thread.is_alive()

    def work(self) -> None:
        """On the main thread, what was put."""
        with self.arriving.turn:
            items = [self.items.popleft() for _ in range(len(self.items))]
            self.handled += plain(items)
            self.arriving.done(items)


def test_what_comes_alone_is_handled_by_who_brings_it() -> None:
    place = Place()
    place.bring(1, 2)
    assert (place.handled, list(place.items)) == ([1, 2], [])


def test_nothing_overtakes_what_waits_for_the_main_thread() -> None:
    """Until that has done with it."""
    place = Place(lambda came: came != 1)
    place.bring(1, 2)
    assert (place.handled, plain(place.items)) == ([], [1, 2])
    place.work()
    place.bring(3)
    assert (place.handled, list(place.items)) == ([1, 2, 3], [])


def test_who_brings_waits_for_nobody() -> None:
    """The main thread may itself wait for the thread that brings: it ends a call."""
    place = Place()
    with place.arriving.turn:
        place.bring(1)
        assert (place.handled, plain(place.items)) == ([], [1])


def test_what_the_main_thread_brings_is_put() -> None:
    """It is in the middle of something."""
    place = Place()
    place.arriving.bring(1)
    assert (place.handled, plain(place.items)) == ([], [1])


def test_what_is_brought_while_something_is_handled_is_put() -> None:
    """That it ends its call, for instance."""
    place = Place()

    def takes(came: Any) -> bool:
        if came == 1:
            place.arriving.bring("failed")
        return came != "failed"

    place.takes = takes
    place.bring(1)
    assert (place.handled, plain(place.items)) == ([1], ["failed"])


def test_two_threads_keep_the_order() -> None:
    """Whichever of them handles what."""
    chance, ended = random.Random(7), Event()
    place = Place(lambda _: chance.random() < 0.8)

    def bring_all() -> None:
        for nr in range(5_000):
            place.arriving.bring(nr)
        ended.set()

    thread = Thread(target=bring_all)
    thread.start()
    while not ended.is_set() or place.items:
        place.work()
    thread.join(JOIN_S)
    place.work()
    assert place.handled == list(range(5_000))
