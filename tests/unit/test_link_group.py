"""All links of a group: what they say to have, what they bring each other, what they have in common
when a filter changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.link_groups import AT, HERE, MORE, Group, batch
from thespian_dc.entity.api import Absorbed
from thespian_dc.model.criteria import UNFILTERED, Exclude, VersionedFilter
from thespian_dc.model.ids import slice_of
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.record import CONTROL, EVENT, STATE, Record, pack_record
from thespian_dc.model.replication import Listed, offset_in_origin
from thespian_dc.model.replication_handshake import OriginPositions, ReplicaStarted
from thespian_dc.model.roles import Roles
from thespian_dc.projection.api import LookedUp
from thespian_dc.replication.group import LinkGroup
from thespian_dc.shell.frames import unpack


def test_what_is_here_is_said_when_a_call_begins_and_when_it_moves() -> None:
    group = Group()
    us, ap = group.now_open()
    assert us.said.known == (OriginPositions("us", 0, (5, 7)), OriginPositions("ap", 0, (5, 7)))
    group.open(us)
    us.on.batch(batch("a", 1))
    group.run()
    group.group.on_tick()
    assert not any(one.offsets != (5, 7) for known in ap.known for one in known.origins)
    group.answer(Absorbed(1))
    group.group._known_us = 0
    group.group.on_tick()
    moved = [5, 7]
    moved[slice_of("a", 2)] += 1
    assert ap.known[-1].origins == (OriginPositions("us", 0, tuple(moved)),)
    assert len(us.given_back) == 1


def test_a_lone_batch_leads_to_its_command_at_once() -> None:
    """On the thread that brings it; where a command is under way, or of a run that is over, it is
    the main thread's."""
    group = Group()
    us, _ = group.now_open()
    group.open(us)
    for takes in (True, False):
        us.on.batch(batch("a", 1))
        came = group.came.pop()
        assert group.group.on_came_at_once(came) is takes
        assert len(group.router.commands) == 1
    group.answer(Absorbed(1))
    assert len(us.given_back) == 1
    group.group.links["us"].restart()
    assert not group.group.on_came_at_once(came)


def test_a_batch_that_cannot_be_read_at_once_ends_the_run_later() -> None:
    """The thread that brings it is the call's own: it cannot end it."""
    group = Group()
    us, _ = group.now_open()
    group.open(us)
    us.on.batch(batch("a", 1, said=["elsewhere", 1, {}, 1, 1]))
    assert group.group.on_came_at_once(group.came.pop())
    assert us.is_open
    assert not group.router.commands
    group.run()
    assert not us.is_open
    assert "elsewhere" in group.group.links["us"].error


def test_while_an_id_comes_in_nobody_leaves_out_what_it_may_lack() -> None:
    """All begin a new call that says that nothing is here of logs of which it is not read yet; each
    of them reads it as a whole, and says where it is when that is done."""
    group = Group()
    for source in group.now_open():
        group.open(source)
    group.group.change_filter(MORE)
    us, ap = group.now_open()
    assert [one.is_open for one in group.sources] == [False, False, True, True]
    nothing = tuple(OriginPositions(one, 0, (0, 0)) for one in ("us", "ap"))
    assert (us.said.known, us.positions, us.wanted) == (nothing, AT, MORE)
    for source in (us, ap):
        assert not source.lookups, "before the new filter is in force records may be left out"
        group.open(source)
    ((lookup, answer),) = us.lookups
    assert lookup.entity_id == "b"
    answer(LookedUp(lookup, [], 0, 9, more=False))
    group.run()
    group.group._known_us = 0
    group.group.on_tick()
    assert ap.known[-1].origins == (OriginPositions("us", 0, (5, 7)),)


def test_what_is_wanted_no_more_holds_no_cursor() -> None:
    """It waits for what may never come; under the narrower filter it does not come again."""
    group = Group(UNFILTERED)
    us, _ = group.now_open()
    group.open(us)
    us.on.batch(batch("a", 2))
    group.run()
    group.answer(Absorbed(0, "waits", ("ap", 1)))
    narrower = VersionedFilter(1, Exclude.entity_ids("a"))
    group.group.change_filter(narrower)
    us, _ = group.now_open()
    group.open(us)
    gone = batch("a", 2)
    us.on.batch(gone._replace(commits=[gone.commits[0]._replace(body=b"")]))
    group.run()
    facts = next(one for one in group.group.facts() if one.peer == "us")
    assert (facts.waiting, facts.cursors[gone.slice]) == (0, gone.next_offset)


def test_what_one_link_brings_is_what_another_one_waits_for() -> None:
    group = Group(UNFILTERED)
    us, ap = group.now_open()
    group.open(us)
    group.open(ap)
    us.on.batch(batch("a", 2))
    group.run()
    group.answer(Absorbed(0, "waits", ("ap", 1)))
    ap.on.batch(batch("a", 1))
    group.run()
    group.answer(Absorbed(1))
    (tried_again,) = group.router.commands
    assert unpack(tried_again.body).peer == "us"


def test_a_peer_that_shows_more_is_read_anew_and_nobody_leaves_out_meanwhile() -> None:
    group = Group(UNFILTERED)
    us, _ = group.now_open()
    at = group.group.links["us"]._at
    at.progress = at.progress._replace(shown=Exclude.entity_ids("hidden"))
    group.open(us)
    again = next(one for one in group.now_open() if one.peer == "us")
    assert (again is us, again.said.known, again.positions) == (
        False, (OriginPositions("us", 0, (0, 0)), OriginPositions("ap", 0, (5, 7))), AT,
    )  # fmt: skip
    group.open(again)
    assert [lookup.entity_id for lookup, _ in again.lookups] == ["hidden"]


def test_what_is_not_shown_any_more_holds_no_cursor() -> None:
    """It waits for what does not come from there now; nor does the peer send it again."""
    group = Group(UNFILTERED)
    us, _ = group.now_open()
    group.open(us)
    us.on.batch(batch("a", 2))
    group.run()
    group.answer(Absorbed(0, "waits", ("us", 1)))
    assert {one.waiting for one in group.group.facts() if one.peer == "us"} == {1}
    shown = VersionedFilter(1, Exclude.entity_ids("a"))
    us.call.on_started(ReplicaStarted("us", "cart", ("ap", "eu", "us"), shown=shown))
    group.run()
    again = next(one for one in group.now_open() if one.peer == "us")
    assert (again is us, again.positions) == (False, AT)
    group.open(again, shown=shown)
    gone = batch("a", 2)
    again.on.batch(gone._replace(commits=[gone.commits[0]._replace(body=b"")]))
    group.run()
    facts = next(one for one in group.group.facts() if one.peer == "us")
    assert (facts.waiting, facts.cursors[gone.slice]) == (0, gone.next_offset)


def test_what_is_not_shown_any_more_is_not_asked_for_any_more() -> None:
    """It was to be read as a whole: its first events may be trimmed, and no state of it is shown,
    so the question would be asked for ever, and nothing be reported of that log meanwhile."""
    group = Group()
    for source in group.now_open():
        group.open(source)
    group.group.change_filter(MORE)
    us, ap = group.now_open()
    group.open(ap)
    group.open(us)
    assert [lookup.entity_id for lookup, _ in us.lookups] == ["b"]
    shown = VersionedFilter(1, Exclude.entity_ids("b"))
    us.call.on_started(ReplicaStarted("us", "cart", ("ap", "eu", "us"), shown=shown))
    group.run()
    again = next(one for one in group.now_open() if one.peer == "us")
    assert again is not us
    group.open(again, shown=shown)
    assert not again.lookups
    assert group.group.links["us"].known() == OriginPositions("us", 0, (5, 7))


def test_another_filter_of_this_replica_counts_in_what_is_reported() -> None:
    group = Group(UNFILTERED)
    group.open(group.now_open()[0], shown=VersionedFilter(1, Exclude.entity_ids("a")))
    group.group.change_shown(VersionedFilter(1, Exclude.entity_ids("a", "b")))
    assert {one.relayed_by for one in group.group.facts()} == {()}


def test_what_one_replica_withholds_and_another_shows_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once the peers have said what they show; whoever withholds as much is not named."""
    group = Group(UNFILTERED)
    us, ap = group.now_open()
    group.open(us, shown=VersionedFilter(1, Exclude.entity_ids("a", "b")))
    assert {one.peer: one.relayed_by for one in group.group.facts()} == {"us": ("eu",), "ap": ()}
    group.open(ap, shown=VersionedFilter(1, Exclude.entity_ids("a")))
    facts = {one.peer: one.relayed_by for one in group.group.facts()}
    assert facts == {"us": ("ap", "eu"), "ap": ("eu",)}
    assert [one.message for one in caplog.records] == ["withheld_and_relayed"] * 3


def test_a_log_that_was_restored_begins_at_its_first_record() -> None:
    group = Group()
    us, _ = group.now_open()
    group.open(us, generation=1)
    again = next(one for one in group.now_open() if one.peer == "us")
    assert (again.positions, again.said.known) == ({}, (OriginPositions("ap", 0, (5, 7)),))


def test_an_outcome_of_a_former_run_counts_no_more_but_what_is_listed_is() -> None:
    group = Group()
    us, _ = group.now_open()
    group.open(us)
    us.on.batch(batch("a", 1))
    group.run()
    group.group.change_filter(MORE)
    late = Listed("late", "a", "us", 1, 1)
    group.answer(Absorbed(1, listed=(late,)))
    assert group.listed == [late], "the entity says it once: the next time it is known"
    positions = group.group.links["us"].progress().positions
    assert positions == AT


def test_a_peer_that_may_not_take_part_is_not_read() -> None:
    """Its link says why, and asks again after a pause; the others go on."""
    group = Group()
    us, ap = group.now_open()
    group.open(ap)
    group.refuses = True
    group.open(us)
    us.on.batch(batch("a", 1))
    group.run()
    assert ([one.replica_id for one in group.met], group.router.commands) == (["ap"], [])
    facts = {one.peer: one for one in group.group.facts()}
    assert (facts["us"].state, facts["ap"].state) == ("failed", "up")
    assert "UnknownReplicaError" in facts["us"].error
    group.refuses = False
    link = group.group.links["us"]
    due_us = link.wakeup_us()
    assert due_us is not None
    link.on_tick(due_us)
    again = next(one for one in group.now_open() if one.peer == "us")
    group.open(again)
    assert link.facts().state == "up"


def test_a_batch_that_cannot_be_read_ends_the_run_at_the_cursor() -> None:
    group = Group()
    us, _ = group.now_open()
    group.open(us)
    bad = batch("a", 1)
    us.on.batch(bad._replace(commits=[bad.commits[0]._replace(body=b"\x07")]))
    group.run()
    facts = group.group.links["us"].facts()
    assert (facts.state, dict(facts.cursors)) == ("failed", {0: 5, 1: 7})
    assert facts.error.startswith("MalformedMessageError")


FOREIGN: dict[str, tuple[list[Any], int]] = {
    "event": (["mars", 1, {}, 5, 7], EVENT),
    "event with a time": (["mars", 1, {}, 5, 7, 99, 0], EVENT),
    "event that was set aside": (["mars", 1, {}, 5, 7], CONTROL),
    "state": ([{"us": 3, "mars": 1}, {}, 0, 0, ""], STATE),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_events_of_a_replica_that_nobody_named_are_not_taken(what: str) -> None:
    """The peer may not relay them: none of the batch reaches an entity, and the status says whose
    they are. Of a replica that was retired they are history, of which the peer has to tell."""
    group = Group(UNFILTERED)
    us, _ = group.now_open()
    group.open(us)
    us.on.batch(batch("a", 1, *FOREIGN[what]))
    group.run()
    facts = group.group.links["us"].facts()
    assert (facts.state, dict(facts.cursors)) == ("failed", {0: 5, 1: 7})
    assert facts.error.startswith("ForeignOriginError")
    assert all(word in facts.error for word in ("'us'", "'mars'", "ap, eu, us"))
    assert group.router.commands == []
    group.group.links["us"].restart()
    us = next(one for one in group.now_open() if one.peer == "us")
    group.open(us, retired=("mars",))
    us.on.batch(batch("a", 1, *FOREIGN[what]))
    group.run()
    assert group.group.links["us"].facts().state == "up"
    assert len(group.router.commands) == 1


def test_nothing_is_taken_from_who_is_fenced() -> None:
    group = Group()
    before = Roles("eu")
    group.group.change_roles(replace(before, retired=frozenset({"us"})), before)
    assert [one.peer for one in group.now_open()] == ["ap"]
    assert group.group.links["us"].facts().state == "closed"
    assert group.group.snapshot().reading == {"ap"}
    assert group.sources[1].known[-1].retired == ("us",)


def test_in_another_life_of_the_own_log_all_is_read_anew() -> None:
    """Its own events too, while it fetches what it lost."""
    group = Group()
    before = Roles("eu")
    group.group.change_roles(replace(before, generation=1, recovering=True), before)
    us, _ = group.now_open()
    assert (us.positions, us.said.known) == ({}, ())
    assert us.said.generation == 1


def test_positions_of_another_life_of_the_own_log_count_no_more() -> None:
    """The process ended when the registry knew of that life, and had not stored them anew."""
    group = Group()
    group.group = LinkGroup(
        HERE, group.make, Roles("eu", generation=1), group.came.append, group.check,
        group.met.append, group.listed.extend,
    )  # fmt: skip
    progress = LinkProgress("journal", 0, AT)
    group.group.begin({"us": progress, "ap": progress._replace(life=1)}, UNFILTERED)
    us, ap = group.sources[-2:]
    assert (us.positions, ap.positions) == ({}, AT)


def test_what_it_lost_is_taken_whenever_it_comes() -> None:
    """Also of a peer that was away while the others were read: commands are taken again then."""
    group = Group(UNFILTERED)
    before = Roles("eu")
    group.group.change_roles(replace(before, generation=1), before)
    us, _ = group.now_open()
    group.open(us)
    for n, life in ((3, 0), (4, 1)):
        one = batch("a", n, ["eu", n, {}, offset_in_origin(life, n), 7])
        us.on.batch(one)
    group.run()
    (command,) = group.router.commands
    assert [one.meta[:2] for one in unpack(command.body).events] == [["eu", 3]]


def test_what_came_from_its_origin_is_no_command_when_it_comes_again() -> None:
    """Its sender did not know yet; the position moves on."""
    group = Group()
    us, ap = group.now_open()
    group.open(us)
    group.open(ap)
    once = batch("a", 1)
    for origin_offset in (AT[once.slice].offset - 1, AT[once.slice].offset):
        record = Record(
            0, "a", 1, "m@1", b"p", (), "", None, {"r": ["ap", 1, {}, origin_offset, 0]}
        )
        view = once.commits[0]._replace(body=b"\xdd\x00\x00\x00\x01" + pack_record(record))
        us.on.batch(once._replace(commits=[view]))
        group.run()
        us.given_back, given_back = [], us.given_back
        assert bool(given_back) == (origin_offset < AT[once.slice].offset)
    (command,) = group.router.commands
    assert unpack(command.body).events[0].meta[3] == AT[once.slice].offset
