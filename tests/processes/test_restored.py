"""A replica's database file is put back to an older copy: it fetches from its peers what it lost
before it takes commands."""

from __future__ import annotations

import shutil
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
