"""What a keeper does at its start, with an older copy, and with who leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.keepers import SECOND, World, ended, worlds
from thespian_dc.entity.role_registry import (
    change_roles,
    is_checked,
    known_roles,
    listing,
    note_diverged,
)
from thespian_dc.journal.api import Journal
from thespian_dc.model.replication_handshake import OriginFacts, Retiring, RetiringStage
from thespian_dc.model.role_errors import (
    AheadOfTimeError,
    OriginChangedError,
    RetiredReplicaError,
    UnknownReplicaError,
)
from thespian_dc.model.role_limits import ALWAYS, BEGAN_US, GENERATION_US
from thespian_dc.model.roles import recovered
from thespian_dc.replication import own_roles, wishes
from thespian_dc.replication.blocked import Blocked
from thespian_dc.replication.keeper import Keeper
from thespian_dc.replication.link_facts import LinkFacts
from thespian_dc.replication.replica import lacks_own
from thespian_dc.testkit.eventually import eventually


@pytest.fixture
def three(tmp_path: Path) -> Iterator[World]:
    yield from worlds(tmp_path, "")


@pytest.fixture
def standby(tmp_path: Path) -> Iterator[World]:
    yield from worlds(tmp_path, "a")


# --- starts ---


def test_hosts_may_begin_when_all_peers_have_spoken(three: World) -> None:
    one = three.replicas["a"]
    one.keeper.met(three.replicas["b"].says())
    one.keeper.round(1)
    assert not is_checked(one.journal, "cart", "node")
    one.keeper.met(three.replicas["c"].says())
    one.keeper.round(2)
    assert is_checked(one.journal, "cart", "node")


def test_a_peer_that_knows_more_of_this_log_closes_it_until_it_is_whole(three: World) -> None:
    one, other = three.replicas["a"], three.replicas["b"]
    other.head, other.down = 5, False
    one.keeper.met(other.says(seen_journal_id=one.journal.journal_id, seen_generation=3, seen={}))
    one.keeper.round(1)
    assert (one.roles.generation, one.roles.closed) == (4, "recovering")
    [change] = [c for c in one.changes if c.roles.recovering]
    assert (change.before.generation, change.roles.role("cart").closed) == (0, "recovering")
    three.round()
    assert one.roles.recovering
    one.read = {"b": 5, "c": 0}
    three.until(lambda: not one.roles.recovering)
    assert three.replicas["b"].roles.origins["a"].generation == 4


def test_what_a_producer_found_counts_too(three: World) -> None:
    one = three.replicas["a"]
    note_diverged(one.journal, "cart", "b", 2)
    one.keeper.round(1)
    assert (one.roles.generation, one.roles.recovering) == (3, True)
    one.keeper.round(2)
    assert one.roles.generation == 3


def test_what_follows_an_own_event_that_is_not_here_proves_an_older_copy_once(
    three: World,
) -> None:
    """No peer was further in this log, but one has what was in it."""
    one = three.replicas["a"]
    waits = Blocked(0, "x", 1, ("a", 4), "")
    facts = [LinkFacts("b", "up", waits=(waits,))]
    assert not lacks_own(facts, "a", 2 * SECOND)
    assert lacks_own(facts, "a", 4 * SECOND)
    assert not lacks_own(facts, "c", 4 * SECOND)
    of_a_state = LinkFacts("b", "up", waits=(waits._replace(text="trimmed here"),))
    assert not lacks_own([of_a_state], "a", 4 * SECOND), "what lacks it is the peer's state"
    one.keeper.lacks_own()
    one.keeper.round(1)
    assert (one.roles.generation, one.roles.recovering) == (1, True)
    one.read = {"b": 0, "c": 0}
    three.until(lambda: not one.roles.recovering)
    one.keeper.lacks_own()
    one.keeper.round(2)
    assert (one.roles.generation, one.roles.recovering) == (1, False)


def test_a_stranger_is_refused_before_it_is_heard(three: World) -> None:
    said = three.replicas["b"].says(replica_id="x")
    with pytest.raises(UnknownReplicaError):
        three.replicas["a"].keeper.check(said)


def test_of_two_keepers_that_find_an_older_copy_one_begins_a_generation(three: World) -> None:
    """Two nodes share the journal of one replica."""
    one = three.replicas["a"]
    second = Keeper(one.journal, one.setting, "node 2", one, lambda _: None)
    note_diverged(one.journal, "cart", "b", 0)
    second._restoring.on_said("b", is_older=True)
    one.keeper.round(1)
    assert one.roles.generation == 1
    second._restore({}, 2)  # it has not looked since
    assert one.roles.generation == 1
    assert second.roles.recovering
    second.stop(0)


def test_a_recovery_that_one_node_began_another_one_ends(three: World) -> None:
    """The links are shared out among the nodes, and any of them may die."""
    one = three.replicas["a"]
    second = Keeper(one.journal, one.setting, "node 2", one, lambda _: None)
    note_diverged(one.journal, "cart", "b", 0)
    one.keeper.round(1)
    assert one.roles.recovering
    one.read = {"b": 0, "c": 0}

    def recovers() -> bool:
        three.now_us += SECOND
        second.round(three.now_us)
        return not one.roles.recovering

    eventually(recovers, 20)
    one.keeper.round(three.now_us + SECOND)
    assert not one.keeper._restoring.recovering
    second.stop(0)


def test_an_older_copy_is_found_though_another_is_promoted_meanwhile(
    standby: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the registry and the change; the peer says it only once."""
    one, other = standby.replicas["a"], standby.replicas["b"]

    def promoted_meanwhile(journal: Journal, entity_type: str, change: Any) -> Any:
        if not known_roles(journal, entity_type).recovering:
            change_roles(journal, entity_type, lambda own: replace(own, epoch=own.epoch + 1))
        return change_roles(journal, entity_type, change)

    one.keeper.met(other.says(seen_journal_id="j", seen_generation=3, seen={}))
    monkeypatch.setattr(own_roles, "change_roles", promoted_meanwhile)
    one.keeper.round(1)
    assert (one.roles.generation, one.roles.recovering) == (4, True)


def test_a_journal_made_anew_is_noticed_by_a_refusal(three: World) -> None:
    one = three.replicas["a"]
    refusal = OriginChangedError("cart", "a", "the old one", 1, one.journal.journal_id, 1)
    one.keeper.refused(OriginChangedError("cart", "b", "x", 1, "y", 1), "b")
    one.keeper.round(1)
    assert one.roles.generation == 0
    for now in (2, 3):
        one.keeper.refused(refusal, "b")
        one.keeper.round(now)
        assert (one.roles.generation, one.roles.recovering) == (1, True)


# --- retire ---


def test_a_replica_retires_when_the_others_have_exchanged_what_they_have(three: World) -> None:
    one, other = three.replicas["a"], three.replicas["b"]
    one.head, other.head = 0, 0
    for here in (one, other):
        wishes.wish(here.journal, "cart", wishes.RETIRE, replica="c")
    three.round()
    three.round()
    assert three.replicas["c"].roles.closed == "retiring"
    three.until(lambda: "c" in one.roles.retired and "c" in other.roles.retired)
    assert one.keeper.roles.role("cart").retired == {"c"}


def test_a_retirement_of_nobody_is_refused(three: World) -> None:
    one = three.replicas["a"]
    nr = wishes.wish(one.journal, "cart", wishes.RETIRE, replica="z").nr
    three.round()
    wish = ended(one, nr)
    assert wish is not None
    assert "'z'" in wish.answer["reason"]


def test_a_replica_that_all_others_refuse_as_retired_takes_no_more_commands(three: World) -> None:
    one = three.replicas["c"]
    for peer in "ab":
        one.keeper.refused(RetiredReplicaError("cart", "b"), peer)
    three.round()
    assert one.roles.closed == ""
    for peer in "ab":
        one.keeper.refused(RetiredReplicaError("cart", "c"), peer)
    three.round(meet=False)
    assert one.roles.closed == "retiring"


def test_no_peer_shuts_out_another_one_by_its_word(three: World) -> None:
    """That it leaves, or has left: of the one it is said to, and of the one it is said of. People
    are told."""
    one, other = three.replicas["a"], three.replicas["c"]
    for lie in (
        {"retired": ("a", "c")},
        {"retiring": tuple(Retiring(x, (RetiringStage("a", 0, 9, ()),)) for x in "ac")},
    ):
        for told_to in (one, other):
            told_to.keeper.met(three.replicas["b"].says(**lie))
            told_to.keeper.refused(RetiredReplicaError("cart", told_to.name), "b")
            told_to.keeper.round(1)
    for unharmed in (one, other):
        assert unharmed.roles.closed == ""
        assert not unharmed.roles.fenced
    [(_, listed)] = listing(one.journal, "cart").newest
    assert listed[:3] == ("retirement", "c", "b")
    assert "replica 'c' leaves" in listed.text


def test_a_replica_that_the_settings_do_not_name_leaves_by_a_peers_word(three: World) -> None:
    one = three.replicas["a"]
    one.keeper.met(three.replicas["b"].says(retired=("x",)))
    one.keeper.round(1)
    assert one.roles.retired == {"x"}


def test_how_far_this_replica_is_with_a_retirement_nobody_else_says(three: World) -> None:
    one, liar = three.replicas["a"], three.replicas["b"]
    wishes.wish(one.journal, "cart", wishes.RETIRE, replica="c")
    one.keeper.round(1)
    done = RetiringStage("a", 0, 9, (0,)), RetiringStage("b", 0, 1, (5,))
    one.keeper.met(liar.says(retiring=(Retiring("c", done),)))
    one.keeper.round(2)
    assert one.roles.retiring["c"]["a"].round == 0  # it has not read what b has
    one.read = {"b": 5}
    one.keeper.round(3)
    assert one.roles.retired == {"c"}


# --- numbers that only grow ---


@pytest.mark.parametrize(
    ("lie", "word"),
    [
        ({"epoch": 1 << 62, "active": "b"}, "epoch"),
        ({"generation": (1 << 23) - 1}, "generation"),
        ({"seen_generation": (1 << 23) - 1, "seen_journal_id": "j"}, "generation"),
        ({"origins": (OriginFacts("a", "j", 1, (1 << 23) - 1),)}, "generation"),
        ({"origins": (OriginFacts("c", "j", 1, (1 << 23) - 1),)}, "generation"),
        ({"retiring": (Retiring("c", (RetiringStage("b", 1 << 22, 0, ()),)),)}, "generation"),
    ],
)
def test_a_number_that_nobody_can_have_reached_is_refused_by_name(
    standby: World, lie: dict[str, Any], word: str
) -> None:
    said = standby.replicas["b"].says(**lie)
    with pytest.raises(AheadOfTimeError, match=f"'b' tells of {word} "):
        standby.replicas["a"].keeper.check(said)


def test_a_replica_is_not_made_to_use_up_its_generations(three: World) -> None:
    """A member may let it recover again and again: not more often than the clock allows."""
    one = three.replicas["a"]
    change_roles(one.journal, "cart", lambda own: replace(own, generation=ALWAYS - 1))
    one.keeper.round(1)
    for now in range(2, 10):
        lie = {"seen_journal_id": "another", "seen_generation": one.roles.generation}
        one.keeper.met(three.replicas["b"].says(**lie))
        one.keeper.round(now)
        change_roles(one.journal, "cart", recovered)
    assert one.roles.generation == ALWAYS
    one.keeper.met(three.replicas["b"].says(seen_journal_id="x", seen_generation=ALWAYS))
    one.keeper.round(BEGAN_US + (ALWAYS + 1) * GENERATION_US)
    assert one.roles.generation == ALWAYS + 1


def test_which_journal_a_replica_writes_no_third_one_says(
    three: World,
) -> None:
    """What was met is not unlearnt by the word of a third."""
    one = three.replicas["a"]
    three.round()
    true = one.roles.origins["c"]
    one.keeper.met(three.replicas["b"].says(origins=(OriginFacts("c", "zzz", 1, 0),)))
    one.keeper.round(three.now_us + 1)
    assert one.roles.origins["c"] == true
    one.keeper.check(three.replicas["c"].says())


# --- the thread ---


def test_the_thread_does_all_of_it_by_itself(standby: World) -> None:
    former = standby.replicas["a"]
    former.keeper.start()
    nr = wishes.wish(former.journal, "cart", wishes.DEMOTE).nr
    eventually(lambda: ended(former, nr), deadline_s=20)
    eventually(
        lambda: wishes.last_beat(former.journal, "cart").group == ("a", "b", "c"), deadline_s=20
    )
