"""What a projection tells its hooks, and workers of a remote source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.streams.material import (
    Added,
    CountItems,
    Fuse,
    FusedCount,
    Writer,
    counted,
    projection,
)
from thespian_dc.model.settings import Remote
from thespian_dc.projection.observe import ProjectionHooks
from thespian_dc.testkit.eventually import eventually


class Diary(ProjectionHooks):
    """Writes down what it hears."""

    pages: ClassVar[list[tuple[Any, ...]]] = []
    poison: ClassVar[str] = ""

    def started(self, projection: str, slices: Sequence[int]) -> None:
        self.pages.append(("started", list(slices)))

    def stopped(self, projection: str) -> None:
        self.pages.append(("stopped",))

    def failed(self, projection: str, error: Exception, retry_in_s: float | None) -> None:
        self.pages.append(("failed", type(error).__name__, retry_in_s is not None))

    def before_event(self, event: Any) -> None:
        self.pages.append(("before", event.entity_id, event.seq_nr))

    def after_event(self, event: Any) -> None:
        self.pages.append(("after", event.entity_id, event.seq_nr))
        if event.payload.sku == self.poison:
            raise ValueError("told to")

    def before_batch(self, slice_: int, offset: int) -> None:
        self.pages.append(("batch", offset))

    def positions(self, projection: str, offsets: Mapping[int, int], events: int) -> None:
        self.pages.append(("positions", list(offsets.values()), events))


@pytest.fixture
def run(run_local: Any) -> Any:
    Diary.pages, Diary.poison = [], ""
    return run_local


def test_a_run_from_its_start_to_its_end(writer: Writer, run: Any, tmp_path: Path) -> None:
    """In order; positions when they are durable, not before."""
    writer.add([("c-1", Added("apple", 1)), ("c-1", Added("pear", 1))])
    running = run(projection(tmp_path / "read.db", hooks=Diary))
    eventually(lambda: ("positions", [2], 2) in Diary.pages)
    running.stop()
    assert Diary.pages == [
        ("started", [0, 1, 2, 3]),
        ("batch", 0),
        ("before", "c-1", 1),
        ("after", "c-1", 1),
        ("before", "c-1", 2),
        ("after", "c-1", 2),
        ("positions", [2], 2),
        ("stopped",),
    ]


def test_a_failure_is_told_with_whether_it_is_tried_again(
    writer: Writer, run: Any, tmp_path: Path
) -> None:
    """The event that raised has no `after_event`; the run ends and another begins."""
    Fuse.blown = {13}
    writer.add([("c-1", Added("apple", 1)), ("c-1", Added("apple", 13))])
    run(projection(tmp_path / "read.db", handler=FusedCount, hooks=Diary))
    eventually(lambda: ("failed", "HandlerError", True) in Diary.pages)
    assert ("before", "c-1", 2) in Diary.pages
    assert ("after", "c-1", 2) not in Diary.pages
    Fuse.blown = set()
    eventually(lambda: ("after", "c-1", 2) in Diary.pages)
    assert Diary.pages.count(("before", "c-1", 1)) == 1, "it was handled, before the failure"
    assert ("stopped",) in Diary.pages


def test_what_a_hook_raises_is_a_failure_of_its_event(
    writer: Writer, run: Any, tmp_path: Path
) -> None:
    """Its event is undone with it, and handled again."""
    Diary.poison = "pear"
    writer.add([("c-1", Added("apple", 1)), ("c-1", Added("pear", 1))])
    running = run(projection(tmp_path / "read.db", hooks=Diary))
    status = eventually(lambda: (s := running.status()).restarts and s)
    assert "told to" in status.error
    assert counted(tmp_path / "read.db") == {"apple": 1}
    Diary.poison = ""
    eventually(lambda: counted(tmp_path / "read.db") == {"apple": 1, "pear": 1})


def test_workers_share_the_slices_of_a_stream(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """Each asks the producer for its own slices only; one that ends leaves them to the other."""
    _, port = serve()
    read_model = tmp_path / "read.db"
    settings = projection(read_model, Remote("carts", f"127.0.0.1:{port}"), handler=CountItems)
    writer.add([(f"c-{n}", Added("apple", 1)) for n in range(20)])
    first, _ = consume(settings)
    eventually(lambda: counted(read_model) == {"apple": 20})
    second, _ = consume(settings)
    eventually(lambda: len(first.status().positions) == len(second.status().positions) == 2)
    for _ in range(10):
        writer.add([(f"c-{n}", Added("apple", 1)) for n in range(20)])
    eventually(lambda: counted(read_model) == {"apple": 220})
    assert first.status().events > 20
    assert second.status().events
    assert first.status().restarts == second.status().restarts == 0
    assert second.stop()
    writer.add([(f"c-{n}", Added("apple", 1)) for n in range(20)])
    eventually(lambda: counted(read_model) == {"apple": 240})
    assert len(first.status().positions) == 4
