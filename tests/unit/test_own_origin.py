"""What of a replica's log was written there, for a stream or a projection that wants no more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.replicas import group
from tests.unit.replicated_entities import Chronicle, fresh, write
from thespian_dc import Envelope, Stream, own_origin
from thespian_dc.model.replication import ORIGIN_META
from thespian_dc.stream.producer_filter import ProducerFilter

sound = pytest.fixture(autouse=True)(fresh)


def envelope(meta: dict[str, Any] | None) -> Envelope[Any]:
    return Envelope(None, "cart", "c-1", 1, 0, 0, 0, [], "m", meta)


@pytest.mark.parametrize(
    ("meta", "origin"),
    [
        (None, ""),
        ({"snapshot": True}, ""),
        ({ORIGIN_META: [7, {"us": 1}]}, ""),
        ({ORIGIN_META: ["us", 1, {}, 0, 9]}, "us"),
        ({ORIGIN_META: [{"us": 1, "eu": 7}, {}, 0, 0, ""]}, None),
    ],
)
def test_an_event_says_who_wrote_it(meta: dict[str, Any] | None, origin: str | None) -> None:
    """A stored state is of whatever replicas wrote what it contains."""
    assert envelope(meta).origin == origin
    assert own_origin(envelope(meta)) is (origin == "")


def test_a_stream_may_show_what_was_written_here_alone() -> None:
    """Of a real log of two replicas' events."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one", "two")
    b.pull(a)
    write(b, "three")
    write(a, "four")
    b.pull(a)
    shown = ProducerFilter(Stream("written-at-b", Chronicle, filter=own_origin))
    journal, key = b.local.journal, b.key("x")
    seen = [len(shown.passing(commit)) for commit in journal.read(key, 0)]
    assert sum(seen) == 1
    assert sum(commit.count for commit in journal.read(key, 0)) == 4
