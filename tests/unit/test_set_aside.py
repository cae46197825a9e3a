"""Late events under `late_events="set_aside"`: all replicas come to one decision, whatever each had
applied before it heard of the later leader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.replicas import Replica, group, settle
from tests.unit.replicated_entities import Chronicle, Line, Tell, flags, fresh, texts, write
from tests.unit.test_replicated_roles import forked_promotion
from tests.unit.test_replicated_states import state_of, trim
from thespian_dc.entity.causality import late_among
from thespian_dc.entity.protocol import Absorbed, RemoteEvent
from thespian_dc.model.record import EVENT, STATE
from thespian_dc.model.replication import Listed, ReplicaMeta
from thespian_dc.model.replication_errors import StandbyError

sound = pytest.fixture(autouse=True)(fresh)


class Loose(Chronicle):
    """Its state has something in it that nobody registered."""

    entity_type = "loose"

    def empty_state(self) -> tuple[Any, ...]:
        return (object(),)


class Mended(Chronicle):
    """The same with code that can store its state."""

    entity_type = "loose"


@pytest.mark.parametrize("snapshot_every", [0, 1])
def test_what_was_applied_before_the_fork_was_known_is_set_aside_then(
    snapshot_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica that wrote it, one that had it by then, one that did not: one decision, and the
    later leader's events are concurrent with nothing that is left."""
    monkeypatch.setattr(Chronicle, "snapshot_every", snapshot_every)
    a, b, c = forked_promotion("set_aside")
    c.pull(a)
    c.local.tick(10_000_000)
    assert texts(c.state()) == ["one", "late"]
    for one in (a, c):
        answer = one.absorb([event for event in b.events() if event.meta[0] == "b"])
        assert [found[:5] for found in answer.listed] == [("late_set_aside", "x", "a", 2, 1)]
        assert one.vector() == {"a": 2, "b": 1}
    settle(a, b, c)
    write(b, "three")
    settle(a, b, c)
    kept = (("one", "a", False), ("two", "b", False), ("three", "b", False))
    for one in (a, b, c):
        assert one.state() == kept
        one.local.tick(10_000_000)
        one.restart()
        assert one.state() == kept
    assert a.vector() == b.vector() == c.vector() == {"a": 2, "b": 2}


def test_what_a_replaced_leader_had_replaced_counts_again_where_its_successor_had_it() -> None:
    """c has what a wrote late and never heard of b, and is promoted after b: what a wrote counts,
    and b's does not; also at b, which had set a's aside."""
    a, b, c = forked_promotion("set_aside")
    c.pull(a)
    b.pull(a)
    assert texts(b.state()) == ["one", "two"]
    c.role(epoch=3, active="c")
    write(c, "three")
    answer = b.absorb([event for event in c.events() if event.meta[0] == "c"])
    assert [(one.what, one.origin, one.n) for one in answer.listed] == [
        ("late", "a", 2), ("late_set_aside", "b", 1),
    ]  # fmt: skip
    assert answer.listed[0].text == "it was set aside, and counts again"
    settle(a, b, c)
    for one in (a, b, c):
        assert texts(one.state()) == ["one", "late", "three"]
        assert one.vector() == {"a": 2, "b": 1, "c": 1}
        one.restart()
        assert texts(one.state()) == ["one", "late", "three"]


def test_a_fork_that_comes_with_what_it_sets_aside_is_decided_at_once() -> None:
    """One command brings both, and what follows."""
    a, b, _ = forked_promotion("set_aside")
    a.pull(b)
    c = Replica(Chronicle, "c", "abc", active="a", late_events="set_aside")
    two = next(one for one in b.events() if one.meta[0] == "b")
    write(b, "three")
    three = b.events()[-1]
    assert c.absorb([*a.events()[:2], two, three]).through == 4
    assert texts(c.state()) == ["one", "two", "three"]
    c.restart()
    assert texts(c.state()) == ["one", "two", "three"]


def test_where_the_log_lacks_events_the_state_stays_and_that_is_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It cannot be made anew from what is left: what came late is in it, and people are told."""
    monkeypatch.setattr(Chronicle, "snapshot_every", 1)
    a, b, _ = forked_promotion("set_aside")
    a.state()
    a.local.tick(10_000_000)
    trim(a)
    write(a, "later")
    answer = a.absorb([event for event in b.events() if event.meta[0] == "b"])
    (listed,) = answer.listed
    assert (listed.what, listed.origin, listed.n) == ("late", "a", 3)
    assert listed.text.endswith("the log does not hold all events of the entity")
    for _ in range(2):
        assert texts(a.state()) == ["one", "late", "later", "two"]
        a.restart()


def test_code_that_cannot_apply_them_again_keeps_its_state() -> None:
    """It is listed as late, with the cause, and the entity takes no harm."""
    a, b, _ = forked_promotion("set_aside")
    Chronicle.spoilt = "one"  # applied before
    answer = a.absorb([event for event in b.events() if event.meta[0] == "b"])
    (listed,) = answer.listed
    assert (listed.what, listed.origin, listed.n) == ("late", "a", 2)
    assert listed.text.endswith("ValueError: cannot apply one")
    assert texts(a.state()) == ["one", "late", "two"]


def test_what_had_failed_comes_to_the_same_when_code_recovers_it() -> None:
    """The code could not make the state anew when it was due. Code that can does, before the next
    command, and lists it where the link asks how the entity is; once."""
    a, b, c = forked_promotion("set_aside")
    Chronicle.spoilt = "one"
    c.restart()
    assert c.absorb(a.events()).failed
    answer = c.absorb([event for event in b.events() if event.meta[0] == "b"])
    (listed,) = answer.listed
    assert (listed.what, listed.origin, listed.n) == ("late", "a", 2)
    assert "ValueError: cannot apply one" in listed.text
    write(a, "later")
    settle(a, b, c)
    c.restart()
    assert c.absorb([]).failed, "code that cannot changes nothing"
    Chronicle.spoilt = ""
    c.restart()
    c.role(epoch=3, active="c")
    assert texts(c.ask(Tell())) == ["one", "two"]
    told = {(one.what, one.origin, one.n) for one in c.absorb([]).listed}
    assert told >= {("late_set_aside", "a", 2), ("late_set_aside", "a", 3)}
    before = len(c.records())
    for _ in range(2):
        assert c.state() == b.state()
        c.local.tick(10_000_000)
        c.restart()
    assert len(c.records()) == before
    assert c.vector() == b.vector()


def test_a_state_that_cannot_be_stored_stays_until_code_can() -> None:
    """The same where nothing failed: as long as no row of the state was stored."""
    a, b = group(Loose, "a", "b", active="a", late_events="set_aside")
    write(a, "late")
    b.role(epoch=2, active="b")
    write(b, "two")
    a.absorb(b.events())
    mended = Replica(
        Mended, "a", "ab", slices=1, active="a", late_events="set_aside", journal=a.local.journal
    )
    for _ in range(2):
        assert texts(mended.state()) == ["two"]
        mended.restart()
    assert [found.record.kind for found in mended.records()] == [EVENT, EVENT, STATE]


def test_what_is_set_aside_makes_nothing_concurrent() -> None:
    """It is not in the state. What b wrote before it heard of it is concurrent with nothing, at a
    replica that had applied it, at one that got it late, at one that took over a state, and after
    a restart."""
    a, b, c = forked_promotion("set_aside")
    d = Replica(Chronicle, "d", "abcd", active="a", late_events="set_aside")
    write(b, "three")
    of_b = [event for event in b.events() if event.meta[0] == "b"]
    for one in (a, d):
        one.absorb([*a.events()[:2], of_b[0]])
    c.absorb([*a.events()[:1], of_b[0], a.events()[1]])
    for one in (a, c):
        one.restart()
    for one in (a, c, d):
        one.absorb(of_b[1:])
        assert one.vector() == {"a": 2, "b": 2}
    for _ in range(2):
        for one in (a, b, c, d):
            assert flags(one.state()) == {"one": False, "two": False, "three": False}
            one.local.tick(10_000_000)
            one.restart()


def test_what_a_state_had_set_aside_makes_nothing_concurrent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It comes with the state of a peer."""
    monkeypatch.setattr(Chronicle, "snapshot_every", 1)
    a, b, c = forked_promotion("set_aside")
    write(b, "three")
    of_b = [event for event in b.events() if event.meta[0] == "b"]
    a.absorb(of_b[:1])
    c.ask(state_of(a))
    assert c.vector() == {"a": 2, "b": 1}
    c.restart()
    c.absorb(of_b[1:])
    assert flags(c.state()) == {"one": False, "two": False, "three": False}


def test_a_state_that_cannot_be_stored_stays() -> None:
    a, b = group(Loose, "a", "b", active="a", late_events="set_aside")
    write(a, "late")
    b.role(epoch=2, active="b")
    write(b, "two")
    (listed,) = a.absorb(b.events()).listed
    assert (listed.what, listed.origin, listed.n) == ("late", "a", 1)
    assert "UnencodableError: tuple[0]" in listed.text
    assert texts(a.state()[1:]) == ["late", "two"]


def test_what_a_later_leaders_state_had_not_seen_is_not_applied_on_top(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The state comes in place of events that its replica has trimmed."""
    monkeypatch.setattr(Chronicle, "snapshot_every", 1)
    a, b, c = forked_promotion("set_aside")
    c.pull(a)
    for one in (a, c):
        answer = one.ask(state_of(b))
        assert [found[:5] for found in answer.listed] == [("late_set_aside", "x", "a", 2, 1)]
        for _ in range(2):
            assert texts(one.state()) == ["one", "two"]
            assert one.vector() == {"a": 2, "b": 1}
            one.local.tick(10_000_000)
            one.restart()


Events = Mapping[tuple[str, int], tuple[tuple[int, str], Mapping[str, int]]]
"""By (origin, n): its leader, and what its origin had seen before."""


def late_of(events: Events) -> set[tuple[str, int]]:
    """The definition, said another way: the latest leader's first event splits them."""
    leaders = {leader for leader, _ in events.values() if leader[0]}
    if not leaders:
        return set()
    latest = max(leaders)
    _, seen = min((n, seen) for (_, n), (leader, seen) in events.items() if leader == latest)
    past = {(o, n): one for (o, n), one in events.items() if n <= seen.get(o, 0)}
    beside = {name for name in events.keys() - past.keys() if events[name][0][0] > 0}
    return {name for name in beside if events[name][0] < latest} | late_of(past)


class Listening(Replica):
    """Notes what is listed."""

    listed: list[Listed]

    def ask(self, message: Any, entity_id: str = "x", command_id: str = "") -> Any:
        answer = super().ask(message, entity_id, command_id)
        if isinstance(answer, Absorbed):
            self.listed = [*getattr(self, "listed", []), *answer.listed]
        return answer


def split(events: Iterable[RemoteEvent]) -> dict[tuple[str, int], Any]:
    found = {}
    for one in events:
        if isinstance(one, RemoteEvent):
            origin, n, others, _, _, *rest = one.meta
            leader = (rest[1] if len(rest) > 1 else 0, origin)
            found[origin, n] = leader, {**others, origin: n - 1}
    return found


def assert_concurrent(state: tuple[Line, ...], seen: Mapping[tuple[str, int], Any]) -> None:
    """By what each event that counts had seen: of two that did not know of each other, the one that
    was applied later is concurrent; no other is."""
    left = {origin: sorted(n for one, n in seen if one == origin) for origin, _ in seen}
    here: list[tuple[str, int]] = []
    for _, origin, concurrent in state:
        n = left[origin].pop(0)
        unseen = [(o, m) for o, m in here if o != origin and m > seen[origin, n].get(o, 0)]
        assert concurrent == bool(unseen), (origin, n, unseen)
        here.append((origin, n))


names = st.sampled_from("abc")
deeds = st.one_of(
    st.tuples(st.just("write"), names, names),
    st.tuples(st.just("promote"), names, names),
    st.tuples(st.just("pull"), names, names),
    st.tuples(st.just("pull"), names, names),
    st.tuples(st.just("restart"), names, names),
)


@pytest.mark.parametrize("snapshot_every", [0, 2])
@given(todo=st.lists(deeds, max_size=40))
@settings(max_examples=100, deadline=None)
def test_all_come_to_one_decision_whatever_each_had_applied(
    snapshot_every: int, todo: list[tuple[str, str, str]]
) -> None:
    """Promotions while others write on, two under one epoch, events by any way, restarts: in the
    end the same events count everywhere, in one order, and what does not is listed."""
    Chronicle.snapshot_every = snapshot_every
    replicas = {
        one: Listening(Chronicle, one, "abc", slices=1, active="a", late_events="set_aside")
        for one in "abc"
    }
    epochs = dict.fromkeys("abc", 1)
    for number, (what, name, other) in enumerate(todo):
        one = replicas[name]
        match what:
            case "write":
                try:
                    write(one, str(number))
                except StandbyError:
                    continue
            case "promote":
                epochs[name] = max(epochs[name], one.content().epoch) + 1
                one.role(epoch=epochs[name], active=name)
            case "pull" if name != other:
                one.pull(replicas[other], 2)
            case "restart":
                one.local.tick(10_000_000)
                one.restart()
                one.role(epoch=epochs[name], active=name if epochs[name] > 1 else "a")
    settle(*replicas.values())
    events = split(replicas["a"].events())
    late = late_of(events)
    metas = [
        ReplicaMeta(o, n, seen, 0, 0, 0, leader[0]) for (o, n), (leader, seen) in events.items()
    ]
    assert late_among(metas) == late
    states = [texts(one.state()) for one in replicas.values()]
    assert states[0] == states[1] == states[2]
    assert len(states[0]) == len(events) - len(late)
    counting = sorted(events.keys() - late)
    for one in replicas.values():
        assert_concurrent(one.state(), {name: events[name][1] for name in counting})
        told = [(found.origin, found.n) for found in one.listed if found.what == "late_set_aside"]
        assert all(any(o == origin and n <= m for o, m in told) for origin, n in late)
        one.restart()
        assert texts(one.state()) == states[0]
