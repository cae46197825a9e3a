"""A replica's database file is put back to an older copy: it fetches from its peers what it lost
before it takes commands."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from tests.processes.replicas import WITHIN_S, Replica, agree, replicas
from thespian_dc.journal.api import open_journal
from thespian_dc.model.replication_errors import ReplicaRecoveringError
from thespian_dc.replication.management import Replicas
from thespian_dc.testkit.eventually import eventually


def database(replica: Replica) -> Path:
    return Path(replica.settings.journal.removeprefix("sqlite:///"))


def stop(replica: Replica) -> None:
    replica.end()
    for leftover in database(replica).parent.glob(f"{replica.name}.db-*"):
        leftover.unlink()


def status_of(replica: Replica) -> tuple[int, str]:
    roles = Replicas(replica.settings.journal, "tally").status().roles
    return roles.generation, roles.closed


def generation_of(replica: Replica) -> int:
    return status_of(replica)[0]


def takes(replica: Replica, entity_id: str, change: int = 1) -> bool:
    """It handles a command, or says that it is not whole yet."""
    try:
        replica.change(entity_id, change)
    except ReplicaRecoveringError:
        return False
    return True


def test_an_older_copy_is_made_whole_before_it_is_written(tmp_path: Path) -> None:
    with replicas(tmp_path, "abc") as found:
        a, b, c = found.values()
        for n in range(20):
            a.change(f"e-{n % 5}", 1)
            b.change(f"e-{n % 5}", 1)
        for n in range(5):
            agree([a, b, c], f"e-{n}", (8, {"a": 4, "b": 4}))
        stop(a)
        saved = tmp_path / "saved.db"
        shutil.copyfile(database(a), saved)
        a.begin()
        for n in range(20):
            a.change(f"e-{n % 5}", 1)
        a.change("new", 1)
        for n in range(5):
            agree([b, c], f"e-{n}", (12, {"a": 8, "b": 4}))
        agree([b, c], "new", (1, {"a": 1}))
        stop(a)
        shutil.copyfile(saved, database(a))
        a.begin()
        eventually(lambda: takes(a, "e-0"), WITHIN_S)  # the first one finds all that was lost
        agree([a, b, c], "e-0", (13, {"a": 9, "b": 4}))
        for n in range(1, 5):
            agree([a, b, c], f"e-{n}", (12, {"a": 8, "b": 4}))
        agree([a, b, c], "new", (1, {"a": 1}))
        assert status_of(a) == (1, "")
        b.change("e-1", 1)
        a.change("e-1", 1)
        agree([a, b, c], "e-1", (14, {"a": 9, "b": 5}))
        listed = [Replicas(r.settings.journal, "tally").status().listed.total for r in (a, b, c)]
        assert listed == [0, 0, 0]
        for one in (a, b, c):
            journal = open_journal(one.settings.journal)
            assert journal.verify("tally") == []
            journal.close()


def put_back(replica: Replica, copy: Path) -> None:
    """Stop it; its node is to be started again."""
    stop(replica)
    shutil.copyfile(copy, database(replica))


def test_losses_in_a_row_are_made_whole_from_each_others_memory(tmp_path: Path) -> None:
    """One replica is put back, and again before or after it is whole; then the other one, to a copy
    from before all of that."""
    with replicas(tmp_path, "ab") as found:
        a, b = found.values()
        a.change("e", 1)
        agree([a, b], "e", (1, {"a": 1}))
        copies = {one.name: tmp_path / f"{one.name}.saved" for one in (a, b)}
        for one, other in ((b, a), (a, b)):
            stop(one)
            shutil.copyfile(database(one), copies[one.name])
            one.begin()
            for n in range(10):
                one.change("e", 1)
                one.change(f"of {one.name} {n}", 1)
            agree([other], f"of {one.name} 9", (1, {one.name: 1}))
        for one, times in ((a, 2), (b, 1)):
            for generation in range(1, times + 1):
                put_back(one, copies[one.name])
                one.begin()
                begun = eventually(partial(generation_of, one), WITHIN_S)
                assert begun in range(1, generation + 1), "the peer may have heard of the first"
            eventually(partial(takes, one, "e"), WITHIN_S)
        agree([a, b], "e", (23, {"a": 12, "b": 11}))
        for n in range(10):
            agree([a, b], f"of a {n}", (1, {"a": 1}))
            agree([a, b], f"of b {n}", (1, {"b": 1}))
        for one in (a, b):
            assert Replicas(one.settings.journal, "tally").status().listed.total == 0
            journal = open_journal(one.settings.journal)
            assert journal.verify("tally") == []
            journal.close()


def test_what_slipped_through_is_a_fork_and_is_listed(tmp_path: Path) -> None:
    """Nobody could be asked when the old copy was written again."""
    with replicas(tmp_path, "ab") as found:
        a, b = found.values()
        a.change("x", 1)
        agree([b], "x", (1, {"a": 1}))
        stop(a)
        saved = tmp_path / "saved.db"
        shutil.copyfile(database(a), saved)
        a.begin()
        a.change("x", 10)
        a.change("y", 10)
        agree([b], "x", (11, {"a": 2}))
        agree([b], "y", (10, {"a": 1}))
        stop(a)
        stop(b)
        shutil.copyfile(saved, database(a))
        a.begin()
        a.change("x", 100)
        b.begin()
        eventually(lambda: status_of(a) == (1, ""), WITHIN_S)

        def forked(replica: Replica) -> set[str]:
            listed = Replicas(replica.settings.journal, "tally").status().listed.newest
            return {one.entity_id for _, one in listed if one.what == "forked"}

        eventually(lambda: forked(a) | forked(b) == {"x"}, WITHIN_S)
        eventually(lambda: takes(a, "y", 5), WITHIN_S)  # its hosts hear of it a moment later
        agree([a, b], "y", (15, {"a": 2}))
