"""What is handled between two calls is credit of the next one, however long it takes to open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event
from typing import Any

from tests.streams.material import Added, Writer
from thespian_dc.model.criteria import UNFILTERED
from thespian_dc.model.settings import Remote
from thespian_dc.projection.api import SourceBatch, SourceEvents
from thespian_dc.stream.client import RemoteSource
from thespian_dc.testkit.eventually import eventually
from thespian_dc.wire.conversion import Credit


class AskedWhere(RemoteSource):
    """As an edge's: where to read is asked for before each call. Each but the first waits for
    `answer`."""

    def __init__(self, port: int) -> None:
        super().__init__(Remote("carts", f"127.0.0.1:{port}"), "test", 500)
        self.asking, self.answer = Event(), Event()

    async def _where(self) -> Remote:
        if self.reconnects:
            self.asking.set()
            await asyncio.to_thread(self.answer.wait, 60)
        return self._remote

    @property
    def unhandled(self) -> Credit:
        assert self._core is not None
        assert self._core.started
        return self._core.outstanding


def test_what_is_handled_while_the_next_call_is_opened_is_its_credit(
    writer: Writer, serve: Callable[..., Any]
) -> None:
    writer.add([("c-1", Added("apple", 1))])
    server, port = serve()
    source, batches = AskedWhere(port), list[SourceBatch]()
    ignored: Any = lambda _: None  # noqa: E731
    source.start("", {}, UNFILTERED, None, SourceEvents(ignored, batches.append, ignored, ignored))
    try:
        eventually(lambda: batches)
        assert source.unhandled.events == 1
        server.stop()
        serve(listen=f"127.0.0.1:{port}")
        assert source.asking.wait(60)
        source.handled(batches[0])
        eventually(lambda: not source._armed)
        source.answer.set()
        assert eventually(lambda: source.unhandled == Credit(0, 0))
    finally:
        source.answer.set()
        source.stop()
