"""Bugs to put into replicas: in what a sender leaves out, in what a receiver says and keeps, at the
entity, in the group.

A bug is a context manager: inside it a real core is wrong in one way; it yields the simulation
class to run. Production code has no switch for any of them. The checker must catch each by an
invariant: that nothing goes on any more is no proof, nor is an error that a core raises.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from thespian_dc.crdt.api import LwwRegister
from thespian_dc.entity import replicating
from thespian_dc.entity.actions import Answer
from thespian_dc.entity.causality import KNOWN, NEW, NOTHING, Verdict, judge
from thespian_dc.entity.entity_type import Encoded
from thespian_dc.entity.intake import Intake
from thespian_dc.entity.protocol import Absorbed, Status
from thespian_dc.entity.replicating import Replicating
from thespian_dc.entity.rows import Kept
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.position import Position
from thespian_dc.model.replication import StateMeta, state_meta
from thespian_dc.model.replication_handshake import OriginPositions
from thespian_dc.replication import keeper
from thespian_dc.replication.link import Link
from thespian_dc.replication.link_core import LinkCore
from thespian_dc.replication.sources import SharedSource
from thespian_dc.shell.frames import pack
from thespian_dc.stream.leaving_out import LeavingOut
from thespian_dc.stream.producer_filter import ProducerFilter
from thespian_dc.stream.replica_group import ReplicaGroup
from thespian_dc.testkit.simulation.outcome import Outcome
from thespian_dc.testkit.simulation.replicas.plan import Plan, plan_of
from thespian_dc.testkit.simulation.replicas.run import ReplicaSimulation

Bug = Callable[[], contextlib.AbstractContextManager[type[ReplicaSimulation]]]


@contextlib.contextmanager
def patched(owner: Any, name: str, wrong: Any) -> Iterator[type[ReplicaSimulation]]:
    """A function of a core, or of a module, does something else."""
    with patch.object(owner, name, wrong):
        yield ReplicaSimulation


# --- what a sender leaves out ---
def own_origin_only() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """A replica sends what it wrote itself, and relays nothing."""
    of_group = LeavingOut._of_group

    def wrong(self: LeavingOut, slice_: int, life: Any, group: Any, ids: Any) -> Any:
        if life[0] != self._own[0]:
            return group.indexes
        return of_group(self, slice_, life, group, ids)

    return patched(LeavingOut, "_of_group", wrong)


class _LinksKnown(ReplicaSimulation):
    """So that a bug can know who is linked with whom."""

    links: dict[str, tuple[str, ...]]

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        type(self).links = self.plan.links


@contextlib.contextmanager
def skip_linked_origins() -> Iterator[type[ReplicaSimulation]]:
    """What the receiver gets from its origin anyway is left out, whether it got it or not."""
    of_group = LeavingOut._of_group

    def wrong(self: LeavingOut, slice_: int, life: Any, group: Any, ids: Any) -> Any:
        linked = life[0] in _LinksKnown.links[self._receiver[0]]
        if life[0] != self._own[0] and linked:
            return group.indexes
        return of_group(self, slice_, life, group, ids)

    with patch.object(LeavingOut, "_of_group", wrong):
        yield _LinksKnown


@contextlib.contextmanager
def no_wait() -> Iterator[type[ReplicaSimulation]]:
    """An event is taken though its cause is missing; with skip_linked_origins, or none ever is."""

    def wrong(here: Any, origin: str, n: int, others: Any, *more: Any) -> Verdict:
        verdict = judge(here, origin, n, others, *more)
        missing = verdict.missing
        return NEW if missing is not None and missing[0] != origin else verdict

    with patch.object(replicating, "judge", wrong), skip_linked_origins() as simulation:
        yield simulation


# --- what a receiver says and keeps ---
@contextlib.contextmanager
def position_before_apply() -> Iterator[type[ReplicaSimulation]]:
    """The position that is stored is the one up to which batches came."""
    progress, on_batch = Link.progress, LinkCore.on_batch
    came: dict[LinkCore, dict[int, Position]] = {}

    def wrong_on_batch(self: LinkCore, batch: Any, by_entity: Any, now_us: int) -> Any:
        last = Position(batch.next_offset, batch.commits[-1].write_id)
        came.setdefault(self, {})[batch.slice] = last
        return on_batch(self, batch, by_entity, now_us)

    def wrong_progress(self: Link) -> LinkProgress:
        found = progress(self)
        if self.core is None:
            return found
        return found._replace(positions={**found.positions, **came.get(self.core, {})})

    with (
        patch.object(LinkCore, "on_batch", wrong_on_batch),
        patch.object(Link, "progress", wrong_progress),
    ):
        yield ReplicaSimulation


def report_before_apply() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """A replica says to have what it has not applied yet."""
    known = Link.known

    def wrong(self: Link) -> OriginPositions | None:
        found = known(self)
        if found is None:
            return None
        return found._replace(offsets=tuple(offset + 3 for offset in found.offsets))

    return patched(Link, "known", wrong)


# --- at the entity ---
def dedup_by_arrival() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """What comes twice is taken twice, unless it comes in one command."""

    def wrong(here: Any, origin: str, n: int, others: Any, *more: Any) -> Verdict:
        verdict = judge(here, origin, n, others, *more)
        return NEW if not verdict.is_new and verdict.missing is None else verdict

    return patched(replicating, "judge", wrong)


def acknowledge_before_commit() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """A link is told that its events are here when they are queued."""
    conclude = Replicating._conclude

    def wrong(self: Replicating, instance: Any, turn: Any, absorbed: Absorbed, intake: Any) -> None:
        if turn.reply_to is not None:
            self._hosted.out.append(Answer(turn.reply_to, Status.OK, pack(absorbed)))
        conclude(self, instance, turn, absorbed, intake)

    return patched(Replicating, "_conclude", wrong)


def vector_not_in_the_snapshot() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """A state row says nothing of what the state contains."""
    at = Kept.at

    def wrong(self: Kept, offset: int) -> Any:
        return at(self._replace(replica=state_meta(StateMeta({}, {}))), offset)

    return patched(Kept, "at", wrong)


def tie_break_by_arrival() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """Of two writes the one that is applied later counts."""
    apply = LwwRegister.apply

    def wrong(self: LwwRegister[Any], operation: Any) -> LwwRegister[Any]:
        apply(self, operation)
        return LwwRegister(operation.value, self.time)

    return patched(LwwRegister, "apply", wrong)


def state_record_stored_as_it_came() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """A peer's state replaces what is here, whatever that lacks."""

    def wrong(instance: Any, theirs: Any, intake: Any) -> Absorbed:
        state = instance.type.decode_state(theirs.manifest, theirs.payload)
        content = StateMeta(theirs.vector, theirs.tips, theirs.time_us, theirs.epoch, theirs.leader)
        intake.state(state, Encoded(theirs.manifest, theirs.payload), content)
        return Absorbed(1)

    return patched(replicating, "join", wrong)


def late_event_applied() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """What came late is applied where it is to be set aside."""
    take = Intake.take

    def wrong(self: Intake, event: Any, concurrent: bool, late: bool) -> int:
        return take(self, event, concurrent, late=False)

    return patched(Intake, "take", wrong)


def what_was_applied_before_stays() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """Only what comes after the later leader's first event is set aside."""
    return patched(replicating, "remake", lambda *_: "")


# --- the group ---
def retired_are_ignored() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """No bug: what a retired replica wrote is passed by, for all have all of it."""

    def ignoring(
        here: Any, origin: str, n: int, others: Any, retired: Any = (), aside: Any = NOTHING
    ) -> Verdict:
        ignored = origin in retired and origin in here
        return KNOWN if ignored else judge(here, origin, n, others, retired, aside)

    return patched(replicating, "judge", ignoring)


@contextlib.contextmanager
def retired_slot_removed_at_once() -> Iterator[type[ReplicaSimulation]]:
    """Whose retirement was wished is retired, before its events were exchanged."""

    def wrong(roles: Any, replica: str, group: Any) -> bool:
        return replica in roles.retiring

    with patch.object(keeper, "is_complete", wrong), retired_are_ignored() as simulation:
        yield simulation


def scope_entry_without_catch_up() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """Of an entity that comes into scope only what is written from then on comes."""

    def wrong(self: LinkProgress, wanted: Any) -> LinkProgress:
        return self._replace(filter=wanted)

    return patched(LinkProgress, "under", wrong)


def credit_of_another_call() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """Of several calls that share slices, the first gets back what any of them used up."""

    def wrong(self: SharedSource, batch: Any) -> None:
        self._sources[0].handled(batch)

    return patched(SharedSource, "handled", wrong)


# --- several nodes ---
def forgets_what_comes_in() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """A peer is given back without what is still to be read of it."""
    lend = Link.lend

    def wrong(self: Link) -> LinkProgress:
        return lend(self)._replace(coming_in=frozenset())

    return patched(Link, "lend", wrong)


# --- what is shown ---
def shown_again_without_catch_up() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """Of an entity that a peer shows again only what is written from then on comes."""

    def wrong(self: LinkProgress, shown: Any) -> LinkProgress:
        return self._replace(shown=shown)

    return patched(LinkProgress, "through", wrong)


def another_filter_is_not_told() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """The log is shown through another filter, and readers are told when they call again."""

    def wrong(self: ReplicaGroup, shown: Any) -> None:
        self.shown = shown

    return patched(ReplicaGroup, "show", wrong)


def withheld_is_sent() -> contextlib.AbstractContextManager[type[ReplicaSimulation]]:
    """What is not to be shown is sent where somebody reads the log in order."""

    def wrong(self: ProducerFilter, commit: Any, wanted: Any = None) -> set[int]:
        return {index for index in range(commit.count) if wanted is None or index in wanted}

    return patched(ProducerFilter, "passing", wrong)


BUGS: dict[str, Bug] = {
    bug.__name__: bug
    for bug in (
        own_origin_only, skip_linked_origins, no_wait, position_before_apply, report_before_apply,
        dedup_by_arrival, acknowledge_before_commit, vector_not_in_the_snapshot,
        tie_break_by_arrival, state_record_stored_as_it_came, retired_slot_removed_at_once,
        scope_entry_without_catch_up, late_event_applied,
        what_was_applied_before_stays, shown_again_without_catch_up,
        another_filter_is_not_told, withheld_is_sent, credit_of_another_call,
        forgets_what_comes_in,
    )
}  # fmt: skip
NEEDS: dict[str, Callable[[Plan], bool]] = {
    "state_record_stored_as_it_came": lambda plan: plan.trims and bool(plan.filters),
    "retired_slot_removed_at_once": lambda plan: bool(plan.retires),
    "scope_entry_without_catch_up": lambda plan: bool(plan.filters),
    **dict.fromkeys(
        ("shown_again_without_catch_up", "another_filter_is_not_told", "withheld_is_sent"),
        lambda plan: bool(plan.secret),
    ),
    "forgets_what_comes_in": lambda plan: plan.nodes > 1 and bool(plan.filters),
    "credit_of_another_call": lambda plan: plan.workers > 1,
    **dict.fromkeys(
        ("late_event_applied", "what_was_applied_before_stays"),
        lambda plan: plan.one_active and plan.late_events == "set_aside",
    ),
}
"""Of bugs that not every seed can meet: which ones may."""
CAUGHT_BY: dict[str, str] = {
    "dedup_by_arrival": "K1", "no_wait": "K2", "credit_of_another_call": "credit",
}  # fmt: skip
"""Of bugs that break something else, too: the invariant that is theirs."""


def may_meet(bug: str, seed: int) -> bool:
    """Is this seed worth a run with the bug?"""
    return bug not in NEEDS or NEEDS[bug](plan_of(seed))


def caught(bug: str, outcome: Outcome) -> bool:
    """Has an invariant caught it?"""
    wanted = CAUGHT_BY.get(bug)
    return any(wanted in (None, one.invariant) for one in outcome.unsafe)
