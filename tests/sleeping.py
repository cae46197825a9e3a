"""Processes that are stopped for a while, as by SIGSTOP, a debugger, or a machine out of memory."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

from thespian_dc.testkit.eventually import eventually


def send_to_sleep(pid: int, database: Path) -> None:
    """SIGSTOP between two transactions: asleep within one it would hold the database's lock, and
    nobody else could write."""

    def asleep() -> bool:
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: is_stopped(pid))
        if not locked(database):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    eventually(asleep, 60)


def is_stopped(pid: int) -> bool:
    """All its threads."""
    stats = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def locked(database: Path | str) -> bool:
    """Nobody gets the file's write lock, though all who run would give it back by now."""
    connection = sqlite3.connect(database, timeout=1.0, isolation_level=None)
    try:
        connection.execute("begin immediate")
        connection.execute("rollback")
    except sqlite3.OperationalError:
        return True
    finally:
        connection.close()
    return False
