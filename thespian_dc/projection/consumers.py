"""Who reads a log of this journal, and how far it was when it began: noted by what serves it, so
that nothing is trimmed that a projection has not handled. Blocks; compare-and-set.

A consumer's own database knows better how far it is now; here is what its journal can know of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from thespian_dc.journal.api import Entry, Journal, change_entry

CONSUMERS_MAX = 256
"""Of one entity type; of more the one that has not come for longest is forgotten."""
CONSUMER_DAYS = 7.0
"""Who did not begin to read for so long is not waited for."""
DAY_US = 24 * 3600 * 1_000_000


class Consumer(NamedTuple):
    """name: of the stream and of who reads it. time_us: when it last began. offsets: by slice,
    where."""

    name: str
    time_us: int
    offsets: Mapping[int, int]


class Held(NamedTuple):
    """What keeps a slice from being trimmed further: `by` stands at `offset`."""

    slice: int
    by: str
    offset: int


class Trimmed(NamedTuple):
    """Of one slice. before, after: its trim mark, the first offset that is there. head: its end.
    held: what kept it from more, the lowest first; empty where nothing but the head did."""

    slice: int
    before: int
    after: int
    head: int
    held: tuple[Held, ...]


def note_consumer(
    journal: Journal, entity_type: str, name: str, offsets: Mapping[int, int], time_us: int
) -> None:
    """It begins to read here. Slices that others of its workers read stay as they are."""

    def note(entry: Entry) -> tuple[Any, None]:
        known = dict(entry.value or {})
        _, before = known.get(name, (0, []))
        now = {**dict(before), **offsets}
        known[name] = [time_us, sorted(map(list, now.items()))]
        newest = sorted(known.items(), key=lambda one: one[1][0])[-CONSUMERS_MAX:]
        return dict(newest), None

    change_entry(journal, _name(entity_type), note)


def noted_consumers(journal: Journal, entity_type: str) -> list[Consumer]:
    """All that are remembered, by name."""
    known = journal.entry(_name(entity_type)).value or {}
    return [
        Consumer(name, time_us, dict(offsets)) for name, (time_us, offsets) in sorted(known.items())
    ]


def waited_for(
    journal: Journal, entity_type: str, positions: Mapping[str, Mapping[int, int]],
    without: Collection[str], now_us: int,
) -> list[Consumer]:  # fmt: skip
    """All that are remembered but for these. positions: of projections, by "service/name", where
    they are now, which counts instead of where they began."""
    consumers = noted_consumers(journal, entity_type)
    for name, offsets in positions.items():
        consumers = [one for one in consumers if not one.name.endswith(f" {name}")]
        consumers.append(Consumer(f"projection {name}", now_us, offsets))
    return [one for one in consumers if one.name not in without]


def held_by(slice_: int, consumers: Iterable[Consumer], since_us: int) -> list[Held]:
    """Where those stand that began to read this slice at since_us or later."""
    return [
        Held(slice_, consumer.name, consumer.offsets[slice_])
        for consumer in consumers
        if consumer.time_us >= since_us and slice_ in consumer.offsets
    ]


def lowest(head: int, held: Iterable[Held]) -> tuple[int, list[Held]]:
    """The offset that all have passed, and who holds it below the head, the lowest first."""
    below = sorted((one for one in held if one.offset < head), key=lambda one: one.offset)
    return (below[0].offset if below else head), below


def forget_consumer(journal: Journal, entity_type: str, name: str) -> bool:
    """It will not come again; False where nobody knows it."""

    def forget(entry: Entry) -> tuple[Any, bool]:
        known = dict(entry.value or {})
        if known.pop(name, None) is None:
            return entry.value, False
        return known, True

    return change_entry(journal, _name(entity_type), forget)


def _name(entity_type: str) -> str:
    return f"log_consumers:{entity_type}"
