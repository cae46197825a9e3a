"""A replica's log as its peers read it: who may, what they are sent, what both sides learn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.streams.material import ENTITY_TYPE, SLICES
from tests.streams.replicas import (
    GROUP,
    OWN,
    READER,
    THIRD,
    Log,
    came_in,
    ends_with,
    replication,
)
from thespian_dc.entity.api import change_roles, known_roles, seen_by
from thespian_dc.entity.role_registry import diverged_at, wanted_states
from thespian_dc.journal.api import StateRow
from thespian_dc.model.criteria import Exclude, Filter, Include, VersionedFilter
from thespian_dc.model.errors import JournalDivergedError
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.link_progress import LinkProgress, plain_of_progress, progress_entry
from thespian_dc.model.position import Position
from thespian_dc.model.replica_errors import (
    NotAReplicaStreamError,
)
from thespian_dc.model.replication import mark_of, offset_in_origin
from thespian_dc.model.replication_errors import ReplicaRecoveringError
from thespian_dc.model.replication_handshake import (
    Known,
    OriginFacts,
    OriginPositions,
    Retiring,
)
from thespian_dc.model.role_errors import (
    ReplicaIdChangedError,
)
from thespian_dc.model.roles import restored
from thespian_dc.model.settings import Stream
from thespian_dc.model.stream_errors import (
    PeerUnavailableError,
    SliceOutOfRangeError,
    UnknownStreamError,
)
from thespian_dc.testkit.eventually import eventually, never
from thespian_dc.wire.lookups import EntityIds, EntityState

A, B = "c-1", "c-2"
SLICE_A = slice_of(A, SLICES)
EVERY = (1 << 30,) * SLICES


# --- what is sent ---


def test_events_of_every_origin_come_as_they_are_stored(log: Log, link: Any) -> None:
    """The receiver's own stay away; what is needed to place an event in its origin's log is
    there."""
    log.wrote(A, A, B)
    own = {commit.key.slice: commit.write_id for commit in log.written}
    log.took(THIRD, (A, 40), (B, 41))
    log.took(READER, (A, 7))
    log.wrote(A)
    reader = link().open()
    eventually(lambda: reader.entities == [A, A, A, A, B, B])
    eventually(lambda: reader.positions == {slice_of(A, SLICES): 5, slice_of(B, SLICES): 2})
    first, second, third, fourth = [one for one in reader.came if one.entity_id == A]
    assert [one.meta.origin for one in (first, second, third, fourth)] == [OWN, OWN, THIRD, OWN]
    assert (first.meta.origin_offset, second.meta.origin_offset) == (0, 1)
    assert first.meta.mark == second.meta.mark == mark_of(own[SLICE_A])
    assert (third.meta.origin_offset, third.meta.mark) == (40, 7)
    assert (fourth.offset, fourth.meta.mark) == (4, mark_of(log.written[0].write_id))


def test_what_was_reported_is_left_out_and_the_position_moves_on(log: Log, link: Any) -> None:
    log.took(THIRD, (A, 40), (A, 41), (A, 42))
    known = OriginPositions(THIRD, 0, (42,) * SLICES)
    reader = link(known=(known,)).open()
    eventually(lambda: [one.offset for one in reader.came] == [2])
    assert reader.positions == {SLICE_A: 3}


def test_what_is_reported_while_connected_is_left_out_from_then_on(log: Log, link: Any) -> None:
    """And it is stored, so that one day the log may be trimmed behind it."""
    log.wrote(A)
    reader = link().open()
    eventually(lambda: reader.entities == [A])
    reader.tell(Known((OriginPositions(THIRD, 0, EVERY), OriginPositions(OWN, 0, (1,) * SLICES))))
    eventually(lambda: seen_by(log.journal, ENTITY_TYPE, READER) is not None)
    seen = seen_by(log.journal, ENTITY_TYPE, READER)
    assert seen is not None
    assert (seen.generation, seen.offsets) == (0, (1,) * SLICES)
    log.took(THIRD, (A, 40))
    log.wrote(A)
    eventually(lambda: reader.positions == {SLICE_A: 3})
    assert [one.offset for one in reader.came] == [0, 2]


def test_a_restored_replica_gets_its_own_events_again(log: Log, link: Any) -> None:
    log.took(READER, (A, 6), (A, 7))
    known = OriginPositions(READER, 0, (7,) * SLICES)
    reader = link(known=(known,), generation=1).open()
    eventually(lambda: [one.meta.origin_offset for one in reader.came] == [7])


def test_lookups_bring_events_of_others_with_their_commits(log: Log, link: Any) -> None:
    """Each with what is needed to place it; what was reported makes no difference."""
    log.wrote(A)
    mark = mark_of(log.written[0].write_id)
    log.took(THIRD, (A, 40))
    log.took(READER, (A, 7))
    log.wrote(B)
    reader = link(known=(OriginPositions(THIRD, 0, EVERY), OriginPositions(OWN, 0, EVERY))).open()
    answer = reader.look_up(A)
    found = came_in(answer.commits)
    assert [(one.meta.origin, one.meta.origin_offset) for one in found] == [(OWN, 0), (THIRD, 40)]
    assert found[0].meta.mark == mark
    assert (answer.complete_through, answer.more) == (3, False)


def test_a_restored_replica_looks_up_its_own_events_too(log: Log, link: Any) -> None:
    log.took(READER, (A, 7))
    reader = link(generation=1).open()
    eventually(lambda: reader.said)
    assert [one.meta.origin for one in came_in(reader.look_up(A).commits)] == [READER]


def test_what_is_not_shown_is_withheld_whole(log: Log, link: Any) -> None:
    """Live, in what was before, in lookups and in states; the peer is told of it."""
    setting = replication(shown=Exclude.entity_ids(B))
    log.wrote(A, B)
    key = SliceKey(ENTITY_TYPE, slice_of(B, SLICES))
    log.journal.write_states(key, [StateRow(B, 1, 0, b"state")])
    reader = link({"replication": (setting,)}).open()
    eventually(lambda: reader.entities == [A])
    log.wrote(B, A)
    eventually(lambda: reader.entities == [A, A])
    assert reader.look_up(B).commits == []
    state = reader.state_of(B)
    assert isinstance(state, EntityState)
    assert (state.seq_nr, state.body) == (0, b"")
    assert reader.said[0].shown.filter == setting.shown
    assert reader.said[0].shown.version > 0


@pytest.mark.parametrize(
    "include",
    [
        Include.entity_ids(A), Include.regexes("c-[1]"), Include.tags("large"),
        Include.topics("sizes/+/of"),
    ],
    ids=["ids", "regexes", "tags", "topics"],
)  # fmt: skip
def test_the_readers_own_filter_counts_beside_what_is_left_out(
    log: Log, link: Any, include: Filter
) -> None:
    """Of each kind."""
    log.wrote(A, tags=["large", "t:sizes/large/of"])
    log.wrote(B, tags=["small", "t:sizes/of"])
    log.took(READER, (A, 1), (B, 1))
    wanted = VersionedFilter(1, include.spelled_out())
    reader = link().open(wanted=wanted)
    eventually(lambda: reader.positions == dict.fromkeys(reader.positions, 2) and reader.positions)
    assert reader.entities == [A]


# --- stored states ---


def test_a_stored_state_is_answered_as_it_is(log: Log, link: Any) -> None:
    log.wrote(A)
    log.journal.write_states(SliceKey(ENTITY_TYPE, SLICE_A), [StateRow(A, 1, 0, b"state")])
    reader = link().open()
    journal_id = log.journal.journal_id
    assert reader.state_of(A) == EntityState(journal_id, SLICE_A, 0, 1, 0, b"state")
    assert reader.state_of(B) == EntityState(journal_id, slice_of(B, SLICES), 0)


def test_who_asks_for_a_fresh_state_has_it_stored(log: Log, link: Any) -> None:
    """By whoever holds the entity: the hosts look for what is wanted."""
    log.wrote(A)
    reader = link().open()
    before = wanted_states(log.journal, ENTITY_TYPE).nr
    reader.state_of(A)
    assert wanted_states(log.journal, ENTITY_TYPE).nr == before
    reader.state_of(A, fresh=True)
    assert wanted_states(log.journal, ENTITY_TYPE) == (before + 1, (A,))


def test_states_are_for_replicas_only(log: Log, link: Any) -> None:
    ordinary = link(replica=False, stream_id="carts").open()
    assert type(ordinary.state_of(A)) is NotAReplicaStreamError
    nobody = link(replica=False).open()
    assert type(nobody.state_of(A)) is UnknownStreamError
    assert type(ordinary.ids_of(0)) is NotAReplicaStreamError
    assert type(nobody.ids_of(0)) is UnknownStreamError


def test_entities_with_a_stored_state_are_listed(log: Log, link: Any) -> None:
    """Page by page, with where the log begins; what is withheld leaves no trace, not even in the
    next question, also where more is withheld in a row than is read for one answer."""
    hidden = [f"h-{n}" for n in range(20_000) if slice_of(f"h-{n}", SLICES) == SLICE_A][:4_600]
    assert len(hidden) == 4_600
    ids = [f"c-{n}" for n in range(9000) if slice_of(f"c-{n}", SLICES) == SLICE_A][:1500]
    key = SliceKey(ENTITY_TYPE, SLICE_A)
    log.journal.write_states(key, [StateRow(one, 1, 0, b"state") for one in (*hidden, *ids)])
    log.wrote(A, A)
    log.journal.advance_index(key, 2)
    assert log.journal.trim(key, 2) == 2
    log.wrote(A)
    setting = replication(shown=Exclude.regexes("h-.*"))
    reader = link({"replication": (setting,)}).open({SLICE_A: Position(2, b"")})
    listed: list[str] = []
    more = True
    while more:
        page = reader.ids_of(SLICE_A, listed[-1] if listed else "")
        assert isinstance(page, EntityIds), page
        assert (page.journal_id, page.generation, page.trimmed_to) == (log.journal.journal_id, 0, 2)
        assert len(page.ids) <= 1000
        assert page.ids or not page.more
        listed += page.ids
        more = page.more
    assert sorted(listed) == sorted(ids)
    other = reader.ids_of((SLICE_A + 1) % SLICES)
    assert (other.ids, other.trimmed_to, other.more) == ((), 0, False)
    assert type(reader.ids_of(SLICES)) is SliceOutOfRangeError


# --- what both sides learn ---


def test_both_sides_say_who_they_are(log: Log, link: Any) -> None:
    """The reader learns how far its own log is known at the other end: where its journal was
    restored from an older copy, it finds out by this."""
    reader = link(origins=(OriginFacts(READER, "theirs", 8, 0),))
    position = Position(30, b"w" * 16)
    progress = LinkProgress("theirs", 0, {2: position})
    name = progress_entry(ENTITY_TYPE, READER)
    assert log.journal.put_entry(name, 0, plain_of_progress(progress))
    reader.open()
    eventually(lambda: reader.said)
    said = reader.said[0]
    assert (said.replica_id, said.entity_type, said.replicas) == (OWN, ENTITY_TYPE, GROUP)
    assert (said.seen_journal_id, said.seen_generation, said.seen) == ("theirs", 0, {2: position})
    assert OriginFacts(OWN, log.journal.journal_id, SLICES, 0) in said.origins
    known = known_roles(log.journal, ENTITY_TYPE).origins[READER]
    assert (known.journal_id, known.slices) == ("theirs", 8)


STANDBY = replication(active=OWN)


def test_a_later_leader_is_learnt_from_who_connects(log: Log, link: Any) -> None:
    """It is kept before anything is served."""
    reader = link({"replication": (STANDBY,)}, epoch=5, active=READER).open()
    eventually(lambda: reader.said)
    roles = known_roles(log.journal, ENTITY_TYPE)
    assert (roles.epoch, roles.active) == (5, READER)
    assert (reader.said[0].epoch, reader.said[0].active) == (5, READER)


def test_a_later_leader_is_learnt_while_connected(log: Log, link: Any) -> None:
    """From the reader, and told to other readers at once."""
    reader = link({"replication": (STANDBY,)}, epoch=1, active=OWN).open()
    third = link(replica_id=THIRD, epoch=1, active=OWN).open()
    eventually(lambda: reader.said and third.said)
    reader.tell(Known((), 2, READER))
    eventually(lambda: known_roles(log.journal, ENTITY_TYPE).active == READER)
    eventually(lambda: [one.active for one in third.said] == [OWN, READER])


def test_a_reader_is_told_what_changes_here(log: Log, link: Any) -> None:
    reader = link({"replication": (STANDBY,)}, epoch=1, active=OWN).open()
    eventually(lambda: reader.said)
    change_roles(log.journal, ENTITY_TYPE, lambda roles: replace(roles, retiring={THIRD: {}}))
    eventually(lambda: len(reader.said) == 2)
    assert reader.said[1].retiring == (Retiring(THIRD),)
    never(lambda: len(reader.said) > 2, within_s=0.7)


def test_a_position_above_the_head_says_that_this_journal_is_older(log: Log, link: Any) -> None:
    """The reader is told so, and it is noted here."""
    log.wrote(A)
    reader = link().open({SLICE_A: Position(9, b"w" * 16)})
    ends_with(reader, JournalDivergedError)
    assert set(diverged_at(log.journal, ENTITY_TYPE, 0)) == {READER}


def test_another_commit_below_a_position_says_so_too(log: Log, link: Any) -> None:
    log.wrote(A)
    reader = link().open({SLICE_A: Position(1, b"another")})
    ends_with(reader, JournalDivergedError)
    assert set(diverged_at(log.journal, ENTITY_TYPE, 0)) == {READER}


def test_a_later_life_that_the_reader_knows_of_is_noted(log: Log, link: Any) -> None:
    reader = link(origins=(OriginFacts(OWN, log.journal.journal_id, SLICES, 3),)).open()
    eventually(lambda: reader.said)
    assert diverged_at(log.journal, ENTITY_TYPE, 0) == {READER: 3}


@pytest.mark.parametrize("heard", [0, 1])
def test_positions_of_an_earlier_life_are_not_held_against_this_one(
    log: Log, link: Any, heard: int
) -> None:
    """The reader is told of the new one, and begins again. It may have heard of it from others."""
    reader = link(
        origins=(OriginFacts(OWN, log.journal.journal_id, SLICES, heard),),
        known=(OriginPositions(OWN, 0, (9,) * SLICES),),
    )
    change_roles(log.journal, ENTITY_TYPE, restored)
    log.wrote(A)
    reader.open({SLICE_A: Position(9, b"w" * 16)})
    eventually(lambda: [one.generation for one in reader.said] == [1])
    assert reader.error is None
    again = link(origins=(OriginFacts(OWN, log.journal.journal_id, SLICES, 1),)).open()
    eventually(lambda: again.batches)
    found = came_in(again.batches[0].commits, generation=1)
    assert [one.meta.origin_offset for one in found] == [offset_in_origin(1, 0)]
    assert not diverged_at(log.journal, ENTITY_TYPE, 0)


def test_readers_are_ended_where_the_journal_turns_out_to_be_older(log: Log, link: Any) -> None:
    reader = link().open()
    eventually(lambda: reader.said)
    change_roles(log.journal, ENTITY_TYPE, restored)
    eventually(lambda: isinstance(reader.source.last_error, PeerUnavailableError))
    eventually(lambda: [one.generation for one in reader.said] == [0, 1])


def test_consumers_wait_while_lost_events_are_fetched(log: Log, link: Any) -> None:
    """Replicas are served meanwhile: they may need what is here."""
    log.wrote(A)
    ordinary = link(replica=False, stream_id="carts").open()
    eventually(lambda: ordinary.batches)
    change_roles(log.journal, ENTITY_TYPE, lambda roles: replace(roles, recovering=True))
    eventually(lambda: isinstance(ordinary.source.last_error, ReplicaRecoveringError))
    with pytest.raises(ReplicaRecoveringError):
        link(replica=False, stream_id="carts").source.heads()
    reader = link().open()
    eventually(lambda: reader.entities == [A])
    change_roles(log.journal, ENTITY_TYPE, lambda roles: replace(roles, recovering=False))
    log.wrote(A)
    eventually(lambda: ordinary.positions == {SLICE_A: 2})


def test_a_journal_keeps_its_replicas_id(log: Log, link: Any, serve: Any) -> None:
    reader = link().open()
    eventually(lambda: reader.said)
    with pytest.raises(ReplicaIdChangedError):
        serve(replication=(replace(replication(), replica_id="other"),))


def test_replica_streams_are_no_streams_of_the_filter_command(log: Log, serve: Any) -> None:
    """What a replica shows is set by the replica's own command."""
    from thespian_dc.stream.filter_registry import stored_filters

    serve(replication=(replication(),), streams=(Stream("carts", ENTITY_TYPE),))
    assert set(stored_filters(log.journal).plain) == {"carts"}
