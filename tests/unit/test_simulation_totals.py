"""What a seed of a simulator must have met, whatever many of them met together."""

from __future__ import annotations

from collections import Counter

import pytest

from thespian_dc.testkit.simulation.outcome import Outcome, Totals
from thespian_dc.testkit.simulation.replicas.report import ReplicaTotals
from thespian_dc.testkit.simulation.report import WriterTotals

LEAST = {"steps": 2_000, "entities": 50, "faults": 3, "append_crashes": 1}


def seed(steps: int, entities: int, faults: int, append_crashes: int) -> Outcome:
    """One that met no more than this."""
    hits = Counter({
        "fault: crash during an append": append_crashes,
        "fault: any": faults - append_crashes,
        "stream: call opened": 2,
    })  # fmt: skip
    return Outcome(1, steps, entities, commands=100, records=100, hits=hits, broken=[])


@pytest.mark.parametrize("kind", [WriterTotals, ReplicaTotals])
@pytest.mark.parametrize("what", LEAST)
def test_one_seed_that_is_too_small_fails_all(kind: type[Totals], what: str) -> None:
    """At least 2,000 actions, 50 entities that were changed, 3 faults, one of them a crash during
    an append: in each, not on average."""
    totals = kind()
    totals.hits.update(totals.wanted)
    totals.add(seed(**LEAST))
    assert totals.missing() == []
    totals.add(seed(**{**LEAST, what: LEAST[what] - 1}))
    totals.add(seed(**LEAST))
    assert len(totals.missing()) == 1
