"""What a pushed stream's own filter and transform withhold reaches no projection of the
receiver."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from tests.streams.material import (
    ENTITY_TYPE,
    Added,
    CountItems,
    Writer,
    counted,
    offsets,
    projection,
    rows,
)
from tests.streams.pushing import FAR_TYPE, destination
from thespian_dc.model.criteria import Exclude
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.settings import Local, Push, Stream
from thespian_dc.projection.api import local_source, start_projection
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.stream.server import StreamServer
from thespian_dc.testkit.eventually import eventually


class Cart:
    """Tells streams how to decode its events."""

    entity_type = ENTITY_TYPE
    events: ClassVar[list[Any]] = [Added]


def not_plums(event: Envelope[Added]) -> Added | None:
    return event.payload if event.payload.sku != "plum" else None


def test_what_is_withheld_is_not_pushed(writer: Writer, journal_url: str, tmp_path: Path) -> None:
    """Entities have no hole where it stood: their seq_nrs there are the receiver's own."""
    far_url, read_model = f"sqlite:///{tmp_path}/far.db", tmp_path / "read.db"
    far = StreamServer(StartProducer("far", far_url, (), "127.0.0.1:0", 4,
                                     destinations=(destination(),)))  # fmt: skip
    stream = Stream("carts", Cart, not_plums, [Added], filter=Exclude.tags("secret"))
    push = Push(stream, f"127.0.0.1:{far.start()}")
    shop = StreamServer(StartProducer("shop", journal_url, (), "", 4, pushes=(push,)))
    shop.start()
    running = start_projection(
        projection(read_model, Local(FAR_TYPE), handler=CountItems),
        lambda: local_source(Local(FAR_TYPE), far_url),
    )
    try:
        for sku, tags in (("apple", ()), ("pear", ("secret",)), ("plum", ()), ("fig", ("x",))):
            writer.add([("c-1", Added(sku, 1))], tags)
        eventually(lambda: counted(read_model) == {"apple": 1, "fig": 1})
        assert rows(read_model, "select entity_id, seq_nr from seen") == [("c-1", 1), ("c-1", 2)]
        assert sum(offsets(read_model).values()) == 2
    finally:
        assert running.stop()
        shop.stop()
        far.stop()
