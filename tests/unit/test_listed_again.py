"""What is listed of an event is not lost with a process: the event comes again, and so does what is
to be known of it. Between the record and the listing lies a crash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.unit.replicas import Replica, group, settle
from tests.unit.replicated_entities import Chronicle, Noted, Tell, fresh, write
from thespian_dc import ReplicatedEventRefused
from thespian_dc.entity.api import add_listed, listing
from thespian_dc.entity.protocol import Absorbed, RemoteEvent
from thespian_dc.journal.api import open_journal
from thespian_dc.model.criteria import Filter
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.replication import Listed
from thespian_dc.model.replication_errors import OriginForkedError
from thespian_dc.replication.progress import KeptProgress
from thespian_dc.replication.storing import Storing
from thespian_dc.stream.destination_filters import begin_destination_filter

sound = pytest.fixture(autouse=True)(fresh)


class Refusing(Chronicle):
    entity_type = "refusing"

    def replicated_event_received(self, event: Noted, origin: str) -> None:
        if self.replica_id == "b" and "bad" in event.text:
            raise ReplicatedEventRefused("not here")


def what(answer: Absorbed) -> list[tuple[str, str, int, int]]:
    return [(one.what, one.origin, one.n, one.epoch) for one in answer.listed]


Case = tuple[Replica, Sequence[RemoteEvent], list[tuple[str, str, int, int]]]


def late(late_events: str) -> Case:
    """b was promoted while a wrote on."""
    a, b, _ = group(Chronicle, "a", "b", "c", active="a", queries=[Tell], late_events=late_events)
    write(a, "one")
    settle(a, b)
    write(a, "late")
    write(a, "later")
    b.role(epoch=2, active="b")
    write(b, "two")
    found = "late" if late_events == "apply" else "late_set_aside"
    return b, a.events()[1:], [(found, "a", 2, 1), (found, "a", 3, 1)]


def known_to_be_late() -> Case:
    """a hears of it by the first event of the next leader."""
    b, _, _ = late("apply")
    a, _, _ = group(Chronicle, "a", "b", "c", active="a", queries=[Tell])
    write(a, "one")
    write(a, "late")
    mine = [one for one in b.events() if one.meta[0] == "b"]
    return a, mine, [("late", "a", 2, 1)]


def refused() -> Case:
    a, b = group(Refusing, "a", "b")
    write(a, "one", "bad", "bad too", "four")
    return b, a.events(), [("refused", "a", 2, 0), ("refused", "a", 3, 0)]


def failed() -> Case:
    a, b = group(Chronicle, "a", "b")
    write(a, "one", "two")
    Chronicle.spoilt = "two"
    return b, a.events(), [("failed", "a", 2, 0)]


CASES: dict[str, Callable[[], Case]] = {
    "late": lambda: late("apply"),
    "set aside": lambda: late("set_aside"),
    "known to be late": known_to_be_late,
    "refused": refused,
    "failed": failed,
}


@pytest.mark.parametrize("snapshot_every", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_what_is_listed_is_listed_again(
    name: str, snapshot_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the entity in memory, one that is replayed, and one that begins with a state row."""
    monkeypatch.setattr(Chronicle, "snapshot_every", snapshot_every)
    replica, events, expected = CASES[name]()
    assert what(replica.absorb(events)) == expected
    for _ in range(2):
        assert what(replica.absorb(events)) == expected
        replica.local.tick(10_000_000)
        replica.restart()
    again = replica.absorb(events)
    assert what(again) == expected
    assert (again.through, again.reason) == (len(events), "")


def test_many_events_of_one_fate_are_one_note() -> None:
    a, b = group(Refusing, "a", "b")
    write(a, *[f"bad {n}" for n in range(100)])
    assert len(b.absorb(a.events()).listed) == 100
    b.restart()
    assert len(b.absorb(a.events()).listed) == 100


def test_of_many_fates_the_last_are_listed_again() -> None:
    """Bounded: an entity keeps so many notes, each of events that follow each other."""
    a, b = group(Refusing, "a", "b")
    write(a, *[text for n in range(40) for text in (f"bad {n}", "good")])
    assert len(b.absorb(a.events()).listed) == 40
    b.restart()
    assert [one.n for one in b.absorb(a.events()).listed] == list(range(49, 81, 2))


@pytest.mark.parametrize("snapshot_every", [0, 1])
def test_a_fork_stays_and_is_listed_again(
    snapshot_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a state row was due with it."""
    monkeypatch.setattr(Chronicle, "snapshot_every", snapshot_every)
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    write(a, "two")
    b.absorb(a.events()[:1])
    one = a.events()[0]
    other = one._replace(meta=[*one.meta[:4], one.meta[4] ^ 1])
    assert [one[:3] for one in what(b.absorb([other]))] == [("forked", "a", 1)]
    for _ in range(2):
        b.local.tick(10_000_000)
        b.restart()
        with pytest.raises(OriginForkedError):
            write(b, "mine")
        again = b.absorb([other])
        assert (again.reason, [one[:3] for one in what(again)]) == (
            "set_aside", [("forked", "a", 1)],
        )  # fmt: skip
        assert b.absorb(a.events()[1:]).listed == (), "not for each event that comes"


# --- the journal ---


def test_what_is_listed_twice_stands_there_once() -> None:
    journal = open_journal("memory:listed-twice")
    one, other = Listed("late", "x", "a", 2, 1), Listed("late", "x", "a", 3, 1)
    add_listed(journal, "cart", [one], 1)
    add_listed(journal, "cart", [one._replace(text="more"), other, other], 2)
    assert listing(journal, "cart") == (2, ((1, one), (2, other)))


def test_what_is_listed_is_stored_before_the_cursor_moves_over_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that dies between the two lists it again; the other way round nobody would."""
    journal = open_journal("memory:listed-first")
    journal.slices("cart", 1)
    wanted = begin_destination_filter(journal, "replica:cart", Filter())
    kept = KeptProgress(journal, "cart", "b")
    before = kept.load()
    filters = {"replica:cart": wanted}
    storing = Storing(journal, "cart", "n", {"b": kept}, filters, lambda *_: None, lambda _: None)
    storing.list_([Listed("late", "x", "a", 2, 1)])
    storing.offer({"b": LinkProgress("j")}, ())

    def dies(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as crash:
        crash.setattr("thespian_dc.replication.storing.add_listed", dies)
        with pytest.raises(RuntimeError):
            storing._store(False)
    assert KeptProgress(journal, "cart", "b").load() == before
    storing._store(False)
    assert listing(journal, "cart").total == 1
    assert KeptProgress(journal, "cart", "b").load().journal_id == "j"
