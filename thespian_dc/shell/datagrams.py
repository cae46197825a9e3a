"""Datagrams between processes of one machine: a Unix socket for each actor that listens.

A Thespian message takes a sender and a receiver a quarter of a millisecond each to make and to
read; a datagram takes some microseconds. It is there when `send` returns, or it was not sent. The
sockets lie in a folder that only this user may enter; where there is no such folder nobody listens.
A socket's name says whose it is: an actor's address means something in one network namespace only,
and a folder may be shared by several.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path

DATAGRAM_BYTES_MAX = 200 << 10  # what Linux lets pass unless told otherwise
PATH_BYTES_MAX = 100
PATHS_MAX = 1_000


class Sender:
    """To those who listen for `what`. `send` never blocks and never raises; from any thread."""

    def __init__(self, what: str) -> None:
        # To find a path asks the file system.
        self._path_of = lru_cache(PATHS_MAX)(partial(path_of, what=what))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, address: str, datagram: bytes) -> bool:
        """To the actor at this address "ip:port". False: nobody listens there, its queue is full,
        or it is too large."""
        path = self._path_of(address)
        if path is None:
            return False
        try:
            self._socket.sendto(datagram, path)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


class Receiver:
    """A listening end, until `close`; made by `listen`."""

    def __init__(self, path: str, bytes_max: int) -> None:
        self._path, self._bytes_max = path, bytes_max
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        Path(path).unlink(missing_ok=True)  # of a process that had this address and was killed
        self._socket.bind(path)

    def fileno(self) -> int:
        """Readable when something came."""
        return self._socket.fileno()

    def take(self) -> bytes | None:
        """The next one, cut off behind bytes_max; None: there is none."""
        try:
            return self._socket.recv(self._bytes_max)
        except BlockingIOError:
            return None

    def close(self) -> None:
        self._socket.close()
        with suppress(OSError):
            Path(self._path).unlink()


def listen(address: str, what: str, bytes_max: int) -> Receiver | None:
    """For `what`, at the actor address "ip:port" of this process; None where this machine has no
    place for it."""
    path = path_of(address, what)
    try:
        _sweep()
        return Receiver(path, bytes_max) if path is not None else None
    except OSError:
        return None


def path_of(address: str, what: str) -> str | None:
    """Where the actor at this address listens for `what`, if it does."""
    folder = _folder()
    path = f"{folder}/{address.replace(':', '_')}.{_network()}.{what}"
    return path if folder and address and len(path.encode()) <= PATH_BYTES_MAX else None


def _sweep() -> None:
    """Remove what killed processes left: a bound socket answers, one without a process refuses."""
    folder = _folder()
    for left in Path(folder).iterdir() if folder else ():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe, suppress(OSError):
            try:
                probe.connect(str(left))
            except ConnectionRefusedError:
                left.unlink()


def _network() -> int:
    """Which network namespace this process is in; 0 where there are none."""
    try:
        return Path("/proc/self/ns/net").stat().st_ino
    except OSError:
        return 0


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
