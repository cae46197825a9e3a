"""Clients of a real node: threads, forks, event loops, time-outs. No foreign reply, ever."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from tests.processes.running import Running, hosts, running, shop
from tests.processes.shop import Add, AskOut, Counter, Fail, Get, Oracle
from thespian_dc.client.api import Client
from thespian_dc.entity.protocol import ToEntity
from thespian_dc.model.entity_errors import CommandFailedError, UnknownCommandError
from thespian_dc.model.errors import (
    AskTimeoutError,
    ClientClosedError,
    MessageUnsendableError,
    UnknownEntityTypeError,
)
from thespian_dc.model.node_errors import ServiceNotFoundError
from thespian_dc.node import Node
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Node]]:
    with running() as one:
        yield one, one.start(shop(tmp_path_factory.mktemp("clients"), hosts=2))


@pytest.fixture
def client(place: tuple[Running, Node]) -> Iterator[Client]:
    with Client.connect(place[0].system, "shop") as one:
        yield one


def add_up(client: Client, entity_id: str, amount: int, times: int) -> list[int]:
    """What `times` Adds are answered. Before every tenth somebody else of this process does not
    wait for an answer, which then comes while others are open."""
    entity, impatient = (client.entity("counter", f"{who}{entity_id}") for who in ("", "late-"))
    got = []
    for n in range(times):
        if n % 10 == 0:
            with suppress(AskTimeoutError):
                impatient.ask(Get(), timeout_s=0.0005)
        got.append(entity.ask(Add(amount), timeout_s=30))
    return got


def dropped(client: Client) -> int:
    """Answers that came when nobody waited for them any more."""
    link: Any = client._link
    return int(link._router.core.dropped_answers)


def test_eight_threads_get_their_own_replies(client: Client) -> None:
    """Each thread adds to its own entity; a foreign, late or doubled reply breaks its running
    sum."""
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: add_up(client, f"thread-{n}", n + 1, 500), range(8)))
    for number, got in enumerate(replies):
        assert got == [(number + 1) * n for n in range(1, 501)]
    assert eventually(lambda: dropped(client)), "late answers came"


def test_a_lone_command_is_handed_over_past_thespian(
    place: tuple[Running, Node], client: Client
) -> None:
    """Two messages of Thespian are a good part of its time."""

    def handed() -> int:
        return sum(host["frames_handed"] for host in place[1].status()["hosts"])

    before = handed()
    counter = client.entity("counter", "lone")
    assert [counter.ask(Add(1)) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert eventually(lambda: handed() > before)


def test_forked_workers_get_their_own_replies(client: Client) -> None:
    """A forked child inherits the client object and makes a link of its own."""
    client.entity("counter", "before-fork").ask(Add(1))
    children = []
    for number in range(3):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                got = add_up(client, f"worker-{number}", number + 1, 200)
                assert got == [(number + 1) * n for n in range(1, 201)]
                assert eventually(lambda: dropped(client)), "late answers came"
                code = 0
            except BaseException:
                traceback.print_exc(file=sys.stderr)
            finally:
                os._exit(code)
        children.append(pid)
    assert client.entity("counter", "before-fork").ask(Get()) == (1, 1)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
    assert client.entity("counter", "before-fork").ask(Add(1)) == 2


def test_ask_many_answers_in_the_order_of_its_commands(client: Client) -> None:
    """One entity's commands are handled in order, many in flight."""
    commands = [("counter", f"many-{n % 50}", Add(1)) for n in range(5000)]
    got = list(client.ask_many(commands, in_flight=2000))
    assert got == [n // 50 + 1 for n in range(5000)]


def test_an_error_takes_the_place_of_its_reply(client: Client) -> None:
    """Raised when its turn comes, or yielded where the caller wants to go on."""
    commands = [("counter", "err", Add(1)), ("counter", "err", Fail()), ("counter", "err", Add(1))]
    replies = client.ask_many(commands)
    assert next(replies) == 1
    with pytest.raises(CommandFailedError, match="told to fail"):
        next(replies)
    got = list(client.ask_many(commands[:2], return_errors=True))
    assert got[0] == 3
    assert isinstance(got[1], CommandFailedError)


def test_named_errors_reach_the_asker(client: Client) -> None:
    """Each says what was wrong; nothing waits for a time-out."""
    with pytest.raises(UnknownCommandError, match="str"):
        client.entity("counter", "e").ask("what is this")
    with pytest.raises(UnknownEntityTypeError, match="counter"):
        client.entity("cart", "e").ask(Get())
    with pytest.raises(MessageUnsendableError, match=r"lambda"):
        client.entity("counter", "e").ask(lambda: None)


def test_a_late_answer_reaches_nobody(place: tuple[Running, Node], client: Client) -> None:
    """The answer to an ask that timed out comes while others are open: they keep their own."""
    oracle = place[0].system.createActor(Oracle)
    with pytest.raises(AskTimeoutError, match=r"counter\|late-1"):
        client.entity("counter", "late-1").ask(AskOut(oracle, ("x", "late")), timeout_s=0.2)
    slow = client.entity("counter", "late-2")
    for number in range(1, 300):
        assert slow.ask(Add(1)) == number
    eventually(lambda: dropped(client))
    assert slow.ask(Get()) == (299, 299)


def test_an_event_loop_asks_many_at_once(client: Client) -> None:
    """Coroutines on one loop, each with its own reply."""

    async def work() -> list[Any]:
        asks = [client.aio.entity("counter", f"aio-{n}").ask(Add(n)) for n in range(200)]
        return list(await asyncio.gather(*asks))

    assert asyncio.run(work()) == list(range(200))


def test_the_same_command_id_is_handled_once(client: Client) -> None:
    """Asked again, the entity answers what it answered."""
    entity = client.entity("counter", "idem")
    assert [entity.ask(Add(5), command_id="c-1") for _ in range(3)] == [5, 5, 5]
    assert entity.ask(Get()) == (5, 1)


def test_tell_arrives(client: Client) -> None:
    """It says nothing about when; a later ask of the same client finds it handled."""
    entity = client.entity("counter", "told")
    for _ in range(100):
        entity.tell(Add(1))
    assert entity.ask(Get()) == (100, 100)


def test_any_actor_and_outside_caller_may_send_to_a_type_address(
    place: tuple[Running, Node],
) -> None:
    """The raw way in: the entity answers the real sender."""
    one, node = place
    address = node.address_of(Counter)
    one.record()
    assert one.system.ask(address, ToEntity("raw", Add(4)), 10) == 4
    assert one.system.ask(address, ToEntity("raw", Get()), 10) == (4, 1)
    refused = one.system.ask(address, "no entity named", 10)
    assert "ToEntity" in str(refused)


def test_a_client_of_no_service_says_so(place: tuple[Running, Node]) -> None:
    """It never starts anything."""
    with pytest.raises(ServiceNotFoundError, match="nothing-here"):
        Client.connect(place[0].system, "nothing-here", timeout_s=0.5)


def test_a_closed_client_refuses(place: tuple[Running, Node]) -> None:
    """At once, not by a time-out."""
    client = Client.connect(place[0].system, "shop")
    client.close()
    with pytest.raises(ClientClosedError):
        client.entity("counter", "x").ask(Get())


def test_a_client_is_closed_while_its_commands_are_under_way(place: tuple[Running, Node]) -> None:
    """Its thread ends without an error (one would fail this test), with nothing left open."""
    for _ in range(5):
        client = Client.connect(place[0].system, "shop")
        for nr in range(3000):
            client.entity("counter", f"closing-{nr}").tell(Add(1))
        client.close()
        link: Any = client._link
        assert not link._thread.is_alive()
        assert not hasattr(link._transport, "socket")


def test_two_hundred_entities_ask_one_ordinary_actor(
    place: tuple[Running, Node], client: Client
) -> None:
    """An ordinary actor's answer carries nothing but its sender: late, doubled and missing ones
    must not reach another entity, of the 200 in each of two hosts. Each hundred begins with one
    whose answer comes behind its time, or never, while the others wait for their turn."""
    one, node = place
    oracle = one.system.createActor(Oracle)
    before = dead_letters(node)
    for first, doubtful in enumerate(("late", "never", "late", "never")):
        questions = [("counter", f"asks-{first}-0", AskOut(oracle, ("?", doubtful), 0.3))]
        expected = []
        for n in range(1, 100):
            asker, how = f"asks-{first}-{n}", ("once", "twice")[n % 2]
            questions.append(("counter", asker, AskOut(oracle, (f"answer-{asker}", how), 60.0)))
            expected.append((asker, f"answer-{asker}"))
        begun, *others = client.ask_many(questions, in_flight=400, timeout_s=90)
        assert begun in {(f"asks-{first}-0", "timeout"), (f"asks-{first}-0", "?")}
        assert others == expected
    eventually(lambda: dead_letters(node) - before >= 200)  # the second answers, and what was late


def dead_letters(node: Node) -> int:
    return sum(host["counts"].get("dead_letter", 0) for host in hosts(node))
