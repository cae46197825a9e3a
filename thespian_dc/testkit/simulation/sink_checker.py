"""Judge what a projection handled, against the log as it stands and by its own reading of filters.

While the run goes on it hears of each batch and each move of a position; at the end it compares
the effects in the sink with the records.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from thespian_dc.model.criteria import UNFILTERED, Criteria, Filter
from thespian_dc.model.ids import SliceKey
from thespian_dc.projection.api import SourceBatch
from thespian_dc.projection.core import Move
from thespian_dc.testkit.simulation.history import History
from thespian_dc.testkit.simulation.plan import Plan
from thespian_dc.testkit.simulation.positions import Effect, SimulatedPositions


class SinkChecker:
    """fields: of the records in each slice's log, by offset. resting: the last filter is wanted,
    which includes every entity."""

    def __init__(
        self,
        history: History,
        positions: SimulatedPositions,
        keys: Sequence[SliceKey],
        fields: Mapping[SliceKey, Mapping[int, list[Any]]],
        plan: Plan,
    ) -> None:
        self._history, self._positions = history, positions
        self._keys, self._fields, self._plan = keys, fields, plan
        self._versions: dict[SliceKey, dict[int, int]] = {key: {} for key in keys}
        self._at_hand = UNFILTERED.version
        self.resting = False
        positions.on_move = self._on_move

    def on_batch(self, batch: SourceBatch, events: Sequence[Effect]) -> None:
        """A projection is about to handle a batch: it holds what passes the filter of its version,
        and all of it."""
        key, wanted = self._keys[batch.slice], self._positions.wishes[batch.filter_version]
        stored = self._fields[key]
        expected = []
        for at in range(batch.base_offset, batch.next_offset):
            fields = stored.get(at)
            if fields is None:
                self._history.breaks("stream", f"{key}: a batch has offset {at}, the log has not")
            elif passes(wanted, fields[1], fields[5]):
                expected.append(Effect(batch.slice, at, fields[1], fields[2], shown(fields)))
        self._at_hand = batch.filter_version
        if not self._holds(list(events), expected):
            self._history.breaks(
                "stream", f"{key}: {batch.base_offset}..{batch.next_offset} under version "
                f"{batch.filter_version} holds {len(events)} events, {len(expected)} pass"
            )  # fmt: skip

    def _holds(self, events: list[Effect], expected: list[Effect]) -> bool:
        """All that is expected, or in last states some of it, each in its place and as it is."""
        if not self._plan.latest:
            return events == expected
        by_offset = {effect.offset: effect for effect in expected}
        offsets = [effect.offset for effect in events]
        return offsets == sorted(set(offsets)) and all(
            one == self._as_shown(by_offset.get(one.offset), one.whole) for one in events
        )

    def _as_shown(self, record: Effect | None, whole: bool) -> Effect | None:
        """What a handler gets of a record where its state alone is brought."""
        if record is None or not whole:
            return record
        state: bytes = self._fields[self._keys[record.slice]][record.offset][4]
        return record._replace(shown=state, whole=True)

    def on_owed(self, effects: Sequence[Effect]) -> None:
        """What was looked up is about to be handled: where only single events are ever wanted,
        nothing is owed."""
        if self._plan.filters == "events" and not self.resting:
            self._history.breaks("events only", f"{effects[0].entity_id} was looked up")

    def _on_move(self, move: Move, epoch: int) -> None:
        for at in range(move.expected, move.position.offset):
            self._versions[self._keys[move.slice]][at] = self._at_hand
        if move.epoch != epoch:
            self._history.breaks(
                "I4", f"slice {move.slice}: a consumer of epoch {move.epoch} moved the position; "
                f"epoch {epoch} has it"
            )  # fmt: skip

    # --- at the end ---
    def unhandled(self) -> int:
        """Records without an effect; where some may have none, entities whose last has none."""
        if not self._plan.some_have_none:
            return sum(map(len, self._fields.values())) - len(self._positions.effects)
        last = {
            fields[1]: fields[2]
            for key in self._keys for _, fields in sorted(self._fields[key].items())
        }  # fmt: skip
        handled = {effect.entity_id: effect.seq_nr for effect in self._positions.effects}
        return sum(handled.get(entity_id, 0) < seq_nr for entity_id, seq_nr in last.items())

    def check(self, log: Sequence[Effect]) -> None:
        """I3: the last filter includes every entity, so each record has one effect, in its entity's
        order, and nothing else has one. Of last states some have none, but never the last; nor have
        those that single events were preferred to."""
        wanted: dict[str, list[Effect]] = defaultdict(list)
        found: dict[str, list[Effect]] = defaultdict(list)
        for effect in log:
            wanted[effect.entity_id].append(effect)
        for effect in self._positions.effects:
            found[effect.entity_id].append(effect)
        for entity_id in sorted(wanted.keys() | found.keys()):
            if self._plan.some_have_none:
                self._check_some(entity_id, found[entity_id], wanted[entity_id])
            elif found[entity_id] != wanted[entity_id]:
                got = [effect.seq_nr for effect in found[entity_id]]
                at = next((i for i, nr in enumerate(got) if nr != i + 1), len(got))
                self._history.breaks(
                    "I3", f"{entity_id}: {len(wanted[entity_id])} records, {len(got)} effects; "
                    f"the first difference is at seq_nr {at + 1}: {got[max(0, at - 1) : at + 3]}"
                )  # fmt: skip

    def _check_some(self, entity_id: str, found: list[Effect], wanted: list[Effect]) -> None:
        by_seq_nr = {effect.seq_nr: effect for effect in wanted}
        got = [effect.seq_nr for effect in found]
        strange = [
            one.seq_nr for one in found
            if one != self._as_shown(by_seq_nr.get(one.seq_nr), one.whole)
        ]  # fmt: skip
        if got != sorted(set(got)) or strange or got[-1:] != [one.seq_nr for one in wanted[-1:]]:
            self._history.breaks(
                "I3", f"{entity_id}: of {len(wanted)} records these have an effect: {got}; "
                f"{strange} are none of it"
            )  # fmt: skip
        elif not self._plan.latest:
            self._check_left_out(entity_id, set(got), wanted)

    def _check_left_out(self, entity_id: str, got: set[int], wanted: list[Effect]) -> None:
        """A record without an effect did not pass when the projection went past it, and the next
        one that has an effect passed as a single event."""
        chosen = False
        for one in reversed(wanted):
            filter_ = self._went_past(one)
            if one.seq_nr in got:
                chosen = filter_.events_only and not _all_pass(filter_, entity_id)
            elif not chosen or self._passes(one):
                self._history.breaks(
                    "I3", f"{entity_id}: seq_nr {one.seq_nr} at {one.slice}:{one.offset} has no "
                    f"effect; {filter_} was in force"
                )  # fmt: skip

    def _went_past(self, one: Effect) -> Filter:
        return self._positions.wishes[self._versions[self._keys[one.slice]][one.offset]]

    def _passes(self, one: Effect) -> bool:
        tags = self._fields[self._keys[one.slice]][one.offset][5]
        return passes(self._went_past(one), one.entity_id, tags)


def passes(wanted: Filter, entity_id: str, tags: Sequence[str]) -> bool:
    """Exclude first, include overrides; by ids (or the one pattern for all there are), by tags, by
    topics."""
    if not wanted.exclude:
        return True
    return _selects(wanted.include, entity_id, tags) or not _selects(
        wanted.exclude, entity_id, tags
    )


def _all_pass(wanted: Filter, entity_id: str) -> bool:
    """Of this entity, whatever their tags."""
    left_out = wanted.exclude
    by_tags = left_out.tags or left_out.topics or left_out.regexes
    return entity_id in wanted.include.entity_ids or not (
        by_tags or entity_id in left_out.entity_ids
    )


def _selects(some: Criteria, entity_id: str, tags: Sequence[str]) -> bool:
    topics = [tag[2:] for tag in tags if tag.startswith("t:")]
    return (
        bool(some.regexes)
        or entity_id in some.entity_ids
        or bool(set(tags) & set(some.tags))
        or any(_is_of(one, topics) for one in some.topics)
    )


def _is_of(expression: str, topics: Sequence[str]) -> bool:
    """+ and # are used at the end alone here, and # after a name stands for whatever follows."""
    if expression == "#":
        return True
    begin, _, last = expression.rpartition("/")
    return any(
        one == expression or (last in "+#" and one.startswith(begin + "/")) for one in topics
    )


def shown(fields: list[Any]) -> bytes:
    """What handlers get of a record: its change event, where it has one."""
    change = (fields[8] or {}).get("event") if fields[0] else None
    payload: bytes = change[1] if change else fields[4]
    return payload
