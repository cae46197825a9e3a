"""What a host's phases share: its types, slices, bounds, and the list of actions being built.
Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from thespian_dc.entity.actions import Action, Answer, Report
from thespian_dc.entity.derived import Derived
from thespian_dc.entity.effects import Effects
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.instance import Instance
from thespian_dc.entity.protocol import Command, EntityRef, Route
from thespian_dc.entity.turn import Turn
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.ids import SLICES_MAX, SliceKey, slice_of
from thespian_dc.model.replication import Role
from thespian_dc.model.settings import Limits
from thespian_dc.slices.writer import SliceWriter

CONFIRMED_FOR_US = 1_000_000
"""What ran at most so long after ownership was proved goes out without another proof."""


class HostedSlice:
    """A slice this host writes, or wants to.

    waiting: commands until the slice is ours. unconfirmed: runs that persisted nothing, held until
    ownership is proved again. confirmed_us: when the slice was certainly ours, which is when the
    proof was asked for, not when it arrived: a paused host reads old answers. asked_us: when the
    registry was asked last.
    """

    __slots__ = (
        "asked_us", "assigned", "confirm_again_us", "confirmed_us", "confirming",
        "derived", "dirty", "key", "route", "type", "unconfirmed", "waiting", "writer",
    )  # fmt: skip

    def __init__(self, type_: HostedType, key: SliceKey, writer: SliceWriter, indexed: bool):
        self.type, self.key, self.writer = type_, key, writer
        self.derived = Derived(key, indexed)
        self.waiting: deque[Turn] = deque()  # bounded by limits.waiting_max of the host
        self.unconfirmed: list[Effects] = []
        self.route = Route(key.entity_type, key.slice, "", 0)
        self.assigned = self.confirming = self.dirty = False
        self.confirmed_us = self.asked_us = 0
        self.confirm_again_us: int | None = None


class HostedType:
    """An entity type with its slices (those this host ever had to do with) and its entities in
    memory. role: what this replica may do, where the type is replicated."""

    __slots__ = ("description", "entities", "host", "role", "slices")

    def __init__(self, host: Hosted, description: EntityType) -> None:
        self.host, self.description = host, description
        self.entities: dict[str, Instance] = {}
        self.slices: dict[int, HostedSlice] = {}
        self.role = _first_role(description)

    def learn(self, epoch: int, leader: str) -> bool:
        """An event was met that `leader` wrote under this epoch; True where that is news. Of two
        leaders of one epoch the greater id counts, everywhere. Where all replicas are active it is
        of a time when one was."""
        present = self.role.epoch
        is_news = present > 0 and (epoch, leader) > (present, self.role.active)
        if is_news:
            self.role = self.role._replace(epoch=epoch, active=leader)
        return is_news


class Hosted:
    """Shared by the phases of one host. One input at a time: `out` and `now_us` belong to it."""

    def __init__(
        self,
        types: Sequence[EntityType],
        member_id: str,
        limits: Limits,
        new_id: Callable[[], bytes],
        *,
        address: Any = None,
        indexed: bool = False,
        commit_bytes_max: int = 1 << 20,
        appends_at_once: int = SLICES_MAX,
        make_actor: Callable[[EntityType], Any] | None = None,
        create_actor: Callable[..., Any] | None = None,
    ) -> None:
        self.types = {one.name: HostedType(self, one) for one in types}
        self.member_id, self.limits, self.address = member_id, limits, address
        self.make_actor = make_actor or (lambda description: description.cls())
        self.create_actor, self.appends_at_once = create_actor, appends_at_once
        self.now_us = 0
        self.out: list[Action] = []
        self.inbox: deque[Command | Answer] = deque()  # bounded by what one input makes them send
        self.again: list[Turn] = []
        """Turns that lost their instance: to be routed anew."""
        self.ready: list[Instance] = []
        """Instances whose waiting commands can run now."""
        self.dirty: list[HostedSlice] = []
        self.open_turns = 0
        self.counts: Counter[str] = Counter()
        self._new_id, self._indexed, self._commit_bytes_max = new_id, indexed, commit_bytes_max

    def slice_for(self, served: HostedType, entity_id: str) -> HostedSlice:
        """The slice of an entity, made when first needed."""
        return self.slice(served, slice_of(entity_id, served.description.slices))

    def slice(self, served: HostedType, number: int) -> HostedSlice:
        found = served.slices.get(number)
        if found is None:
            key = SliceKey(served.description.name, number)
            writer = SliceWriter(key, self.member_id, self._new_id, self._commit_bytes_max)
            found = served.slices[number] = HostedSlice(served, key, writer, self._indexed)
        return found

    def slice_of_key(self, key: SliceKey) -> HostedSlice:
        """The slice of a key whose type is served here."""
        return self.slice(self.types[key.entity_type], key.slice)

    def all_slices(self) -> list[HostedSlice]:
        return [one for served in self.types.values() for one in served.slices.values()]

    def touch(self, hosted: HostedSlice) -> None:
        """The slice's writer has something new to look at: flush it at the end of this input."""
        if not hosted.dirty:
            hosted.dirty = True
            self.dirty.append(hosted)

    def report(
        self, event: str, where: object, what: object, failed: EntityRef | None = None
    ) -> None:
        """Count it, and have the shell log it. See Report."""
        self.counts[event] += 1
        self.out.append(Report(event, str(where), str(what), failed))


def _first_role(description: EntityType) -> Role:
    """As the settings say, until `on_role`. SettingsError where they say nothing of a replicated
    type."""
    replication = description.replication
    if replication is None:
        if description.replicated:
            raise SettingsError(
                f"{description.cls.__qualname__} is replicated: list a Replication for "
                f"{description.name} in Settings.replication"
            )
        return Role(description.name)
    return Role(description.name, int(bool(replication.active)), replication.active)
