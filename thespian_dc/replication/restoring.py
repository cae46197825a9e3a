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
    """What is known of a log that was lost. here: what there was of it. had: by peer."""

    here: SeenOfUs
    had: Mapping[str, SeenOfUs]


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
        self._had: dict[str, SeenOfUs] = {}  # of the log that was lost
        self._here: SeenOfUs | None = None
        self._until_us = now_us + CHECK_US
        self._checked = False
        self.catch_up = CatchUp(linked)

    @property
    def recovering(self) -> bool:
        return self._recovering

    def lost(self, here: SeenOfUs | None = None) -> Lost | None:
        """To be kept as long as the recovery lasts; None: there is none. here: of one to begin."""
        here = here or (self._here if self._recovering else None)
        return here and Lost(here, dict(self._had))

    def waits_for(self) -> dict[str, str]:
        """What a recovery lacks, per peer, for people."""
        if not self._recovering:
            return {}
        return {peer: self._text(peer, one) for peer, one in self.catch_up.lacking().items()}

    # --- inputs ---

    def on_said(self, peer: str, is_older: bool, seen: SeenOfUs | None = None) -> None:
        """A peer said how far it has this log: is this one an older copy?"""
        self._said[peer] = is_older
        if seen is not None and not (self._recovering and peer in self._had):
            self._had[peer] = seen

    def without(self, peers: Collection[str]) -> None:
        """These are retired, or will be: they are not waited for."""
        self._linked = tuple(one for one in self._linked if one not in peers)
        self.catch_up.without(peers)

    def on_restored(self, here: SeenOfUs) -> None:
        """RESTORED was stored: what was said so far was about the former generation. here: what
        there is of that one."""
        self._recovering, self._here = True, here
        self._said = dict.fromkeys(self._said, False)
        self.catch_up = CatchUp(self._linked)

    def remember(self, lost: Lost) -> None:
        """What was kept, by this process or another one, of the log that is recovered."""
        self._here, self._had = lost.here, {**self._had, **lost.had}

    def on_doubted(self) -> None:
        """RESTORED was not stored: what was said is not believed."""
        self._said = dict.fromkeys(self._said, False)

    def on_checked(self) -> None:
        """CHECKED was stored."""
        self._checked = True

    def on_recovered(self) -> None:
        """RECOVERED was stored."""
        self._recovering = False

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
        """How many records of the lost log it has that neither this replica nor any other had whose
        log was read."""
        had = self._had.get(peer)
        if had is None:
            return 0
        lacking = self.catch_up.lacking()
        others = [self._had[one] for one in self._linked if one in self._had.keys() - lacking]
        others += [self._here] if self._here else []
        same = [one.positions for one in others if one[:2] == had[:2]]
        return sum(
            max(0, at.offset - max((o[slice_].offset for o in same if slice_ in o), default=0))
            for slice_, at in had.positions.items()
        )

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
