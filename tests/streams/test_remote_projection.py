"""A projection over another service's stream: the same promises as over a local journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.streams.material import (
    Added,
    Fuse,
    FusedCount,
    FusedSum,
    SumItems,
    Unknown,
    Writer,
    counted,
    offsets,
    projection,
    rows,
)
from thespian_dc.model.settings import Remote
from thespian_dc.testkit.eventually import eventually


def test_catches_up_and_follows(writer: Writer, serve: Any, consume: Any, tmp_path: Path) -> None:
    """History first, then what is appended while connected; each event once, in entity order."""
    read_model = tmp_path / "read.db"
    for _ in range(20):
        writer.add([(f"c-{i}", Added("apple", 1)) for i in range(10)])
    _, port = serve()
    running, sources = consume(projection(read_model, Remote("carts", f"127.0.0.1:{port}")))
    eventually(lambda: counted(read_model) == {"apple": 200})
    for _ in range(20):
        writer.add([(f"c-{i}", Added("apple", 1)) for i in range(10)])
    eventually(lambda: counted(read_model) == {"apple": 400})
    seen = rows(read_model, "select entity_id, group_concat(seq_nr) from "
                "(select * from seen order by nr) group by 1")  # fmt: skip
    assert {numbers for _, numbers in seen} == {",".join(str(nr) for nr in range(1, 41))}
    status = running.status()
    assert (status.phase, status.lag, status.restarts) == ("running", 0, 0)
    assert sources[0].reconnects == 0


def test_resumes_from_the_stored_position(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """A consumer that was away gets what it missed, and nothing twice."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("apple", 1))] * 7 + [("c-2", Added("apple", 1))] * 5)
    _, port = serve()
    remote = Remote("carts", f"127.0.0.1:{port}")
    first, _ = consume(projection(read_model, remote, handler=SumItems))
    eventually(lambda: counted(read_model) == {"apple": 12})
    assert first.stop()
    writer.add([("c-1", Added("apple", 1))] * 3)
    consume(projection(read_model, remote, handler=SumItems))
    eventually(lambda: counted(read_model) == {"apple": 15})
    assert sum(offsets(read_model).values()) == 15


def test_a_durable_states_change_event_is_what_is_seen(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """A stream over a durable-state type shows its change events; a registered state shows
    itself."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Unknown("the whole state"))], change=Added("apple", 3))
    writer.add([("c-1", Added("pear", 4))])
    _, port = serve()
    consume(projection(read_model, Remote("carts", f"127.0.0.1:{port}")))
    eventually(lambda: counted(read_model) == {"apple": 3, "pear": 4})


@pytest.mark.parametrize("handler", [FusedCount, FusedSum])
def test_a_raise_stops_exactly_there_wherever_the_batch_ends(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, handler: type
) -> None:
    """Twelve events in commits of one, two and three, each of them poison in turn: the position
    stands at it, what came before stays, and it is handled once it is no poison any more."""
    read_model = tmp_path / "read.db"
    Fuse.blown = {1000 + n for n in range(12)}
    events = [("c-1", Added(f"s{n}", 1000 + n)) for n in range(12)]
    for first, size in ((0, 1), (1, 2), (3, 3), (6, 1), (7, 2), (9, 3)):
        writer.add(events[first : first + size])
    _, port = serve()
    remote = Remote("carts", f"127.0.0.1:{port}")
    running, _ = consume(projection(read_model, remote, handler=handler))
    for n in range(12):
        at = f"seq_nr {n + 1} ("
        eventually(lambda at=at: at in running.status().error)
        assert counted(read_model) == {f"s{i}": 1000 + i for i in range(n)}
        assert sum(offsets(read_model).values()) == n
        Fuse.blown.discard(1000 + n)
    eventually(lambda: sum(offsets(read_model).values()) == 12)
    assert counted(read_model) == {f"s{i}": 1000 + i for i in range(12)}
