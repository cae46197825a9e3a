"""A real Cassandra server as a context manager: one node on loopback, to start, kill and pause;
or several in one ring.

    with EmbeddedCassandra() as server:
        settings = Settings(journal=server.url("shop"), ...)

    python -m thespian_dc.testkit.embedded_cassandra --prepare    bring the jars, then leave
    python -m thespian_dc.testkit.embedded_cassandra --run        a server in the foreground

Laws: loopback and free ports only; a server never outlives its owner by more than the next start,
which ends what an owner that died left behind; nothing else is ever signalled.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from thespian_dc.model.errors import EmbeddedServerError
from thespian_dc.testkit import cassandra_files

_READY = "Starting listening for CQL clients"
_HOST = "127.0.0.1"
_RING_DELAY_MS = 5000  # with less a node may not find its seed


class EmbeddedCassandra:
    """One Cassandra node; `start` blocks until it answers CQL (10-25 s on two cores).

    version: one of cassandra_files.VERSIONS.
    heap_mb: fixed heap; the process takes about 0.5 GiB more.
    commitlog_sync: "batch" syncs before it acknowledges. "periodic" is Cassandra's own default and
    faster, but one node alone then forgets up to 100 ms of acknowledged writes even on SIGKILL of
    the process (measured: 34 of 300): replay ends at the last sync marker. Say "periodic" where
    speed is compared, never where kills are.
    port: the CQL port, 0 for a free one; it stays the same over restarts.
    host: a loopback address. seed: a started node on another one, whose ring and ports this one
    shares. settings: more of cassandra.yaml, as `authenticator`; plain values.
    Raises MissingToolError without Java 17 or Maven, EmbeddedServerError when it does not come up.
    """

    def __init__(
        self,
        version: str = cassandra_files.DEFAULT_VERSION,
        *,
        heap_mb: int = 1024,
        commitlog_sync: str = "batch",
        port: int = 0,
        start_timeout_s: float = 180.0,
        host: str = _HOST,
        seed: EmbeddedCassandra | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.version, self.heap_mb, self.commitlog_sync = version, heap_mb, commitlog_sync
        self.host, self.port, self.start_timeout_s = host, port, start_timeout_s
        self.storage_port = 0
        self._seed, self._settings = seed, settings
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._jmx_port = 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process id; it changes with `restart`."""
        return self._running().pid

    @property
    def log_path(self) -> Path:
        """What the server printed, over all its starts; gone after `stop`."""
        return self._home() / "server.log"

    def url(self, keyspace: str) -> str:
        """The journal URL of a keyspace on this server."""
        return f"cassandra://{self.host}:{self.port}/{keyspace}"

    def start(self) -> Self:
        """Start with empty data and wait until CQL answers."""
        assert self._folder is None, "already started"
        cassandra_files.prepare(self.version)
        _end_orphans()
        runs = _runs_dir()
        runs.mkdir(parents=True, exist_ok=True)
        cql_port, self.storage_port, self._jmx_port = _free_ports(3)
        self.port = self.port or cql_port
        if self._seed is not None:
            self.port, self.storage_port = self._seed.port, self._seed.storage_port
        # The server says it listens before it binds, and we would then meet the other one there.
        if _accepts(self.host, self.port):
            raise EmbeddedServerError(self.version, f"port {self.port} is taken", "(not started)")
        self._folder = Path(tempfile.mkdtemp(dir=runs, prefix=f"{os.getpid()}-"))
        cassandra_files.write_configuration(
            self._folder, self.host, self.port, self.storage_port, self.commitlog_sync,
            self._seed.host if self._seed else "", self._settings,
        )  # fmt: skip
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise
        return self

    def kill(self) -> None:
        """SIGKILL, as a crash of the process; the data stays for `restart`."""
        process = self._running()
        process.kill()
        process.wait()

    def restart(self) -> None:
        """Start again on the same data and port, after `kill` or, without it, after SIGTERM."""
        self._end(signal.SIGTERM)
        self._launch()

    def pause(self) -> None:
        """SIGSTOP: the server keeps its connections and answers nothing."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        self._running().send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the server and remove its data. Does nothing when it is not started."""
        self._end(signal.SIGKILL)  # the data goes anyway
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = self._process = None

    def _home(self) -> Path:
        assert self._folder is not None, "not started"
        return self._folder

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def _launch(self) -> None:
        lib = cassandra_files.prepare(self.version)
        command = cassandra_files.java_command(
            cassandra_files.find_java(), lib, self._home(), self.heap_mb, self._jmx_port,
            _RING_DELAY_MS if self._seed else 0,
        )  # fmt: skip
        with self.log_path.open("ab") as log:
            said_before = log.tell()
            # Its own session: Ctrl-C in the terminal is for the owner, who then stops the server.
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._home(), start_new_session=True
            )
        (self._home() / "pid").write_text(str(self._process.pid))
        self._wait_until_ready(said_before)

    def _wait_until_ready(self, said_before: int) -> None:
        deadline = time.monotonic() + self.start_timeout_s
        while time.monotonic() < deadline:
            if self._running().poll() is not None:
                raise EmbeddedServerError(self.version, "it ended at its start", self._last_lines())
            with self.log_path.open("rb") as log:
                log.seek(said_before)
                if _READY.encode() in log.read() and _accepts(self.host, self.port):
                    return
            time.sleep(0.1)
        raise EmbeddedServerError(
            self.version, f"no CQL within {self.start_timeout_s:.0f} s", self._last_lines()
        )

    def _last_lines(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()
        told = [line for line in lines if line.startswith(("ERROR", "Exception", "Caused by"))]
        return "\n".join((told or lines)[-12:])

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)  # a paused process takes SIGTERM only when it goes on
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _runs_dir() -> Path:
    return cassandra_files.cache_dir() / "cassandra-runs"


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((_HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _accepts(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def _end_orphans() -> None:
    """End servers whose owner process died without stopping them, and remove their data.

    A run's folder is named <owner pid>-<random>; the server's command line names that folder.
    """
    for folder in _runs_dir().glob("*-*"):
        owner = folder.name.split("-")[0]
        if not owner.isdigit() or _is_alive(int(owner)):
            continue
        pid_file = folder / "pid"
        pid = int(pid_file.read_text()) if pid_file.exists() else 0
        if pid and str(folder) in _command_line(pid):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _command_line(pid: int) -> str:
    said = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return said.stdout


def main(arguments: list[str] | None = None) -> int:
    """Prepare the jars or run a server in the foreground until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m thespian_dc.testkit.embedded_cassandra")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--prepare", action="store_true", help="bring the jars from Maven Central")
    what.add_argument("--run", action="store_true", help="run a server until interrupted")
    parser.add_argument("--version", default=cassandra_files.DEFAULT_VERSION)
    parser.add_argument("--port", type=int, default=0, help="CQL port; a free one by default")
    parser.add_argument("--commitlog-sync", default="batch", choices=["batch", "periodic"])
    parser.add_argument("--heap-mb", type=int, default=1024)
    chosen = parser.parse_args(arguments)
    if chosen.prepare:
        cassandra_files.find_java()
        print(f"Cassandra {chosen.version}: {cassandra_files.prepare(chosen.version)}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with EmbeddedCassandra(
        chosen.version,
        heap_mb=chosen.heap_mb,
        commitlog_sync=chosen.commitlog_sync,
        port=chosen.port,
    ) as server:
        print(f"{server.url('KEYSPACE')}  pid {server.pid}  log {server.log_path}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
