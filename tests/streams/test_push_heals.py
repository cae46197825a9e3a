"""SIGKILL of either end of a push while its filter changes: what is let in again comes whole, in
order, each event once."""

from __future__ import annotations

import random

import pytest

from tests.streams.material import Writer
from tests.streams.pushing import Ends, came_from
from tests.streams.test_kills import Load
from thespian_dc.journal.api import open_journal
from thespian_dc.model.criteria import Exclude, Filter
from thespian_dc.stream.destination_filters import set_destination_filter
from thespian_dc.testkit.eventually import eventually

pytestmark = pytest.mark.processes
ROUNDS = 3
ENTITIES = [f"c-{n}" for n in range(50)]  # of Load


@pytest.mark.timeout(240)
@pytest.mark.parametrize("which", ["far", "shop"])
def test_an_entity_let_in_comes_whole_whoever_is_killed(
    writer: Writer, far_url: str, ends: Ends, which: str
) -> None:
    """A kill before the producer was told, while the log is read again, or just after it."""
    rng = random.Random(11)
    load = Load(writer, 500)
    try:
        eventually(lambda: came_from(far_url, "c-0"), deadline_s=60)
        for _ in range(ROUNDS):
            out = rng.sample(ENTITIES, 10)
            journal = open_journal(far_url)
            set_destination_filter(journal, "carts", Exclude.entity_ids(*out))
            eventually(lambda out=out: lacks(writer, far_url, out[0]), deadline_s=60)
            # One stays out: the log is gone back through under a filter, too.
            set_destination_filter(journal, "carts", Exclude.entity_ids(out[1]))
            journal.close()
            written = len(came_from(far_url, out[0]))
            if rng.random() < 0.5:
                eventually(
                    lambda out=out, n=written: len(came_from(far_url, out[0])) > n,
                    60,
                    every_s=0.001,
                )
            ends.kill(which)
            ends.start(which)
    finally:
        load.stop()
    journal = open_journal(far_url)
    set_destination_filter(journal, "carts", Filter())
    journal.close()
    for entity_id in ENTITIES:
        every = list(range(1, writer.seq_nrs[entity_id] + 1))
        eventually(lambda one=entity_id, all_=every: came_from(far_url, one) == all_, 60)


def lacks(writer: Writer, url: str, entity_id: str) -> bool:
    """Events of it were left out while others came: 20 more than what stands there."""
    return writer.seq_nrs[entity_id] >= len(came_from(url, entity_id)) + 20
