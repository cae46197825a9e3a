"""The checker of replicas finds each kind of damage, in journals of real files: a check that cannot
fail proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.processes.chaos import checker, replica_checker
from tests.processes.chaos.history import ACKNOWLEDGED, PUT, Attempt
from tests.processes.chaos.ledger import ENTITY_TYPE
from tests.processes.chaos.shared_ledger import Changed, applied, digest, empty
from tests.streams.material import Writer
from thespian_dc.crdt.api import Counted
from thespian_dc.model.record import EVENT, Record
from thespian_dc.model.replication import ReplicaMeta, local_meta, remote_meta

Logs = dict[str, list[Record]]
NAMES = ("a", "b", "c")


def event(origin: str, n: int, amount: int = 2) -> Changed:
    return Changed(n, amount, Counted(amount, amount * n, origin, n), None)


def record(origin: str, n: int, at: str, others: dict[str, int], amount: int = 2) -> Record:
    """Of the one entity, as the replica `at` holds it; its seq_nr comes when it is written."""
    own = origin == at
    said: list[Any] = local_meta(n, others)
    if not own:
        said = remote_meta(ReplicaMeta(origin, n, others, n, 7))
    encoded = replica_checker.REGISTRY.encode(event(origin, n, amount))
    return Record(
        EVENT, "l-1", 0, *encoded, command_id=f"{origin}0-{n}" if own else "", meta={"r": said}
    )


def good() -> Logs:
    """Each replica wrote two; they came in another order to each, causes first: a had seen b's
    first one when it wrote its second."""
    orders = {
        "a": ["a1", "b1", "a2", "b2", "c1", "c2"],
        "b": ["b1", "a1", "b2", "c1", "c2", "a2"],
        "c": ["c1", "c2", "b1", "b2", "a1", "a2"],
    }
    seen = {"a2": {"b": 1}}
    return {
        at: [record(one[0], int(one[1]), at, seen.get(one, {})) for one in order]
        for at, order in orders.items()
    }


def histories() -> dict[str, list[Attempt]]:
    """What each client was told: how many events its replica held then, and their sum."""
    told = {"a": (1, 3), "b": (1, 3), "c": (1, 2)}
    return {
        name: [
            Attempt(
                PUT, f"{name}0-{n}", "l-1", n, 2, 10 * n, 10 * n + 5, ACKNOWLEDGED, (at, 2 * at), ""
            )
            for n, at in enumerate(counts, 1)
        ]
        for name, counts in told.items()
    }  # fmt: skip


def stored(folder: Path, logs: Logs) -> dict[str, list[checker.Stored]]:
    """Written to a journal each, and read again."""
    found = {}
    for name, log in logs.items():
        url = f"sqlite:///{folder}/{name}.db"
        with closing(Writer(url, 1, ENTITY_TYPE)) as writer:
            writer.put([one._replace(seq_nr=n) for n, one in enumerate(log, 1)])
        found[name], wrong = checker.stored_in(url, ENTITY_TYPE)
        assert wrong == []
    return found


def test_a_good_run_is_good(tmp_path: Path) -> None:
    logs = stored(tmp_path, good())
    assert replica_checker.violations(histories(), logs) == []
    state = empty()
    for origin, n in (("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1), ("c", 2)):
        state = applied(state, event(origin, n), origin)
    expected = {"l-1": (digest(state), {"a": 2, "b": 2, "c": 2})}
    assert [replica_checker.states(log, name) for name, log in logs.items()] == [expected] * 3


Damage = Callable[[Logs], object]
DAMAGE: dict[str, tuple[Damage, str]] = {
    "doubled elsewhere": (
        lambda logs: logs["b"].append(logs["b"][1]), "b: DOUBLED: ('l-1', 'a', 1)",
    ),
    "doubled where it was written": (
        lambda logs: logs["a"].append(logs["a"][0]), "a: command a0-1 is stored 2 times",
    ),
    "lost elsewhere, the last one": (
        lambda logs: logs["c"].pop(), "LOST at c: ('l-1', 'a', 2)",
    ),
    "lost elsewhere, one before others": (
        lambda logs: logs["b"].pop(3), "b: LOST: ('l-1', 'c', 2) follows 0",
    ),
    "lost where it was acknowledged, and so everywhere": (
        lambda logs: [log.pop(log.index(record("a", 2, at, {"b": 1}))) for at, log in logs.items()],
        "a: LOST: Attempt(kind='put', command_id='a0-2'",
    ),
    "nobody wrote it": (
        lambda logs: logs["b"].append(record("a", 3, "b", {})), "FOREIGN at b: ('l-1', 'a', 3)",
    ),
    "an effect before its cause": (
        lambda logs: logs["c"].insert(2, logs["c"].pop(5)), "c: EARLY: ('l-1', 'a', 2) is here",
    ),
    "another content": (
        lambda logs: logs["b"].__setitem__(1, record("a", 1, "b", {}, amount=3)),
        "CHANGED at b: ('l-1', 'a', 1)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found(tmp_path: Path, what: str) -> None:
    logs = good()
    damage, told = DAMAGE[what]
    damage(logs)
    found: Sequence[str] = replica_checker.violations(histories(), stored(tmp_path, logs))
    assert any(told in one for one in found), found


def test_a_killed_client_wrote_down_less_than_it_sent(tmp_path: Path) -> None:
    """What it asked for may be stored, once; of others it is nobody's."""
    logs, written = stored(tmp_path, good()), histories()
    written["a"].pop()
    assert replica_checker.violations(written, logs, {"a0"}) == []
    assert any("foreign" in one for one in replica_checker.violations(written, logs))
