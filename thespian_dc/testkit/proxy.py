"""A TCP proxy that misbehaves on command: delay, drop, reset, blackhole. For tests of anything over
TCP.

    with FaultProxy("127.0.0.1", port) as proxy:
        client.connect("127.0.0.1", proxy.port)
        proxy.blackhole()    # connections stay open, nothing passes any more, either way: half-open
        proxy.blackhole(TO)  # the same one way: what the target says still comes (FROM: the other)
        proxy.heal()         # new connections pass; those that lost bytes stay dead
        proxy.reset()        # every open connection ends with RST
        proxy.refuse()       # new connections are reset at once
        proxy.delay_s = 0.05 # each chunk waits, each way
        proxy.drop_after(1000)  # once this many bytes passed, the connections are closed cleanly

Runs on an event loop of its own thread; all methods may be called from any thread.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from types import TracebackType

CHUNK_BYTES = 64 << 10
TO, FROM = "to", "from"
"""Ways of bytes: to the target, from it."""
_RST = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST


class FaultProxy:
    """Listens on a free loopback port (`port`) and forwards to host:port."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.port = 0
        self.delay_s = 0.0
        self.passed_bytes = 0
        self._black: tuple[str, ...] = ()
        self._refusing = False
        self._left: int | None = None
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="fault proxy", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        if not self._ready.wait(10):
            raise TimeoutError("the proxy did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    # --- faults ---

    def blackhole(self, *ways: str) -> None:
        """Swallow everything from now on that goes these ways (TO, FROM; none: both), and accept
        without answering."""
        self._black = ways or (TO, FROM)

    def heal(self) -> None:
        """Let new connections pass; forget drop, refuse and delay."""
        self._black, self._refusing = (), False
        self._left, self.delay_s = None, 0.0

    def reset(self) -> None:
        """End every open connection with RST."""
        self._loop.call_soon_threadsafe(self._reset_all)

    def refuse(self) -> None:
        """Reset open connections and every new one."""
        self._refusing = True
        self.reset()

    def drop_after(self, count_bytes: int) -> None:
        """Close all connections once so many more bytes have passed, possibly within a message."""
        self._left = count_bytes

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._links)

    # --- on the loop ---

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        self._reset_all()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            _reset(writer)
            return
        try:
            upstream = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        link = _Link(writer, upstream[1])
        self._links.add(link)
        try:
            await asyncio.gather(
                self._copy(link, TO, reader, upstream[1]),
                self._copy(link, FROM, upstream[0], writer),
            )
        except asyncio.CancelledError:  # the proxy ends; who called us has no use for it
            pass
        finally:
            self._links.discard(link)
            link.close()

    async def _copy(
        self, link: _Link, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if way in self._black or way in link.dead:
                    link.dead.add(way)  # bytes are missing in it now: it never works again
                    continue
                if self._left is not None:
                    chunk, self._left = chunk[: self._left], max(0, self._left - len(chunk))
                writer.write(chunk)
                self.passed_bytes += len(chunk)
                await writer.drain()
                if self._left == 0:
                    self._left = None
                    for one in list(self._links):
                        one.close()
        except OSError:
            link.close()
        if way not in link.dead:
            link.close()

    def _reset_all(self) -> None:
        for link in list(self._links):
            link.reset()


class _Link:
    """A client's connection and ours to the target."""

    def __init__(self, client: asyncio.StreamWriter, target: asyncio.StreamWriter) -> None:
        self._writers = client, target
        self.dead = set[str]()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    def reset(self) -> None:
        for writer in self._writers:
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
    writer.transport.abort()
