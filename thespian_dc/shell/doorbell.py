"""Hints from a node's hosts to its producers: fresh commits, over a Unix socket of this machine.

A Thespian message takes a host and a producer a millisecond each way to make and to read; a
datagram takes some microseconds, and hints may be lost: polling is the truth. The socket lies in a
folder that only this user may enter; where there is no such folder there are no hints.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgpack

from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit

HINT_BYTES_MAX = 32 << 10
"""Of commits in one hint; more than that is told by heads alone."""
DATAGRAM_BYTES_MAX = 200 << 10  # what Linux lets pass unless told otherwise
PATH_BYTES_MAX = 100
HINTS_AT_ONCE = 64


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
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._paths: dict[str, str | None] = {}

    def ring(self, producers: Sequence[str], commits: Sequence[Commit]) -> None:
        """Tell the producers at these actor addresses ("ip:port")."""
        datagram = pack_hint(hint_of(commits))
        if self._paths.keys() != set(producers):
            self._paths = {address: _path_of(address) for address in producers}
        for path in self._paths.values():
            if path is not None:
                with suppress(OSError):  # gone, starting, or its queue is full: a poll finds it
                    self._socket.sendto(datagram, path)

    def close(self) -> None:
        self._socket.close()


class Bell:
    """The producer's end, until `close`; made by `open_bell`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        Path(path).unlink(missing_ok=True)  # of a process that had this address and was killed
        self._socket.bind(path)

    def fileno(self) -> int:
        """Readable when it rang."""
        return self._socket.fileno()

    def hints(self) -> list[Hint]:
        """What rang since, in order; at most HINTS_AT_ONCE, the rest keeps it readable."""
        found: list[Hint] = []
        with suppress(BlockingIOError):
            while len(found) < HINTS_AT_ONCE:
                found.append(unpack_hint(self._socket.recv(DATAGRAM_BYTES_MAX)))
        return found

    def close(self) -> None:
        self._socket.close()
        with suppress(OSError):
            Path(self._path).unlink()


def open_bell(address: str) -> Bell | None:
    """The bell of the producer at this actor address; None where this machine has no place for
    it."""
    path = _path_of(address)
    try:
        _sweep()
        return Bell(path) if path is not None else None
    except OSError:
        return None


def _sweep() -> None:
    """Remove what killed producers left: a bound socket answers, one without a process refuses."""
    folder = _folder()
    for left in Path(folder).iterdir() if folder else ():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe, suppress(OSError):
            try:
                probe.connect(str(left))
            except ConnectionRefusedError:
                left.unlink()


def _path_of(address: str) -> str | None:
    folder = _folder()
    path = f"{folder}/{address.replace(':', '_')}"
    return path if folder and address and len(path.encode()) <= PATH_BYTES_MAX else None


def _folder() -> str:
    """A folder of this user's alone, "" where there is none."""
    folder = f"{tempfile.gettempdir()}/thespian_dc-{os.getuid()}"
    try:
        with suppress(FileExistsError):
            Path(folder).mkdir(mode=0o700)
        known = os.lstat(folder)
    except OSError:
        return ""
    ours = stat.S_ISDIR(known.st_mode) and known.st_uid == os.getuid()
    return folder if ours and not known.st_mode & 0o077 else ""
