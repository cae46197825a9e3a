"""Wishes to promote and to demote, and what becomes of them where their keeper ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.keepers import SECOND, Replica, World, ended, promote, worlds
from thespian_dc.entity.role_registry import (
    change_roles,
)
from thespian_dc.model.criteria import Exclude, VersionedFilter
from thespian_dc.model.roles import fenced
from thespian_dc.model.stream_errors import PeerUnavailableError
from thespian_dc.replication import wishes
from thespian_dc.replication.keeper import Keeper


class AskNot:
    """Links of which one peer cannot be asked where its log ends."""

    def __init__(self, links: Replica, peer: str) -> None:
        self.reading, self.cursors, self.left_out = links.reading, links.cursors, links.left_out
        self._heads, self._peer = links.heads, peer

    def heads(self, peer: str) -> Mapping[int, int]:
        if peer == self._peer:
            raise PeerUnavailableError(peer, "its calls come in elsewhere")
        return self._heads(peer)


@pytest.fixture
def standby(tmp_path: Path) -> Iterator[World]:
    yield from worlds(tmp_path, "a")


@pytest.fixture
def three(tmp_path: Path) -> Iterator[World]:
    yield from worlds(tmp_path, "")


def test_a_promotion_reaches_all_and_demotes_the_former(standby: World) -> None:
    former, next_ = standby.replicas["a"], standby.replicas["b"]
    nr = promote(next_)
    wish = standby.outcome(next_, nr)
    assert (wish.state, wish.answer["epoch"]) == (wishes.DONE, 2)
    assert wish.answer["behind"] == {"a": [0, ""], "c": [0, ""]}
    assert next_.roles.is_active
    assert not former.roles.is_active
    assert all(one.roles.active == "b" for one in standby.replicas.values())


def test_a_promotion_without_the_former_is_refused_and_changes_nothing(standby: World) -> None:
    standby.replicas["a"].down = True
    next_ = standby.replicas["b"]
    nr = promote(next_, timeout_us=2 * SECOND)
    wish = standby.outcome(next_, nr)
    assert wish.state == wishes.REFUSED
    assert "'a'" in wish.answer["reason"]
    assert (next_.roles.epoch, next_.roles.active) == (1, "a")


def test_a_forced_one_says_of_whom_it_knows_nothing(standby: World) -> None:
    former, next_ = standby.replicas["a"], standby.replicas["b"]
    former.down = True
    nr = promote(next_, force=True)
    wish = standby.outcome(next_, nr)
    assert wish.answer["behind"]["a"][0] is None
    assert wish.answer["behind"]["c"] == [0, ""]
    former.down = False
    assert former.roles.is_active
    standby.until(lambda: not former.roles.is_active)


def test_one_that_leaves_entities_out_waits_until_it_has_them_or_is_refused(standby: World) -> None:
    """All logs were read, through a filter: what it withheld is not here, whatever they say."""
    next_ = standby.replicas["b"]
    next_.lacks = "its filter leaves entities out"
    refused = promote(next_, timeout_us=2 * SECOND)
    wish = standby.outcome(next_, refused)
    assert wish.state == wishes.REFUSED
    assert "its filter leaves entities out" in wish.answer["reason"]
    assert (next_.roles.epoch, next_.roles.active) == (1, "a")
    taken = promote(next_)
    for _ in range(4):
        standby.round()
    assert ended(next_, taken) is None
    next_.lacks = ""
    wish = standby.outcome(next_, taken)
    assert wish.answer["behind"] == {"a": [0, ""], "c": [0, ""]}


def test_a_forced_one_says_that_it_leaves_entities_out(standby: World) -> None:
    next_ = standby.replicas["b"]
    next_.lacks = "its filter leaves entities out"
    nr = promote(next_, force=True)
    wish = standby.outcome(next_, nr)
    assert wish.state == wishes.DONE
    assert wish.answer["behind"] == {"a": [None, next_.lacks], "c": [None, next_.lacks]}


def test_the_report_says_who_does_not_show_all(standby: World) -> None:
    """What it withholds may come by others, or not at all; nobody knows."""
    former, next_ = standby.replicas["a"], standby.replicas["b"]
    hides = VersionedFilter(1, Exclude.entity_ids("c-1"))
    nr = promote(next_)
    next_.keeper.met(former.says(shown=hides))
    while ended(next_, nr) is None:
        standby.round(meet=False)
        next_.keeper.met(former.says(shown=hides))
        next_.keeper.met(standby.replicas["c"].says())
        for one in "ac":
            standby.replicas[one].keeper.met(next_.says())
    wish = ended(next_, nr)
    assert wish is not None
    assert wish.state == wishes.DONE
    assert wish.answer["behind"] == {"a": [None, "it does not show all entities"], "c": [0, ""]}


def test_a_keeper_that_ends_in_the_middle_is_followed_by_one_that_opens(standby: World) -> None:
    next_ = standby.replicas["b"]
    promote(next_)
    standby.until(lambda: next_.roles.promoting)
    assert not next_.roles.is_active
    next_.keeper.stop(0)
    next_.keeper = Keeper(next_.journal, next_.setting, "node", next_, next_.changes.append)
    standby.replicas["a"].head = 3  # what the former wrote before it heard of the promotion
    performing = next_.keeper._performing
    standby.until(lambda: performing.promotion and not performing.promotion[1].lacking().get("c"))
    assert not next_.roles.is_active
    next_.read["a"] = 3
    standby.until(lambda: next_.roles.is_active)


def test_a_wish_raises_the_epoch_once_whoever_settles_it(standby: World) -> None:
    next_ = standby.replicas["b"]
    nr = promote(next_)
    standby.until(lambda: next_.roles.promoting)
    next_.keeper.stop(0)
    next_.keeper = Keeper(next_.journal, next_.setting, "node", next_, next_.changes.append)
    wish = standby.outcome(next_, nr)
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
        dies.setattr(one.keeper._performing, "_end", lambda *_: None)
        standby.until(lambda: one.roles.epoch == 2 and not one.roles.promoting)
        one.keeper.stop(0)
        assert ended(one, nr) is None
    one.keeper = Keeper(one.journal, one.setting, "node", one, one.changes.append)
    wish = standby.outcome(one, nr)
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


def test_a_node_that_cannot_ask_a_peer_follows_the_one_that_can(standby: World) -> None:
    """Two nodes share the journal of one replica; a's calls come in at the other one. The wish ends
    by what that one did, and not because the time was over while it settled."""
    next_ = standby.replicas["b"]
    second = Keeper(next_.journal, next_.setting, "node 2", AskNot(next_, "a"), lambda _: None)
    nr = promote(next_, timeout_us=3 * SECOND)
    second.round(standby.now_us)
    standby.until(lambda: next_.roles.promoting)
    second.round(standby.now_us + 4 * SECOND)
    second.round(standby.now_us + 5 * SECOND)
    assert ended(next_, nr) is None
    wish = standby.outcome(next_, nr)
    assert (wish.state, wish.answer["behind"]) == (wishes.DONE, {"a": [0, ""], "c": [0, ""]})
    second.stop(0)


def test_who_settles_an_earlier_promotion_does_not_open_a_later_one(standby: World) -> None:
    """Another node opened the earlier one long since."""
    next_ = standby.replicas["b"]
    second = Keeper(next_.journal, next_.setting, "node 2", AskNot(next_, "a"), lambda _: None)
    nr = promote(next_)
    standby.until(lambda: next_.roles.promoting)
    second.round(SECOND)
    standby.until(lambda: ended(next_, nr))
    demoting = wishes.wish(next_.journal, "cart", wishes.DEMOTE).nr
    standby.until(lambda: ended(next_, demoting))
    promote(next_)
    standby.until(lambda: next_.roles.promoting)
    second.round(60 * SECOND)
    second.round(120 * SECOND)
    assert next_.roles.promoting
    second.stop(0)


def test_a_promotion_that_another_one_overtakes_is_refused(standby: World) -> None:
    next_ = standby.replicas["b"]
    nr = promote(next_)
    standby.until(lambda: next_.roles.promoting)
    change_roles(
        next_.journal, "cart", lambda roles: replace(roles, epoch=9, active="c", promoting=False)
    )
    wish = standby.outcome(next_, nr)
    assert (wish.state, next_.roles.active) == (wishes.REFUSED, "c")
    assert "c became active meanwhile, under epoch 9" in wish.answer["reason"]


def test_a_promotion_of_one_that_hears_meanwhile_that_it_retires_is_refused(standby: World) -> None:
    """Its keeper goes on."""
    next_ = standby.replicas["b"]
    standby.replicas["a"].down = True
    nr = promote(next_)
    standby.round(meet=False)
    assert (ended(next_, nr), next_.roles.promoting) == (None, False)
    change_roles(next_.journal, "cart", fenced)
    standby.replicas["a"].down = False
    wish = standby.outcome(next_, nr)
    assert (wish.state, next_.roles.epoch) == (wishes.REFUSED, 1)
    assert "'b' was retired" in wish.answer["reason"]


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
