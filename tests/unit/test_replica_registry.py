"""Progress and status of links in the journal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest

from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.criteria import Exclude
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.position import Position
from thespian_dc.model.replication import Listed
from thespian_dc.replication.blocked import Blocked
from thespian_dc.replication.link_facts import LinkFacts
from thespian_dc.replication.progress import KeptProgress
from thespian_dc.replication.status import store_status, stored_status


@pytest.fixture
def journal() -> Iterator[Journal]:
    with closing(open_journal(f"memory:{uuid4().hex}")) as found:
        yield found


def at(*offsets: int) -> LinkProgress:
    return LinkProgress("j", 0, {n: Position(one, b"w") for n, one in enumerate(offsets)})


def kept(journal: Journal) -> KeptProgress:
    one = KeptProgress(journal, "cart", "us")
    one.load()
    return one


def test_progress_is_there_for_who_comes_next(journal: Journal) -> None:
    assert KeptProgress(journal, "cart", "us").load() == LinkProgress()
    kept(journal).store(at(3, 4))
    assert KeptProgress(journal, "cart", "us").load() == at(3, 4)
    assert KeptProgress(journal, "cart", "ap").load() == LinkProgress()


def test_of_two_readers_the_further_position_counts(journal: Journal) -> None:
    """What either of them took is in the one journal."""
    mine, theirs = kept(journal), kept(journal)
    mine.store(at(3, 9))
    theirs.store(at(5, 4))
    assert kept(journal).load() == at(5, 9)


def test_positions_under_another_filter_do_not_count(journal: Journal) -> None:
    """Nor of another life of the log."""
    mine, theirs = kept(journal), kept(journal)
    theirs.store(at(9, 9))
    narrower = at(3, 4)._replace(filter=Exclude.entity_ids("a"))
    mine.store(narrower)
    assert kept(journal).load() == narrower
    theirs.store(at(1, 1)._replace(generation=1))
    assert kept(journal).load() == at(1, 1)._replace(generation=1)


def test_status_is_there_for_any_process(journal: Journal) -> None:
    assert stored_status(journal, "cart") is None
    waits = Blocked(1, "c-1", 77, ("ap", 3), "")
    facts = LinkFacts(
        "us", "up", cursors={0: 3, 1: 4}, heads={0: 3, 1: 9}, waits=(waits,), waiting=1,
        listed=(Listed("late", "c-2", "us", 4, 1),), counts={"late": 1},
    )  # fmt: skip
    store_status(journal, "cart", "node", [facts], 5)
    found = stored_status(journal, "cart")
    assert found is not None
    assert (found.node_id, found.time_us) == ("node", 5)
    (link,) = found.links
    assert (link["lag"], link["slices"]) == (5, [[0, 3, 3], [1, 4, 9]])
    assert link["waits"] == [
        {"slice": 1, "entity_id": "c-1", "since_us": 77, "missing": ["ap", 3], "text": ""}
    ]
