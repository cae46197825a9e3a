"""What peers say of replicas that leave, where nobody wished it here. Pure.

Laws:
- Of a replica that the settings here name, no peer's word counts (model/role_handshake.py); people
  are told of it once, and wish it here too, or do not.
- This replica itself leaves when all that it reads from say so: the word of one is not enough, as
  long as another one still takes what it writes.
"""

from __future__ import annotations

from collections.abc import Collection

from thespian_dc.model.replication import Listed
from thespian_dc.model.replication_handshake import ReplicaStarted
from thespian_dc.model.role_handshake import leaving
from thespian_dc.model.roles import Roles


class Leaving:
    """Of one replica. linked: peers it reads from. group: all ids of its settings."""

    def __init__(self, linked: Collection[str], group: Collection[str]) -> None:
        self._linked, self._group = frozenset(linked), frozenset(group)
        self._against: set[str] = set()  # peers whose last word was that this replica leaves
        self._told: set[tuple[str, str]] = set()  # bounded by the group

    def on_refused(self, peer: str) -> None:
        """It refuses this replica as retired. From any thread."""
        self._against.add(peer)

    def on_said(self, said: ReplicaStarted, roles: Roles) -> list[Listed]:
        """What people should know of it."""
        me, peer, leaves = roles.replica_id, said.replica_id, leaving(said)
        if me in leaves:
            self._against.add(peer)
        else:
            self._against.discard(peer)
        listed = []
        for replica in sorted((leaves & self._group) - roles.fenced - {me}):
            if (peer, replica) not in self._told:
                self._told.add((peer, replica))
                text = (
                    f"{peer!r} says that replica {replica!r} leaves, and here nobody wished it: "
                    "retire it here too, or take it out of the settings; else see what runs there"
                )
                listed.append(Listed("retirement", replica, peer, 0, said.epoch, text))
        return listed

    def leaves(self, roles: Roles) -> bool:
        """This replica is to take no more commands."""
        others = self._linked - roles.fenced
        return bool(others) and others <= self._against and not roles.closed
