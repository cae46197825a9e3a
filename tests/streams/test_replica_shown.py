"""What a replica shows its peers, changed while they read it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.streams.material import ENTITY_TYPE, SLICES
from tests.streams.replicas import READER, Log, came_in, replication
from thespian_dc.journal.api import StateRow
from thespian_dc.model.criteria import Exclude
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.replica_errors import ShownFilterChangedError
from thespian_dc.model.replication_handshake import Known
from thespian_dc.projection.api import SourceBatch
from thespian_dc.stream.shown_filter import set_shown_filter
from thespian_dc.testkit.eventually import eventually
from thespian_dc.wire.lookups import EntityState

A, B = "c-1", "c-2"
SLICE_A = slice_of(A, SLICES)


def test_what_is_shown_changes_while_it_is_read(log: Log, link: Any) -> None:
    """By any process: readers hear of it first; lookups and states obey too."""
    setting = replication(shown=Exclude.entity_ids(B))
    log.wrote(A, B)
    log.journal.write_states(
        SliceKey(ENTITY_TYPE, slice_of(B, SLICES)), [StateRow(B, 1, 0, b"state")]
    )
    reader = link({"replication": (setting,)}).open()
    eventually(lambda: reader.entities == [A])
    set_shown_filter(log.journal, ENTITY_TYPE, Exclude.entity_ids(A))
    eventually(lambda: reader.said[-1].shown.filter == Exclude.entity_ids(A))
    log.wrote(A, B)
    eventually(lambda: reader.entities == [A, B])
    assert (reader.look_up(A).commits, len(came_in(reader.look_up(B).commits))) == ([], 2)
    state = reader.state_of(B)
    assert isinstance(state, EntityState)
    assert state.body == b"state"
    assert isinstance(state := reader.state_of(A), EntityState)
    assert (state.seq_nr, reader.ids_of(SLICE_A).ids) == (0, ())  # type: ignore[union-attr]
    assert reader.failed == []
    again = link({"replication": (setting,)}).open()
    eventually(lambda: again.entities == [B, B])
    assert again.said[0].shown.filter == Exclude.entity_ids(A)


def test_a_reader_that_was_not_told_of_another_filter_gets_no_answer_through_it(
    log: Log, link: Any
) -> None:
    """Its call is over, and it was told of nothing since: what is withheld now would be taken for
    what is not there."""
    log.wrote(A)
    reader = link({"replication": (replication(),)}).open()
    eventually(lambda: reader.entities == [A])
    assert len(came_in(reader.look_up(A).commits)) == 1
    reader.start = reader.start._replace(entity_type="other")  # no later call comes about
    reader.tell(Known(epoch=1 << 62, active=READER))  # and this one ends
    eventually(lambda: reader.failed)
    set_shown_filter(log.journal, ENTITY_TYPE, Exclude.entity_ids(A))
    other = link().open()
    eventually(lambda: other.said and other.said[-1].shown.filter == Exclude.entity_ids(A))
    for answer in (reader.events_of(A), reader.state_of(A), reader.ids_of(SLICE_A)):
        assert type(answer) is ShownFilterChangedError, answer
    assert other.look_up(A).commits == []


@pytest.mark.parametrize("_", range(3))
def test_what_passes_unseen_was_said_to_be_withheld(log: Log, link: Any, _: int) -> None:
    """However busy the log is: who would not know of it would not ask for it later."""
    reader = link({"replication": (replication(),)})
    judged: list[tuple[bool, int, int]] = []
    take = reader._take

    def note(batch: SourceBatch) -> None:
        came = len(came_in(batch.commits, batch.base_offset))
        is_shown = not reader.said[-1].shown.filter
        judged.append((is_shown, came, batch.next_offset - batch.base_offset))
        take(batch)

    reader._take = note
    reader.open()
    log.wrote(A)
    eventually(lambda: judged)
    set_shown_filter(log.journal, ENTITY_TYPE, Exclude.entity_ids(A))

    def is_told() -> bool:
        log.wrote(A)
        return bool(reader.said[-1].shown.filter)

    eventually(is_told)
    eventually(lambda: reader.positions == {SLICE_A: log.head_of(A)})
    assert all(came == (span if is_shown else 0) for is_shown, came, span in judged), judged
