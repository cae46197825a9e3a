"""Judge a run from outside: what the database holds, what clients were told, what the sink holds.

It shares no code with the cores: it reads stored rows with the record format and msgpack alone.
While the run goes on it hears of every append, install, state write and position move at the moment
it happens (I4 and the laws of derived tables are broken only for a moment); the rest is checked at
the end, when everything is at rest. What a projection made of it: sink_checker.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgpack

from thespian_dc.journal.api import StateRow
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit
from thespian_dc.testkit.simulation.history import History, Sent
from thespian_dc.testkit.simulation.journal import SimulatedJournal
from thespian_dc.testkit.simulation.plan import Plan
from thespian_dc.testkit.simulation.positions import Effect, SimulatedPositions
from thespian_dc.testkit.simulation.sink_checker import SinkChecker, shown

NOT_PERSISTED = frozenset((
    "CommandFailedError", "CommandNotWrittenError", "CommandRejectedError", "CommandUnstableError",
    "HostBusyError", "RecoveryError", "RevisionConflictError", "StashOverflowError",
    "TooLargeError",
))  # fmt: skip
"""Errors that promise: nothing of this command is in the log, and nothing of it will be."""
UNKNOWN = frozenset(("OutcomeUnknownError",))
DELETED = "$deleted"
STALE_US = 1_100_000
"""An answer that persisted nothing may come from a state that was confirmed a second ago."""


class Stored(NamedTuple):
    """One record as it stands in the log, with the sum of its entity's amounts up to it (since it
    was deleted last). effect: of one who handles it."""

    slice: int
    offset: int
    base_offset: int
    entity_id: str
    seq_nr: int
    nonce: str
    amount: int
    command_id: str
    total: int
    effect: Effect


class Checker:
    """Of one run; findings go to `history.broken`. hit: told of what kinds of records there are."""

    def __init__(
        self,
        history: History,
        journal: SimulatedJournal,
        positions: SimulatedPositions,
        entity_type: str,
        slices: int,
        plan: Plan,
        hit: Callable[[str], None],
    ) -> None:
        self._history, self._journal, self._hit = history, journal, hit
        self.keys = [SliceKey(entity_type, slice_) for slice_ in range(slices)]
        self._rows: dict[SliceKey, dict[int, Commit]] = defaultdict(dict)
        self._fields: dict[SliceKey, dict[int, list[Any]]] = {key: {} for key in self.keys}
        journal.on_applied = self._on_applied
        journal.on_installed = self._on_installed
        journal.on_state = self._on_state
        self.sink = SinkChecker(history, positions, self.keys, self._fields, plan)

    # --- while it happens ---
    def _on_applied(self, caller: str, commit: Commit) -> None:
        installed = self._history.epochs.get(commit.key, 0)
        if commit.epoch < installed:
            self._history.breaks(
                "I4", f"{caller} appended to {commit.key} at {commit.base_offset} under epoch "
                f"{commit.epoch}; epoch {installed} was installed"
            )  # fmt: skip
        if commit.base_offset in self._rows[commit.key]:
            self._history.breaks("I2", f"{commit.key}: {commit.base_offset} was written over")
        self._rows[commit.key][commit.base_offset] = commit
        for at, fields in enumerate(msgpack.unpackb(commit.body), commit.base_offset):
            self._fields[commit.key][at] = fields

    def _on_installed(self, key: SliceKey, epoch: int) -> None:
        self._history.epochs[key] = max(epoch, self._history.epochs.get(key, 0))

    def _on_state(self, key: SliceKey, row: StateRow, before: StateRow | None) -> None:
        """A state row was written (or left out, where an older one came late)."""
        stored = self._journal.memory.read_state(key, row.entity_id)
        if before is not None and (stored is None or stored.offset < before.offset):
            found = stored.offset if stored else None
            self._history.breaks(
                "late state wins",
                f"{key}|{row.entity_id}: the state at {before.offset} became that at {found}",
            )
        fields = self._fields[key].get(row.offset)
        if fields is None or (fields[1], fields[2]) != (row.entity_id, row.seq_nr):
            self._history.breaks(
                "state before its commit",
                f"{key}|{row.entity_id}: a state as of seq_nr {row.seq_nr} is stored at offset "
                f"{row.offset}, where no such record is",
            )
        elif fields[0] and msgpack.unpackb(row.body)[1:3] != [fields[3], fields[4]]:
            self._history.breaks(
                "state of a record", f"{key}|{row.entity_id}: the state as of revision "
                f"{row.seq_nr} is not that of its record"
            )  # fmt: skip

    # --- at the end ---
    def check(self) -> None:
        """All that must hold when everything is at rest."""
        log = [record for key in self.keys for record in self._read(key)]
        by_entity: dict[str, list[Stored]] = defaultdict(list)
        by_nonce: dict[str, list[Stored]] = defaultdict(list)
        for record in log:
            by_entity[record.entity_id].append(record)
            by_nonce[record.nonce].append(record)
        for sent in self._history.sent.values():
            self._check_command(sent, by_nonce.get(sent.nonce, []), by_entity[sent.entity_id])
            if sent.after and sent.nonce in by_nonce and sent.after not in by_nonce:
                self._history.breaks(
                    "I1", f"{sent.nonce} is stored; {sent.after}, which sends it, is not"
                )  # fmt: skip
        self._check_looks(by_entity)
        self.sink.check([record.effect for record in log])
        self._check_index(log)
        for damage in self._journal.memory.verify():
            self._history.breaks("verify", str(damage))

    def _read(self, key: SliceKey) -> list[Stored]:
        """One slice log, and I2 on the way."""
        found: list[Stored] = []
        seq_nrs: dict[str, int] = defaultdict(int)
        totals: dict[str, int] = defaultdict(int)
        offset, time_us = 0, 0
        rows = self._rows[key]
        for base in sorted(rows):
            commit = rows[base]
            if base != offset:
                self._history.breaks("I2", f"{key}: expected offset {offset}, found {base}")
            if commit.time_us < time_us:
                self._history.breaks("I2", f"{key}: time goes back at offset {base}")
            offset, time_us = commit.end_offset, commit.time_us
            for at in range(base, commit.end_offset):
                fields = self._fields[key][at]
                entity_id, seq_nr, command_id = fields[1], fields[2], fields[6]
                before = totals[entity_id]
                if fields[0]:
                    nonce, amount, total = self._state_in(f"{key}|{entity_id}", fields, before)
                else:
                    nonce, amount = _payload(fields[4])
                    total = before + amount
                if seq_nr != seq_nrs[entity_id] + 1:
                    self._history.breaks(
                        "I2", f"{key}|{entity_id} at offset {at}: expected seq_nr "
                        f"{seq_nrs[entity_id] + 1}, found {seq_nr}"
                    )  # fmt: skip
                seq_nrs[entity_id] = seq_nr
                totals[entity_id] = total
                found.append(Stored(
                    key.slice, at, base, entity_id, seq_nr, nonce, amount, command_id, total,
                    Effect(key.slice, at, entity_id, seq_nr, shown(fields)),
                ))  # fmt: skip
        return found

    def _state_in(self, where: str, fields: list[Any], before: int) -> tuple[str, int, int]:
        """Nonce, amount and total of a stored state: 0 and 0 of one that deletes. Its change event,
        where it has one, says the same."""
        change = (fields[8] or {}).get("event")
        if change and fields[3] == DELETED:
            self._hit("log: state deleted")
            return str(_values(change[1])[0]), 0, 0
        self._hit("log: state with a change event" if change else "log: state without one")
        state = msgpack.unpackb(fields[4])
        nonce, total = str(state["nonce"]), int(state["total"])
        if change and _payload(change[1]) != (nonce, total - before):
            self._history.breaks("change event", f"{where}: {change} of {state} after {before}")
        return nonce, total - before, total

    def _check_command(
        self, sent: Sent, stored: Sequence[Stored], entity: Sequence[Stored]
    ) -> None:
        breaks = self._history.breaks
        amounts = tuple(record.amount for record in stored)
        if stored and (amounts != sent.amounts or len({r.base_offset for r in stored}) != 1):
            breaks("I1", f"{sent.nonce} asked for {sent.amounts}, stored: {_places(stored)}")
        for strange in {record.entity_id for record in stored} - {sent.entity_id}:
            breaks("misrouted", f"{sent.nonce} to {sent.entity_id} is stored by {strange}")
        if stored and sent.revision not in {None, stored[0].seq_nr - 1}:
            breaks("revision", f"{sent.nonce} wants {sent.revision}, stored: {_places(stored)}")
        for told in sent.told:
            if told.found is not None and not self._was(told.found, sent, entity):
                breaks("revision", f"{sent.nonce} was told of {told.found}, which it never was at")
            promised = told.error in NOT_PERSISTED
            # With an id, another copy of the command may have been more lucky.
            if promised and stored and not sent.command_id:
                breaks("I6", f"{sent.nonce} was told {told.error} and is stored {_places(stored)}")
            if not told.error and sent.amounts and not stored:
                breaks("I1", f"{sent.nonce} was acknowledged with {told.seen} and is not stored")
            if told.error == "AlreadyHandledError" and not stored:
                breaks("I1", f"{sent.nonce} was told that it was handled and is not stored")
            known = not told.error or promised or told.error in UNKNOWN
            if not known and told.error != "AlreadyHandledError":
                breaks("I6", f"{sent.nonce} was told {told.error}, which says nothing")
            if told.seen is not None and sent.amounts and stored:
                last = stored[-1]
                if (told.seen.seq_nr, told.seen.total) != (last.seq_nr, last.total):
                    breaks("I1", f"{sent.nonce} was told {told.seen}, stored: {_places(stored)}")

    @staticmethod
    def _was(found: int, sent: Sent, entity: Sequence[Stored]) -> bool:
        """The entity had this revision, and not the one that was wanted."""
        return found != sent.revision and found <= len(entity)

    def _check_looks(self, by_entity: dict[str, list[Stored]]) -> None:
        """An answer that persisted nothing shows a prefix of the log, and no old one."""
        told_us: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for sent in self._history.sent.values():
            if sent.amounts:
                told_us[sent.entity_id] += [(t.at_us, t.seen.seq_nr) for t in sent.told if t.seen]
        for sent in self._history.sent.values():
            for told in sent.told if not sent.amounts else ():
                if told.seen is None:
                    continue
                seq_nr, total = told.seen.seq_nr, told.seen.total
                entity = by_entity.get(sent.entity_id, [])
                sums = [0, *(record.total for record in entity)]
                if seq_nr >= len(sums) or sums[seq_nr] != total:
                    self._history.breaks(
                        "I1", f"{sent.nonce} looked at {sent.entity_id} and saw {told.seen}, "
                        f"which never was"
                    )  # fmt: skip
                before_us = sent.sent_us - STALE_US
                known = max((s for at, s in told_us[sent.entity_id] if at < before_us), default=0)
                if seq_nr < known:
                    self._history.breaks(
                        "I1", f"{sent.nonce} looked at {sent.entity_id} and saw seq_nr {seq_nr}; "
                        f"{known} had been acknowledged over a second before"
                    )  # fmt: skip

    def _check_index(self, log: Sequence[Stored]) -> None:
        """Every record below a slice's mark is found by its entity's index row."""
        memory = self._journal.memory
        for key in self.keys:
            mark = memory.index_mark(key)
            rows = {
                (entity_id, base)
                for (at, entity_id), bases in memory._storage.index.items() if at == key
                for base in bases
            }  # fmt: skip
            for record in log:
                place = (record.entity_id, record.base_offset)
                if record.slice == key.slice and record.offset < mark and place not in rows:
                    self._history.breaks(
                        "index", f"{key}: the mark is {mark}, {record.entity_id} at offset "
                        f"{record.offset} is not indexed"
                    )  # fmt: skip
                    break


def _payload(payload: bytes) -> tuple[str, int]:
    """nonce and amount of an Added."""
    values = _values(payload)
    return str(values[0]), int(values[1])


def _values(payload: bytes) -> list[Any]:
    """Of a dataclass as the msgpack dialect stores it: its fields."""
    fields = msgpack.unpackb(payload)
    return list(fields.values()) if isinstance(fields, dict) else fields


def _places(stored: Sequence[Stored]) -> str:
    places = [f"{r.slice}:{r.offset} seq {r.seq_nr} +{r.amount}" for r in stored]
    return ", ".join(places) or "nothing"
