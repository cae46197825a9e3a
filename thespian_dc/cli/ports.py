"""Who listens on a TCP port, from what Linux says in /proc; and what that means for Thespian's."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from thespian_dc.cli.finding import FAIL, OK, WARN, Finding

ADMIN_PORT_DEFAULT = 1900
PROC = Path("/proc")
_LISTEN = "0A"
_CHECK = "thespian-port"


class Listener(NamedTuple):
    """A listening socket. address: 0.0.0.0 and :: mean all interfaces."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int
    inode: str

    @property
    def is_exposed(self) -> bool:
        """Whether another machine could reach it, firewalls aside."""
        mapped = getattr(self.address, "ipv4_mapped", None)
        return not (mapped or self.address).is_loopback


def listeners(table: str) -> Iterator[Listener]:
    """The listening sockets in the text of /proc/net/tcp or tcp6."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN:
            address, _, port = fields[1].rpartition(":")
            yield Listener(_address(address), int(port, 16), fields[9])


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The kernel prints an address as 32-bit words in this machine's own byte order."""
    words = [int(text[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(text), 8)]
    packed = b"".join(words)
    return ipaddress.IPv4Address(packed) if len(packed) == 4 else ipaddress.IPv6Address(packed)


def check_admin_port(port: int, proc: Path = PROC) -> list[Finding]:
    """Is Thespian's Admin reachable from elsewhere? And how does it start its actors?"""
    tables = [proc / "net/tcp", proc / "net/tcp6"]
    texts = [table.read_text(encoding="ascii") for table in tables if table.exists()]
    if not texts:
        remedy = f"make sure by other means that port {port} is reached from this machine alone"
        return [Finding(_CHECK, WARN, "this system has no /proc/net/tcp to look at", remedy)]
    found = [one for text in texts for one in listeners(text) if one.port == port]
    if not found:
        hint = "look again while the actor system runs, with its --admin-port"
        return [Finding(_CHECK, OK, f"nothing listens on port {port}", hint)]
    return [_exposure(port, found), *_start_method(found[0], proc)]


def _exposure(port: int, found: list[Listener]) -> Finding:
    exposed = sorted({str(one.address) for one in found if one.is_exposed})
    if not exposed:
        return Finding(_CHECK, OK, f"port {port} listens on loopback only")
    return Finding(
        _CHECK,
        FAIL,
        f"port {port} listens on {', '.join(exposed)}: whoever reaches it, or the port of any "
        "actor, runs code here (Thespian unpickles what it is sent, without authentication)",
        "let a firewall or a network namespace refuse every port of this machine but that of the "
        "streams; where that is done: --accept thespian-port",
    )


def _start_method(listener: Listener, proc: Path) -> Iterator[Finding]:
    """How the Admin was started, which is how it starts actors; silent where that is not seen."""
    process = _owner(listener.inode, proc)
    if process is None:
        return
    command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    if "multiprocessing" in command and ("spawn_main" in command or "forkserver" in command):
        yield Finding("start-method", OK, f"the Admin (pid {process.name}) was spawned")
        return
    threads = len(list((process / "task").iterdir()))
    remedy = (
        "fork copies threads' locks and sockets of gRPC and database drivers: start ActorSystem "
        'before them, or with {"Process Startup Method": "spawn"}'
    )
    yield Finding(
        "start-method",
        WARN if threads > 1 else OK,
        f"the Admin (pid {process.name}) was forked and has {threads} thread"
        + ("s" if threads > 1 else ""),
        remedy,
    )


def _owner(inode: str, proc: Path) -> Path | None:
    """The process that holds the socket, where this user may see it."""
    wanted = f"socket:[{inode}]"
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        with suppress(OSError):  # gone meanwhile, or another user's
            if any(os.readlink(one) == wanted for one in (process / "fd").iterdir()):
                return process
    return None
