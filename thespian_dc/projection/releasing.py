"""Do what is wished of a parked entity: hand its stored events over, or leave the first one out."""

from __future__ import annotations

import time
from collections.abc import Callable

from thespian_dc.model.stream_errors import FlushError
from thespian_dc.projection.delivery import Delivery
from thespian_dc.projection.failures import Failures, cause_of
from thespian_dc.projection.handling import BatchHandler
from thespian_dc.projection.healer import Healer
from thespian_dc.projection.parking import LOST, PAGE, SKIP, ParkedEvent, ParkedWish, batch_of
from thespian_dc.projection.recovery import of_the_event

FOR_S = 0.05
"""A transaction takes no further event after so long; the rest of the entity comes in the next."""


def release(
    wish: ParkedWish,
    failures: Failures,
    healer: Healer,
    delivery: Delivery,
    handler: BatchHandler,
    check: Callable[[int], None],
) -> None:
    """In the handler's transaction, in order, until one raises: that one stays the first, with its
    new cause, and the wish is over. handler: for single events. check: whether the slice is ours.

    What stands for lost events is not handed over: it goes, and the entity is looked up again,
    after a skip from behind them.
    """
    gone: list[ParkedEvent] = []
    failed: ParkedEvent | None = None
    until_s = time.monotonic() + FOR_S
    wish = failures.trying(wish)
    skips = wish.what.startswith(SKIP)
    delivery.begin(alone=True)
    try:
        check(wish.slice)
        events = failures.events_of(wish)
        for event in events:
            if gone and time.monotonic() > until_s:
                break
            if event.record == LOST:
                if skips:
                    healer.give_up(event.slice, event.entity_id, event.offset)
            elif not skips or gone:
                stopped = handler.handle(batch_of(event), event.offset, float("inf"))
                if stopped is not None and stopped.raised is not None:
                    error = stopped.raised.error
                    if not of_the_event(error):
                        raise error
                    delivery.undo_event()
                    failures.renews = isinstance(error.__cause__, FlushError)
                    attempts = event.attempts + 1
                    failed = event._replace(cause=cause_of(error), attempts=attempts)
                    break
            gone.append(event)
        rest = failed is None and bool(gone) and (len(gone) < len(events) or len(events) == PAGE)

        def write() -> None:
            failures.fulfil(wish, gone, failed, rest)
            healer.write()

        delivery.commit(write)
    except BaseException:
        delivery.roll_back()
        failures.rolled_back()
        healer.rolled_back()
        raise
    failures.committed()
    healer.committed()
    if skips and gone:
        failures.left_out()
