"""A thousand pipelined commands to one entity whose state changes in place, while others take its
slice over and write to it in their midst: each reply is its own prefix sum all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack
import pytest
from thespian.actors import ActorSystem

from tests.processes.running import hosts, running
from thespian_dc.client.api import Client
from thespian_dc.entity.actions import Answer
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.inline import InlineHost
from thespian_dc.entity.protocol import Command, ReplyAddress
from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.ids import SLICES_DEFAULT, SliceKey, slice_of
from thespian_dc.model.settings import Settings
from thespian_dc.node import Node
from thespian_dc.shell.frames import unpack_reply
from thespian_dc.testkit.entities import Account, Balance, Deposit
from thespian_dc.testkit.eventually import eventually

COMMANDS, INTRUSIONS = 1000, (375, 750)
"""Before which command others come: the client hands over as many at a time as divide these."""
THEIRS = 100_000
KEY = SliceKey("account", slice_of("a", SLICES_DEFAULT))


def deposits(journal: Journal, let_run: Callable[[], object]) -> Iterator[tuple[Any, ...]]:
    """Each 1, one after the other without a pause, but that others come in between. let_run: a node
    that runs in this process only."""
    for number in range(COMMANDS):
        if number in INTRUSIONS:
            intrude(journal, let_run)
        yield "account", "a", Deposit(1)


def intrude(journal: Journal, let_run: Callable[[], object]) -> None:
    """When there is a commit of the slice's owner since the last time, maybe with the next one
    under way, another host takes the slice over, deposits into the account, and goes."""

    def owner_wrote() -> bool:
        let_run()
        events = deposited(journal)
        return bool(events) and events[-1][1] != THEIRS

    eventually(owner_wrote, deadline_s=60, every_s=0.005)
    answers: list[Answer] = []
    account = EntityType.of(Account, SLICES_DEFAULT, importable=False)
    host = InlineHost(journal, [account], "other", answers.append, lambda *_: None, keys=[KEY])

    def owns() -> bool:
        host.tick()
        return KEY in host.core.owned()

    eventually(owns, deadline_s=60, every_s=0.001)
    host.commands([Command("account", "a", Deposit(THEIRS), ReplyAddress("asker", "asker", 1))])
    [answer] = answers
    assert unpack_reply(answer.value).amount >= THEIRS
    host.close()


def deposited(journal: Journal) -> list[tuple[int, int, int]]:
    """(seq_nr, amount, epoch) of each event of the log."""
    account = EntityType.of(Account, SLICES_DEFAULT, importable=False)
    found = []
    for commit in journal.read(KEY, 0):
        for _, entity_id, seq_nr, manifest, payload, *_ in msgpack.unpackb(commit.body):
            assert entity_id == "a"
            amount = account.registry.decode(manifest, payload).amount
            found.append((seq_nr, amount, commit.epoch))
    return found


def check(journal: Journal, replies: list[Balance]) -> None:
    """Sums grow by 1, and by what others deposited in their midst; the log has each deposit once,
    without a hole, under one epoch after the other."""
    sums = [0, *(reply.amount for reply in replies)]
    grew = [after - before for before, after in pairwise(sums)]
    assert len(grew) == COMMANDS
    after_theirs = [number for number, amount in enumerate(grew) if amount != 1]
    assert [grew[number] for number in after_theirs] == [1 + THEIRS] * len(INTRUSIONS)
    assert after_theirs[0] > 0
    assert all(number <= at for number, at in zip(after_theirs, INTRUSIONS, strict=True))
    events = deposited(journal)
    assert [seq_nr for seq_nr, _, _ in events] == [*range(1, COMMANDS + len(INTRUSIONS) + 1)]
    amounts = [amount for _, amount, _ in events]
    assert [number for number, amount in enumerate(amounts) if amount == THEIRS] == [
        number + others for others, number in enumerate(after_theirs)
    ]
    epochs = [epoch for _, _, epoch in events]
    assert epochs == sorted(epochs)
    for at in (at for at, amount in enumerate(amounts) if amount == THEIRS):
        assert epochs[at - 1] < epochs[at] < epochs[at + 1], "an owner, another one, an owner"


def lost(node: Node) -> int:
    """How often its hosts lost a slice."""
    return sum(host["counts"].get("slices_lost", 0) for host in hosts(node))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = open_journal(f"sqlite:///{tmp_path}/bank.db")
    yield opened
    opened.close()


@pytest.mark.processes
@pytest.mark.timeout(180)
def test_a_node_answers_prefix_sums_through_conflicts(tmp_path: Path, journal: Journal) -> None:
    """Through real actors: what was under way when the slice was taken runs again, on the state
    that the other one left."""
    with running() as one:
        settings = Settings("bank", f"sqlite:///{tmp_path}/bank.db", entities=[Account])
        node = one.start(settings)
        with Client.connect(one.system, "bank") as client:
            commands = deposits(journal, lambda: None)
            check(journal, list(client.ask_many(commands, COMMANDS, timeout_s=60)))
        # By a conflict, or the registry's word where that came first.
        eventually(lambda: lost(node) >= len(INTRUSIONS))


def test_a_node_in_this_process_answers_prefix_sums_through_conflicts(
    tmp_path: Path, journal: Journal
) -> None:
    """On simpleSystemBase: the host finds out with its next append."""
    system: Any = ActorSystem("simpleSystemBase", transientUnique=True)
    node = Node.start(system, Settings("bank", f"sqlite:///{tmp_path}/bank.db", entities=[Account]))
    with Client.connect(system, "bank") as client:
        commands = deposits(journal, lambda: node.run_until_idle(0.05))
        check(journal, list(client.ask_many(commands, COMMANDS, timeout_s=60)))
    [host] = node.status()["hosts"]
    assert host["counts"]["conflicts"] == len(INTRUSIONS)
    node.stop()
    system.shutdown()
