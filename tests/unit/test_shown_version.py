"""A replica's questions are answered through the filter that it was told of, or not at all: what
another one withholds would be taken for what is not there."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from thespian_dc.journal.api import StateRow, open_journal
from thespian_dc.model.criteria import Exclude, VersionedFilter
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.replica_errors import ShownFilterChangedError
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.settings import Stream
from thespian_dc.stream.lookups import entity_ids, entity_state, look_up
from thespian_dc.stream.open_stream import OpenStream
from thespian_dc.stream.producer_filter import ProducerFilter, withholding
from thespian_dc.stream.replica_group import ReplicaGroup
from thespian_dc.testkit.journal_cases.storage import Writer
from thespian_dc.wire.conversion import Credit
from thespian_dc.wire.lookups import EntityIdsRequest, LookUpRequest, read_look_up_answer

ID, SLICES = "c-1", 2
KEY = SliceKey("cart", slice_of(ID, SLICES))
SETTING = Replication("cart", "eu", peers=[Peer("us")])


def served() -> OpenStream:
    """One entity, an event and a stored state of it, all shown."""
    journal = open_journal(f"memory:{uuid.uuid4().hex}")
    journal.slices("cart", SLICES)
    Writer(journal, KEY).take_over().write(ID)
    journal.write_states(KEY, [StateRow(ID, 1, 0, b"state")])
    group = ReplicaGroup(SETTING, journal, SLICES, ThreadPoolExecutor(1))
    group.begin()
    stream = OpenStream(Stream(SETTING.stream_id, "cart"), journal, SLICES, group)
    show(stream, group.shown)
    return stream


def show(stream: OpenStream, shown: VersionedFilter) -> None:
    assert stream.group is not None
    stream.group.show(shown)
    stream.shown = ProducerFilter(stream.setting, shown.filter)
    stream.view = withholding(stream.unfiltered, stream.shown)


def events(of: OpenStream, told: int | None) -> int:
    request = LookUpRequest(
        SETTING.stream_id, ID, 1, 0, 0, Credit(0, 0), replica_id="us", shown_version=told
    )
    with ThreadPoolExecutor(1) as pool:
        return len(read_look_up_answer(asyncio.run(look_up(of, request, pool))).commits)


def states(of: OpenStream, told: int | None) -> int:
    return entity_state(of, ID, shown_version=told).seq_nr


def ids(of: OpenStream, told: int | None) -> int:
    request = EntityIdsRequest(SETTING.stream_id, KEY.slice, "", 0, "us", shown_version=told)
    return len(entity_ids(of, request).ids)


@pytest.mark.parametrize("ask", [events, states, ids])
def test_who_was_told_of_another_filter_gets_no_answer(
    ask: Callable[[OpenStream, int | None], Any],
) -> None:
    """A node that takes over where a call ended shows less; the asker has not noticed yet."""
    of = served()
    assert (ask(of, 0), ask(of, None)) == (1, 1)
    show(of, VersionedFilter(1, Exclude.entity_ids(ID).spelled_out()))
    with pytest.raises(ShownFilterChangedError, match=r"version 1.*told of version 0"):
        ask(of, 0)
    assert ask(of, 1) == 0
    show(of, VersionedFilter(2, of.group.setting.shown.spelled_out()))  # type: ignore[union-attr]
    with pytest.raises(ShownFilterChangedError):
        ask(of, 0)
    assert ask(of, 2) == 1
