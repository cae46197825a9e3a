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
from collections.abc import Mapping, Sequence
from typing import NamedTuple

ASK_EVERY_US = 300_000
NOTICE_US = 1_500_000
"""A host looks at its role every half second; what it had begun by then is in the log a little
later."""
SETTLE_US_MAX = 10_000_000
"""Settling ends after so long at the latest: nobody takes commands meanwhile."""
ASKED_IN_VAIN = 3
"""A forced promotion does not wait for a peer that did not answer so often."""


class Behind(NamedTuple):
    """What a promoted replica lacks of one peer's log. events: at most so many; None: not known,
    the peer could not be asked. reason: why, "" where events is 0."""

    events: int | None
    reason: str = ""

    def __str__(self) -> str:
        return self.reason if self.events is None else f"{self.events} events"


class Step(enum.Enum):
    """RAISE: store the next epoch with this replica as the active one. OPEN: take commands."""

    RAISE = "raise"
    OPEN = "open"


class AskHeads(NamedTuple):
    """Ask the peer for its heads now; the answer goes to `on_heads`. nr: of the question."""

    peer: str
    nr: int


class Phase(enum.Enum):
    CATCHING_UP = "catching up"
    SETTLING = "settling"
    OPENED = "opened"
    REFUSED = "refused"


class _Peer:
    __slots__ = (
        "ask_us", "cursor", "has_epoch_us", "heads", "in_vain", "nr", "passed_by", "trouble",
    )  # fmt: skip

    def __init__(self) -> None:
        self.heads: Mapping[int, int] | None = None
        self.cursor: Mapping[int, int] = {}
        self.trouble = "it was not asked yet"
        self.nr = 0  # of the question that is open
        self.ask_us = self.in_vain = 0
        self.has_epoch_us: int | None = None
        self.passed_by = False

    def behind(self) -> Behind:
        if self.heads is None:
            return Behind(None, self.trouble)
        lack = [head - self.cursor.get(slice_, 0) for slice_, head in self.heads.items()]
        events = sum(one for one in lack if one > 0)
        return Behind(events, "they did not come in time" if events else "")


class Promotion:
    """linked: peers this replica reads from. until_us: when it has to have caught up. others:
    replicas that are not linked: what they wrote comes by way of the linked ones."""

    def __init__(
        self, linked: Sequence[str], others: Sequence[str], until_us: int, force: bool
    ) -> None:
        self._peers = {peer: _Peer() for peer in linked}
        self._others, self._until_us, self._force = tuple(others), until_us, force
        self._epoch = self._asked = 0
        self.phase = Phase.CATCHING_UP

    @property
    def is_over(self) -> bool:
        return self.phase in (Phase.OPENED, Phase.REFUSED)

    def report(self) -> dict[str, Behind]:
        """Per replica of the group, what is lacking."""
        report = {peer: one.behind() for peer, one in self._peers.items()}
        unlinked = Behind(None, "there is no link to it; what it wrote comes by way of others")
        return report | dict.fromkeys(self._others, unlinked)

    def lacking(self) -> dict[str, Behind]:
        """Of the linked peers, those of which something is lacking."""
        behind = {peer: one.behind() for peer, one in self._peers.items()}
        return {peer: one for peer, one in behind.items() if one.events != 0}

    # --- inputs ---

    def on_heads(self, peer: str, nr: int, heads: Mapping[int, int]) -> None:
        """Its answer: the next offset of each slice of its log."""
        one = self._peers[peer]
        if nr == one.nr:
            one.nr = one.in_vain = 0
            one.heads, one.trouble, one.passed_by = heads, "", False

    def on_unreachable(self, peer: str, nr: int, reason: str) -> None:
        """It gave none."""
        one = self._peers[peer]
        if nr == one.nr:
            one.nr, one.in_vain, one.trouble = 0, one.in_vain + 1, reason
            one.passed_by = self._force and one.in_vain >= ASKED_IN_VAIN

    def on_cursors(self, cursors: Mapping[str, Mapping[int, int]]) -> None:
        """How far the links are in the peers' logs."""
        for peer, cursor in cursors.items():
            if peer in self._peers:
                self._peers[peer].cursor = cursor

    def on_epoch(self, peer: str, epoch: int, now_us: int) -> None:
        """The peer has said which epoch it knows."""
        one = self._peers.get(peer)
        knows = self.phase is Phase.SETTLING and epoch >= self._epoch
        if one is not None and knows and one.has_epoch_us is None:
            one.has_epoch_us = now_us

    def on_raised(self, epoch: int, now_us: int) -> None:
        """RAISE was stored."""
        self.phase, self._epoch = Phase.SETTLING, epoch
        self._until_us = now_us + SETTLE_US_MAX
        for one in self._peers.values():
            one.passed_by = one.heads is None  # it was not waited for: nor is it now
            if one.heads is not None:
                one.heads, one.trouble = None, "it has not heard of the promotion yet"
            one.nr = one.ask_us = 0

    def on_opened(self) -> None:
        """OPEN was stored."""
        self.phase = Phase.OPENED

    def on_tick(self, now_us: int) -> list[AskHeads | Step]:
        """What is to be done now; call it often."""
        if self.is_over:
            return []
        if all(self._peers[peer].passed_by for peer in self.lacking()):
            return [Step.OPEN if self.phase is Phase.SETTLING else Step.RAISE]
        if now_us >= self._until_us:
            return self._too_late()
        asks: list[AskHeads | Step] = []
        for peer, one in self._peers.items():
            if not one.nr and one.ask_us <= now_us and self._may_ask(one, now_us):
                self._asked += 1
                one.nr, one.ask_us = self._asked, now_us + ASK_EVERY_US
                asks.append(AskHeads(peer, one.nr))
        return asks

    # --- inside ---

    def _may_ask(self, one: _Peer, now_us: int) -> bool:
        if one.heads is not None:
            return False
        if self.phase is Phase.CATCHING_UP:
            return True
        return one.has_epoch_us is not None and now_us - one.has_epoch_us >= NOTICE_US

    def _too_late(self) -> list[AskHeads | Step]:
        if self.phase is Phase.SETTLING:
            return [Step.OPEN]
        if self._force:
            return [Step.RAISE]
        self.phase = Phase.REFUSED
        return []
