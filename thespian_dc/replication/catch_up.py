"""Whether this replica has read all that its peers have: heads asked for, and how far the links
are. Pure.

A peer's heads count from when they were asked for: what it had then is here once its link has
passed them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

ASK_EVERY_US = 300_000
ASK_AGAIN_US = 2_000_000
"""One that answered is asked again so often, while its link is behind, whether it still lives."""


class Behind(NamedTuple):
    """What is lacking of one peer's log. events: at most so many; None: not known, the peer could
    not be asked. reason: why, "" where events is 0."""

    events: int | None
    reason: str = ""

    def __str__(self) -> str:
        return self.reason if self.events is None else f"{self.events} events"


def text_of(lacking: Mapping[str, Behind]) -> str:
    """What is lacking, for people."""
    return "; ".join(f"of {peer!r}: {one}" for peer, one in sorted(lacking.items()))


class AskHeads(NamedTuple):
    """Ask the peer for its heads now; the answer goes to `on_heads` or `on_unreachable`. nr: of
    the question."""

    peer: str
    nr: int


class _Peer:
    __slots__ = ("ask_us", "cursor", "heads", "in_vain", "nr", "trouble")

    def __init__(self) -> None:
        self.heads: Mapping[int, int] | None = None
        self.cursor: Mapping[int, int] = {}
        self.trouble = "it was not asked yet"
        self.nr = 0  # of the question that is open
        self.ask_us = self.in_vain = 0

    def behind(self) -> Behind:
        if self.heads is None:
            return Behind(None, self.trouble)
        lack = [head - self.cursor.get(slice_, 0) for slice_, head in self.heads.items()]
        events = sum(one for one in lack if one > 0)
        return Behind(events, "they did not come in time" if events else "")


class CatchUp:
    """Of some linked peers."""

    def __init__(self, peers: Sequence[str]) -> None:
        self._peers = {peer: _Peer() for peer in peers}
        self._asked = 0

    def behind(self) -> dict[str, Behind]:
        """What is lacking, per peer."""
        return {peer: one.behind() for peer, one in self._peers.items()}

    def lacking(self) -> dict[str, Behind]:
        """Those of which something is lacking, or may be."""
        return {peer: one for peer, one in self.behind().items() if one.events != 0}

    def in_vain(self, peer: str) -> int:
        """So often it did not answer, one time after the other."""
        return self._peers[peer].in_vain

    def on_heads(self, peer: str, nr: int, heads: Mapping[int, int]) -> None:
        """The answer: the next offset of each slice of its log. One to an earlier question, or
        given before `forget`, is none; of several the first counts."""
        one = self._peers.get(peer)
        if one is not None and nr == one.nr:
            one.nr = one.in_vain = 0
            one.heads, one.trouble = one.heads or heads, ""

    def on_unreachable(self, peer: str, nr: int, reason: str) -> None:
        """It gave none."""
        one = self._peers.get(peer)
        if one is not None and nr == one.nr:
            one.nr, one.in_vain, one.trouble = 0, one.in_vain + 1, reason

    def on_cursors(self, cursors: Mapping[str, Mapping[int, int]]) -> None:
        """How far the links are in the peers' logs, now."""
        for peer, one in self._peers.items():
            one.cursor = cursors.get(peer, {})

    def forget(self, why: str) -> list[str]:
        """What was answered so far counts no more; returns who had answered."""
        answered = []
        for peer, one in self._peers.items():
            one.nr = one.ask_us = 0
            if one.heads is not None:
                one.heads, one.trouble = None, why
                answered.append(peer)
        return answered

    def without(self, peers: Collection[str]) -> None:
        """Nothing of theirs is lacking any more."""
        for peer in peers:
            self._peers.pop(peer, None)

    def asks(
        self, now_us: int, may_ask: Callable[[str], bool], again: bool = False
    ) -> list[AskHeads]:
        """Whom to ask now. again: also those that answered, while their links are behind: the
        answer changes nothing, but that none comes does."""
        asks = []
        for peer, one in self._peers.items():
            is_wanted = one.heads is None or (again and one.behind().events)
            if is_wanted and not one.nr and one.ask_us <= now_us and may_ask(peer):
                self._asked += 1
                pause_us = ASK_EVERY_US if one.heads is None or one.in_vain else ASK_AGAIN_US
                one.nr, one.ask_us = self._asked, now_us + pause_us
                asks.append(AskHeads(peer, one.nr))
        return asks
