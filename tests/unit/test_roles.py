"""What replicas know of their group: each step by itself, and what all orders of meetings agree
on."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.model.replication_handshake import (
    REPLICAS_MAX,
    Known,
    ReplicaStart,
    ReplicaStarted,
)
from thespian_dc.model.role_errors import (
    AllActiveError,
    AlreadyRetiredError,
    GroupModeDiffersError,
    InvalidRolesError,
    NotActiveError,
    OriginChangedError,
    OwnReplicaIdError,
    ReplicaIdChangedError,
    RetiredReplicaError,
    RetireSelfError,
    TooManyReplicasError,
    UnknownReplicaError,
)
from thespian_dc.model.role_handshake import believed, heard, roles_of, told, told_while_open
from thespian_dc.model.roles import (
    Origin,
    Roles,
    Stage,
    begun,
    check_peer,
    demoted,
    denies,
    met,
    opened,
    plain_of,
    promoted,
    recovered,
    restored,
    retire,
    retired,
    roles_from,
    staged,
)

GROUP = ("a", "b", "c")


def _origin(replica: str, generation: int = 0) -> Origin:
    return Origin(f"journal-{replica}", 4, generation)


def _first(replica: str, active: str = "a") -> Roles:
    return begun(None, "cart", replica, _origin(replica), active)


# --- own steps ---


def test_the_first_start_takes_what_the_settings_say() -> None:
    standby = _first("b", active="a")
    assert (standby.epoch, standby.active, standby.is_active) == (1, "a", False)
    assert standby.origins == {"b": Origin("journal-b", 4, 0)}
    assert _first("b", active="").is_active


def test_a_journal_keeps_its_replicas_id() -> None:
    with pytest.raises(ReplicaIdChangedError, match=r"'b'.*'c'"):
        begun(_first("b"), "cart", "c", _origin("c"), "a")


def test_settings_do_not_undo_a_promotion() -> None:
    own = opened(promoted(_first("b"), "cart"))
    again = begun(own, "cart", "b", _origin("b"), "a")
    assert (again.epoch, again.active) == (2, "b")


def test_a_group_of_which_all_are_active_keeps_its_epoch_for_later() -> None:
    own = opened(promoted(_first("b"), "cart"))
    all_active = begun(own, "cart", "b", _origin("b"), "")
    assert all_active.is_active
    assert all_active.role("cart").epoch == 0
    assert begun(all_active, "cart", "b", _origin("b"), "a").epoch == 2


def test_a_promoted_replica_takes_commands_when_it_is_opened() -> None:
    own = promoted(_first("b"), "cart")
    assert (own.epoch, own.active, own.is_active, own.role("cart").active) == (2, "b", False, "")
    assert opened(own).role("cart").active == "b"


def test_after_a_demotion_nobody_is_active() -> None:
    own = demoted(_first("a"), "cart")
    assert (own.epoch, own.active, own.is_active) == (2, "", False)
    with pytest.raises(NotActiveError, match="nobody is"):
        demoted(own, "cart")


def test_where_all_are_active_nobody_is_promoted() -> None:
    for step in (promoted, demoted):
        with pytest.raises(AllActiveError):
            step(_first("a", active=""), "cart")


def test_a_restored_journal_begins_a_generation_nobody_has_seen() -> None:
    again = restored(_first("b"), known=4)
    assert (again.generation, again.recovering, again.closed) == (5, True, "recovering")
    assert again.origins["b"].generation == 5
    assert recovered(again).closed == ""


def test_retiring_is_refused_by_name() -> None:
    own = _first("a")
    with pytest.raises(RetireSelfError):
        retire(own, "cart", "a", GROUP)
    with pytest.raises(UnknownReplicaError, match="a, b, c"):
        retire(own, "cart", "z", GROUP)
    gone = retired(retire(own, "cart", "c", GROUP), "c")
    with pytest.raises(AlreadyRetiredError):
        retire(gone, "cart", "c", GROUP)
    assert gone.fenced == {"c"}
    assert not gone.retiring


def test_a_retiring_replica_closes_when_it_hears_of_it() -> None:
    own = met(_first("c"), retire(_first("a"), "cart", "c", GROUP))
    assert own.closed == "retiring"
    assert retired(own, "c").role("cart").closed == "retired"
    for gone in (own, retired(own, "c")):
        with pytest.raises(RetiredReplicaError):  # it would take no commands
            promoted(gone, "cart")


# --- who may take part ---


@pytest.mark.parametrize(
    ("peer", "refusal"),
    [
        (_first("a"), OwnReplicaIdError),
        (_first("z"), UnknownReplicaError),
        (_first("c"), RetiredReplicaError),
        (_first("b", active=""), GroupModeDiffersError),
        (replace(_first("b"), origins={"b": Origin("other", 4)}), OriginChangedError),
        (replace(_first("b"), origins={"b": Origin("journal-b", 8)}), OriginChangedError),
    ],
)
def test_a_peer_that_may_not_take_part_is_refused_by_name(
    peer: Roles, refusal: type[Exception]
) -> None:
    own = retire(met(_first("a"), _first("b")), "cart", "c", GROUP)
    with pytest.raises(refusal):
        check_peer(own, peer, "cart", GROUP)


def _ids(count: int, of: str = "x") -> tuple[str, ...]:
    return tuple(f"{of}-{n}" for n in range(count))


def _telling(what: str, count: int, of: str = "x") -> Roles:
    """b, which knows of so many replicas that nobody else ever named."""
    ids, first = _ids(count, of), _first("b")
    told: dict[str, Any] = {
        "retired": {"retired": frozenset(ids)},
        "origins": {"origins": {**first.origins, **{one: _origin(one) for one in ids}}},
        "retiring": {"retiring": {one: {} for one in ids}},
        "stages": {"retiring": {"x": {one: Stage(0, 0, ()) for one in ids}}},
    }
    return replace(first, **told[what])


@pytest.mark.parametrize("what", ["retired", "origins", "retiring", "stages"])
def test_what_peers_tell_of_replicas_is_bounded(what: str) -> None:
    """What is known always fits a message, so that it can be told; nothing is taken in part."""
    group = (*GROUP, "x")
    room = REPLICAS_MAX - (2 if what == "origins" else 0)
    full = met(_first("a"), _telling(what, room))
    assert met(full, _telling(what, room)) == full
    with pytest.raises(TooManyReplicasError, match=f"'a' would know of more than {REPLICAS_MAX}"):
        met(full, _telling(what, 1, "y") if what != "stages" else _telling(what, room, "y"))
    for many in (_telling(what, room + 1), _telling(what, 10 * REPLICAS_MAX)):
        with pytest.raises(TooManyReplicasError):
            check_peer(_first("a"), many, "cart", group)


def test_no_more_replicas_are_retired_than_can_be_told() -> None:
    own = replace(_first("a"), retired=frozenset(_ids(REPLICAS_MAX - 1)))
    full = retired(retire(own, "cart", "b", GROUP), "b")
    assert retire(retire(own, "cart", "b", GROUP), "cart", "b", GROUP).fenced == full.retired
    with pytest.raises(TooManyReplicasError):
        retire(full, "cart", "c", GROUP)


def test_a_later_life_of_a_peer_is_taken_with_any_journal() -> None:
    own = met(_first("a"), _first("b"))
    again = replace(_first("b"), generation=1, origins={"b": Origin("made anew", 4, 1)})
    check_peer(own, again, "cart", GROUP)
    assert met(own, again).origins["b"] == Origin("made anew", 4, 1)


def test_a_replica_is_told_that_its_journal_is_not_what_it_was() -> None:
    peer = met(_first("a"), restored(_first("b")))
    assert denies(_first("b"), peer)
    assert not denies(restored(_first("b")), peer)
    assert denies(
        replace(_first("b"), origins={"b": Origin("new", 4)}), met(_first("a"), _first("b"))
    )
    assert not denies(_first("b"), _first("a"))


# --- agreement ---

stages = st.builds(Stage, st.integers(0, 2), st.integers(0, 3), st.tuples(st.integers(0, 5)))
rows = st.dictionaries(st.sampled_from("abc"), stages, max_size=3)
origins: st.SearchStrategy[Mapping[str, Origin]] = st.dictionaries(
    st.sampled_from("abc"),
    st.builds(Origin, st.sampled_from(("j1", "j2")), st.just(4), st.integers(0, 3)),
)


@st.composite
def _anything(draw: st.DrawFn, replica: str = "x") -> Roles:
    gone = draw(st.frozensets(st.sampled_from("def")))
    retiring = draw(st.dictionaries(st.sampled_from("def"), rows, max_size=2))
    return Roles(
        replica, 0, False, True, draw(st.integers(1, 4)), draw(st.sampled_from(("", "a", "b"))),
        False, {one: row for one, row in retiring.items() if one not in gone}, gone, draw(origins),
    )  # fmt: skip


def _shared(roles: Roles) -> Roles:
    """All but what is a replica's own."""
    return replace(roles, replica_id="", generation=0, recovering=False, promoting=False)


@given(one=_anything(), other=_anything(), third=_anything())
def test_meeting_agrees_in_any_order(one: Roles, other: Roles, third: Roles) -> None:
    assert _shared(met(one, other)) == _shared(met(other, one))
    assert _shared(met(met(one, other), third)) == _shared(met(one, met(other, third)))
    assert met(one, one) == one


@given(one=_anything(), other=_anything())
def test_a_lower_epoch_never_demotes(one: Roles, other: Roles) -> None:
    after = met(one, other)
    assert after.epoch == max(one.epoch, other.epoch)
    if other.epoch < one.epoch:
        assert after.active == one.active
    assert after.retired >= one.retired
    assert not set(after.retiring) & after.retired


@given(roles=_anything())
def test_the_stored_form_holds_all_of_it(roles: Roles) -> None:
    stored = msgpack.unpackb(msgpack.packb(plain_of(roles)))
    assert roles_from(stored, "cart") == roles
    assert pickle.loads(pickle.dumps(roles)) == roles


@pytest.mark.parametrize("plain", [None, [], {}, {"replica_id": "a"}, "x"])
def test_a_damaged_entry_is_named(plain: object) -> None:
    with pytest.raises(InvalidRolesError, match="replication:cart"):
        roles_from(plain, "cart")


STEPS: Mapping[str, Callable[[Roles], Roles]] = {
    "promote": lambda roles: (
        promoted(roles, "cart") if roles.replica_id not in roles.fenced else roles
    ),
    "demote": lambda roles: demoted(roles, "cart") if roles.active == roles.replica_id else roles,
    "open": opened,
    "restore": restored,
    "recover": recovered,
    "retire": lambda roles: (
        roles
        if roles.replica_id == "c" or "c" in roles.retired
        else retire(roles, "cart", "c", GROUP)
    ),
    "stage": lambda roles: staged(roles, "c", Stage(roles.generation, 1, (3, 4))),
    "retired": lambda roles: retired(roles, "c") if "c" in roles.retiring else roles,
    "start": lambda roles: begun(roles, "cart", roles.replica_id, _origin(roles.replica_id), "a"),
}


@given(
    history=st.lists(
        st.tuples(st.sampled_from(GROUP), st.sampled_from((*STEPS, *GROUP))), max_size=30
    )
)
def test_any_history_grows_and_ends_in_agreement(history: list[tuple[str, str]]) -> None:
    """A step at one of three replicas, or a meeting of two: whatever happens, epochs, generations
    and the retired only grow; once all have met, all know the same and one at most is active."""
    group = {one: _first(one) for one in GROUP}
    for at, what in history:
        before = group[at]
        after = STEPS[what](before) if what in STEPS else met(before, group[what])
        assert after.epoch >= before.epoch
        assert after.generation >= before.generation
        assert after.retired >= before.retired
        if what in STEPS and (after.epoch, after.active) != (before.epoch, before.active):
            assert after.epoch > before.epoch
        group[at] = after
    for _ in range(2):
        for at in GROUP:
            for other in GROUP:
                group[at] = met(group[at], group[other])
    assert len({repr(plain_of(_shared(one))) for one in group.values()}) == 1
    assert sum(one.is_active for one in group.values()) <= 1


# --- meetings as they are told ---


@given(roles=_anything())
def test_what_is_told_is_heard(roles: Roles) -> None:
    start = ReplicaStart(**told(roles, "cart", GROUP))
    started = ReplicaStarted(**told(roles, "cart", GROUP))
    assert roles_of(start) == roles_of(started) == roles
    assert start.replicas == tuple(sorted(({*GROUP, "x"}) - roles.retired))


@given(own=_anything(), peer=_anything("y"))
def test_hearing_is_meeting(own: Roles, peer: Roles) -> None:
    counts = believed(own, peer, GROUP)
    assert heard(own, ReplicaStarted(**told(peer, "cart", GROUP)), GROUP) == met(own, counts)
    known = heard(own, Known((), *told_while_open(peer)), GROUP)
    assert known == met(own, replace(counts, origins={}))


@given(own=_anything("a"), peer=_anything("b"))
def test_a_peers_word_alone_shuts_nobody_out(own: Roles, peer: Roles) -> None:
    """Whoever the settings name, or this replica, leaves where people wished it here."""
    group = ("a", "b", "d", "e")
    after = met(own, believed(own, peer, group))
    assert (after.fenced - own.fenced) & {*group} == set()
    assert after.fenced - {*group} == (own.fenced | peer.fenced) - {*group}
    for replica, stages in after.retiring.items():
        assert stages.get("a") == own.retiring.get(replica, {}).get("a")
    for replica, origin in own.origins.items():
        known = after.origins[replica]
        assert known == origin or known.generation > origin.generation or replica == "b"


def test_a_group_of_which_all_are_active_tells_no_epoch() -> None:
    own = begun(opened(promoted(_first("b"), "cart")), "cart", "b", _origin("b"), "")
    said = roles_of(ReplicaStart(**told(own, "cart", GROUP)))
    assert (said.epoch, said.active, said.one_active) == (0, "", False)
    assert heard(own, Known((), *told_while_open(own)), GROUP) == own
