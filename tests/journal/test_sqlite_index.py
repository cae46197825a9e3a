"""The index of entities in SQLite at length: tails and chunks, trimming, and files of the first
schema version."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from thespian_dc.cli.main import main
from thespian_dc.journal.api import Found
from thespian_dc.journal.sqlite.entities import RUNS_IN_TAIL
from thespian_dc.journal.sqlite.open import SqliteJournal, open_sqlite
from thespian_dc.journal.sqlite.schema import migrate
from thespian_dc.model.errors import CorruptRecordError, JournalError, SchemaError, TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.testkit.journal_cases.storage import TYPE, Writer

KEY, OTHER = SliceKey(TYPE, 0), SliceKey(TYPE, 1)
NAMES = ("e-1", "e-2", "seldom")
RUN_BYTES = 24
FIRST_VERSION = """
create table entity_1(
    id integer primary key, slice integer not null, entity_id text not null,
    last_seq_nr integer not null, unique(slice, entity_id));
create table entry(
    entity integer not null, seq_nr integer not null, base_offset integer not null,
    primary key(entity, seq_nr)) without rowid;
insert into entity_1(slice, entity_id, last_seq_nr)
    select slice, entity_id, last_seq_nr from entity;
drop table entity;
drop table chunk;
alter table entity_1 rename to entity;
pragma user_version = 1;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def opened(path: Path) -> SqliteJournal:
    journal = open_sqlite(f"sqlite:///{path}")
    journal.slices(TYPE, 2)
    return journal


def written(journal: SqliteJournal, commits: int = 75) -> Writer:
    """Commits of one to four records; `seldom` has one in the first, the middle and the last."""
    writer, other = Writer(journal, KEY).take_over(), Writer(journal, OTHER).take_over()
    rng = random.Random(7)
    for number in range(commits):
        some = [rng.choice(NAMES[:2]) for _ in range(rng.randrange(1, 4))]
        writer.write(*some, *(["seldom"] if number in {0, commits // 2, commits - 1} else []))
        other.write("e-1")
    return writer


def history(journal: SqliteJournal) -> dict[tuple[SliceKey, str], list[Found]]:
    names = [(KEY, name) for name in NAMES] + [(OTHER, "e-1")]
    return {(key, name): journal.read_entity(key, name) for key, name in names}


def tails(path: Path) -> list[int]:
    """How many runs each tail holds."""
    with sqlite3.connect(path) as connection:
        found = connection.execute("select length(tail) from entity order by slice, entity_id")
        sizes = [size for (size,) in found]
    connection.close()
    assert all(size % RUN_BYTES == 0 for size in sizes)
    return [size // RUN_BYTES for size in sizes]


def test_any_part_of_a_history_is_read_wherever_its_runs_are(path: Path) -> None:
    """Some in chunks, some in the tail, some commits with several records of the entity."""
    journal = opened(path)
    written(journal)
    whole = journal.read_entity(KEY, "e-1")
    assert [one.record.seq_nr for one in whole] == list(range(1, len(whole) + 1))
    assert len(whole) > 3 * RUNS_IN_TAIL
    for first in range(1, len(whole) + 2):
        for until in (None, first, first + 1, first + 20, len(whole) + 1):
            expected = [
                one for one in whole if first <= one.record.seq_nr < (until or len(whole) + 1)
            ]
            assert journal.read_entity(KEY, "e-1", first, until_seq_nr=until) == expected
    for until_offset in range(0, whole[-1].offset + 2, 7):
        expected = [one for one in whole if one.offset < until_offset]
        assert journal.read_entity(KEY, "e-1", until_offset=until_offset) == expected
    assert journal.verify() == []
    journal.close()


def test_a_trimmed_history_says_so_at_every_seq_nr(path: Path) -> None:
    """What was trimmed is told from what never was, also of who has nothing left."""
    journal = opened(path)
    writer = written(journal)
    whole = journal.read_entity(KEY, "e-1")
    seldom = journal.read_entity(KEY, "seldom")
    while (trimmed := journal.trim(KEY, journal._slice(KEY).trimmed_to + 23)) < writer.head - 30:
        for first in range(1, len(whole) + 1):
            if whole[first - 1].offset < trimmed:
                with pytest.raises(TrimmedError):
                    journal.read_entity(KEY, "e-1", first)
            else:
                assert journal.read_entity(KEY, "e-1", first) == whole[first - 1 :]
        assert journal.verify() == []
    assert journal.read_entity(KEY, "seldom", 3) == seldom[2:]
    journal.trim(KEY, writer.head)
    for name in NAMES:
        with pytest.raises(TrimmedError):
            journal.read_entity(KEY, name)
    assert sum(tails(path)) < 4 * RUNS_IN_TAIL
    with sqlite3.connect(path) as connection:
        # Of who is trimmed whole, the last chunk stays where its tail is empty.
        assert connection.execute("select count(*) from chunk where slice = 1").fetchone()[0] <= 2
    connection.close()
    assert journal.verify() == []
    writer.write(*NAMES)
    assert [one.record.seq_nr for one in journal.read_entity(KEY, "seldom", 4)] == [4]
    journal.close()


def test_tails_stay_short_however_short_the_life_of_a_process(path: Path) -> None:
    """A process counts only what it wrote itself; what it finds it measures."""
    for _ in range(5 * RUNS_IN_TAIL):
        journal = opened(path)
        Writer(journal, KEY).take_over().write("e-1")
        journal.close()
        assert tails(path)[0] <= RUNS_IN_TAIL
    journal = opened(path)
    for _ in range(RUNS_IN_TAIL - 1):
        Writer(journal, KEY).take_over().write("e-1")
    assert tails(path)[0] < 2 * RUNS_IN_TAIL
    assert len(journal.read_entity(KEY, "e-1")) == 6 * RUNS_IN_TAIL - 1
    assert journal.verify() == []
    journal.close()


@pytest.mark.parametrize(
    "damage",
    [
        "delete from chunk where last_seq_nr = (select min(last_seq_nr) from chunk) and",
        "delete from chunk where last_seq_nr = (select max(last_seq_nr) from chunk) and",
        "update chunk set runs = substr(runs, 25) where",
        "update chunk set runs = substr(runs, 1, length(runs) - 24) where",
        "update chunk set runs = substr(runs, 2) where",
        "update chunk set runs = 'text' where",
        "update chunk set runs = 7 where",
        "update chunk set last_seq_nr = last_seq_nr + 1 where",
        "update entity set tail = x'' where",
        "update entity set tail = substr(tail, 25) where",
        "update entity set tail = substr(tail, 1, length(tail) - 24) where",
        "update entity set tail = substr(tail, 25, 24) || substr(tail, 1, 24) where",
    ],
)
def test_runs_that_are_missing_or_moved_are_named(path: Path, damage: str) -> None:
    """And never read as a shorter history. Another entity's are read as before."""
    journal = opened(path)
    writer = Writer(journal, KEY).take_over()
    for _ in range(2 * RUNS_IN_TAIL + 5):
        writer.write("e-1")
    writer.write("e-2")
    journal._db.connection().execute(f"{damage} entity_id = 'e-1'")
    with pytest.raises(JournalError, match="e-1"):
        journal.read_entity(KEY, "e-1")
    assert [error for error in journal.verify() if "e-1" in str(error)]
    assert len(journal.read_entity(KEY, "e-2")) == 1
    journal.close()


def test_a_history_by_a_wrong_last_seq_nr_refuses_the_append(path: Path) -> None:
    """Higher than what is there: the second fence refuses, and recovery names what is wrong."""
    journal = opened(path)
    writer = Writer(journal, KEY).take_over()
    writer.write("e-1")
    journal._db.connection().execute("update entity set last_seq_nr = 9")
    with pytest.raises(AssertionError):
        writer.write("e-1")
    with pytest.raises(CorruptRecordError, match="e-1"):
        journal.read_entity(KEY, "e-1")
    journal.close()


@pytest.mark.parametrize("trimmed", [0, 61])
def test_a_file_of_the_first_schema_version_is_migrated(path: Path, trimmed: int) -> None:
    """It had an index row for each record; nothing of the log is touched."""
    journal = opened(path)
    writer = written(journal)
    entries = [
        (key, name, one.record.seq_nr, commit.base_offset)
        for (key, name), found in history(journal).items()
        for one in found
        if (commit := journal.read(key, one.offset, bytes_max=1)[0])
        and (key != KEY or commit.base_offset >= trimmed)
    ]
    journal.trim(KEY, trimmed)
    before = {name: journal.read_entity(KEY, name, 40) for name in NAMES[:2]}
    journal.close()
    with sqlite3.connect(path) as connection:
        connection.executescript(FIRST_VERSION)
        connection.executemany(
            "insert into entry select entity.id, ?3, ?4 from entity join slice"
            " on slice.id = entity.slice where slice.slice = ?1 and entity_id = ?2",
            [(key.slice, *rest) for key, *rest in entries],
        )
    connection.close()
    with pytest.raises(SchemaError, match="stop nodes of older versions"):
        open_sqlite(f"sqlite:///{path}", create=False)  # a tool that only looks: they may still run
    journal = open_sqlite(f"sqlite:///{path}")
    assert journal.verify() == []
    assert {name: journal.read_entity(KEY, name, 40) for name in NAMES[:2]} == before
    writer.journal = journal
    for _ in range(2 * RUNS_IN_TAIL):
        writer.write(*NAMES)
    assert len(journal.read_entity(KEY, "e-1", 40)) == len(before["e-1"]) + 2 * RUNS_IN_TAIL
    assert journal.verify() == []
    journal.close()


def test_schema_apply_migrates_a_file_before_a_node_does(path: Path) -> None:
    """A large one takes longer than Node.start waits. A migration that was cut off left nothing."""
    url = f"sqlite:///{path}"
    opened(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(FIRST_VERSION)
        connection.execute("begin immediate")
        migrate(connection, 1)

    def schema(verb: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["schema", verb, "--journal", url])
        return result.exit_code, result.output.partition(":")[0]

    assert [schema("check"), schema("apply"), schema("check"), schema("apply")] == [
        (1, "differs"), (0, "migrated"), (0, "nothing to do"), (0, "nothing to do")
    ]  # fmt: skip
    open_sqlite(url, create=False).close()
