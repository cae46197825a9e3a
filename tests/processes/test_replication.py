"""Replicas in processes: what is written at one reaches all, once, whatever is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.processes.replicas import WITHIN_S, Fragile, Replica, agree, replicas
from thespian_dc.journal.api import open_journal
from thespian_dc.model.criteria import Exclude, Filter, Include
from thespian_dc.model.replication_errors import ReplicatedEntityFailedError
from thespian_dc.model.replication_settings import replica_stream_id
from thespian_dc.replication.management import Replicas
from thespian_dc.stream.destination_filters import set_destination_filter
from thespian_dc.testkit.eventually import eventually

Two = dict[str, Replica]
IDS = ("x", "y", "z")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """Two replicas that dial each other; each test writes entities of its own."""
    with replicas(tmp_path_factory.mktemp("pair"), "ab") as found:
        yield found


class Writers:
    """Writes at each replica without a pause, until `stop`: what each of them had acknowledged."""

    def __init__(self, among: list[Replica], ids: tuple[str, ...]) -> None:
        self.done = {one.name: dict.fromkeys(ids, 0) for one in among}
        self._stop = Event()
        self._threads = [Thread(target=self._write, args=(one, ids)) for one in among]
        for thread in self._threads:
            thread.start()

    def _write(self, replica: Replica, ids: tuple[str, ...]) -> None:
        while not self._stop.is_set():
            for entity_id in ids:
                replica.change(entity_id, 1)
                self.done[replica.name][entity_id] += 1

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def written(self) -> int:
        return min(sum(by_id.values()) for by_id in self.done.values())

    def expected(self, entity_id: str) -> tuple[int, dict[str, int]]:
        counts = {name: by_id[entity_id] for name, by_id in self.done.items()}
        return sum(counts.values()), counts


def test_a_write_reaches_the_other_one(pair: Two) -> None:
    """Both ways, and each event once."""
    a, b = pair.values()
    a.change("first", 5)
    agree([a, b], "first", (5, {"a": 1}))
    b.change("first", -2)
    agree([a, b], "first", (3, {"a": 1, "b": 1}))


def test_concurrent_writes_come_together(pair: Two) -> None:
    writers = Writers(list(pair.values()), IDS)
    eventually(lambda: writers.written() > 60, WITHIN_S)
    writers.stop()
    for entity_id in IDS:
        agree(list(pair.values()), entity_id, writers.expected(entity_id))


def test_a_node_says_how_far_its_links_are(pair: Two) -> None:
    a, b = pair.values()
    a.change("status", 1)
    agree([b], "status", (1, {"a": 1}))

    def here() -> int:
        return sum(at for _, at, _ in b.links()["a"]["slices"])

    before = here()
    a.change("status", 1)
    eventually(lambda: here() > before, WITHIN_S)

    def at_rest() -> bool:
        link = b.links()["a"]
        assert (link["state"], link["waiting"], link["error"], link["lag"]) == ("up", 0, "", 0)
        return True

    assert eventually(at_rest, WITHIN_S)


def test_nodes_of_several_hosts_lose_and_double_nothing(tmp_path: Path) -> None:
    """Each host has a part of the slices, and takes over those of one that is killed."""
    ids = tuple(f"of-several-{n}" for n in range(8))  # in all four slices
    with replicas(tmp_path, "ab", hosts=2) as found:
        among = list(found.values())
        eventually(lambda: all(len(one.node.status()["hosts"]) == 2 for one in among), WITHIN_S)
        writers = Writers(among, ids)
        for one in among:
            before = writers.written()
            one.kill("hosts")
            eventually(lambda: writers.written() > before + 40, WITHIN_S)  # noqa: B023
        writers.stop()
        for entity_id in ids:
            agree(among, entity_id, writers.expected(entity_id))


@pytest.mark.parametrize("role", ["replication", "hosts", "producers"])
def test_a_killed_process_loses_and_doubles_nothing(pair: Two, role: str) -> None:
    """While both write, at either end of the links."""
    a, b = pair.values()
    ids = (f"{role}-1", f"{role}-2")
    writers = Writers([a, b], ids)
    for killed in (a, b):
        before = writers.written()
        killed.kill(role)
        eventually(lambda: writers.written() > before + 10, WITHIN_S)  # noqa: B023
    writers.stop()
    for entity_id in ids:
        agree([a, b], entity_id, writers.expected(entity_id))


def test_an_entity_that_failed_is_shown_until_its_code_is_mended(tmp_path: Path) -> None:
    """By whoever looks into the journal; mended code recovers it with nobody asking for it."""
    bug = tmp_path / "bug"
    bug.touch()
    with replicas(tmp_path, "ab", entity=Fragile) as found:
        a, b = found.values()
        a.change(str(bug), 5)
        status = Replicas(b.settings.journal, "tally").status
        eventually(lambda: list(status().failed) == [str(bug)], WITHIN_S)
        assert "the code of b has a bug" in status().failed[str(bug)].why
        a.change("another", 1)
        a.change(str(bug), 1)
        agree([a, b], "another", (1, {"a": 1}))
        eventually(lambda: b.links()["a"]["lag"] == 0, WITHIN_S)  # stored, though not applied
        b.end()
        bug.unlink()
        b.begin()
        eventually(lambda: not status().failed, 2 * WITHIN_S)
        agree([a, b], str(bug), (6, {"a": 2}))


def test_an_entity_that_fails_when_a_command_wakes_it_is_shown(tmp_path: Path) -> None:
    """No link brings anything for it: its replica is started again with worse code."""
    bug = tmp_path / "bug"
    with replicas(tmp_path, "ab", entity=Fragile) as found:
        a, b = found.values()
        a.change(str(bug), 5)
        agree([a, b], str(bug), (5, {"a": 1}))
        eventually(lambda: b.links()["a"]["lag"] == 0, WITHIN_S)
        b.end()
        bug.touch()
        b.begin()
        with pytest.raises(ReplicatedEntityFailedError, match="the code of b has a bug"):
            b.read(str(bug))
        status = Replicas(b.settings.journal, "tally").status
        eventually(lambda: list(status().failed) == [str(bug)], WITHIN_S)


def test_a_node_that_was_stopped_catches_up(pair: Two) -> None:
    """It goes on from where it was; and its own events of before are known everywhere."""
    a, b = pair.values()
    a.change("stopped", 1)
    b.change("stopped", 1)
    agree([a, b], "stopped", (2, {"a": 1, "b": 1}))
    b.end()
    for _ in range(30):
        a.change("stopped", 1)
    b.begin()
    b.change("stopped", 1)
    agree([a, b], "stopped", (33, {"a": 31, "b": 2}))


def test_events_pass_along_a_chain(tmp_path: Path) -> None:
    """a and c never meet; b hands over what it got."""
    with replicas(tmp_path, "abc", ["ab", "ba", "bc", "cb"]) as found:
        writers = Writers(list(found.values()), IDS)
        eventually(lambda: writers.written() > 30, WITHIN_S)
        writers.stop()
        for entity_id in IDS:
            agree(list(found.values()), entity_id, writers.expected(entity_id))
        assert set(found["a"].links()) == {"b"}


def test_what_one_replica_wrote_survives_it(tmp_path: Path) -> None:
    """c is lost for good once b has its events: a gets them from b."""
    with replicas(tmp_path, "abc", ["ab", "ba", "bc"]) as found:
        found["c"].change("x", 7)
        agree([found["b"]], "x", (7, {"c": 1}))
        found["c"].system.kill_all()
        agree([found["a"]], "x", (7, {"c": 1}))


def test_a_replica_takes_what_it_wants(tmp_path: Path) -> None:
    """An entity that comes into scope comes whole, though nothing more is written of it; what is
    wanted is kept, and the order of changes does not matter."""
    some = Exclude.all() + Include.entity_ids("in")
    with replicas(tmp_path, "ab", own={"b": {"wanted": some}}) as found:
        a, b = found.values()
        for entity_id in ("in", "later", "last"):
            a.change(entity_id, 1)
            a.change(entity_id, 1)
        agree([b], "in", (2, {"a": 2}))
        assert b.read("later") == (0, {})
        with closing(open_journal(b.settings.journal)) as journal:
            more = some + Include.entity_ids("later")
            set_destination_filter(journal, replica_stream_id("tally"), more)
            agree([b], "later", (2, {"a": 2}))
            assert b.read("last") == (0, {})
            b.kill("replication")
            set_destination_filter(journal, replica_stream_id("tally"), Filter())
        agree([b], "last", (2, {"a": 2}))
        a.change("in", 1)
        agree([b], "in", (3, {"a": 3}))


def test_a_replica_shows_what_it_is_told_to(tmp_path: Path) -> None:
    """What is shown later comes whole, though nothing more is written of it; what is not shown any
    more stops. It is obeyed while they run and after a restart, whoever said it."""
    hides = Exclude.entity_ids("later")
    with replicas(tmp_path, "ab", own={"a": {"shown": hides}}) as found:
        a, b = found.values()
        api = Replicas(a.settings.journal, "tally")
        for entity_id in ("later", "other", "later", "other"):
            a.change(entity_id, 1)
        agree([b], "other", (2, {"a": 2}))
        assert b.read("later") == (0, {})
        api.remove_criteria(hides, shown=True)
        agree([b], "later", (2, {"a": 2}))
        api.set_filter(Exclude.entity_ids("other"), shown=True)
        eventually(lambda: b.links()["a"]["relayed_by"] == ["b"], WITHIN_S)
        a.end()
        a.begin()
        a.change("other", 1)
        a.change("later", 1)
        agree([b], "later", (3, {"a": 3}))
        assert b.read("other") == (2, {"a": 2})
        eventually(lambda: b.links()["a"]["lag"] == 0, WITHIN_S)
        assert b.read("other") == (2, {"a": 2})
        a.kill("producers")
        api.set_filter(Filter(), shown=True)
        agree([b], "other", (3, {"a": 3}))


def test_an_edge_that_only_dials_is_read_all_the_same(tmp_path: Path) -> None:
    """Nobody can call a or c; b brings the one what the other wrote."""
    with replicas(tmp_path, "abc", edges=["ab", "cb"]) as found:
        writers = Writers(list(found.values()), IDS)
        eventually(lambda: writers.written() > 30, WITHIN_S)
        writers.stop()
        for entity_id in IDS:
            agree(list(found.values()), entity_id, writers.expected(entity_id))


def test_several_connections_share_a_peers_slices(tmp_path: Path) -> None:
    """From the first event on, and again after the process that reads was killed."""
    with replicas(tmp_path, "ab", workers=3) as found:
        a, b = found.values()
        a.change("before", 1)
        agree([b], "before", (1, {"a": 1}))
        ids = tuple(f"e{n}" for n in range(8))
        writers = Writers([a, b], ids)
        b.kill("replication")
        eventually(lambda: writers.written() > 80, WITHIN_S)
        writers.stop()
        for entity_id in ids:
            agree([a, b], entity_id, writers.expected(entity_id))
        eventually(lambda: a.node.status()["producers"][0].get("calls") == 3, WITHIN_S)
