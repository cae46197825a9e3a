"""Processes that tests start and kill: a producer, a consumer, without Thespian.

A new interpreter each: nothing of gRPC is inherited. It answers on its pipe and lives until it is
told to end, or killed, or its parent is gone.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from tests import laws
from thespian_dc.model.settings import Projection
from thespian_dc.stream.consumer import RunningProjections
from thespian_dc.stream.protocol import StartConsumer, StartProducer


def _produce(pipe: Connection, settings: StartProducer) -> None:
    from thespian_dc.stream.server import StreamServer

    server, broken = StreamServer(settings), Broken()
    logging.getLogger("thespian_dc").addHandler(broken)
    pipe.send(server.start())
    while (asked := _asked(pipe)) is not None:
        if asked == "broken":
            pipe.send(broken.errors)
        else:
            pipe.send(_memory_kib() if asked == "memory" else server.calls)
    server.stop()


class Broken(logging.StreamHandler):  # type: ignore[type-arg]
    """Keeps why calls ended in which this process pushed; prints what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "push_broke":
            self.errors.append(record.__dict__["error"])
        super().emit(record)


def _consume(pipe: Connection, settings: StartConsumer) -> None:
    running = RunningProjections(settings)
    running.start()
    pipe.send("started")
    while _asked(pipe) is not None:
        pipe.send(running.status()[0])
    running.stop()


def _asked(pipe: Connection) -> Any:
    """The next question; None to end, also when the parent is gone."""
    try:
        return pipe.recv()
    except EOFError:
        return None


def _memory_kib() -> int:
    """Private memory of this process now: what it wrote to. Clean pages are those of libraries, and
    private whenever no other process has them."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


class Child:
    """A started process and its pipe. `answer`: the first thing it said."""

    def __init__(self, settings: StartProducer | StartConsumer) -> None:
        self._pipe, theirs = Pipe()
        number = theirs.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.streams.processes", str(number)],
            pass_fds=[number], cwd=laws.ROOT,
        )  # fmt: skip
        theirs.close()
        self._pipe.send(settings)
        self.answer = self._receive()

    def ask(self, question: str) -> Any:
        self._pipe.send(question)
        return self._receive()

    def kill(self) -> None:
        """SIGKILL, by the pid that was started here."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        self._pipe.send(None)
        self.process.wait(60)

    def _receive(self) -> Any:
        assert self._pipe.poll(60), f"{self.process.pid} did not answer"
        return self._pipe.recv()


def start_producer(settings: StartProducer) -> Child:
    """Its `answer` is the port."""
    return Child(settings)


def start_consumer(projection: Projection) -> Child:
    """Its `ask` answers a ProjectionStatus."""
    return Child(StartConsumer("ranking", "", (projection,)))


def main(pipe: Connection) -> None:
    """What the new interpreter runs: the first message says what it is."""
    settings = pipe.recv()
    work: Callable[..., None] = _produce if isinstance(settings, StartProducer) else _consume
    work(pipe, settings)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
