"""One entity type's replication in this process: its links, and the threads beside them. No actor
needed but for what it hands over (`put`) and the router that `group` is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from thespian_dc.entity.api import begin_roles, stored_failed
from thespian_dc.journal.api import open_journal
from thespian_dc.model.replication_settings import Peer
from thespian_dc.model.roles import Roles
from thespian_dc.model.settings import Remote
from thespian_dc.replication.failed import FailedEntities
from thespian_dc.replication.group import LinkGroup
from thespian_dc.replication.keeper import Keeper
from thespian_dc.replication.leasing import Leasing, LinksNow, Share
from thespian_dc.replication.link import Came
from thespian_dc.replication.link_facts import LinkFacts
from thespian_dc.replication.own_roles import RolesChanged
from thespian_dc.replication.progress import KeptProgress
from thespian_dc.replication.protocol import (
    FailedStored,
    ShownChanged,
    StartReplication,
    WantedChanged,
)
from thespian_dc.replication.sources import ReplicaSource, SharedSource
from thespian_dc.replication.storing import Storing
from thespian_dc.stream.client import RemoteSource
from thespian_dc.stream.destination_filters import begin_destination_filter
from thespian_dc.stream.relay import EdgeSource
from thespian_dc.stream.replica_call import ReplicaCall
from thespian_dc.stream.shown_filter import begin_shown_filter, shown_name

STORE_US = 200_000
OWN_MISSING_US = 3_000_000
"""So long something waits for an event of this replica itself before its journal is thought to have
lost it: a host that was replaced may not know the last ones for a moment."""


class RunningReplica:
    """Opens the journal at once: JournalError, SettingsError, ReplicaIdChangedError. `start`,
    `on_items`, `on_tick` and `stop` belong to one thread; put may be called from any. bring: where
    what the links' sources bring goes another way than by put."""

    def __init__(
        self,
        settings: StartReplication,
        node_id: str,
        put: Callable[[Any], None],
        bring: Callable[[Came], None] | None = None,
    ) -> None:
        self._setting = setting = settings.replication
        self._consumer = f"{settings.service}/{setting.replica_id}"
        self._store_us = 0
        self._facts: Sequence[LinkFacts] = ()
        self._journal = open_journal(settings.journal)
        try:
            self._assemble(settings, node_id, put, bring or put)
        except BaseException:
            self._journal.close()
            raise

    def _assemble(
        self,
        settings: StartReplication,
        node_id: str,
        put: Callable[[Any], None],
        bring: Callable[[Came], None],
    ) -> None:
        setting, journal = self._setting, self._journal
        name = setting.entity_type
        if name not in journal.slice_counts():
            journal.slices(name, settings.slices)
        begin_roles(journal, setting)
        self._wanted = begin_destination_filter(
            journal, setting.stream_id, setting.wanted.spelled_out()
        )
        self._keeper = Keeper(journal, setting, node_id, self, put)
        self.group = LinkGroup(
            setting,
            self._make_source,
            self._keeper.roles,  # later ones come from it
            bring,
            self._keeper.check,
            self._keeper.met,
            self._on_listed,
        )
        self.group.failed = FailedEntities(stored_failed(journal, name))
        at_shown, shown = shown_name(name), begin_shown_filter(journal, setting)
        self.group.change_shown(shown)
        self._snapshot, self._left_out = self.group.snapshot(), ""
        self._taken = self._wanted
        kept = {peer: KeptProgress(journal, name, peer) for peer in self.group.links}
        self._progress = {peer: one.load() for peer, one in kept.items()}
        self._storing = Storing(
            journal, name, node_id, kept, {setting.stream_id: self._wanted, at_shown: shown},
            lambda at, to: put(ShownChanged(to) if at == at_shown else WantedChanged(to)),
            lambda found: put(FailedStored(found)),
        )  # fmt: skip
        self._leasing = Leasing(journal, name, node_id, self._links_now().able, put)

    def start(self) -> None:
        """Open the links and start the threads."""
        self.group.begin(self._progress, self._wanted)
        self._look_left_out()
        self._storing.start()
        self._keeper.start()
        self._leasing.start()

    def stop(self, within_s: float) -> None:
        """Close the links, store how far they are, give them back, end the threads."""
        self._keeper.stop(within_s / 3)
        self._leasing.stop(within_s / 3)
        progress = self.group.progress()
        self.group.end()
        self._storing.offer(progress, self.group.facts())
        self._storing.stop(within_s / 3)
        self._leasing.leave()
        self._journal.close()

    def on_items(self, items: Sequence[Any]) -> Roles | None:
        """What was put, in order; returns the group's roles where they changed."""
        changed = None
        came = [one for one in items if isinstance(one, Came)]
        if came:
            self.group.on_came(came)
        for one in items:
            if isinstance(one, WantedChanged):
                self.group.change_filter(one.wanted)
                self._taken = one.wanted
                self._look_left_out()
            elif isinstance(one, ShownChanged):
                self.group.change_shown(one.to)
            elif isinstance(one, FailedStored):
                self.group.failed.learn(one.failed)
            elif isinstance(one, RolesChanged):
                self.group.change_roles(one.roles, one.before)
                changed = one.roles
            elif isinstance(one, Share):
                self._leasing.let_go(self.group.share(*one))
                self._leasing.on_links(self._links_now())
        self._snapshot = self.group.snapshot()
        return changed

    def on_tick(self, now_us: int) -> None:
        self.group.on_tick()
        if now_us - self._store_us >= STORE_US:
            self._store_us = now_us
            self._look_left_out()
            self._facts, self._snapshot = self.group.facts(), self.group.snapshot()
            self._leasing.on_links(self._links_now())
            for link in self.group.links.values():
                if link.refusal is not None:
                    self._keeper.refused(link.refusal, link.peer.replica_id)
            if lacks_own(self._facts, self._setting.replica_id, now_us):
                self._keeper.lacks_own()
            self._storing.offer(self.group.progress(), self._facts)
            self._storing.change_failed(self.group.failed.take_changes())

    def _look_left_out(self) -> None:
        why = ""
        if self._taken.filter.exclude:
            why = "the filter of what is taken leaves entities out: clear it first"
        elif any(one.progress().coming_in for one in self.group.links.values()):
            why = "entities that came into scope are still to be read"
        self._left_out = why

    def _links_now(self) -> LinksNow:
        """An edge is read where its call came in: it has no target, and is not shared out."""
        shared = {name: one for name, one in self.group.links.items() if one.peer.target}
        able = {name: one for name, one in shared.items() if not one.is_closed or one.in_flight}
        served = {name: one for name, one in able.items() if one.node is None}
        return LinksNow(
            frozenset(able),
            frozenset(served),
            frozenset(name for name, one in served.items() if one.is_in_trouble),
            {name: one.heard for name, one in served.items() if one.heard is not None},
        )

    def wakeup_us(self) -> int:
        """When on_tick is due."""
        return min(self.group.wakeup_us(), self._store_us + STORE_US)

    def facts(self) -> Sequence[LinkFacts]:
        """Of the last tick; from any thread."""
        return self._facts

    def roles(self) -> dict[str, Any]:
        """What is known of the group, for people."""
        return self._keeper.facts()

    @property
    def error(self) -> str:
        """Why the journal took nothing last time."""
        return self._storing.error

    def _make_source(self, peer: Peer, call: ReplicaCall) -> ReplicaSource:
        setting = self._setting
        if not peer.target:  # an edge: it calls this node's producer
            return EdgeSource(self._journal, setting, peer.replica_id, self._consumer, call)
        tls, plaintext = peer.dialled_tls, peer.plaintext_beyond_loopback
        remote = Remote(setting.stream_id, peer.target, tls, plaintext)

        def make() -> ReplicaSource:
            return RemoteSource(remote, self._consumer, replica=call)

        return SharedSource(peer.workers, make) if peer.workers > 1 else make()

    # --- Links, for the keeper's threads ---

    def reading(self) -> frozenset[str]:
        """See keeper.Links."""
        return self._snapshot.reading

    def left_out(self) -> str:
        """See keeper.Links."""
        return self._left_out

    def cursors(self, generation: int) -> Mapping[str, Mapping[int, int]]:
        """See keeper.Links."""
        here, away = self._snapshot.cursors.items(), self._snapshot.away
        found = {peer: cursors for peer, (begun_in, cursors) in here if begun_in == generation}
        for peer in away:  # another node may have its call, and none has those of all
            stored = KeptProgress(self._journal, self._setting.entity_type, peer).load()
            if stored.life == generation:
                mine = found.get(peer, {})
                found[peer] = {n: max(at, mine.get(n, 0)) for n, at in stored.offsets.items()}
        return found

    def heads(self, peer: str) -> Mapping[int, int]:
        """See keeper.Links."""
        return self.group.links[peer].heads()

    def _on_listed(self, listed: Any) -> None:
        self._storing.list_(listed)


def lacks_own(facts: Sequence[LinkFacts], own: str, now_us: int) -> bool:
    """Does an event that peers wrote wait, for long, for one of this replica? What a state waits
    for (it says why, in a text) the peer lacks."""
    return any(
        one.missing is not None
        and one.missing[0] == own
        and not one.text
        and now_us - one.since_us > OWN_MISSING_US
        for link in facts
        for one in link.waits
    )
