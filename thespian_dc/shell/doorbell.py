"""Hints from a node's hosts to its producers: fresh commits, as datagrams on this machine.

Hints may be lost: polling is the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgpack

from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit
from thespian_dc.shell.datagrams import DATAGRAM_BYTES_MAX, Receiver, Sender, listen

HINT_BYTES_MAX = 32 << 10
"""Of commits in one hint; more than that is told by heads alone."""
HINTS_AT_ONCE = 64
WHAT = "bell"


class Hint(NamedTuple):
    """commits: durable, in order per slice. heads: of slices of which more came than a hint
    holds."""

    commits: Sequence[Commit]
    heads: Mapping[SliceKey, int]


def hint_of(commits: Sequence[Commit]) -> Hint:
    """What to tell about these: whole commits as long as they are small."""
    if sum(commit.size_bytes for commit in commits) <= HINT_BYTES_MAX:
        return Hint(commits, {})
    return Hint((), {commit.key: commit.end_offset for commit in commits})


def pack_hint(hint: Hint) -> bytes:
    """The datagram."""
    commits = [
        (
            *one.key, one.base_offset, one.count, one.write_id, one.epoch, one.time_us, one.heads,
            one.body, one.checksum,
        )
        for one in hint.commits
    ]  # fmt: skip
    packed: bytes = msgpack.packb([commits, [(*key, head) for key, head in hint.heads.items()]])
    return packed


def unpack_hint(datagram: bytes) -> Hint:
    """What `pack_hint` got; an empty hint for anything else. A commit's checksum is its taker's to
    check."""
    try:
        commits, heads = msgpack.unpackb(datagram)
        return Hint(
            [Commit(SliceKey(name, number), *rest) for name, number, *rest in commits],
            {SliceKey(name, number): int(head) for name, number, head in heads},
        )
    except Exception:  # noqa: BLE001 - a hint that cannot be read is a lost one
        return Hint((), {})


class Ringer:
    """The host's end. `ring` never blocks and never raises."""

    def __init__(self) -> None:
        self._sender = Sender(WHAT)

    def ring(self, producers: Sequence[str], commits: Sequence[Commit]) -> None:
        """Tell the producers at these actor addresses ("ip:port")."""
        datagram = pack_hint(hint_of(commits))
        for address in producers:
            self._sender.send(address, datagram)  # gone, starting, or full: a poll finds it

    def close(self) -> None:
        self._sender.close()


class Bell:
    """The producer's end, until `close`; made by `open_bell`."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def fileno(self) -> int:
        """Readable when it rang."""
        return self._receiver.fileno()

    def hints(self) -> list[Hint]:
        """What rang since, in order; at most HINTS_AT_ONCE, the rest keeps it readable."""
        found: list[Hint] = []
        while len(found) < HINTS_AT_ONCE and (datagram := self._receiver.take()) is not None:
            found.append(unpack_hint(datagram))
        return found

    def close(self) -> None:
        self._receiver.close()


def open_bell(address: str) -> Bell | None:
    """The bell of the producer at this actor address; None where this machine has no place for
    it."""
    receiver = listen(address, WHAT, DATAGRAM_BYTES_MAX)
    return None if receiver is None else Bell(receiver)
