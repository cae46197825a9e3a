"""Every kind of handler is brought up to date where a filter changes: in order, each event once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.streams.material import Added, Plain, Writer
from tests.streams.test_healing import (
    NAME,
    change,
    debts,
    in_force,
    make_source,
    passed,
    run,
)
from thespian_dc.model.criteria import Exclude, Filter, Include
from thespian_dc.model.delivery_settings import Group
from thespian_dc.model.envelope import Envelope
from thespian_dc.projection.api import GroupedHandler, GroupedSqlHandler, Projections, Transaction
from thespian_dc.testkit.eventually import eventually

__all__ = ["make_source", "run"]  # fixtures


class Grouped(GroupedHandler):
    def handle(self, events: Sequence[Envelope[Any]]) -> None:
        Plain.events.extend((event.entity_id, event.seq_nr) for event in events)


class GroupedSql(GroupedSqlHandler):
    tables = "create table if not exists handled(seq_nr integer)"

    def handle(self, events: Sequence[Envelope[Any]], tx: Transaction) -> None:
        tx.executemany("insert into handled values (?)", [(event.seq_nr,) for event in events])
        Plain.events.extend((event.entity_id, event.seq_nr) for event in events)


KINDS: dict[str, dict[str, Any]] = {
    "at least once": {"handler": Plain, "delivery": "at-least-once"},
    "at most once": {"handler": Plain, "delivery": "at-most-once"},
    "groups": {"handler": Grouped, "delivery": "at-least-once", "group": Group(4, 50)},
    "groups in SQL": {"handler": GroupedSql, "group": Group(4, 50)},
}


def handled() -> dict[str, list[int]]:
    """seq_nrs by entity, in the order in which they were handled."""
    found: dict[str, list[int]] = defaultdict(list)
    for entity_id, seq_nr in Plain.events:
        found[entity_id].append(seq_nr)
    return dict(found)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_filter_left_out_reaches_every_kind_of_handler(
    run: Any, writer: Writer, read_model: Path, kind: str
) -> None:
    """By id at once, and where the filter goes."""
    Plain.events.clear()
    run(read_model, filter=Exclude.entity_ids("a", "c"), **KINDS[kind])
    for _ in range(5):
        writer.add([(one, Added("x", 1)) for one in "abc"])
    eventually(lambda: passed(read_model, writer))
    Projections(f"sqlite:///{read_model}").add_criteria(NAME, Include.entity_ids("a"))
    five, seven = list(range(1, 6)), list(range(1, 8))
    eventually(lambda: handled() == dict.fromkeys("ab", five))
    change(read_model, Filter())
    eventually(lambda: in_force(read_model, 3))
    for _ in range(2):
        writer.add([(one, Added("x", 1)) for one in "abc"])
    eventually(lambda: handled() == dict.fromkeys("abc", seven))
    eventually(lambda: not debts(read_model))
