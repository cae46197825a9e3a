"""A consumer's keyspace as a database with transactions: what is gathered becomes one conditional
batch per slice, `if epoch = ? and position = ?`.

Laws:
- Every write of projection_slices names the epoch that its writer claimed: who lost a slice changes
  nothing of it any more, however late its request arrives.
- A batch is sent again only as it is, and only after an unknown outcome. Its outcome is read back
  with a read that ends what is under way; what stays unknown ends the run, and the next one claims
  a higher epoch before it reads, so that the old batch can do nothing any more.
- Rows may be kept in memory: only the holder of the epoch changes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgpack
from cassandra.query import BatchStatement, BatchType

from thespian_dc.journal.api import cassandra_access
from thespian_dc.model.errors import JournalUnavailableError, PositionConflictError
from thespian_dc.model.stream_errors import PositionStoreError
from thespian_dc.projection.cassandra import schema
from thespian_dc.projection.cassandra.statements import CQL
from thespian_dc.projection.cassandra.transaction import CassandraTransaction

SENDS_MAX = 3
LOOK_S = 0.25
Place = tuple[str, int]
"""(projection, slice): a partition."""


@dataclass(slots=True)
class Held:
    """A partition that this connection claimed: its epoch and where its position stands."""

    epoch: int
    position: int


@dataclass(slots=True)
class _Staged:
    """What the open transaction does to one partition. moved: (position, write_id). drops: kinds
    of which all rows go, whose writes they would win over."""

    rows: dict[tuple[str, str], bytes | None] = field(default_factory=dict)
    drops: set[str] = field(default_factory=set)
    moved: tuple[int, bytes] | None = None


class CassandraDatabase:
    """Implements projection.databases.Database."""

    sinks: Sequence[str] = ("partition", "upserts")
    one_slice = True

    def __init__(self, url: str) -> None:
        self.url = url
        access = cassandra_access()
        with self.named():
            self.access = access.open_access(url)
        self._refused = access.refused
        try:
            schema.check(self.access, url)
            with self.named():
                self._prepared = {name: self.access.prepare(cql) for name, cql in CQL.items()}
        except BaseException:
            self.close()
            raise
        self.held: dict[Place, Held] = {}
        self._staged: dict[Place, _Staged] = {}
        self._after: list[Callable[[], None]] = []  # of the open transaction, one per wish
        self.transaction = CassandraTransaction(self)

    def close(self) -> None:
        self.access.link.close()

    def bind(self, name: str, *values: Any) -> Any:
        return self._prepared[name].bind(values)

    @contextmanager
    def named(self) -> Iterator[None]:
        """What the cluster refuses becomes PositionStoreError with the database's URL."""
        try:
            yield
        except JournalUnavailableError as error:
            raise PositionStoreError(self.url, error.reason) from error

    def data_version(self) -> int:
        """Another number every LOOK_S: a server tells nobody that something was written."""
        return int(time.monotonic() / LOOK_S)

    # --- reading and claiming ---

    def rows(self, name: str, *values: Any) -> list[Any]:
        with self.named():
            return list(self.access.rows(self.bind(name, *values)))

    def deciding(self, name: str, *values: Any) -> list[Any]:
        with self.named():
            return list(self.access.deciding(self.bind(name, *values)))

    def standing(self, place: Place) -> Any:
        """epoch, position, write_id, journal_id, token, read so that no write of the partition is
        under way; None where nobody ever claimed it."""
        found = self.deciding("slice", *place)
        return found[0] if found and found[0][0] is not None else None

    def compare_and_set(self, name: str, *values: Any) -> bool:
        """One conditional write outside of a transaction; PositionStoreError: its outcome is not
        known."""
        with self.named():
            return bool(self.access.decide(self.bind(name, *values))["[applied]"])

    def never(self, error: PositionStoreError) -> bool:
        """Whether the conditional write that ended in this error certainly never takes effect."""
        return isinstance(error.__cause__, JournalUnavailableError) and self._refused(
            error.__cause__
        )

    def settle(self, name: str, *values: Any) -> bool:
        """A conditional write that may be sent again, since it changes nothing the second time and
        its condition stays true by it."""
        for _ in range(SENDS_MAX - 1):
            try:
                return self.compare_and_set(name, *values)
            except PositionStoreError:
                continue
        return self.compare_and_set(name, *values)

    # --- the transaction ---

    @property
    def is_open(self) -> bool:
        """What is gathered cannot be lost by the server."""
        return True

    def begin(self, on_locked: Callable[[], None] | None = None) -> None:
        """Nothing is locked, ever: the batch's condition decides."""
        self._forget()

    def lock(self) -> None:
        """See begin."""

    def run_script(self, statements: str) -> None:
        """Handlers with DDL are SQL's."""

    def stage(self, place: Place, kind: str, key: str, value: Any, *, delete: bool = False) -> None:
        """Put a row, or delete it, when the transaction commits."""
        self.stage_packed(place, kind, key, None if delete else msgpack.packb(value))

    def stage_packed(self, place: Place, kind: str, key: str, packed: bytes | None) -> None:
        """The same with the value's bytes; None: delete."""
        self._staged.setdefault(place, _Staged()).rows[kind, key] = packed

    def stage_drop(self, place: Place, kind: str) -> None:
        """Delete all rows of the kind, however many; this transaction may put none of them."""
        self._staged.setdefault(place, _Staged()).drops.add(kind)

    def staged(self, place: Place, kind: str, key: str) -> Any:
        """The value that the open transaction puts there; None where it puts none."""
        staged = self._staged.get(place)
        packed = staged.rows.get((kind, key)) if staged else None
        return None if packed is None else msgpack.unpackb(packed)

    def confirm(self, place: Place) -> None:
        """The transaction is to fail unless the slice is still ours, whatever it writes."""
        self._staged.setdefault(place, _Staged())

    def stage_move(self, place: Place, position: int, write_id: bytes) -> None:
        self._staged.setdefault(place, _Staged()).moved = (position, write_id)

    def after(self, done: Callable[[], None]) -> None:
        """Call it when the transaction is durable."""
        self._after.append(done)

    def rollback(self) -> None:
        self._forget()

    def commit(self) -> None:
        """Effects that may be written twice, then one conditional batch per slice."""
        self.transaction.write_upserts()
        self.transaction.stage_rows()
        for place, staged in self._staged.items():
            self._commit(place, staged)
        after = list(self._after)
        self.transaction.committed()
        self._forget()
        for done in after:
            done()

    def _forget(self) -> None:
        self._staged.clear()
        self._after.clear()
        self.transaction.began()

    def _commit(self, place: Place, staged: _Staged) -> None:
        held = self.held[place]
        expected = held.position
        position, write_id = staged.moved or (expected, b"")
        if staged.moved is None:
            condition = self.bind("confirm", held.epoch, *place, held.epoch, expected)
        else:
            condition = self.bind("move", position, write_id, *place, held.epoch, expected)
        self._decide(place, self._batch(place, condition, staged), expected, position)
        held.position = position

    def commit_with(self, place: Place, condition: Any) -> bool:
        """What is gathered for this partition, under another condition than that it is held here.
        PositionStoreError: the outcome is not known."""
        batch = self._batch(place, condition, self._staged.pop(place, _Staged()))
        with self.named():
            return bool(self.access.decide(batch)["[applied]"])

    def _batch(self, place: Place, condition: Any, staged: _Staged) -> Any:
        batch = BatchStatement(BatchType.LOGGED)
        batch.add(condition)
        for kind in sorted(staged.drops):
            batch.add(self.bind("drop", *place, kind))
        for (kind, key), value in staged.rows.items():
            if value is None:
                batch.add(self.bind("delete", *place, kind, key))
            else:
                batch.add(self.bind("put", *place, kind, key, value))
        return batch

    def _decide(self, place: Place, batch: Any, expected: int, wanted: int) -> None:
        """Send until its outcome is known; PositionConflictError: it did not and will not take
        effect."""
        unknown = False
        for _ in range(SENDS_MAX):
            try:
                if self.access.decide(batch)["[applied]"]:
                    return
            except JournalUnavailableError as error:
                if self._refused(error) and not unknown:
                    raise PositionStoreError(self.url, error.reason) from error
                unknown = True
                if not self._stands(place, expected, wanted):
                    continue
                return
            if unknown and self._stands(place, expected, wanted):
                return  # an earlier send took effect after all
            raise self._conflict(place, expected)
        raise PositionStoreError(self.url, "it does not say whether a position was moved")

    def _stands(self, place: Place, expected: int, wanted: int) -> bool:
        """Whether the batch took effect, read so that none is under way. Only this one moves the
        position under this epoch."""
        found = self.deciding("slice", *place)
        epoch, position = found[0][:2] if found else (None, None)
        if epoch != self.held[place].epoch or position not in (expected, wanted):
            raise self._conflict(place, expected)
        return bool(position == wanted != expected)

    def _conflict(self, place: Place, expected: int) -> PositionConflictError:
        found = self.deciding("slice", *place)
        what = f"{found[0][1]} under epoch {found[0][0]}" if found else "no row"
        epoch = self.held[place].epoch
        return PositionConflictError(*place, expected, f"{what}, not epoch {epoch}")
