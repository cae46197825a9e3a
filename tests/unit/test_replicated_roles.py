"""Who takes commands: standbys, leaders that are replaced, replicas that retire."""

from __future__ import annotations

import pytest

from tests.unit.replicas import Replica, group, settle
from tests.unit.replicated_entities import (
    Chronicle,
    Tell,
    Write,
    flags,
    fresh,
    texts,
    write,
)
from thespian_dc.model.record import CONTROL, EVENT
from thespian_dc.model.replication import (
    Role,
)
from thespian_dc.model.replication_errors import (
    ReplicaRetiredError,
    StandbyError,
)

sound = pytest.fixture(autouse=True)(fresh)


def standby_group() -> list[Replica]:
    return group(Chronicle, "a", "b", active="a", queries=[Tell])


def test_a_standby_takes_events_and_answers_queries_only() -> None:
    """It names the active replica; a query that would persist does not."""
    a, b = standby_group()
    write(a, "one")
    settle(a, b)
    with pytest.raises(StandbyError) as standby:
        write(b, "mine")
    assert standby.value.args == ("chronicle|x", "b", "a", 1)
    assert "send commands to 'a'" in str(standby.value)
    assert b.ask(Tell()) == (("one", "a", False),)
    with pytest.raises(StandbyError):
        b.ask(Tell("mine"))
    assert texts(b.state()) == ["one"]
    assert [one.meta[6] for one in b.events()] == [1], "the epoch stands with the event"


def test_promotion_moves_commands() -> None:
    """The old one learns it from the first event, before its next command."""
    a, b = standby_group()
    write(a, "one")
    settle(a, b)
    b.role(epoch=2, active="b")
    assert write(b, "two") == 2
    a.pull(b)
    with pytest.raises(StandbyError) as standby:
        write(a, "three")
    assert standby.value.args == ("chronicle|x", "a", "b", 2)
    with pytest.raises(StandbyError):
        write(a, "new", entity_id="y")
    a.role(epoch=1, active="a")  # what somebody still believed
    with pytest.raises(StandbyError):
        write(a, "four")


def test_a_known_command_is_answered_by_a_standby_too() -> None:
    """It was handled here: its sender has only lost the answer."""
    a, _ = standby_group()
    assert a.ask(Write(("one",)), command_id="id") == 1
    a.role(epoch=2, active="b")
    assert a.ask(Write(("one",)), command_id="id") == 1
    with pytest.raises(StandbyError):
        a.ask(Write(("one",)), command_id="another")


def test_nobody_is_active_after_a_demotion() -> None:
    """Epoch raised, nobody named."""
    a, _ = standby_group()
    a.role(epoch=2, active="")
    with pytest.raises(StandbyError, match="no replica is active"):
        write(a, "one")


def test_where_all_are_active_an_old_epoch_stands_nobody_by() -> None:
    """The group had an active replica once; one that joins later reads what that one wrote."""
    a, _ = standby_group()
    write(a, "one")
    c = Replica(Chronicle, "c", "abc")
    c.pull(a)
    assert write(c, "two") == 2


def test_of_two_leaders_of_one_epoch_the_greater_id_counts() -> None:
    """Two people promoted at the same time: everywhere the same one stays."""
    a, b, c = group(Chronicle, "a", "b", "c", active="c")
    for one in (a, b):
        one.role(epoch=2, active=one.id)
        write(one, f"of {one.id}")
    settle(a, b, c)
    for one in (a, c):
        one.role(epoch=2, active="a")  # what somebody still believes
        with pytest.raises(StandbyError, match="send commands to 'b'"):
            write(one, "more")
    write(b, "more")
    settle(a, b, c)
    assert {tuple(sorted(texts(one.state()))) for one in (a, b, c)} == {("more", "of a", "of b")}
    assert flags(b.state())["of a"]


def test_a_role_of_another_type_is_none_of_this_hosts() -> None:
    """A node serves several types, and hosts may lag behind each other."""
    (a,) = group(Chronicle, "a")
    a.local.host.perform(a.local.host.core.on_role(Role("other", closed="retired"), 1))
    assert write(a, "one") == 1


@pytest.mark.parametrize("closed", ["retiring", "retired"])
def test_a_retired_replica_takes_no_commands(closed: str) -> None:
    """Whatever it is asked."""
    (a,) = group(Chronicle, "a")
    a.role(closed=closed)
    with pytest.raises(ReplicaRetiredError):
        write(a, "one")


def forked_promotion(late_events: str) -> tuple[Replica, Replica, Replica]:
    """b is promoted while a goes on; c stands by."""
    a, b, c = group(Chronicle, "a", "b", "c", active="a", late_events=late_events)
    write(a, "one")
    settle(a, b, c)
    write(a, "late")
    b.role(epoch=2, active="b")
    write(b, "two")
    return a, b, c


def test_late_events_are_concurrent_and_listed() -> None:
    """Both have everything; whoever sees the fork lists it, and the flag stays."""
    a, b, c = forked_promotion("apply")
    answer = b.absorb(a.events()[1:])
    assert [(one.what, one.origin, one.n, one.epoch) for one in answer.listed] == [
        ("late", "a", 2, 1)
    ]
    answer = a.absorb([one for one in b.events() if one.meta[0] == "b"])
    assert [(one.what, one.origin, one.n, one.epoch) for one in answer.listed] == [
        ("late", "a", 2, 1)
    ]
    settle(a, b, c)
    for one in (a, b, c):
        assert sorted(texts(one.state())) == ["late", "one", "two"]
        state = one.state()
        one.restart()
        assert one.state() == state
    assert flags(b.state())["late"]


def test_what_any_of_several_replaced_leaders_wrote_is_listed() -> None:
    """c had not seen the last of a, which b had, nor what b wrote: whoever has them lists both, and
    again where it comes again."""
    a, b, c = group(Chronicle, "a", "b", "c", active="a")
    write(a, "one")
    settle(a, b, c)
    write(a, "two")
    b.pull(a)
    b.role(epoch=2, active="b")
    write(b, "three")
    a.pull(b)
    c.role(epoch=3, active="c")
    write(c, "four")
    of_c = [event for event in c.events() if event.meta[0] == "c"]
    for one in (a, b):
        for _ in range(2):
            listed = {(found.what, found.origin, found.n) for found in one.absorb(of_c).listed}
            assert listed == {("late", "a", 2), ("late", "b", 1)}
            one.restart()


def test_late_events_are_set_aside_where_that_is_wished() -> None:
    """Stored, counted, not applied, not lost; and the same where they come by way of another."""
    a, b, c = forked_promotion("set_aside")
    answer = b.absorb(a.events()[1:])
    assert (answer.through, [one.what for one in answer.listed]) == (1, ["late_set_aside"])
    c.pull(b)
    for one in (b, c):
        assert texts(one.state()) == ["one", "two"]
        assert one.vector() == {"a": 2, "b": 1}
        one.restart()
        assert texts(one.state()) == ["one", "two"]
        assert [found.record.kind for found in one.records()] == [EVENT, EVENT, CONTROL]
    write(b, "three")
    assert c.pull(b) == 1
