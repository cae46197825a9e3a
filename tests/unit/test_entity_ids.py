"""Which entities have a stored state, page by page: bounded work for one answer, and no trace of
those that are withheld."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from thespian_dc.journal.api import StateRow, open_journal
from thespian_dc.model.ids import SliceKey
from thespian_dc.stream.bookmarks import BOOKMARKS_MAX, Bookmarks, Place
from thespian_dc.stream.lookups import PAGES_MAX, entity_ids
from thespian_dc.wire.lookups import EntityIds, EntityIdsRequest

KEY, LIMIT = SliceKey("cart", 0), 10


class Counted:
    """A journal of stored states, and how many of them were read."""

    def __init__(self, ids: list[str]) -> None:
        self.journal_id, self.looked_at = "journal", 0
        self._journal = open_journal(f"memory:{uuid.uuid4().hex}")
        self._journal.write_states(KEY, [StateRow(one, 1, 0, b"state") for one in ids])

    def states(self, key: SliceKey, after: str, limit: int) -> Any:
        rows = self._journal.states(key, after, limit)
        self.looked_at += len(rows)
        return rows

    def read(self, *arguments: Any, **more: Any) -> Any:
        return self._journal.read(*arguments, **more)


def stream(ids: list[str]) -> Any:
    """What entity_ids needs of an OpenStream; ids with an h are withheld."""
    shown = SimpleNamespace(passes_entity=lambda one: not one.startswith("h"))
    group = SimpleNamespace(generation=0, bookmarks=Bookmarks(), check_told=lambda _: None)
    return SimpleNamespace(
        stream_id="replica:cart", entity_type="cart", slices=2, journal=Counted(ids), group=group,
        shown=shown,
    )  # fmt: skip


def ask(of: Any, after: str = "", resume: bytes = b"", slice_: int = 0) -> EntityIds:
    request = EntityIdsRequest("replica:cart", slice_, after, LIMIT, "us", resume=resume)
    return entity_ids(of, request)


def listed(of: Any) -> tuple[list[str], int]:
    """All of it as a replica asks for it, and how many answers it took."""
    found: list[str] = []
    answer, answers = ask(of), 1
    while True:
        found += answer.ids
        if not answer.more:
            return found, answers
        answer = ask(of, found[-1] if found else "", answer.resume)
        answers += 1


@pytest.mark.parametrize("withheld", [0, 9, 10, 39, 40, 41, 400])
@pytest.mark.parametrize("before", [0, 7, 20])
def test_all_that_are_shown_are_listed_once(withheld: int, before: int) -> None:
    ids = [f"a{n:03}" for n in range(before)] + [f"h{n:03}" for n in range(withheld)]
    ids += [f"z{n:03}" for n in range(25)]
    of = stream(ids)
    found, answers = listed(of)
    assert found == [one for one in ids if not one.startswith("h")]
    assert of.journal.looked_at <= answers * PAGES_MAX * LIMIT


def test_one_answer_looks_at_a_bounded_number() -> None:
    of = stream([f"hidden-{n:05}" for n in range(5_000)] + ["z"])
    answer = ask(of)
    assert of.journal.looked_at == PAGES_MAX * LIMIT
    assert (answer.ids, answer.more) == ((), True)
    assert b"hidden" not in answer.resume


@pytest.mark.parametrize("resume", [b"", b"stranger", b"w" * 16])
def test_a_bookmark_that_is_not_known_begins_behind_the_last_id_that_came(resume: bytes) -> None:
    """The producer was started again, or many asked meanwhile: nothing is passed over."""
    of = stream(["a", *(f"h{n:03}" for n in range(35)), "z"])
    assert ask(of, "a", resume).ids == ("z",)


def test_a_bookmark_counts_for_its_slice() -> None:
    marks = Bookmarks()
    token = marks.put(Place(1, "h7"))
    assert marks.find(token, 1, "a") == "h7"
    assert marks.find(token, 0, "a") == "a"


def test_bookmarks_are_bounded() -> None:
    marks = Bookmarks()
    tokens = [marks.put(Place(0, f"h{n}")) for n in range(BOOKMARKS_MAX + 1)]
    assert [marks.find(one, 0, "") for one in (tokens[0], tokens[1], tokens[-1])] == [
        "", "h1", f"h{BOOKMARKS_MAX}",
    ]  # fmt: skip
