"""Make this replica the active one without losing what its predecessor wrote. Pure.

in: what peers answer, how far the links are, now_us      out: what to ask and to store, a report
Steps:
1. catching up: every linked peer is asked for its heads, and the links are to reach them. Nothing
   has changed so far: where it takes too long the promotion is refused, unless it is forced.
2. settling: the epoch is raised, so that the former active replica stands by as soon as it hears of
   it; commands it took before that are in its log. Once a peer has the new epoch, and its hosts
   have had time to notice, it is asked for its heads again, and the links are to reach these. This
   replica takes no commands yet.
3. opened: it does. What could not be had by then is reported, per peer, and comes later, as
   concurrent; nothing is said to be there that is not.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from thespian_dc.replication.catch_up import AskHeads, Behind, CatchUp

NOTICE_US = 1_500_000
"""A host looks at its role every half second; what it had begun by then is in the log a little
later."""
SETTLE_US_MAX = 10_000_000
"""Settling ends after so long at the latest: nobody takes commands meanwhile."""
ASKED_IN_VAIN = 3
"""A forced promotion does not wait for a peer that did not answer so often."""


class Step(enum.Enum):
    """RAISE: store the next epoch with this replica as the active one. OPEN: take commands."""

    RAISE = "raise"
    OPEN = "open"


class Phase(enum.Enum):
    CATCHING_UP = "catching up"
    SETTLING = "settling"
    OPENED = "opened"
    REFUSED = "refused"


class Promotion:
    """linked: peers this replica reads from. others: replicas that are not linked: what they wrote
    comes by way of the linked ones. until_us: when it has to have caught up. What peers answer and
    how far links are goes to `catch_up`."""

    def __init__(
        self, linked: Sequence[str], others: Sequence[str], until_us: int, force: bool
    ) -> None:
        self.catch_up, self._linked = CatchUp(linked), tuple(linked)
        self._others, self._until_us, self._force = tuple(others), until_us, force
        self._epoch = 0
        self._has_epoch_us: dict[str, int] = {}
        self._passed_by: frozenset[str] = frozenset()
        self._left_out = ""
        self.phase = Phase.CATCHING_UP

    @property
    def is_over(self) -> bool:
        return self.phase in (Phase.OPENED, Phase.REFUSED)

    def report(self) -> dict[str, Behind]:
        """Per replica of the group, what is lacking."""
        unlinked = Behind(None, "there is no link to it; what it wrote comes by way of others")
        return self._behind() | dict.fromkeys(self._others, unlinked)

    def lacking(self) -> dict[str, Behind]:
        """Of the linked peers, those of which something is lacking."""
        return {peer: one for peer, one in self._behind().items() if one.events != 0}

    def _behind(self) -> dict[str, Behind]:
        found = self.catch_up.behind()
        if not self._left_out:
            return found
        left_out = Behind(None, self._left_out)
        return {peer: left_out if one.events == 0 else one for peer, one in found.items()}

    # --- inputs ---

    def on_left_out(self, why: str) -> None:
        """Entities are lacking though the links passed them, or none are (""): nobody knows how
        much that is, and it holds what is not forced."""
        self._left_out = why

    def on_epoch(self, peer: str, epoch: int, now_us: int) -> None:
        """The peer has said which epoch it knows."""
        if self.phase is Phase.SETTLING and epoch >= self._epoch:
            self._has_epoch_us.setdefault(peer, now_us)

    def on_raised(self, epoch: int, now_us: int) -> None:
        """RAISE was stored. Who was not waited for before is not now."""
        self._passed_by = frozenset(self._linked) - self.go_on(epoch, now_us)

    def go_on(self, epoch: int, now_us: int) -> frozenset[str]:
        """The epoch was raised, maybe by another node, or by a process that died then: settle.
        Returns who had answered; that counts no more."""
        self.phase, self._epoch = Phase.SETTLING, epoch
        self._until_us = now_us + SETTLE_US_MAX
        return frozenset(self.catch_up.forget("it has not heard of the promotion yet"))

    def on_opened(self) -> None:
        """OPEN was stored."""
        self.phase = Phase.OPENED

    def on_tick(self, now_us: int) -> list[AskHeads | Step]:
        """What is to be done now; call it often."""
        if self.is_over:
            return []
        holds = self._left_out and self.phase is Phase.CATCHING_UP and not self._force
        if not holds and all(map(self._is_passed_by, self.catch_up.lacking())):
            return [Step.OPEN if self.phase is Phase.SETTLING else Step.RAISE]
        if now_us >= self._until_us:
            return self._too_late()
        return [*self.catch_up.asks(now_us, lambda peer: self._may_ask(peer, now_us))]

    # --- inside ---

    def _is_passed_by(self, peer: str) -> bool:
        if self.phase is Phase.SETTLING:
            return peer in self._passed_by
        return self._force and self.catch_up.in_vain(peer) >= ASKED_IN_VAIN

    def _may_ask(self, peer: str, now_us: int) -> bool:
        if self.phase is Phase.CATCHING_UP:
            return True
        return peer in self._has_epoch_us and now_us - self._has_epoch_us[peer] >= NOTICE_US

    def _too_late(self) -> list[AskHeads | Step]:
        if self.phase is Phase.SETTLING:
            return [Step.OPEN]
        if self._force:
            return [Step.RAISE]
        self.phase = Phase.REFUSED
        return []
