"""What a replica knows of its group, as the registry has it: changed there by compare-and-set, and
told to who lives by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from thespian_dc.entity.api import change_roles, known_roles
from thespian_dc.journal.api import Journal
from thespian_dc.model.roles import Roles


class RolesChanged(NamedTuple):
    """What is known of the group is another than before."""

    roles: Roles
    before: Roles


class OwnRoles:
    """Of one entity type. put: takes RolesChanged. The roles are in the registry already
    (`begin_roles`)."""

    def __init__(self, journal: Journal, entity_type: str, put: Callable[[Any], None]) -> None:
        self._journal, self._type, self._put = journal, entity_type, put
        self.roles = known_roles(journal, entity_type)

    def look(self) -> None:
        """What others stored."""
        self._learn(known_roles(self._journal, self._type))

    def change(self, change: Callable[[Roles], Roles]) -> None:
        """Store what it makes of the present ones; what it raises passes through."""
        _, after = change_roles(self._journal, self._type, change)
        self._learn(after)

    def change_once(self, change: Callable[[Roles], Roles], raises: str) -> None:
        """Unless the keeper of another node of this replica was quicker: of two that raise the
        epoch, or the generation, one is enough. raises: the field."""
        seen = getattr(self.roles, raises)

        def unless_changed(stored: Roles) -> Roles:
            return change(stored) if getattr(stored, raises) == seen else stored

        self.change(unless_changed)

    def _learn(self, roles: Roles) -> None:
        before, self.roles = self.roles, roles
        if roles != before:
            self._put(RolesChanged(roles, before))
