"""What is special to a journal in a file: URLs, schema, locks, full disks, forks, the write-ahead
log."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from thespian_dc.journal.api import Member, Outcome, StateRow, append_wait, open_journal
from thespian_dc.journal.sqlite.open import SqliteJournal, open_sqlite
from thespian_dc.model.errors import (
    CorruptJournalError,
    CorruptRecordError,
    JournalUnavailableError,
    JournalUrlError,
    SchemaError,
)
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.position import Position
from thespian_dc.replication.progress import KeptProgress
from thespian_dc.replication.status import store_status
from thespian_dc.replication.wishes import Beat, beat
from thespian_dc.testkit.journal_cases.storage import TYPE, Writer, all_commits

KEY = SliceKey(TYPE, 0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/journal.db"


@pytest.fixture
def journal(url: str) -> Iterator[SqliteJournal]:
    journal = open_sqlite(url)
    journal.slices(TYPE, 4)
    yield journal
    journal.close()


def pragma(journal: SqliteJournal, name: str) -> Any:
    return journal._db.connection().execute(f"pragma {name}").fetchone()[0]


# --- opening ---
@pytest.mark.parametrize(
    ("tail", "says"),
    [
        ("sqlite:", "is a file"),
        ("sqlite:///", "is a file"),
        ("sqlite://host/path", "is a file"),
        ("sqlite:///:memory:", "is a file"),
        ("sqlite:///{tmp}/x.db?synchronous=off", "full or normal"),
        ("sqlite:///{tmp}/x.db?lock_timeout_s=soon", "number of seconds"),
        ("sqlite:///{tmp}/x.db?lock_timeout_s=-1", "number of seconds"),
        ("sqlite:///{tmp}/x.db?lock_timeout_s=nan", "number of seconds"),
        ("sqlite:///{tmp}/x.db?sync=full", "unknown parameter sync"),
        ("sqlite:///{tmp}/x.db?nonsense", "unknown parameter nonsense"),
        ("sqlite:///{tmp}/no/such/x.db", "does not exist"),
        ("sqlite:///{tmp}", "is a directory"),
        ("sqlight:///x", "no journal is called"),
    ],
)
def test_nonsense_urls_are_refused_with_the_reason(tmp_path: Path, tail: str, says: str) -> None:
    """The operator reads one line and knows; no file is left behind."""
    with pytest.raises(JournalUrlError, match=says):
        open_journal(tail.format(tmp=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """A typing mistake must not overwrite somebody's notes."""
    path = tmp_path / "notes.txt"
    path.write_text("milk, bread\n" * 500)
    with pytest.raises(JournalUrlError, match="not an SQLite database"):
        open_journal(f"sqlite:///{path}")
    assert path.read_text() == "milk, bread\n" * 500


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    """The projection's own database, say."""
    path = tmp_path / "app.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table customers(name text)")
    connection.close()
    with pytest.raises(JournalUrlError, match="another program's"):
        open_journal(f"sqlite:///{path}")


def test_without_create_a_missing_journal_is_a_schema_error(url: str, tmp_path: Path) -> None:
    """A tool that only looks makes no empty journal."""
    with pytest.raises(SchemaError) as caught:
        open_journal(url, create=False)
    assert caught.value.found == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", [3, 0])
def test_another_schema_version_is_refused(url: str, journal: SqliteJournal, version: int) -> None:
    """Newer: upgrade the package. None at all: a tool that only looks makes none."""
    journal._db.connection().execute(f"pragma user_version = {version}")
    with pytest.raises(SchemaError) as caught:
        open_journal(url, create=False)
    assert (caught.value.found, caught.value.wanted) == (version, 2)


def test_full_is_the_default_and_normal_is_asked_for(url: str, journal: SqliteJournal) -> None:
    """Acknowledged means on the disk, unless somebody said otherwise in so many words."""
    assert pragma(journal, "journal_mode") == "wal"
    assert pragma(journal, "synchronous") == 2
    normal = open_sqlite(url + "?synchronous=normal")
    assert pragma(normal, "synchronous") == 1
    normal.close()


def at_commit(journal: SqliteJournal, work: Callable[[], object]) -> list[str]:
    """What `synchronous` was set to before each commit of the work, "" where nothing was."""
    connection = journal._db.connection()
    said: list[str] = []
    connection.set_trace_callback(said.append)
    work()
    connection.set_trace_callback(None)
    assert pragma(journal, "synchronous") == 2
    begun, found = "", []
    for one in said:
        if one.startswith("pragma synchronous = "):
            begun = one.rpartition(" ")[2]
        elif one == "commit":
            found.append(begun)
    return found[-1:]  # those before it read


def test_a_beat_waits_for_no_disk_and_what_comes_after_it_does(journal: SqliteJournal) -> None:
    """An idle host would have the disk busy twice a second, just where an append wants it."""
    member = Member("m1", "127.0.0.1:1", "n1", (TYPE,), 1)
    assert at_commit(journal, lambda: journal.announce(member)) == ["normal"]
    assert [one.member_id for one in journal.members()] == ["m1"]


def test_what_can_be_made_again_waits_for_no_disk(journal: SqliteJournal) -> None:
    """States, the progress and the status of links, a keeper's beat: an append waits for the disk
    that they would have busy, several times a second. Whatever is written after them makes them
    last, so none of them is older than a record that was known to be durable when it was
    written."""
    key, kept = SliceKey(TYPE, 0), KeptProgress(journal, TYPE, "eu")
    kept.load()
    progress = LinkProgress("j", 0, {0: Position(3, b"w" * 16)})
    light = [
        lambda: journal.write_states(key, [StateRow("a", 1, 0, b"s")]),
        lambda: kept.store(progress),
        lambda: store_status(journal, TYPE, "n1", [], 1),
        lambda: beat(journal, TYPE, Beat(1)),
    ]
    for write in light:
        assert at_commit(journal, write) == ["normal"]
    assert KeptProgress(journal, TYPE, "eu").load() == progress
    assert at_commit(journal, lambda: journal.put_entry("x", 0, 1)) == [""]


def test_many_processes_create_one_journal(url: str) -> None:
    """All actors of a node start at once on an empty disk."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(4) as pool:
        ids = pool.map(_journal_id, [url] * 8, chunksize=1)
    assert len(set(ids)) == 1


def _journal_id(url: str) -> str:
    journal = open_journal(url)
    journal.close()
    return journal.journal_id


# --- fences and locks ---
def test_the_second_fence_holds_where_the_first_was_passed(journal: SqliteJournal) -> None:
    """A host with a wrong memory of one entity, the right head and epoch: nothing of that commit,
    all of others."""
    writer, bystander = (
        Writer(journal, KEY).take_over(),
        Writer(journal, SliceKey(TYPE, 1)).take_over(),
    )
    writer.write("a", "b")
    writer.seq_nrs["a"] = 0
    answers = append_wait(journal, [writer.commit("c", "a"), bystander.commit("z")])
    assert [answer.outcome for answer in answers] == [Outcome.CONFLICT, Outcome.DONE]
    assert "seq_nr" in answers[0].reason
    assert journal.read_entity(KEY, "c") == []
    assert journal.find_head(KEY).head == 2
    assert journal.verify() == []


def test_a_lock_that_is_never_released_refuses_and_writes_nothing(
    url: str, journal: SqliteJournal
) -> None:
    """Somebody's forgotten transaction: the host is told within its patience and tries again
    later."""
    writer = Writer(journal, KEY).take_over()
    impatient = open_sqlite(url + "?lock_timeout_s=0.05")
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("begin immediate")
    commit = writer.commit("a")
    (answer,) = append_wait(impatient, [commit])
    assert (answer.outcome, "lock" in answer.reason) == (Outcome.REFUSED, True)
    with pytest.raises(JournalUnavailableError):
        impatient.claim(KEY, "m-2", b"t")
    assert impatient.find_head(KEY).head == 0  # readers do not wait for writers
    holder.execute("rollback")
    holder.close()
    assert append_wait(impatient, [commit])[0].outcome is Outcome.DONE
    impatient.close()


def test_an_append_at_once_does_not_wait_for_another_writer(
    url: str, journal: SqliteJournal
) -> None:
    """Another host is at work, or somebody's forgotten transaction: who asked goes on at once."""
    writer = Writer(journal, KEY).take_over()
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("begin immediate")
    commit = writer.commit("a")
    assert journal.append_at_once([commit]) is None
    assert journal.find_head(KEY).head == 0
    holder.execute("rollback")
    holder.close()
    answers = journal.append_at_once([commit])
    assert answers is not None
    assert [one.outcome for one in answers] == [Outcome.DONE]


def test_threads_share_a_journal(journal: SqliteJournal) -> None:
    """A producer's pool reads while the host appends; ended threads leave no connection behind."""
    writers = [Writer(journal, SliceKey(TYPE, n)).take_over() for n in range(4)]

    def work(writer: Writer) -> None:
        for _ in range(20):
            writer.write("a", "b")
            assert len(journal.read_entity(writer.key, "a")) == writer.seq_nrs["a"]

    for _ in range(3):
        threads = [threading.Thread(target=work, args=(writer,)) for writer in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [journal.find_head(writer.key).head for writer in writers] == [120] * 4
    assert len(journal._db._held) <= 5
    assert journal.verify() == []


def test_a_forked_child_opens_its_own_connection(url: str, journal: SqliteJournal) -> None:
    """Thespian forks actors; a shared connection would corrupt the file or drop the parent's
    locks."""
    writer = Writer(journal, KEY).take_over()
    writer.write("a")
    pid = os.fork()
    if pid == 0:
        try:
            Writer(journal, SliceKey(TYPE, 1)).take_over().write("child")
            os._exit(0 if len(all_commits(journal, KEY)) == 1 else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    writer.write("a")
    assert journal.find_head(SliceKey(TYPE, 1)).head == 1
    assert journal.verify() == []


# --- disks ---
def test_a_full_database_refuses_and_loses_nothing(journal: SqliteJournal) -> None:
    """Certainly not written: the host answers by name and goes on when there is room."""
    writer = Writer(journal, KEY).take_over()
    first = writer.write("a")
    pages = pragma(journal, "page_count")
    pragma(journal, f"max_page_count = {pages + 2}")
    (answer,) = append_wait(journal, [writer.commit("a", payload=b"x" * 200_000)])
    assert answer.outcome is Outcome.REFUSED
    assert "full" in answer.reason
    pragma(journal, f"max_page_count = {pages + 10_000}")
    assert all_commits(journal, KEY) == [first]
    writer.write("a", payload=b"x" * 200_000)
    assert journal.verify() == []


def test_a_write_that_fails_while_committing_is_unknown(url: str, journal: SqliteJournal) -> None:
    """What the system call left in the log file may count after a crash: to be read back, never
    guessed."""
    Writer(journal, KEY).take_over().write("a")
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool:
        outcomes = pool.apply(_append_until_the_file_may_not_grow, (url,))
    assert outcomes[-3:] == ["done", "unknown", "done"]
    assert len(all_commits(journal, KEY)) == 1 + outcomes.count("done")
    assert journal.verify() == []


def _append_until_the_file_may_not_grow(url: str) -> list[str]:
    """Outcomes until the first that is not done, under a limit of file size (SIGXFSZ is ignored
    by Python)."""
    journal = open_journal(url)
    writer = Writer(journal, KEY, "m-2").take_over()
    writer.write("a")
    wal = Path(url.removeprefix("sqlite:///") + "-wal")
    soft = wal.stat().st_size + 150_000
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    outcomes, commit = ["done"], writer.commit("a")
    while outcomes[-1] == "done" and len(outcomes) < 100:
        commit = writer.commit("a", payload=b"x" * 20_000)
        outcomes.append(writer.send(commit).value)
    # There is room again: first (head, epoch), and as the head has not moved, the identical commit.
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert journal.head_at(KEY, commit.base_offset) == (commit.base_offset, commit.epoch)
    outcomes.append(writer.send(commit).value)
    journal.close()
    return outcomes


def test_a_read_only_file_refuses_writes_and_can_be_read(url: str, journal: SqliteJournal) -> None:
    """A mounted backup: tools read it, a host is told by name."""
    writer = Writer(journal, KEY).take_over()
    commit = writer.write("a")
    pragma_only = open_sqlite(url)
    pragma_only._db.connection().execute("pragma query_only = on")
    assert all_commits(pragma_only, KEY) == [commit]
    (answer,) = append_wait(pragma_only, [writer.commit("a")])
    assert (answer.outcome, "readonly" in answer.reason) == (Outcome.REFUSED, True)
    with pytest.raises(JournalUnavailableError, match="readonly"):
        pragma_only.claim(KEY, "m", b"t")
    pragma_only.close()


def test_the_write_ahead_log_stays_bounded(url: str, journal: SqliteJournal) -> None:
    """A log that is never copied back grows until the disk is full."""
    writer = Writer(journal, KEY).take_over()
    for _ in range(80):
        writer.write("a", payload=b"x" * 700_000)
    assert Path(url.removeprefix("sqlite:///") + "-wal").stat().st_size < 40 << 20


def test_a_malformed_page_is_named(url: str, journal: SqliteJournal) -> None:
    """Damage below SQLite's own structures is found by SQLite and named by us."""
    writer = Writer(journal, KEY).take_over()
    for _ in range(50):
        writer.write("a", payload=b"x" * 3_000)
    journal.close()
    path = Path(url.removeprefix("sqlite:///"))
    content = bytearray(path.read_bytes())
    for page in range(4, len(content) // 4096):
        content[page * 4096 : page * 4096 + 12] = b"\xff" * 12
    path.write_bytes(content)
    with pytest.raises((CorruptJournalError, JournalUrlError)):
        _open_and_verify(url)


def _open_and_verify(url: str) -> None:
    journal = open_sqlite(url)
    try:
        journal.verify()
    finally:
        journal.close()


@pytest.mark.parametrize("last", [0, 1, 2, 4, 7])
@pytest.mark.parametrize("until_seq_nr", [None, 3])
def test_an_entitys_last_seq_nr_that_is_wrong_hides_nothing(
    journal: SqliteJournal, last: int, until_seq_nr: int | None
) -> None:
    """It has three records: less would be a history without its end, read as the whole. Nothing is
    answered by what is known to be wrong, were it all that is asked for."""
    writer = Writer(journal, KEY).take_over()
    for _ in range(3):
        writer.write("e-1", "e-2")
    journal._db.connection().execute(
        "update entity set last_seq_nr = ? where entity_id = 'e-1'", (last,)
    )
    with pytest.raises(CorruptRecordError, match="e-1"):
        journal.read_entity(KEY, "e-1", until_seq_nr=until_seq_nr)
    assert len(journal.read_entity(KEY, "e-2")) == 3
