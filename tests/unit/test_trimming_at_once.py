"""Two that trim one replica's log at the same moment: neither fails by it, nothing is lost."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.streams.material import Added, Writer
from tests.unit.meeting import Meets
from thespian_dc.entity.role_registry import Seen, begin_roles, known_roles, note_seen
from thespian_dc.journal.api import Journal, StateRow
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.projection.api import Trimmed
from thespian_dc.replication import trimming
from thespian_dc.replication.trimming import Limits, lacking_states, limits_of, trim
from thespian_dc.shell.clock import now_us

SETTING = Replication("cart", "eu", peers=[Peer("us"), Peer("ap")])
KEY = SliceKey("cart", 0)
EVENTS, PASSED = 12, 7
SLOW = "ap"


@pytest.fixture(params=["memory", "sqlite"])
def start(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Logs of commits of two entities that are read in several pages. States of them contain all
    but the last event of each; one replica has everything, the other a part."""
    monkeypatch.setattr(trimming, "READ_BYTES", 200)
    opened: list[Writer] = []

    def begin() -> Journal:
        name = uuid.uuid4()
        url = (
            f"memory:{name}"
            if request.param == "memory"
            else f"sqlite:///{tmp_path / f'{name}.db'}"
        )
        writer = Writer(url, 1)
        opened.append(writer)
        for n in range(EVENTS):
            writer.add([(f"c-{n % 2}", Added("apple", n))])
        journal = writer.journal
        journal.advance_index(KEY, EVENTS)
        keep_states(journal, EVENTS - 2)
        begin_roles(journal, SETTING)
        for replica, offset in (("us", EVENTS), (SLOW, PASSED)):
            note_seen(journal, "cart", replica, Seen(0, (offset,), now_us()))
        return journal

    yield begin
    for writer in opened:
        writer.close()


def keep_states(journal: Journal, until: int) -> None:
    """Of both entities, with all events below `until`, an even number."""
    rows = [StateRow(f"c-{n}", until // 2, until - 2 + n, b"state") for n in (0, 1)]
    journal.write_states(KEY, rows)


def trimmed(journal: Any, without: Collection[str], *, living: bool) -> Trimmed:
    """As the verb does. living: who is asked for states stores them at once."""
    of = Limits(SETTING.replicas, tuple(without))
    limits = limits_of(journal, "cart", known_roles(journal, "cart"), of, now_us())
    if lacking_states(journal, limits, 100) and living:
        keep_states(journal, EVENTS)
    (row,) = trim(journal, limits)
    return row


@pytest.mark.parametrize("ours", [(), (SLOW,)], ids=["less", "all"])
@pytest.mark.parametrize("theirs", [(), (SLOW,)], ids=["less", "all"])
def test_another_trims_between_any_two_of_our_calls(
    start: Any, ours: Collection[str], theirs: Collection[str]
) -> None:
    """Less or more than we do: both say what is gone, and each entity is whole."""
    met = 0
    for at in count(1):
        journal = start()
        other: list[Trimmed] = []

        def meanwhile() -> None:
            other.append(trimmed(journal, theirs, living=True))  # noqa: B023

        view = Meets(journal, at, meanwhile)
        row = trimmed(view, ours, living=False)
        if view.calls < at:
            break
        met += 1
        assert other[0].after >= (EVENTS if theirs else PASSED)
        assert row.after >= (EVENTS - 2 if ours else PASSED)
        assert all(one.by == f"replica {SLOW}" or one.offset >= row.after for one in row.held)
        for n in (0, 1):
            state = journal.read_state(KEY, f"c-{n}")
            assert state is not None
            rest = journal.read_entity(KEY, f"c-{n}", state.seq_nr + 1)
            assert state.seq_nr + len(rest) == EVENTS // 2
        assert journal.verify() == []
    assert met > 8
