"""One pushed call at its destination: what its writer says counts, whenever it is said."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from thespian_dc.model.criteria import Exclude, Filter, VersionedFilter
from thespian_dc.model.settings import Destination
from thespian_dc.stream import destination
from thespian_dc.stream.destination import DestinationCall
from thespian_dc.stream.push_progress import first_progress
from thespian_dc.wire.conversion import Offer


def test_a_filter_that_changes_before_the_call_talks_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the writer's `begin` and the first message back to the producer."""
    told: list[VersionedFilter | None] = []

    class Told:
        """Of the conversation, what goes out first."""

        def __init__(self, core: Any, *_more: Any) -> None:
            self.core = core

        async def run(self) -> None:
            told.append(self.core.take_filter())

    monkeypatch.setattr(destination, "Conversation", Told)
    changed = VersionedFilter(2, Filter() + Exclude.entity_ids("c-1"))

    async def call() -> None:
        any_: Any = SimpleNamespace(service="ranking", peer=lambda: "127.0.0.1")
        offer = Offer(1, "carts", "shop", "j", "cart", 1)
        one = DestinationCall(any_, any_, any_, any_, offer)
        one.setting = Destination("carts", "cart", origins={"shop": "shop"})
        one._change_filter(changed)
        await one._converse(any_, first_progress("j", 1), VersionedFilter(1, Filter()))

    asyncio.run(call())
    assert told == [changed]
