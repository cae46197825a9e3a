"""Keepers of two and three replicas over real journals; the links between them are told by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thespian_dc.entity.role_registry import (
    begin_roles,
    known_roles,
)
from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.replication_handshake import ReplicaStarted
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.role_handshake import told
from thespian_dc.model.roles import Roles
from thespian_dc.model.stream_errors import PeerUnavailableError
from thespian_dc.replication import wishes
from thespian_dc.replication.keeper import Keeper
from thespian_dc.replication.own_roles import RolesChanged
from thespian_dc.testkit.eventually import eventually

SECOND = 1_000_000


class Replica:
    """One replica: its journal, its keeper, and links that are what the test says."""

    def __init__(self, name: str, folder: Path, group: str, active: str) -> None:
        self.name, self.active = name, active
        self.world: World
        peers = [Peer(one, "127.0.0.1:1") for one in group if one != name]
        self.setting = Replication("cart", name, peers=peers, active=active)
        self.journal: Journal = open_journal(f"sqlite:///{folder}/{name}.db")
        self.journal.slices("cart", 1)
        begin_roles(self.journal, self.setting)
        self.head = 0
        self.read: dict[str, int] = {}
        self.down = False
        self.lacks = ""
        self.asked = 0
        """So often it said where its log ends."""
        self.changes: list[RolesChanged] = []
        self.keeper = Keeper(self.journal, self.setting, "node", self, self.changes.append)

    # --- Links ---

    def reading(self) -> frozenset[str]:
        peers = {one.replica_id for one in self.setting.peers}
        return frozenset(peers - self.keeper.roles.fenced)

    def left_out(self) -> str:
        return self.lacks

    def cursors(self, generation: int) -> Mapping[str, Mapping[int, int]]:
        return {peer: {0: at} for peer, at in self.read.items()}

    def heads(self, peer: str) -> Mapping[int, int]:
        other = self.world.replicas[peer]
        if other.down:
            raise PeerUnavailableError(peer, "it is down")
        other.asked += 1
        return {0: other.head}

    # --- what a test looks at ---

    @property
    def roles(self) -> Roles:
        return known_roles(self.journal, "cart")

    def says(self, **more: Any) -> ReplicaStarted:
        return ReplicaStarted(**{**told(self.roles, "cart", self.setting.replicas), **more})


class World:
    def __init__(self, folder: Path, group: str, active: str = "") -> None:
        self.now_us = 0
        self.replicas = {name: Replica(name, folder, group, active) for name in group}
        for one in self.replicas.values():
            one.world = self

    def meet(self) -> None:
        """All that run open streams to each other."""
        running = [one for one in self.replicas.values() if not one.down]
        for one in running:
            for other in running:
                if one is not other and other.name not in one.roles.fenced:
                    one.keeper.met(other.says())

    def round(self, meet: bool = True) -> None:
        self.now_us += SECOND // 2
        if meet:
            self.meet()
        for one in self.replicas.values():
            if not one.down:
                one.keeper.round(self.now_us)

    def until(self, fact: Any) -> None:
        def comes_true() -> bool:
            self.round()
            return bool(fact())

        eventually(comes_true, deadline_s=20)

    def outcome(self, replica: Replica, nr: int) -> wishes.Wish:
        """Go on until this wish has ended: what became of it."""
        self.until(lambda: ended(replica, nr))
        wish = ended(replica, nr)
        assert wish is not None
        return wish


def worlds(folder: Path, active: str) -> Iterator[World]:
    world = World(folder, "abc", active)
    yield world
    for one in world.replicas.values():
        one.keeper.stop(0)
        one.journal.close()


def ended(replica: Replica, nr: int) -> wishes.Wish | None:
    wish = wishes.wishes(replica.journal, "cart").of(nr)
    return wish if wish is not None and wish.state != wishes.OPEN else None


def promote(replica: Replica, force: bool = False, timeout_us: int = 10 * SECOND) -> int:
    told_ = {"timeout_us": timeout_us, "force": force}
    return wishes.wish(replica.journal, "cart", wishes.PROMOTE, **told_).nr
