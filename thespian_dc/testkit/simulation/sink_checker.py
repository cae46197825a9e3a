"""Judge what a projection handled, against the log as it stands and by its own reading of filters.

While the run goes on it hears of each batch and each move of a position; at the end it compares
the effects in the sink with the records.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from thespian_dc.model.criteria import Filter
from thespian_dc.model.ids import SliceKey
from thespian_dc.projection.api import SourceBatch
from thespian_dc.projection.core import Move
from thespian_dc.testkit.simulation.history import History
from thespian_dc.testkit.simulation.positions import Effect, SimulatedPositions


class SinkChecker:
    """fields: of the records in each slice's log, by offset. latest: the projection wants last
    states only."""

    def __init__(
        self,
        history: History,
        positions: SimulatedPositions,
        keys: Sequence[SliceKey],
        fields: Mapping[SliceKey, Mapping[int, list[Any]]],
        latest: bool,
    ) -> None:
        self._history, self._positions = history, positions
        self._keys, self._fields, self._latest = keys, fields, latest
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
            elif _passes(wanted, fields[1]):
                expected.append(Effect(batch.slice, at, fields[1], fields[2], shown(fields)))
        if not self._holds(list(events), expected):
            self._history.breaks(
                "stream", f"{key}: {batch.base_offset}..{batch.next_offset} under version "
                f"{batch.filter_version} holds {len(events)} events, {len(expected)} pass"
            )  # fmt: skip

    def _holds(self, events: list[Effect], expected: list[Effect]) -> bool:
        """All that is expected, or in last states some of it, each in its place and as it is."""
        if not self._latest:
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

    def _on_move(self, move: Move, epoch: int) -> None:
        if move.epoch != epoch:
            self._history.breaks(
                "I4", f"slice {move.slice}: a consumer of epoch {move.epoch} moved the position; "
                f"epoch {epoch} has it"
            )  # fmt: skip

    # --- at the end ---
    def unhandled(self) -> int:
        """Records without an effect; where only last states are wanted, entities whose last has
        none."""
        if not self._latest:
            return sum(map(len, self._fields.values())) - len(self._positions.effects)
        last = {
            fields[1]: fields[2]
            for key in self._keys for _, fields in sorted(self._fields[key].items())
        }  # fmt: skip
        handled = {effect.entity_id: effect.seq_nr for effect in self._positions.effects}
        return sum(handled.get(entity_id, 0) < seq_nr for entity_id, seq_nr in last.items())

    def check(self, log: Sequence[Effect]) -> None:
        """I3: the last filter includes every entity, so each record has one effect, in its entity's
        order, and nothing else has one. Of last states some have none, but never the last."""
        wanted: dict[str, list[Effect]] = defaultdict(list)
        found: dict[str, list[Effect]] = defaultdict(list)
        for effect in log:
            wanted[effect.entity_id].append(effect)
        for effect in self._positions.effects:
            found[effect.entity_id].append(effect)
        for entity_id in sorted(wanted.keys() | found.keys()):
            if self._latest:
                self._check_latest(entity_id, found[entity_id], wanted[entity_id])
            elif found[entity_id] != wanted[entity_id]:
                got = [effect.seq_nr for effect in found[entity_id]]
                at = next((i for i, nr in enumerate(got) if nr != i + 1), len(got))
                self._history.breaks(
                    "I3", f"{entity_id}: {len(wanted[entity_id])} records, {len(got)} effects; "
                    f"the first difference is at seq_nr {at + 1}: {got[max(0, at - 1) : at + 3]}"
                )  # fmt: skip

    def _check_latest(self, entity_id: str, found: list[Effect], wanted: list[Effect]) -> None:
        by_seq_nr = {effect.seq_nr: effect for effect in wanted}
        got = [effect.seq_nr for effect in found]
        strange = [
            one.seq_nr for one in found
            if one != self._as_shown(by_seq_nr.get(one.seq_nr), one.whole)
        ]  # fmt: skip
        if got != sorted(set(got)) or strange or got[-1:] != [one.seq_nr for one in wanted[-1:]]:
            self._history.breaks(
                "I3", f"{entity_id}: of {len(wanted)} states these have an effect: {got}; "
                f"{strange} are no states of it"
            )  # fmt: skip


def _passes(wanted: Filter, entity_id: str) -> bool:
    """By ids, which include before they exclude, or by the one pattern for all there are."""
    excluded = bool(wanted.exclude.regexes) or entity_id in wanted.exclude.entity_ids
    return not excluded or entity_id in wanted.include.entity_ids


def shown(fields: list[Any]) -> bytes:
    """What handlers get of a record: its change event, where it has one."""
    change = (fields[8] or {}).get("event") if fields[0] else None
    payload: bytes = change[1] if change else fields[4]
    return payload
