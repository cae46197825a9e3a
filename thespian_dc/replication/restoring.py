"""A journal that was restored from an older copy: notice it, and fetch what it lost before it is
written again. Pure, but for `is_older_copy`, which compares with the journal.

in: what peers say of this replica's log, how far the links are, now_us      out: steps
Laws:
- A node's hosts take no slice of the type before CHECKED: all linked peers have said how far they
  have this log, or CHECK_US passed. Who could not be asked by then may know more; where it does,
  that is noticed when it comes, and what was written meanwhile is a fork.
- A peer that has more of this log than there is, or another commit where this one stands, proves an
  older copy: RESTORED begins a generation whose offsets nobody has seen. All links begin again, in
  that generation, and bring this replica's own events too.
- RECOVERED when the links have passed what every peer had that answers; one at least, or it goes
  on. Who does not answer (any more) is passed by, unless it alone is known to have some of the lost
  log: of each peer counts how far it had this log, before, whatever was started again since. People
  may give that up.
- A recovery may be lost, too: the journal is put back once more. Then of each of the logs that were
  lost since the last whole one counts who had what.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from thespian_dc.journal.api import Journal
from thespian_dc.model.errors import JournalDivergedError, TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import Position
from thespian_dc.model.roles import Roles
from thespian_dc.replication.catch_up import AskHeads, Behind, CatchUp

CHECK_US = 5_000_000
"""So long a start waits for peers."""
ASKED_IN_VAIN = 10
"""A recovery does not wait for a peer that did not answer so often."""


class SeenOfUs(NamedTuple):
    """How far a peer has this replica's log: its journal and generation as the peer knows them;
    journal_id "": it has nothing of it. positions: by slice."""

    journal_id: str
    generation: int
    positions: Mapping[int, Position]


class Lost(NamedTuple):
    """What is known of logs that were lost, one after the other. here: what there was of each when
    that was found. had: by peer, of each that it had some of."""

    here: tuple[SeenOfUs, ...]
    had: Mapping[str, tuple[SeenOfUs, ...]]


LOST_MAX = 16
"""So many logs that were lost in a row, the last ones, are told apart."""


class Step(enum.Enum):
    """CHECKED: hosts may take slices. RESTORED: begin a generation. RECOVERED: take commands."""

    CHECKED = "checked"
    RESTORED = "restored"
    RECOVERED = "recovered"


class Restoring:
    """Of one node and type. recovering: the stored state; a recovery goes on after a restart. What
    peers answer and how far the links of the present generation are goes to `catch_up`."""

    def __init__(self, linked: Sequence[str], recovering: bool, now_us: int) -> None:
        self._linked, self._recovering = tuple(linked), recovering
        self._said: dict[str, bool] = {}
        self._lost = Lost((), {})
        self._seen: dict[str, SeenOfUs] = {}  # of the log that there is, as far as anybody knows
        self._until_us = now_us + CHECK_US
        self._checked = False
        self.catch_up = CatchUp(linked)

    @property
    def recovering(self) -> bool:
        return self._recovering

    def lost(self, here: SeenOfUs | None = None) -> Lost | None:
        """To be kept as long as the recovery lasts; None: there is none. here: of one to begin."""
        if here is not None:
            return self._losing(here)
        return self._lost if self._recovering and self._lost.here else None

    def _losing(self, here: SeenOfUs) -> Lost:
        seen = {peer: (one,) for peer, one in self._seen.items()}
        return with_more(self._lost, Lost((here,), seen))

    def waits_for(self) -> dict[str, str]:
        """What a recovery lacks, per peer, for people."""
        if not self._recovering:
            return {}
        return {peer: self._text(peer, one) for peer, one in self.catch_up.lacking().items()}

    # --- inputs ---

    def on_said(
        self, peer: str, is_older: bool, seen: SeenOfUs | None = None, is_present: bool = False
    ) -> None:
        """A peer said how far it has this log: is this one an older copy? is_present: it spoke of
        the log that is being made whole, not of one before."""
        self._said[peer] = is_older
        if seen is None:
            return
        if self._recovering and not is_present:
            self._lost = with_more(self._lost, Lost((), {peer: (seen,)}))
        else:
            self._seen[peer] = seen

    def without(self, peers: Collection[str]) -> None:
        """These are retired, or will be: they are not waited for."""
        self._linked = tuple(one for one in self._linked if one not in peers)
        self.catch_up.without(peers)

    def on_restored(self, here: SeenOfUs | None) -> None:
        """RESTORED was stored: what was said so far was about the former generation. here: what
        there is of that one; None: it was found, and is kept, by another process."""
        if here is not None:
            self._lost = self._losing(here)
        self._recovering, self._seen = True, {}
        self._said = dict.fromkeys(self._said, False)
        self.catch_up = CatchUp(self._linked)

    def remember(self, lost: Lost) -> None:
        """What was kept, by this process or another one, of the log that is recovered."""
        self._lost = with_more(lost, self._lost)

    def on_doubted(self) -> None:
        """RESTORED was not stored: what was said is not believed."""
        self._said = dict.fromkeys(self._said, False)

    def on_checked(self) -> None:
        """CHECKED was stored."""
        self._checked = True

    def on_recovered(self) -> None:
        """RECOVERED was stored."""
        self._recovering, self._lost = False, Lost((), {})

    def on_tick(self, now_us: int) -> list[AskHeads | Step]:
        """What is to be done now; call it often."""
        steps: list[AskHeads | Step] = []
        if any(self._said.values()):
            return [Step.RESTORED]
        if not self._checked and self._is_checked(now_us):
            steps.append(Step.CHECKED)
        if self._recovering and self._checked:
            lacking = self.catch_up.lacking()
            passed_by = [one for one in lacking if self._is_gone(one) and not self._only_at(one)]
            if passed_by == [*lacking] and (not lacking or len(lacking) < len(self._linked)):
                return [*steps, Step.RECOVERED]
            steps += self.catch_up.asks(now_us, lambda _: True, again=True)
        return steps

    def _is_checked(self, now_us: int) -> bool:
        # A recovery that was found before says all there is to check.
        all_said = self._said.keys() >= set(self._linked)
        return self._recovering or all_said or now_us >= self._until_us

    def _is_gone(self, peer: str) -> bool:
        return self.catch_up.in_vain(peer) >= ASKED_IN_VAIN

    def _only_at(self, peer: str) -> int:
        """How many records of a lost log it has that neither this replica nor any other had whose
        log was read; of several logs, of the one of which it is most."""
        lost, lacking = self._lost, self.catch_up.lacking()
        read = [one for one in self._linked if one not in lacking]
        others = [seen for one in read for seen in lost.had.get(one, ())]
        others += lost.here
        return max((_beyond(had, others) for had in lost.had.get(peer, ())), default=0)

    def _text(self, peer: str, behind: Behind) -> str:
        if not self._is_gone(peer):
            return str(behind)
        only = self._only_at(peer)
        own = f", and of this replica's own {only} are nowhere else" if only else ""
        what = "gives them up" if only else "does without"
        return (
            f"{behind}; it does not answer{own}: start it again, or `thespian-dc replication "
            f"resume` {what}"
        )


def with_more(first: Lost, second: Lost) -> Lost:
    """Of what both know the first one counts: by then least was written since."""
    peers = first.had.keys() | second.had.keys()
    return Lost(
        _joined(first.here, second.here),
        {one: _joined(first.had.get(one, ()), second.had.get(one, ())) for one in sorted(peers)},
    )


def _joined(first: Sequence[SeenOfUs], second: Sequence[SeenOfUs]) -> tuple[SeenOfUs, ...]:
    """One of each log."""
    known = {one[:2] for one in first}
    return (*first, *(one for one in second if one[:2] not in known))[-LOST_MAX:]


def _beyond(had: SeenOfUs, others: Sequence[SeenOfUs]) -> int:
    """How many records it has that no other one has of the same log."""
    same = [one.positions for one in others if one[:2] == had[:2]]
    return sum(
        max(0, at.offset - max((o[slice_].offset for o in same if slice_ in o), default=0))
        for slice_, at in had.positions.items()
    )


def is_older_copy(journal: Journal, entity_type: str, own: Roles, seen: SeenOfUs) -> bool:
    """Does the peer know more of this replica's log than there is? Reads the journal.

    Also where the peer knows this replica by another journal: it was made anew.
    """
    if not seen.journal_id or seen.generation < own.generation:
        return False
    if seen.generation > own.generation or seen.journal_id != journal.journal_id:
        return True
    for slice_, position in seen.positions.items():
        try:
            here = journal.position_before(SliceKey(entity_type, slice_), position.offset)
        except JournalDivergedError:
            return True
        except TrimmedError:  # it is behind, and so cannot know more
            continue
        if position.write_id and here.write_id != position.write_id:
            return True
    return False
