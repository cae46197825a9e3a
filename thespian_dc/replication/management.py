"""Look after a replica from any process, through its journal.

    Replicas("sqlite:///shop.db", "cart").promote()

What is wished is an entry of the journal's registry; the replica's node does it and writes what
came of it. Nothing of the entities' code is needed here, nor a connection to the node.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from thespian_dc.entity.api import (
    Failed,
    Listing,
    known_roles,
    listing,
    replicated_types,
    stored_failed,
    want_states,
)
from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.criteria import Filter, VersionedFilter
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.replication_settings import replica_stream_id
from thespian_dc.model.role_errors import CatchUpRefusedError, ReplicationWishError
from thespian_dc.model.roles import Roles
from thespian_dc.projection.api import CONSUMER_DAYS, Trimmed, positions_in
from thespian_dc.replication import wishes
from thespian_dc.replication.catch_up import Behind, text_of
from thespian_dc.replication.retirement import waits_for
from thespian_dc.replication.status import StoredStatus, stored_status
from thespian_dc.replication.trimming import (
    Limits,
    lacking_states,
    limits_of,
    trim,
)
from thespian_dc.shell.clock import now_us
from thespian_dc.stream.destination_filters import destination_filter, set_destination_filter
from thespian_dc.stream.shown_filter import set_shown_filter, shown_filter

LOOK_S, STATES_S, STATES_AGAIN_S = 0.1, 0.3, 2.0
STATES_AT_ONCE = 500
SETTLE_S = 15.0
"""Beyond a promotion's own time: the epoch is raised and the former active replica is waited
for."""


class ReplicaView(NamedTuple):
    """A replica of one entity type.

    lives: its node runs; else links and steps are those of when it did. links: None: it never ran.
    retiring: by replica, who is not done with it and why. lacks: what a recovery waits for, by
    peer. step: of a promotion under way, "" where none is. wishes: those that are open. failed:
    entities that take no commands now, the eldest first.
    """

    entity_type: str
    roles: Roles
    lives: bool
    group: tuple[str, ...]
    links: StoredStatus | None
    listed: Listing
    retiring: Mapping[str, Mapping[str, str]]
    lacks: Mapping[str, str]
    step: str
    wishes: tuple[wishes.Wish, ...]
    failed: Mapping[str, Failed]


class Promoted(NamedTuple):
    """The replica is active under this epoch. behind: per other replica, what it had not got by
    then, and what comes later, as concurrent; events 0: nothing."""

    epoch: int
    behind: Mapping[str, Behind]


class Replicas:
    """One entity type's replica in one journal. From any process and thread; holds nothing open.

    url: as Settings.journal. Every method raises NotReplicatedError where the type was never
    replicated from it, JournalError where it cannot be opened. timeout_s: in seconds.
    """

    def __init__(self, url: str, entity_type: str) -> None:
        self._url, self._type = url, entity_type

    # --- looking ---

    def status(self) -> ReplicaView:
        """What it is, whom it hears, and what waits."""
        with self._opened() as journal:
            return view_of(journal, self._type)

    # --- who is active ---

    def promote(self, timeout_s: float = 30.0, force: bool = False) -> Promoted:
        """Make this replica the active one, once it has read all that its peers have; the former
        one stands by as soon as it hears of it.

        CatchUpRefusedError: something could not be had within timeout_s, and nothing has changed.
        force: then go on without it. Where the former active replica lives unheard, or wrote what
        could not be had, history forks: see docs/replication.md. ReplicationWishError: the node
        does not run, or refused.
        """
        told = {"timeout_us": int(timeout_s * 1e6), "force": force}
        ended = self._wished(wishes.PROMOTE, timeout_s + SETTLE_S, told)
        behind = {peer: Behind(*one) for peer, one in ended.answer.get("behind", {}).items()}
        if ended.state == wishes.DONE:
            return Promoted(int(ended.answer["epoch"]), behind)
        if behind:
            lacking = {peer: one for peer, one in behind.items() if one.events != 0}
            raise CatchUpRefusedError(self._type, self.status().roles.replica_id, text_of(lacking))
        raise self._refused("a promotion", ended)

    def demote(self, timeout_s: float = 10.0) -> int:
        """Let this replica, the active one, take no more commands; returns the epoch. Nobody is
        active until one is promoted. ReplicationWishError."""
        ended = self._wished(wishes.DEMOTE, timeout_s, {})
        if ended.state != wishes.DONE:
            raise self._refused("a demotion", ended)
        return int(ended.answer["epoch"])

    def resume(self, timeout_s: float = 10.0) -> None:
        """Take commands although the peers that know what a restored journal lost cannot be asked.
        What it writes now may bear numbers that they know by other events: such entities are set
        aside when they come back. ReplicationWishError."""
        ended = self._wished(wishes.RESUME, timeout_s, {})
        if ended.state != wishes.DONE:
            raise self._refused("to resume", ended)

    # --- who takes part ---

    def retire(self, replica: str, timeout_s: float = 60.0) -> Mapping[str, str]:
        """Let another replica leave for good: nothing is taken from it any more, at once; its id is
        retired when it was wished at all others, and they have exchanged what they have of it.

        Returns {} when that is done, else, after timeout_s, who is not done and why: it goes on by
        itself, `status` shows it. ReplicationWishError.
        """
        until = time.monotonic() + timeout_s
        ended = self._wished(wishes.RETIRE, max(timeout_s, 5.0), {"replica": replica})
        if ended.state != wishes.DONE:
            raise self._refused(f"the retirement of {replica!r}", ended)
        while True:
            waits = self.status().retiring.get(replica)
            if waits is None or time.monotonic() >= until:
                return waits or {}
            time.sleep(LOOK_S)

    # --- what may be deleted ---

    def trim(
        self, without: Sequence[str] = (), projections: Mapping[str, str] | None = None,
        consumer_days: float = CONSUMER_DAYS, dry_run: bool = False, timeout_s: float = 30.0,
    ) -> list[Trimmed]:  # fmt: skip
        """Delete what every replica and projection has passed and stored states contain; a row per
        slice says up to where, and what held it.

        without: replicas and consumers, by the names that rows show, that are not waited for.
        projections: "service/name" -> the URL of its positions, which then count instead of where
        it last began. consumer_days: consumers that did not begin since count no more. dry_run:
        delete nothing. timeout_s: how long the node's hosts may take to store states that are
        lacking, where it runs; 0: only what is stored counts. ReplicationWishError where nobody
        knows the group, because no node ever ran.
        """
        positions = positions_in(projections or {})
        with self._opened() as journal:
            group = wishes.last_beat(journal, self._type).group
            if not group:
                reason = "who else is in the group is not known: its node never ran"
                raise ReplicationWishError(self._type, "to trim", reason)
            of = Limits(group, without, positions, consumer_days)
            roles = known_roles(journal, self._type)
            limits = limits_of(journal, self._type, roles, of, now_us())
            if not dry_run and wishes.last_beat(journal, self._type).lives(now_us()):
                self._store_states(journal, limits, timeout_s)
            return trim(journal, limits, dry_run)

    def _store_states(
        self, journal: Journal, limits: Mapping[SliceKey, Any], timeout_s: float
    ) -> None:
        """Have the hosts store what is lacking, some at a time, as long as that helps."""
        until = time.monotonic() + timeout_s
        wanted, again_s = frozenset[str](), 0.0
        while time.monotonic() < until:
            lacking = lacking_states(journal, limits, STATES_AT_ONCE)
            if not lacking:
                return
            # The next ones when those of before are there; the same again for what was busy.
            if time.monotonic() >= again_s or wanted.isdisjoint(lacking):
                wanted, again_s = frozenset(lacking), time.monotonic() + STATES_AGAIN_S
                want_states(journal, self._type, lacking)
            time.sleep(STATES_S)

    # --- what it takes of others, and what it shows them ---

    def filter(self, *, shown: bool = False) -> VersionedFilter:
        """Which entities this replica takes from its peers; shown: which ones it shows them."""
        with self._opened() as journal:
            return self._filter(journal, shown)

    def set_filter(
        self, wanted: Filter, expected: int | None = None, *, shown: bool = False
    ) -> VersionedFilter:
        """Take these entities and no others from now on; what comes in is brought up to date first,
        what goes out stays as it is. It outlives all processes. Includes without any exclude let
        through only what they include.

        expected: the version it must have now; DestinationFilterChangedError if another. shown:
        show these instead, whether they are taken or not; the peers bring them up to date, or stop
        getting anything of them. SettingsError for tags and topics.
        """
        return self._change_filter(lambda _: wanted.spelled_out(), expected, shown)

    def add_criteria(
        self, criteria: Filter, expected: int | None = None, *, shown: bool = False
    ) -> VersionedFilter:
        """Exclude and include these too: `Include.entity_ids("c-1")`."""
        return self._change_filter(lambda present: present + criteria, expected, shown)

    def remove_criteria(
        self, criteria: Filter, expected: int | None = None, *, shown: bool = False
    ) -> VersionedFilter:
        """Exclude and include these no more."""
        return self._change_filter(lambda present: present - criteria, expected, shown)

    # --- inside ---

    def _filter(self, journal: Journal, shown: bool) -> VersionedFilter:
        if shown:
            return shown_filter(journal, self._type)
        return destination_filter(journal, replica_stream_id(self._type))

    def _change_filter(
        self, change: Callable[[Filter], Filter], expected: int | None, shown: bool
    ) -> VersionedFilter:
        with self._opened() as journal:
            present = self._filter(journal, shown)
            version = present.version if expected is None else expected
            after = change(present.filter)
            if shown:
                return set_shown_filter(journal, self._type, after, version)
            return set_destination_filter(journal, replica_stream_id(self._type), after, version)

    @contextmanager
    def _opened(self) -> Iterator[Journal]:
        with opened(self._url) as journal:
            known_roles(journal, self._type)
            yield journal

    def _wished(self, kind: str, timeout_s: float, told: Mapping[str, Any]) -> wishes.Wish:
        until = time.monotonic() + timeout_s
        with self._opened() as journal:
            if not wishes.last_beat(journal, self._type).lives(now_us()):
                reason = "its node does not run; start it"
                raise ReplicationWishError(self._type, f"to {kind}", reason)
            wish = wishes.wish(journal, self._type, kind, **told)
            while True:
                found = wishes.wishes(journal, self._type).of(wish.nr)
                if found is not None and found.state != wishes.OPEN:
                    return found
                if found is None or time.monotonic() >= until:
                    answer = {"reason": f"nobody did it in {timeout_s:.0f} s; it is withdrawn"}
                    ended = wishes.end(journal, self._type, wish.nr, wishes.WITHDRAWN, answer)
                    return ended or wish._replace(state=wishes.WITHDRAWN, answer=answer)
                time.sleep(LOOK_S)

    def _refused(self, what: str, ended: wishes.Wish) -> ReplicationWishError:
        return ReplicationWishError(self._type, what, str(ended.answer.get("reason", "")))


@contextmanager
def opened(url: str) -> Iterator[Journal]:
    """The journal, closed afterwards; it must be there."""
    journal = open_journal(url, create=False)
    try:
        yield journal
    finally:
        journal.close()


def view_of(journal: Journal, entity_type: str) -> ReplicaView:
    """What stands in a journal about one type's replica; NotReplicatedError."""
    roles = known_roles(journal, entity_type)
    said = wishes.last_beat(journal, entity_type)
    # Of its own retirement nobody tells it: they refuse it.
    others = sorted(roles.retiring.keys() - {roles.replica_id})
    retiring = {one: waits_for(roles, one, said.group) for one in others}
    return ReplicaView(
        entity_type, roles, said.lives(now_us()), said.group, stored_status(journal, entity_type),
        listing(journal, entity_type), retiring, said.lacks if roles.recovering else {}, said.step,
        tuple(wishes.wishes(journal, entity_type).open), stored_failed(journal, entity_type),
    )  # fmt: skip


def all_types(url: str) -> list[str]:
    """Types that were ever replicated from this journal."""
    with opened(url) as journal:
        return replicated_types(journal)
