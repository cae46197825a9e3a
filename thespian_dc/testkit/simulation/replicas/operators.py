"""What people do to a group of replicas while it runs: other filters, promotions, retirements,
trimmed logs, journals put back. Wishes go through the registry, as the command line's do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from thespian_dc.model.criteria import Filter
from thespian_dc.replication import wishes
from thespian_dc.replication.trimming import Limits, lacking_states, limits_of, trim
from thespian_dc.stream.destination_filters import set_destination_filter
from thespian_dc.stream.shown_filter import set_shown_filter
from thespian_dc.testkit.simulation.replicas.journal import Copy
from thespian_dc.testkit.simulation.replicas.ledger import REGIONS, Ledger
from thespian_dc.testkit.simulation.replicas.plan import Plan
from thespian_dc.testkit.simulation.replicas.scope import Scopes, all_but, only, only_tag
from thespian_dc.testkit.simulation.replicas.site import Site
from thespian_dc.testkit.simulation.world import World

FILTER_US = (300_000, 3_000_000)
PROMOTE_US = (500_000, 4_000_000)
CUT_OFF_US = (4_000_000, 9_000_000)
TRIM_US = (500_000, 2_000_000)
STATES_AT_ONCE = 20
KEPT_US = 400_000
"""Until then stored states are there."""
TIMEOUT_US = (200_000, 3_000_000)
AGAIN_US = (200_000, 3_500_000)
SOON_US, LOOK_US = (20_000, 600_000), 5_000
FORCED = 0.5
TYPE = Ledger.entity_type


class Operators:
    """Of one run; they stop when the world comes to rest."""

    def __init__(
        self, world: World, plan: Plan, sites: Mapping[str, Site], scopes: Scopes,
        entity_ids: tuple[str, ...], isolate: Callable[[Site, int], None],
        on_put_back: Callable[[Site], None],
    ) -> None:  # fmt: skip
        self._world, self._plan, self._sites, self._scopes = world, plan, sites, scopes
        self._entity_ids, self._isolate = entity_ids, isolate
        self._on_put_back = on_put_back
        self.is_forced = False
        """A promotion was, so that two may have been active under one epoch."""

    def begin(self) -> None:
        """From now on."""
        world, plan = self._world, self._plan
        if plan.filters:
            self._change_filter()
        if plan.secret:
            world.after(world.between(*FILTER_US), self._change_shown)
        if plan.one_active:
            world.after(world.between(*PROMOTE_US), self._promote)
        if plan.trims:
            world.after(world.between(*TRIM_US), self._trim)
        if plan.retires:
            world.after(world.rng.randrange(6_000_000), self._retire)

        if plan.restores:
            world.after(world.rng.randrange(4_000_000), self._back_up)

    def _hit(self, what: str) -> None:
        self._world.hit(f"replica: {what}")

    def _present(self) -> list[Site]:
        return [one for one in self._sites.values() if one.has_joined and not one.is_gone]

    # --- filters ---
    def _change_filter(self) -> None:
        if self._world.faulty:
            self.want(self._world.rng.choice(self._present()), self._any_filter())
            self._world.after(self._world.between(*FILTER_US), self._change_filter)

    def _any_filter(self) -> Filter:
        rng = self._world.rng
        if self._plan.filters == "tags" and self._world.chance(0.6):
            return only_tag(rng.choice(REGIONS))
        if self._world.chance(0.25) and not self._plan.trims:
            return Filter()
        return only(rng.sample(self._entity_ids, rng.randrange(len(self._entity_ids))))

    def want(self, site: Site, wanted: Filter) -> None:
        """This replica wants other entities from now on."""
        if wanted != self._scopes.wanted[site.name]:
            self._hit("filter changed")
            self._world.note(f"{site.name} wants {wanted}")
            self._scopes.change(site.name, wanted)
            set_destination_filter(site.journal.memory, site.setting.stream_id, wanted)

    def settle_filters(self) -> None:
        """The last ones, by ids: what replicas must have in the end can be told."""
        rng = self._world.rng
        for site in self._present():
            some = rng.sample(self._entity_ids, rng.randrange(1, len(self._entity_ids)))
            widest = only(self._entity_ids) if self._plan.trims else Filter()
            self.want(site, rng.choice([widest, only(some)]))

    # --- what is shown ---
    def _change_shown(self) -> None:
        if self._world.faulty:
            self.show(self._world.rng.choice(self._present()), self._any_shown())
            self._world.after(self._world.between(*FILTER_US), self._change_shown)

    def _any_shown(self) -> Filter:
        rng, secret = self._world.rng, self._plan.secret
        if self._world.chance(0.4) and not self._plan.trims:
            return all_but(secret)
        others = [one for one in self._entity_ids if one != secret]
        return only(rng.sample(others, rng.randrange(1, len(others) + 1)))

    def show(self, site: Site, shown: Filter) -> None:
        """This replica shows other entities from now on."""
        if shown != self._scopes.shown[site.name]:
            self._hit("what is shown changed")
            self._note_company()
            self._world.note(f"{site.name} shows {shown}")
            self._scopes.show(site.name, shown)
            set_shown_filter(site.journal.memory, TYPE, shown)

    def _note_company(self) -> None:
        """What goes on beside it."""
        roles = [one.roles for one in self._present()]
        if any(one.one_active for one in roles):
            self._hit("what is shown changed in a hot standby")
        if any(one.retiring for one in roles):
            self._hit("what is shown changed while one retires")
        if any(one.recovering for one in roles):
            self._hit("what is shown changed while one recovers")

    def settle_shown(self) -> None:
        """All that they may, or not."""
        every = only(one for one in self._entity_ids if one != self._plan.secret)
        whole = self._world.chance(0.5)
        for site in self._present():
            self.show(site, every if whole or self._world.chance(0.5) else self._any_shown())

    # --- who is active ---
    def _promote(self) -> None:
        world = self._world
        if not world.faulty:
            return
        site, forced = world.rng.choice(self._present()), world.chance(FORCED)
        active = self._sites.get(site.roles.active)
        if forced and active not in (None, site):
            self._hit("forced promotion while the active one is cut off")
            self._isolate(active, world.between(*CUT_OFF_US))
        self.promote(site, forced)
        world.after(world.between(*PROMOTE_US), self._promote)

    def promote(self, site: Site, force: bool) -> None:
        """Wish it."""
        timeout_us = self._world.between(*TIMEOUT_US)
        self.is_forced = self.is_forced or force
        self._hit(f"promotion wished{', forced' if force else ''}")
        self._world.note(f"promote {site.name}, force={force}")
        memory = site.journal.memory
        if len(wishes.wishes(memory, TYPE).open) < wishes.OPEN_MAX:
            wishes.wish(memory, TYPE, wishes.PROMOTE, timeout_us=timeout_us, force=force)

    # --- who leaves ---
    def _retire(self) -> None:
        name = self._plan.retires
        self._hit("retirement wished")
        for site in self._sites.values():
            if site.name != name and not site.is_gone:
                self._world.after(self._world.rng.randrange(2_000_000), self._retire_at, site)
        if self._world.chance(0.5):
            self._hit("retired while it is down")
            leaver = self._sites[name]
            leaver.is_gone = True
            leaver.crash(None)

    def _retire_at(self, site: Site) -> None:
        self._world.note(f"{site.name} retires {self._plan.retires}")
        wishes.wish(site.journal.memory, TYPE, wishes.RETIRE, replica=self._plan.retires)

    # --- journals ---
    def _back_up(self) -> None:
        world, plan = self._world, self._plan
        copies = {
            name: self._sites[name].journal.copy() for name in (plan.restores, plan.again) if name
        }
        later_us = world.between(500_000, 3_500_000)
        world.after(later_us, self._put_back, plan.restores, copies)
        if plan.again:
            until_us = world.now_us + later_us + world.between(*AGAIN_US)
            world.after(later_us, self._await_recovery, copies, until_us)

    def _await_recovery(self, copies: dict[str, Copy], until_us: int) -> None:
        """When the first one recovers, or anyway, the next is put back: maybe to a backup that was
        made in between."""
        world, again = self._world, self._plan.again
        if not self._sites[self._plan.restores].roles.recovering and world.now_us < until_us:
            world.after(LOOK_US, self._await_recovery, copies, until_us)
            return
        if world.chance(0.5):
            copies[again] = self._sites[again].journal.copy()
        world.after(world.rng.randrange(world.rng.choice(SOON_US)), self._put_back, again, copies)

    def _put_back(self, name: str, copies: Mapping[str, Copy]) -> None:
        """Its disk is broken; there is a backup."""
        site, copy = self._sites[name], copies[name]
        self._hit("journal put back to an older copy")
        if site.roles.recovering:
            self._hit("journal put back while it recovers")
        self._world.note(f"the journal of {site.name} is put back")
        self._scopes.may_fork = True
        site.crash(None)
        site.journal.put_back(copy, site.keys)
        self._on_put_back(site)
        self._world.after(self._world.between(100_000, 1_500_000), site.start)

    # --- logs ---
    def _trim(self) -> None:
        if self._world.faulty:
            self.trim(self._world.rng.choice(self._present()))
            self._world.after(self._world.between(*TRIM_US), self._trim)

    def trim(self, site: Site) -> None:
        """Below what every replica that is there has reported, and stored states cover."""
        memory, roles = site.journal.memory, site.roles
        absent = [one.name for one in self._sites.values() if not one.has_joined]
        waited_for = Limits(site.setting.replicas, absent)
        limits = limits_of(memory, TYPE, roles, waited_for, self._world.now_us)
        lacking = lacking_states(memory, limits, STATES_AT_ONCE)
        for host in site.hosts:
            host.keep_states(lacking)
        self._world.after(KEPT_US, self._trim_to, site, limits)

    def _trim_to(self, site: Site, limits: Any) -> None:
        for row in trim(site.journal.memory, limits):
            if row.after > row.before:
                self._hit("log trimmed")
