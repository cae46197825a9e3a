"""Entities as users write them for several replicas: an auction, a blog, a watch list, a
counter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, NamedTuple

import pytest

from tests.unit.replicas import group, settle
from thespian_dc import ReplicatedEventSourcedActor
from thespian_dc.crdt.api import CRDT_TYPES, LwwTime, OrSet, PnCounter
from thespian_dc.model.replication import read_remote

HOUR_US = 3_600_000_000


# --- an auction: who decides, and when everything is there ---
@dataclass(frozen=True)
class Bid:
    """Command, and the event it becomes at `place`, a time and a replica that nobody shares."""

    amount: int
    bidder: str
    place: tuple[int, str] = (0, "")


@dataclass(frozen=True)
class Finish:
    """Command: time is over here; no bid is taken at this replica any more."""


@dataclass(frozen=True)
class Close:
    """Command: name the winner."""


@dataclass(frozen=True)
class Finished:
    replica: str


@dataclass(frozen=True)
class Closed:
    winner: str
    amount: int


class Lot(NamedTuple):
    best: Bid | None = None
    finished: frozenset[str] = frozenset()
    closed: Closed | None = None


class Auction(ReplicatedEventSourcedActor):
    """The highest bid wins, of equal ones the earlier, of those the one at the lesser replica.

    Each replica says that it is finished when it takes no bid any more. Its bids are before that in
    its log, so who has heard all replicas finish has all bids; and one replica alone closes.
    """

    entity_type = "auction"
    events = [Bid, Finished, Closed]  # noqa: RUF012  as users write it

    def empty_state(self) -> Lot:
        return Lot()

    def receiveMsg_Bid(self, command: Bid, sender: Any) -> None:
        if self.replica_id in self.state.finished:
            self.reply("time is over")
        else:
            bid = replace(command, place=tuple(self.lww_time()))
            self.persist(bid).then_reply(lambda lot: lot.best.bidder)

    def receiveMsg_Finish(self, command: Finish, sender: Any) -> None:
        self.persist(Finished(self.replica_id)).then_reply(lambda lot: sorted(lot.finished))

    def receiveMsg_Close(self, command: Close, sender: Any) -> None:
        lot, missing = self.state, set(self.all_replicas) - self.state.finished
        if self.replica_id != self.all_replicas[0]:
            self.reply(f"{self.all_replicas[0]} closes")
        elif missing:
            self.reply(f"waits for {sorted(missing)}")
        elif lot.closed:
            self.reply(lot.closed.winner)
        else:
            self.persist(Closed(lot.best.bidder, lot.best.amount)).then_reply(
                lambda lot: lot.closed.winner
            )

    def apply_event(self, lot: Lot, event: Any) -> Lot:
        if isinstance(event, Bid):
            best = min(filter(None, (lot.best, event)), key=lambda bid: (-bid.amount, bid.place))
            return lot._replace(best=best)
        if isinstance(event, Finished):
            return lot._replace(finished=lot.finished | {event.replica})
        return lot._replace(closed=event)


def test_an_auction_closes_only_when_every_replica_has_finished() -> None:
    """A bid that comes late counts (111); the one who closes does so once."""
    a, b, c = group(Auction, "a", "b", "c")
    a.ask(Bid(100, "ann"))
    b.ask(Bid(120, "bob"))
    c.ask(Bid(150, "cem"))  # nobody hears of it yet
    settle(a, b)
    a.ask(Finish())
    b.ask(Finish())
    settle(a, b)
    assert b.ask(Bid(999, "too late")) == "time is over"
    assert a.ask(Close()) == "waits for ['c']"
    assert b.ask(Close()) == "a closes"
    c.ask(Finish())
    settle(a, b, c)
    assert a.ask(Close()) == "cem"
    assert a.ask(Close()) == "cem"
    settle(a, b, c)
    assert {one.state().closed for one in (a, b, c)} == {Closed("cem", 150)}
    assert len({one.state() for one in (a, b, c)}) == 1
    assert len(b.events()) == len(c.events()) == 7


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_equal_bids_are_decided_alike_in_every_order(order: tuple[int, ...]) -> None:
    """By time and replica, which travel with the bid; not by who came first here."""
    replicas = group(Auction, "a", "b", "c", clock_us=5)
    for one in replicas:
        one.ask(Bid(100, f"of {one.id}"))
    for index in order:
        for one in replicas:
            if one is not replicas[index]:
                one.pull(replicas[index])
    settle(*replicas)
    (best,) = {one.state().best for one in replicas}
    assert (best.bidder, best.place[1]) == ("of a", "a")
    assert {read_remote(one.meta).time_us for one in replicas[0].events()} == {best.place[0]}


# --- a blog: what changes together is one value with one time ---
@dataclass(frozen=True)
class Edit:
    title: str
    body: str


@dataclass(frozen=True)
class Edited:
    title: str
    body: str
    time: tuple[int, str]


@dataclass(frozen=True)
class Publish:
    pass


@dataclass(frozen=True)
class Published:
    pass


class Post(NamedTuple):
    title: str = ""
    body: str = ""
    time: LwwTime = LwwTime()
    public: bool = False


class Blog(ReplicatedEventSourcedActor):
    """The later edit wins, title and body together; once published, always published."""

    entity_type = "blog"
    events = [Edited, Published]  # noqa: RUF012

    def empty_state(self) -> Post:
        return Post()

    def receiveMsg_Edit(self, command: Edit, sender: Any) -> None:
        self.persist(Edited(command.title, command.body, tuple(self.lww_time())))
        self.reply(None)

    def receiveMsg_Publish(self, command: Publish, sender: Any) -> None:
        self.persist(Published()).then_reply(lambda post: post.title)

    def apply_event(self, post: Post, event: Any) -> Post:
        if isinstance(event, Published):
            return post._replace(public=True)
        time = LwwTime(*event.time)
        if time > post.time:
            return Post(event.title, event.body, time, post.public)
        return post


def test_of_two_edits_at_once_the_later_stays_whole_everywhere() -> None:
    """Title and body of one of them (111), and no write of something else is lost with it."""
    a, b = group(Blog, "a", "b")
    a.ask(Edit("first", "text"))
    settle(a, b)
    a.local.now_us, b.local.now_us = 2_000_000, 3_000_000
    b.ask(Edit("of b", "later"))
    a.ask(Edit("of a", "earlier"))
    a.ask(Publish())
    settle(a, b)
    assert a.state() == b.state()
    assert (a.state().title, a.state().body, a.state().public) == ("of b", "later", True)


def test_who_saw_the_other_edit_wins_whatever_the_clocks_say() -> None:
    """Hours apart; and of equal times the greater replica, everywhere."""
    a, b = group(Blog, "a", "b", clock_us=10 * HOUR_US)
    a.ask(Edit("ahead", ""))
    b.local.now_us = HOUR_US
    settle(a, b)
    b.ask(Edit("answer", ""))
    settle(a, b)
    assert a.state() == b.state()
    assert a.state().title == "answer"
    assert a.state().time > LwwTime(10 * HOUR_US)
    for one in (b, a):
        one.local.now_us = 20 * HOUR_US
        one.ask(Edit(f"of {one.id}", ""))
    settle(a, b)
    assert a.state() == b.state()
    assert a.state().title == "of b"


# --- a watch list, and a counter with a snapshot ---
@dataclass(frozen=True)
class Watch:
    film: str


@dataclass(frozen=True)
class Drop:
    film: str


class WatchList(ReplicatedEventSourcedActor):
    entity_type = "watch_list"
    events = CRDT_TYPES

    def empty_state(self) -> OrSet[str]:
        return OrSet()

    def receiveMsg_Watch(self, command: Watch, sender: Any) -> None:
        self.persist(self.state.add(command.film, replica=self.replica_id)).then_reply(sorted)

    def receiveMsg_Drop(self, command: Drop, sender: Any) -> None:
        self.persist(self.state.remove(command.film)).then_reply(sorted)

    def apply_event(self, films: OrSet[str], event: Any) -> OrSet[str]:
        return films.apply(event)


def test_a_film_added_again_stays_though_somebody_else_drops_it() -> None:
    """109, 111; dropping afterwards, having seen it, works."""
    a, b = group(WatchList, "a", "b")
    a.ask(Watch("Solaris"))
    settle(a, b)
    a.ask(Watch("Solaris"))
    b.ask(Drop("Solaris"))
    b.ask(Watch("Stalker"))
    settle(a, b)
    assert a.state() == b.state()
    assert sorted(a.state()) == ["Solaris", "Stalker"]
    b.ask(Drop("Solaris"))
    settle(a, b)
    assert a.state() == b.state()
    assert sorted(a.state()) == ["Stalker"]


class Likes(ReplicatedEventSourcedActor):
    entity_type = "likes"
    events = CRDT_TYPES
    snapshot_every = 3

    def empty_state(self) -> PnCounter:
        return PnCounter()

    def receiveMsg_int(self, by: int, sender: Any) -> None:
        self.persist(self.state.add(by, self.replica_id)).then_reply(lambda likes: likes.value)

    def apply_event(self, likes: PnCounter, event: Any) -> PnCounter:
        return likes.apply(event)


def test_a_counter_goes_on_from_its_snapshot() -> None:
    """108: with what both replicas counted, none of it twice."""
    a, b = group(Likes, "a", "b")
    for _ in range(3):
        a.ask(1)
        b.ask(-1)
    b.ask(10)
    settle(a, b)
    for one in (a, b):
        one.local.tick(10_000_000)  # snapshots are written a little later
        one.restart()
        one.cursors.clear()
    a.ask(5)
    settle(a, b)
    assert (a.state(), a.state().value) == (b.state(), 15)
