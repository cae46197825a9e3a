"""What a producer's journal may hold or lack: named at the consumer, with everything before it
handled."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.streams.material import Added, Writer, counted, offsets, projection
from thespian_dc.model.settings import Local, Remote
from thespian_dc.projection.api import local_source, start_projection
from thespian_dc.testkit.eventually import eventually, never


@pytest.fixture(params=["local", "remote"])
def run(request: Any, serve: Any, consume: Any, journal_url: str) -> Any:
    """Start a projection over the journal, from here or through a stream; it must end the same."""
    running = []

    def start(read_model: Path) -> Any:
        if request.param == "remote":
            _, port = serve()
            return consume(projection(read_model, Remote("carts", f"127.0.0.1:{port}")))[0]
        one = start_projection(
            projection(read_model), lambda: local_source(Local("cart"), journal_url)
        )
        running.append(one)
        return one

    yield start
    for one in running:
        assert one.stop()


def test_a_damaged_record_is_named_and_what_stands_before_it_is_handled(
    writer: Writer, run: Any, tmp_path: Path
) -> None:
    """A flipped bit in the journal: never decoded, never skipped, found by name at the consumer."""
    for nr in range(5):
        writer.add([("c-1", Added("apple", nr + 1))])
    damage(tmp_path / "journal.db", base_offset=3)
    running = run(tmp_path / "read.db")
    status = eventually(lambda: (s := running.status()).error and s)
    assert status.error.startswith("CorruptRecordError: cart|c-1: record at slice")
    assert "offset 3" in status.error
    eventually(lambda: counted(tmp_path / "read.db") == {"apple": 1 + 2 + 3})
    assert sum(offsets(tmp_path / "read.db").values()) == 3


def damage(journal: Path, base_offset: int) -> None:
    connection = sqlite3.connect(journal)
    where = "where base_offset = ?"
    [(body,)] = connection.execute(f"select body from commits {where}", (base_offset,)).fetchall()
    flipped = bytearray(body)
    flipped[len(flipped) // 2] ^= 1
    connection.execute(f"update commits set body = ? {where}", (bytes(flipped), base_offset))
    connection.commit()
    connection.close()


def test_a_trimmed_beginning_is_named(writer: Writer, run: Any, tmp_path: Path) -> None:
    """A new consumer cannot have what was deleted; starting in the middle would be a silent
    skip."""
    for nr in range(5):
        writer.add([("c-1", Added("apple", nr + 1))])
    key = writer.written[0].key
    assert writer.journal.trim(key, 3) == 3
    running = run(tmp_path / "read.db")
    status = eventually(lambda: (s := running.status()).error and s)
    assert status.error.startswith("TrimmedError")
    assert counted(tmp_path / "read.db") == {}


def test_a_consumer_at_the_trim_mark_goes_on(writer: Writer, run: Any, tmp_path: Path) -> None:
    """Trimming below every position loses nothing: the mark keeps the write_id to compare."""
    read_model = tmp_path / "read.db"
    for nr in range(3):
        writer.add([("c-1", Added("apple", nr + 1))])
    running = run(read_model)
    eventually(lambda: counted(read_model) == {"apple": 6})
    assert running.stop()
    writer.journal.trim(writer.written[0].key, 3)
    writer.add([("c-1", Added("apple", 4))])
    running = run(read_model)
    eventually(lambda: counted(read_model) == {"apple": 10})
    assert running.status().error == ""


def test_a_command_larger_than_grpcs_usual_limit_passes(
    writer: Writer, run: Any, tmp_path: Path
) -> None:
    """gRPC refuses messages above 4 MiB by default: a stream would be stuck there for ever."""
    writer.add([("c-1", Added("x" * (6 << 20), 1))])
    writer.add([("c-1", Added("small", 1))])
    run(tmp_path / "read.db")
    eventually(lambda: counted(tmp_path / "read.db").get("small") == 1)
    assert sum(counted(tmp_path / "read.db").values()) == 2


def test_a_type_that_does_not_exist_yet_is_waited_for(
    run: Any, tmp_path: Path, journal_url: str
) -> None:
    """A consumer may be started before the first entity of the type ever was."""
    running = run(tmp_path / "read.db")
    writer = Writer(journal_url)
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: counted(tmp_path / "read.db") == {"apple": 1})
    assert running.status().error == ""
    writer.close()


def test_a_locked_read_model_is_waited_for(writer: Writer, run: Any, tmp_path: Path) -> None:
    """Somebody else writes to the consumer's database for a while: later is not lost."""
    read_model = tmp_path / "read.db"
    running = run(read_model)
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: counted(read_model) == {"apple": 1})
    other = sqlite3.connect(read_model, isolation_level=None)
    other.execute("begin immediate")
    writer.add([("c-1", Added("apple", 1))])
    never(lambda: counted(read_model) != {"apple": 1}, within_s=0.3)
    other.execute("rollback")
    other.close()
    eventually(lambda: counted(read_model) == {"apple": 2})
    assert running.status().restarts == 0
