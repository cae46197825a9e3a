"""Why one end ended a call arrives at the other, whatever either was just writing; and all that was
sent before arrives first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from thespian_dc.model.errors import JournalDivergedError, ThespianDcError
from thespian_dc.model.position import Position
from thespian_dc.model.push_errors import PushBeginsAgainError
from thespian_dc.model.stream_errors import MalformedMessageError, PeerUnavailableError
from thespian_dc.projection.api import CommitView, SourceBatch
from thespian_dc.shell.clock import now_us
from thespian_dc.stream.batches import write_batch
from thespian_dc.stream.consumer_core import ConsumerCore
from thespian_dc.stream.conversation import Conversation, Ears
from thespian_dc.stream.dialled import DialledLine
from thespian_dc.stream.edges import EdgeLine
from thespian_dc.wire.conversion import PROTOCOL, Credit, Offer, Started, write_started
from thespian_dc.wire.status import status_of

CALLS, MESSAGES = 100, 20
ENDED = JournalDivergedError("stream carts slice 0", 7, "another commit stands before it")
Serve = Callable[[Any], Awaitable[None]]
Use = Callable[[Any], Awaitable[str]]


def test_what_ended_a_call_is_named_while_both_ends_write() -> None:
    async def serve(context: Any) -> None:
        await context.read()
        for _ in range(MESSAGES):
            await context.write(b"x" * 100)
        await context.abort(*status_of(ENDED))

    async def use(call: Any) -> str:
        line, read = DialledLine(call, "the shop"), 0

        async def read_all() -> None:
            nonlocal read
            while True:
                await line.read()
                read += 1

        errors = await asyncio.gather(read_all(), write_on(line), return_exceptions=True)
        return f"{read} messages, {' and '.join(map(repr, errors))}"

    expected = f"{MESSAGES} messages, {ENDED!r} and {ENDED!r}"
    assert asyncio.run(many_calls(serve, use)) == {expected: CALLS}


async def write_on(line: DialledLine) -> None:
    while True:
        await line.write(b"y" * 100)


def test_a_call_ended_before_anything_was_written_is_named() -> None:
    async def serve(context: Any) -> None:
        await context.abort(*status_of(ENDED))

    async def use(call: Any) -> str:
        with pytest.raises(ThespianDcError) as ended:
            await write_on(DialledLine(call, "the shop"))
        return repr(ended.value)

    assert asyncio.run(many_calls(serve, use)) == {repr(ENDED): CALLS}


def test_a_call_that_ends_well_is_over_for_both() -> None:
    async def serve(context: Any) -> None:
        await context.read()

    async def use(call: Any) -> str:
        line = DialledLine(call, "the shop")
        errors = await asyncio.gather(line.read(), write_on(line), return_exceptions=True)
        return " and ".join(map(repr, errors))

    over = repr(PeerUnavailableError("the shop", "the other end ended the call"))
    assert asyncio.run(many_calls(serve, use)) == {f"{over} and {over}": CALLS}


def test_a_call_without_a_layer_below_is_written_to_as_grpc_says() -> None:
    """As it may be with a later gRPC."""

    class Public:
        def __init__(self, call: Any) -> None:
            for name in ("read", "write", "wait_for_connection", "done", "code", "details"):
                setattr(self, name, getattr(call, name))

    async def serve(context: Any) -> None:
        await context.write(await context.read())
        await context.read()

    async def use(call: Any) -> str:
        line = DialledLine(Public(call), "the shop")
        await line.write(b"there and back")
        return repr(await line.read())

    assert asyncio.run(many_calls(serve, use)) == {repr(b"there and back"): CALLS}


def test_a_conversation_hands_over_all_that_came_before_the_end() -> None:
    """Its writer finds the end first, and often."""

    async def serve(context: Any) -> None:
        await context.read()
        heads = {0: MESSAGES}
        await context.write(write_started(Started(PROTOCOL, "j", "cart", 1, heads, 1_000)))
        for at in range(MESSAGES):
            passed_by = CommitView(at, at + 1, b"w" * 16, 7, b"")
            await context.write(write_batch(SourceBatch(0, at, at + 1, MESSAGES, [passed_by])))
        await context.abort(*status_of(ENDED))

    async def use(call: Any) -> str:
        core = ConsumerCore(
            "carts", "ranking/test", "", {0: Position(0)}, Credit(0, 0), "the shop", 1_000,
            now_us(),
        )  # fmt: skip
        got: list[SourceBatch] = []
        ears = Ears(lambda _: None, got.append, lambda _: None)
        talk = Conversation(core, DialledLine(call, "the shop"), ears, "carts", "the shop")

        def go_on() -> None:
            if not talking.done():
                talk.core.on_handled(Credit(1, 0))
                talk.wake()
                loop.call_soon(go_on)

        loop = asyncio.get_running_loop()
        talking = asyncio.create_task(talk.run())
        go_on()
        with pytest.raises(ThespianDcError) as ended:
            await talking
        return f"{len(got)} batches, {ended.value!r}"

    expected = f"{MESSAGES} batches, {ENDED!r}"
    assert asyncio.run(many_calls(serve, use)) == {expected: CALLS}


class SlowLine:
    """A line whose first write ends when the test says so: on a machine with much to do."""

    def __init__(self, comes: bytes | None) -> None:
        self._comes, self.written = comes, 0
        self.begun, self._through = asyncio.Event(), asyncio.Event()

    async def read(self) -> bytes:
        await self.begun.wait()
        if self._comes is None:
            await asyncio.Event().wait()
        return self._comes or b""

    async def write(self, message: bytes) -> None:
        self.begun.set()
        await self._through.wait()
        self.written += 1

    async def ends_after(self, call: asyncio.Task[None]) -> bool:
        """The write, and not before it the call."""
        await asyncio.wait({call}, timeout=0.5)
        too_early = call.done()
        self._through.set()
        await asyncio.wait({call})
        return self.written == 1 and not too_early


@pytest.mark.parametrize("comes", [b"nonsense", None], ids=["error", "ended by others"])
def test_an_end_waits_for_what_is_just_being_written(comes: bytes | None) -> None:
    """Of a server's call that is ended in the midst of a write, gRPC never sends the status."""

    async def talk() -> bool:
        core = ConsumerCore("carts", "ranking/test", "", {}, Credit(0, 0), "x", 1_000, now_us())
        line, ears = SlowLine(comes), Ears(lambda _: None, lambda _: None, lambda _: None)
        talking = asyncio.create_task(Conversation(core, line, ears, "carts", "x").run())
        await line.begun.wait()
        if comes is None:
            talking.cancel()
        ended = await line.ends_after(talking)
        with pytest.raises((MalformedMessageError, asyncio.CancelledError)):
            talking.result()
        return ended

    assert asyncio.run(talk())


def test_an_edges_call_ends_when_all_is_written() -> None:
    """The link is done with it in the midst of a message to the edge."""

    async def lend() -> bool:
        slow = SlowLine(None)
        line = EdgeLine(Offer(PROTOCOL, "replica:cart", "eu", "journal", "cart", 1), slow)
        serving = asyncio.create_task(line.run())
        writing = asyncio.create_task(line.write(b"from the link"))
        await slow.begun.wait()
        writing.cancel()
        line.end(PushBeginsAgainError("replica:cart", "eu"))
        ended = await slow.ends_after(serving)
        with pytest.raises(PushBeginsAgainError):
            serving.result()
        return ended

    assert asyncio.run(lend())


async def many_calls(serve: Serve, use: Use) -> dict[str, int]:
    """What the calls gave, and how often."""

    async def pull(_requests: Any, context: Any) -> None:
        await serve(context)

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    methods = {"Pull": grpc.stream_stream_rpc_method_handler(pull)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Test", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    found: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for _ in range(CALLS):
            call: Any = channel.stream_stream("/Test/Pull")()
            async with asyncio.timeout(10):
                found[await use(call)] += 1
            call.cancel()
    await server.stop(0)
    return dict(found)
