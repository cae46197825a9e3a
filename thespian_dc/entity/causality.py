"""Is an event of another replica new here, known, or early? Pure: values in, a verdict out.

Laws (tests/unit/test_causality.py):
- Event n of an origin is new where n - 1 of its events are here, known where n are.
- A new one waits while something is missing that its origin had when it wrote: that must be applied
  first. Slots of retired replicas are not waited for.
- It is concurrent where this replica has something that counts and that its origin had not.
- An epoch's leader replaces those of lower epochs (of two leaders of one epoch, the greater id
  counts): what they wrote and its leader had not seen comes late.
- What is late is what a set of events says, in any order: what the latest leader had seen when it
  wrote first counts as it counted then; of the rest, what leaders before it wrote does not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from thespian_dc.model.replication import ReplicaMeta


class Verdict(NamedTuple):
    """missing: (replica, n): that many of its events must be here first."""

    is_new: bool
    concurrent: bool = False
    missing: tuple[str, int] | None = None


NOTHING: Mapping[str, int] = {}
KNOWN, NEW, CONCURRENT = Verdict(False), Verdict(True), Verdict(True, True)


def judge(
    here: Mapping[str, int],
    origin: str,
    n: int,
    others: Mapping[str, int],
    retired: Collection[str] = (),
    aside: Mapping[str, int] = NOTHING,
) -> Verdict:
    """Event n of `origin`, written when it had seen `others`; here: how many of each replica's
    events this one has; aside: of whom the last ones do not count, and which is the last that
    does."""
    had = here.get(origin, 0)
    if n <= had:
        return KNOWN
    if n > had + 1:
        return Verdict(False, missing=(origin, n - 1))
    for replica, count in others.items():
        if here.get(replica, 0) < count and replica not in retired:
            return Verdict(False, missing=(replica, count))
    for replica, count in here.items():
        if count > others.get(replica, 0) and replica != origin:
            if aside and aside.get(replica, count) <= others.get(replica, 0):
                continue
            return CONCURRENT
    return NEW


def is_late(epoch: int, origin: str, latest_epoch: int, leader: str) -> bool:
    """Written under `epoch` by a replica that had been replaced: by `leader`, of whom something
    written under latest_epoch is applied here already. Such an event has not seen that, for it is
    new."""
    return epoch > 0 and (epoch, origin) < (latest_epoch, leader)


def comes_unaware(
    leader: tuple[int, str],
    latest: tuple[int, str],
    here: Mapping[str, int],
    seen: Mapping[str, int],
) -> bool:
    """Is it the first event of this leader, (epoch, origin), who replaces `latest`, and had it not
    seen all that is here? seen: its origin's vector, itself in it."""
    return latest[0] > 0 and leader > latest and bool(lacking(here, seen))


def late_among(events: Iterable[ReplicaMeta]) -> set[tuple[str, int]]:
    """(origin, n) of those that do not count. events: all of one entity that are here."""
    rest, late = list(events), set()
    while leaders := [(one.epoch, one.origin) for one in rest if one.epoch]:
        latest = max(leaders)
        first = min(
            (one for one in rest if (one.epoch, one.origin) == latest), key=lambda one: one.n
        )
        seen, past = {**first.others, first.origin: first.n - 1}, []
        for one in rest:
            if one.n <= seen.get(one.origin, 0):
                past.append(one)
            elif is_late(one.epoch, one.origin, *latest):
                late.add((one.origin, one.n))
        rest = past  # has no event of this leader
    return late


def lacking(here: Mapping[str, int], there: Mapping[str, int]) -> tuple[tuple[str, int, int], ...]:
    """(replica, first, last) of the events that are here and not there."""
    return tuple(
        (replica, there.get(replica, 0) + 1, count)
        for replica, count in here.items()
        if count > there.get(replica, 0)
    )
