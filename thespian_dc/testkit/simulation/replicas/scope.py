"""Which entities are in scope where, now and ever, by the simulator's own reading of filters: by
entity ids, or by tags."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from thespian_dc.model.criteria import Exclude, Filter, Include


class Scopes:
    """wanted, shown: by replica, the filters it was last given. may_fork: a journal was restored or
    a promotion was forced, so that two may have written the same number."""

    def __init__(self, names: Iterable[str], shown: Filter) -> None:
        self.wanted: dict[str, Filter] = dict.fromkeys(names, Filter())
        self.shown: dict[str, Filter] = dict.fromkeys(self.wanted, shown)
        self._ever: dict[str, list[Filter]] = defaultdict(lambda: [Filter()])
        self._ever_shown = {name: [shown] for name in self.wanted}
        self.may_fork = False

    def begin(self, name: str, wanted: Filter) -> None:
        """What a replica wants from its first moment."""
        self.wanted[name] = wanted
        self._ever[name] = [wanted]

    def change(self, name: str, wanted: Filter) -> None:
        self.wanted[name] = wanted
        self._ever[name].append(wanted)

    def show(self, name: str, shown: Filter) -> None:
        self.shown[name] = shown
        self._ever_shown[name].append(shown)

    @staticmethod
    def passes(wanted: Filter, entity_id: str) -> bool:
        """By id alone; of a filter by tags nobody knows without the events."""
        if not wanted.exclude or entity_id in wanted.include.entity_ids:
            return True
        return not (entity_id in wanted.exclude.entity_ids or wanted.exclude.regexes)

    def is_in(self, name: str, entity_id: str) -> bool:
        return self.passes(self.wanted[name], entity_id)

    def was_in(self, name: str, entity_id: str) -> bool:
        """At any time."""
        return any(
            bool(one.include.tags) or self.passes(one, entity_id) for one in self._ever[name]
        )

    def shows(self, name: str, entity_id: str) -> bool:
        return self.passes(self.shown[name], entity_id)

    def was_shown(self, name: str, entity_id: str) -> bool:
        """By this replica, at any time."""
        return any(self.passes(one, entity_id) for one in self._ever_shown[name])

    def was_withheld(self, name: str, entity_id: str) -> bool:
        """By this replica, at any time."""
        return not all(self.passes(one, entity_id) for one in self._ever_shown[name])


def only(entity_ids: Iterable[str]) -> Filter:
    """A filter that lets in these."""
    ids = sorted(entity_ids)
    return Include.entity_ids(*ids).spelled_out() if ids else Exclude.all()


def all_but(entity_id: str) -> Filter:
    """A filter that lets in everything else; "": everything."""
    return Exclude.entity_ids(entity_id).spelled_out() if entity_id else Filter()


def only_tag(tag: str) -> Filter:
    """A filter that lets in what is tagged so."""
    return Include.tags(tag).spelled_out()
