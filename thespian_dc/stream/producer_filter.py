"""What a stream shows at all: a security boundary, before any transform and any consumer's filter.

The live stream, lookups and whatever else shows events of a stream look through `withholding` or
ask `passes`. Each event is judged by itself. A function that raises, or returns anything but True,
withholds: the former as an error that ends the call.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from inspect import iscoroutinefunction
from typing import Any

import msgpack

from thespian_dc.model.criteria import Criteria, Filter
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.passing import Evaluator
from thespian_dc.model.record import Commit
from thespian_dc.model.settings import Stream
from thespian_dc.model.user_code import RAISED
from thespian_dc.projection.api import ID, TAGS, CommitView
from thespian_dc.stream.transform import AsyncView, Originals, View, stored_registry


class ProducerFilter:
    """Of one stream. criteria: set while it is served, in place of those of its settings (a
    function there always applies too). Raises SettingsError where a function lacks what it needs,
    and what building criteria raises."""

    def __init__(self, stream: Stream, criteria: Filter | None = None) -> None:
        set_in_code, self._predicate = parts_of(stream)
        self._criteria = Evaluator(
            (set_in_code if criteria is None else criteria).spelled_out(), stream.topic_prefix
        )
        self._originals: Originals | None = None
        if self._predicate is not None:
            self._originals = _originals(stream)
        self.lets_all_pass = self._predicate is None and self._criteria.lets_all_pass

    def passes(self, event: Envelope[Any]) -> bool:
        """May this original event be seen? What the function raises."""
        if not self._criteria.passes(event.entity_id, event.tags):
            return False
        return self._predicate is None or self._predicate(event) is True

    def passes_entity(self, entity_id: str) -> bool:
        """May all of this entity be seen, of criteria alone?"""
        return self._predicate is None and self._criteria.passes_by_entity(entity_id)

    def passing(self, commit: Commit, wanted: Container[int] | None = None) -> set[int]:
        """Indexes of the records of a sound commit that may be seen, of those wanted.
        TransformError names the event whose function raised."""
        if self._originals is None:
            fields = msgpack.unpackb(commit.body, use_list=False)
            ids, tags = [record[ID] for record in fields], [record[TAGS] for record in fields]
            found = self._criteria.passing(ids, tags)
            return {index for index in found if wanted is None or index in wanted}
        seen = set()
        for index, _, event in self._originals.events(commit, wanted):
            try:
                if self.passes(event):
                    seen.add(index)
            except RAISED as error:
                raise self._originals.named(event, error) from error
        return seen


def parts_of(stream: Stream) -> tuple[Filter, Callable[[Envelope[Any]], bool] | None]:
    """A stream's filter in its settings: criteria, and the function."""
    given = stream.filter
    if isinstance(given, str):
        return Filter(include=Criteria(topics=(given,))), None
    if isinstance(given, Filter):
        return given, None
    return Filter(), given


def _originals(stream: Stream) -> Originals:
    if isinstance(stream.entity, str):
        raise SettingsError(
            f"stream {stream.stream_id}: a filter function needs the entity class, not its type's "
            "name, to decode the stored events"
        )
    if iscoroutinefunction(stream.filter):
        raise SettingsError(f"stream {stream.stream_id}: filter must not be an async function")
    return Originals(stream.stream_id, stored_registry(stream.entity))


def withholding(view: View | AsyncView, filter_: ProducerFilter) -> View | AsyncView:
    """The view through the filter; the view itself where that lets everything pass."""
    if filter_.lets_all_pass:
        return view
    if iscoroutinefunction(view):

        async def shown_async(commit: Commit, wanted: Container[int] | None = None) -> CommitView:
            seen: CommitView = await view(commit, filter_.passing(commit, wanted))
            return seen

        return shown_async

    def shown(commit: Commit, wanted: Container[int] | None = None) -> CommitView:
        seen: CommitView = view(commit, filter_.passing(commit, wanted))  # type: ignore[assignment]
        return seen

    return shown
