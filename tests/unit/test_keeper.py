"""Keepers of two and three replicas over real journals; the links between them are told by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thespian_dc.entity.role_registry import (
    begin_roles,
    change_roles,
    is_checked,
    known_roles,
    note_diverged,
)
from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.replication_handshake import ReplicaStarted
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.role_errors import (
    OriginChangedError,
    RetiredReplicaError,
    UnknownReplicaError,
)
from thespian_dc.model.role_handshake import told
from thespian_dc.model.roles import Roles
from thespian_dc.model.stream_errors import PeerUnavailableError
from thespian_dc.replication import keeper, wishes
from thespian_dc.replication.keeper import Keeper, RolesChanged
from thespian_dc.replication.link_core import Blocked
from thespian_dc.replication.link_facts import LinkFacts
from thespian_dc.replication.replica import lacks_own
from thespian_dc.testkit.eventually import eventually

SECOND = 1_000_000


class Replica:
    """One replica: its journal, its keeper, and links that are what the test says."""

    def __init__(self, name: str, folder: Path, group: str, active: str) -> None:
        self.name, self.active = name, active
        self.world: World
        peers = [Peer(one, "127.0.0.1:1") for one in group if one != name]
        self.setting = Replication("cart", name, peers=peers, active=active)
        self.journal: Journal = open_journal(f"sqlite:///{folder}/{name}.db")
        self.journal.slices("cart", 1)
        begin_roles(self.journal, self.setting)
        self.head = 0
        self.read: dict[str, int] = {}
        self.down = False
        self.changes: list[RolesChanged] = []
        self.keeper = Keeper(self.journal, self.setting, "node", self, self.changes.append)

    # --- Links ---

    def reading(self) -> frozenset[str]:
        peers = {one.replica_id for one in self.setting.peers}
        return frozenset(peers - self.keeper.roles.fenced)

    def cursors(self, generation: int) -> Mapping[str, Mapping[int, int]]:
        return {peer: {0: at} for peer, at in self.read.items()}

    def heads(self, peer: str) -> Mapping[int, int]:
        other = self.world.replicas[peer]
        if other.down:
            raise PeerUnavailableError(peer, "it is down")
        return {0: other.head}

    # --- what a test looks at ---

    @property
    def roles(self) -> Roles:
        return known_roles(self.journal, "cart")

    def says(self, **more: Any) -> ReplicaStarted:
        return ReplicaStarted(**{**told(self.roles, "cart", self.setting.replicas), **more})


class World:
    def __init__(self, folder: Path, group: str, active: str = "") -> None:
        self.now_us = 0
        self.replicas = {name: Replica(name, folder, group, active) for name in group}
        for one in self.replicas.values():
            one.world = self

    def meet(self) -> None:
        """All that run open streams to each other."""
        running = [one for one in self.replicas.values() if not one.down]
        for one in running:
            for other in running:
                if one is not other and other.name not in one.roles.fenced:
                    one.keeper.met(other.says())

    def round(self, meet: bool = True) -> None:
        self.now_us += SECOND // 2
        if meet:
            self.meet()
        for one in self.replicas.values():
            if not one.down:
                one.keeper.round(self.now_us)

    def until(self, fact: Any) -> None:
        def comes_true() -> bool:
            self.round()
            return bool(fact())

        eventually(comes_true, deadline_s=20)


@pytest.fixture
def three(tmp_path: Path) -> Iterator[World]:
    yield from _world(tmp_path, "")


@pytest.fixture
def standby(tmp_path: Path) -> Iterator[World]:
    yield from _world(tmp_path, "a")


def _world(folder: Path, active: str) -> Iterator[World]:
    world = World(folder, "abc", active)
    yield world
    for one in world.replicas.values():
        one.keeper.stop(0)
        one.journal.close()


def ended(replica: Replica, nr: int) -> wishes.Wish | None:
    wish = wishes.wishes(replica.journal, "cart").of(nr)
    return wish if wish is not None and wish.state != wishes.OPEN else None


def promote(replica: Replica, force: bool = False, timeout_us: int = 10 * SECOND) -> int:
    told_ = {"timeout_us": timeout_us, "force": force}
    return wishes.wish(replica.journal, "cart", wishes.PROMOTE, **told_).nr


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
    monkeypatch.setattr(keeper, "change_roles", promoted_meanwhile)
    one.keeper.round(1)
    assert (one.roles.generation, one.roles.recovering) == (4, True)


def test_a_journal_made_anew_is_noticed_by_a_refusal(three: World) -> None:
    one = three.replicas["a"]
    refusal = OriginChangedError("cart", "a", "the old one", 1, one.journal.journal_id, 1)
    one.keeper.refused(OriginChangedError("cart", "b", "x", 1, "y", 1))
    one.keeper.round(1)
    assert one.roles.generation == 0
    for now in (2, 3):
        one.keeper.refused(refusal)
        one.keeper.round(now)
        assert (one.roles.generation, one.roles.recovering) == (1, True)


# --- promote and demote ---


def test_a_promotion_reaches_all_and_demotes_the_former(standby: World) -> None:
    former, next_ = standby.replicas["a"], standby.replicas["b"]
    nr = promote(next_)
    standby.until(lambda: ended(next_, nr))
    wish = ended(next_, nr)
    assert wish is not None
    assert (wish.state, wish.answer["epoch"]) == (wishes.DONE, 2)
    assert wish.answer["behind"] == {"a": [0, ""], "c": [0, ""]}
    assert next_.roles.is_active
    assert not former.roles.is_active
    assert all(one.roles.active == "b" for one in standby.replicas.values())


def test_a_promotion_without_the_former_is_refused_and_changes_nothing(standby: World) -> None:
    standby.replicas["a"].down = True
    next_ = standby.replicas["b"]
    nr = promote(next_, timeout_us=2 * SECOND)
    standby.until(lambda: ended(next_, nr))
    wish = ended(next_, nr)
    assert wish is not None
    assert wish.state == wishes.REFUSED
    assert "'a'" in wish.answer["reason"]
    assert (next_.roles.epoch, next_.roles.active) == (1, "a")


def test_a_forced_one_says_of_whom_it_knows_nothing(standby: World) -> None:
    former, next_ = standby.replicas["a"], standby.replicas["b"]
    former.down = True
    nr = promote(next_, force=True)
    standby.until(lambda: ended(next_, nr))
    wish = ended(next_, nr)
    assert wish is not None
    assert wish.answer["behind"]["a"][0] is None
    assert wish.answer["behind"]["c"] == [0, ""]
    former.down = False
    assert former.roles.is_active
    standby.until(lambda: not former.roles.is_active)


def test_a_keeper_that_ends_in_the_middle_is_followed_by_one_that_opens(standby: World) -> None:
    next_ = standby.replicas["b"]
    promote(next_)
    standby.until(lambda: next_.roles.promoting)
    assert not next_.roles.is_active
    next_.keeper.stop(0)
    next_.keeper = Keeper(next_.journal, next_.setting, "node", next_, next_.changes.append)
    standby.replicas["a"].head = 3  # what the former wrote before it heard of the promotion
    standby.until(
        lambda: next_.keeper._promotion and not next_.keeper._promotion[1].lacking().get("c")
    )
    assert not next_.roles.is_active
    next_.read["a"] = 3
    standby.until(lambda: next_.roles.is_active)


def test_a_wish_raises_the_epoch_once_whoever_settles_it(standby: World) -> None:
    next_ = standby.replicas["b"]
    nr = promote(next_)
    standby.until(lambda: next_.roles.promoting)
    next_.keeper.stop(0)
    next_.keeper = Keeper(next_.journal, next_.setting, "node", next_, next_.changes.append)
    standby.until(lambda: ended(next_, nr))
    wish = ended(next_, nr)
    assert wish is not None
    assert (wish.state, wish.answer["epoch"]) == (wishes.DONE, 2)
    assert wish.answer["behind"] == {"a": [0, ""], "c": [0, ""]}
    for _ in range(10):
        standby.round()
    assert (next_.roles.epoch, next_.roles.is_active) == (2, True)


@pytest.mark.parametrize("kind", [wishes.PROMOTE, wishes.DEMOTE])
def test_a_keeper_that_ends_before_it_answers_is_followed_by_one_that_answers(
    standby: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was wished is done, and nobody was told."""
    one = standby.replicas["b" if kind == wishes.PROMOTE else "a"]
    nr = promote(one) if kind == wishes.PROMOTE else wishes.wish(one.journal, "cart", kind).nr
    with monkeypatch.context() as dies:
        dies.setattr(one.keeper, "_end", lambda *_: None)
        standby.until(lambda: one.roles.epoch == 2 and not one.roles.promoting)
        one.keeper.stop(0)
        assert ended(one, nr) is None
    one.keeper = Keeper(one.journal, one.setting, "node", one, one.changes.append)
    standby.until(lambda: ended(one, nr))
    wish = ended(one, nr)
    assert wish is not None
    assert (wish.state, wish.answer["epoch"], one.roles.epoch) == (wishes.DONE, 2, 2)
    assert one.roles.is_active == (kind == wishes.PROMOTE)


def test_a_promotion_that_was_withdrawn_changes_nothing(standby: World) -> None:
    next_ = standby.replicas["b"]
    nr = promote(next_)
    next_.keeper.round(SECOND)
    wishes.end(next_.journal, "cart", nr, wishes.WITHDRAWN, {})
    for _ in range(10):
        standby.round()
    assert (next_.roles.epoch, next_.roles.active) == (1, "a")


def test_a_promotion_that_another_one_overtakes_is_refused(standby: World) -> None:
    next_ = standby.replicas["b"]
    nr = promote(next_)
    standby.until(lambda: next_.roles.promoting)
    change_roles(
        next_.journal, "cart", lambda roles: replace(roles, epoch=9, active="c", promoting=False)
    )
    standby.until(lambda: ended(next_, nr))
    wish = ended(next_, nr)
    assert wish is not None
    assert (wish.state, next_.roles.active) == (wishes.REFUSED, "c")
    assert "c became active meanwhile, under epoch 9" in wish.answer["reason"]


def test_a_demotion_leaves_nobody_active(standby: World) -> None:
    former = standby.replicas["a"]
    nr = wishes.wish(former.journal, "cart", wishes.DEMOTE).nr
    refused = wishes.wish(standby.replicas["b"].journal, "cart", wishes.DEMOTE).nr
    standby.round(meet=False)
    done = ended(former, nr)
    assert done is not None
    assert (done.state, done.answer["epoch"]) == (wishes.DONE, 2)
    wish = ended(standby.replicas["b"], refused)
    assert wish is not None
    assert wish.state == wishes.REFUSED
    standby.round()
    assert not any(one.roles.is_active for one in standby.replicas.values())


def test_where_all_are_active_a_promotion_is_refused(three: World) -> None:
    one = three.replicas["a"]
    nr = promote(one)
    three.round()
    wish = ended(one, nr)
    assert wish is not None
    assert wish.state == wishes.REFUSED


# --- retire ---


def test_a_replica_retires_when_the_others_have_exchanged_what_they_have(three: World) -> None:
    one, other = three.replicas["a"], three.replicas["b"]
    one.head, other.head = 0, 0
    wishes.wish(one.journal, "cart", wishes.RETIRE, replica="c")
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


def test_a_replica_that_is_refused_as_retired_takes_no_more_commands(three: World) -> None:
    one = three.replicas["c"]
    one.keeper.refused(RetiredReplicaError("cart", "b"))
    three.round()
    assert one.roles.closed == ""
    one.keeper.refused(RetiredReplicaError("cart", "c"))
    three.round()
    assert one.roles.closed == "retiring"


# --- the thread ---


def test_the_thread_does_all_of_it_by_itself(standby: World) -> None:
    former = standby.replicas["a"]
    former.keeper.start()
    nr = wishes.wish(former.journal, "cart", wishes.DEMOTE).nr
    eventually(lambda: ended(former, nr), deadline_s=20)
    eventually(
        lambda: wishes.last_beat(former.journal, "cart").group == ("a", "b", "c"), deadline_s=20
    )
