"""Somebody who wants other events every second or so, until all is well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from thespian_dc.model.criteria import Exclude, Filter, Include
from thespian_dc.testkit.simulation.positions import SimulatedPositions
from thespian_dc.testkit.simulation.world import World

EVERY_US = (200_000, 4_000_000)
TAGS = ("odd", "even", "rare")
TOPICS = ("size/0", "size/3", "size/+", "#", "other/#")


class Wishes:
    """filters: of the plan."""

    def __init__(
        self, world: World, positions: SimulatedPositions, ids: Sequence[str], filters: str
    ) -> None:
        self._world, self._positions, self._ids, self._filters = world, positions, ids, filters
        self._resting = False

    def begin(self) -> None:
        """A first wish, and further ones."""
        if self._resting:
            return
        kinds: dict[str, list[Callable[[], Filter]]] = {
            "ids": [self._by_ids], "tags": [self._by_ids, self._by_tags, self._by_tags],
            "mixed": [self._by_ids, self._by_tags, self._of_events], "events": [self._of_events],
        }  # fmt: skip
        wanted = self._world.rng.choice(kinds[self._filters])()
        self._positions.want(wanted)
        self._world.hit("projection: filter changed")
        for kind in ("tags", "topics"):
            if any(getattr(side, kind) for side in (wanted.exclude, wanted.include)):
                unit = " of single events" if wanted.events_only else ""
                self._world.hit(f"projection: filter by {kind}{unit}")
        self._world.after(self._world.between(*EVERY_US), self.begin)

    def rest(self) -> None:
        """Everything, from now on."""
        self._resting = True
        self._positions.want(Include.entity_ids(*self._ids).spelled_out())

    # --- what may be wanted ---

    def _by_ids(self) -> Filter:
        rng, ids = self._world.rng, self._ids
        some = rng.sample(ids, len(ids) // 3)
        return rng.choice([
            Filter(), Exclude.entity_ids(*some), Include.entity_ids(*some).spelled_out(),
            Exclude.all(), Exclude.entity_ids(*some) + Include.entity_ids(*some[::2]),
        ])  # fmt: skip

    def _by_tags(self) -> Filter:
        rng = self._world.rng
        if rng.random() < 0.5:
            return self._marked()
        return self._by_ids() + self._some(Include)

    def _marked(self) -> Filter:
        rng = self._world.rng
        return rng.choice([
            self._some(Exclude), self._some(Include).spelled_out(),
            self._some(Exclude) + self._some(Include),
        ])  # fmt: skip

    def _some(self, side: Any) -> Filter:
        rng = self._world.rng
        by_tags: Filter = side.tags(*rng.sample(TAGS, rng.choice((1, 1, 2))))
        by_topics: Filter = side.topics(*rng.sample(TOPICS, rng.choice((1, 1, 2))))
        return rng.choice([by_tags, by_topics, by_tags + by_topics])

    def _of_events(self) -> Filter:
        return replace(self._marked(), events_only=True)
