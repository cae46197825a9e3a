"""SIGKILL of either end of a push while its filter changes: what is let in again comes whole, in
order, each event once."""

from __future__ import annotations

import random

import pytest

from tests.streams.material import Writer
from tests.streams.pushing import FAR_SLICES, FAR_TYPE, Ends, stored
from tests.streams.test_kills import Load
from thespian_dc.journal.api import Journal
from thespian_dc.model.criteria import Exclude, Filter
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.stream import push_core as key
from thespian_dc.stream.destination_filters import set_destination_filter
from thespian_dc.testkit.eventually import eventually

pytestmark = pytest.mark.processes
ROUNDS = 3
ENTITIES = [f"c-{n}" for n in range(50)]  # of Load


def came(far: Journal, entity_id: str) -> list[int]:
    """The source seq_nr of each of its events that are there."""
    found = far.read_entity(SliceKey(FAR_TYPE, slice_of(entity_id, FAR_SLICES)), entity_id)
    return [(one.record.meta or {})[key.SEQ_NR] for one in found]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("which", ["far", "shop"])
def test_an_entity_let_in_comes_whole_whoever_is_killed(
    writer: Writer, far: Journal, far_url: str, ends: Ends, which: str
) -> None:
    """A kill before the producer was told, while the log is read again, or just after it."""
    rng = random.Random(11)
    load = Load(writer, 500)
    try:
        eventually(lambda: came(far, "c-0"), deadline_s=60)
        for _ in range(ROUNDS):
            out = rng.sample(ENTITIES, 10)
            set_destination_filter(far, "carts", Exclude.entity_ids(*out))
            eventually(lambda out=out: lacks(writer, far, out[0]), deadline_s=60)
            # One stays out: the log is gone back through under a filter, too.
            set_destination_filter(far, "carts", Exclude.entity_ids(out[1]))
            written = len(came(far, out[0]))
            if rng.random() < 0.5:
                eventually(lambda out=out, n=written: len(came(far, out[0])) > n, 60, every_s=0.001)
            ends.kill(which)
            ends.start(which)
    finally:
        load.stop()
    set_destination_filter(far, "carts", Filter())
    every = {one: list(range(1, writer.seq_nrs[one] + 1)) for one in ENTITIES}
    for entity_id in ENTITIES:
        eventually(lambda one=entity_id: came(far, one) == every[one], 60)
    for entity_id, records in stored(far_url).items():
        assert [one.seq_nr for one in records] == every.pop(entity_id)
    assert not every


def lacks(writer: Writer, far: Journal, entity_id: str) -> bool:
    """Events of it were left out while others came: 20 more than what stands there."""
    return writer.seq_nrs[entity_id] >= len(came(far, entity_id)) + 20
