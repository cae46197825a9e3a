"""What is wished of a replica is performed here, one wish after the other: promotions, which go on
from round to round, demotions, the first step of retirements, the end of a recovery by hand.

It decides nothing by itself: promotion.py and model/roles.py do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from thespian_dc.journal.api import Journal
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.replication_settings import Replication
from thespian_dc.model.role_errors import CatchUpRefusedError, RetiredReplicaError
from thespian_dc.model.roles import demoted, opened, promoted, retire
from thespian_dc.replication import promotion, wishes
from thespian_dc.replication.catch_up import AskHeads, CatchUp, text_of
from thespian_dc.replication.own_roles import OwnRoles
from thespian_dc.replication.promotion import Phase, Promotion


class Performing:
    """linked: peers that are read. ask: put a question to a peer, for this catch-up. recover: end
    the recovery that is under way. Its thread is the keeper's."""

    def __init__(
        self,
        journal: Journal,
        setting: Replication,
        linked: frozenset[str],
        own: OwnRoles,
        ask: Callable[[CatchUp, AskHeads], None],
        recover: Callable[[], None],
    ) -> None:
        self._journal, self._setting, self._linked, self._own = journal, setting, linked, own
        self._ask, self._recover = ask, recover
        self._type = setting.entity_type
        self.promotion: tuple[int, Promotion] | None = None
        """The number of its wish, and how far it is."""
        self._withholding: set[str] = set()

    @property
    def step(self) -> str:
        """Of the promotion that is under way; "": none is."""
        return "" if self.promotion is None else self.promotion[1].phase.value

    def on_epoch(self, peer: str, epoch: int, now: int) -> None:
        """This peer knows of this epoch."""
        if self.promotion is not None:
            self.promotion[1].on_epoch(peer, epoch, now)

    def on_shown(self, peer: str, withholds: bool) -> None:
        """Does this peer show only some entities?"""
        (self._withholding.add if withholds else self._withholding.discard)(peer)

    def round(self, cursors: Mapping[str, Mapping[int, int]], now: int, left_out: str = "") -> None:
        """Go on with the promotion that is under way, or begin what is wished next. cursors: of the
        links, by peer, by slice. left_out: Links'."""
        if self.promotion is None:
            if self._own.roles.promoting:  # of a keeper that ended in the middle
                self.promotion = self._settling(self._own.roles.wish, now)
            else:
                self._begin_wish(now)
                return
        nr, core = self.promotion
        core.catch_up.on_cursors(cursors)
        core.on_left_out(left_out)
        if core.phase is Phase.CATCHING_UP and self._own.roles.wish == nr:  # by another node
            core.go_on(self._own.roles.epoch, now)
        for step in core.on_tick(now):
            match step:
                case AskHeads():
                    self._ask(core.catch_up, step)
                case promotion.Step.RAISE if self._is_withdrawn(nr):
                    self.promotion = None
                    return
                case promotion.Step.RAISE:
                    change = partial(promoted, entity_type=self._type, wish=nr)
                    try:
                        self._own.change_once(change, "epoch")
                    except RetiredReplicaError as refused:  # heard since it began
                        self.promotion = None
                        self._end(nr, wishes.REFUSED, {"reason": str(refused)})
                        return
                    core.on_raised(self._own.roles.epoch, now)
                case promotion.Step.OPEN:
                    self._own.change(partial(opened, wish=nr))
                    core.on_opened()
        is_raised = core.phase in (Phase.SETTLING, Phase.OPENED)
        if is_raised and self._own.roles.active != self._own.roles.replica_id:
            self.promotion = None
            active = self._own.roles.active or "nobody"
            reason = f"{active} became active meanwhile, under epoch {self._own.roles.epoch}"
            self._end(nr, wishes.REFUSED, {"reason": reason})
            return
        if core.is_over:
            self.promotion = None
            self._report(nr, core)

    def _settling(self, nr: int, now: int) -> tuple[int, Promotion]:
        """The promotion of a wish that has raised the epoch."""
        core = self._begun(0, force=False, now=now)
        core.go_on(self._own.roles.epoch, now)
        return nr, core

    def _begun(self, timeout_us: int, force: bool, now: int) -> Promotion:
        roles = self._own.roles
        linked = self._linked - roles.fenced
        others = frozenset(self._setting.replicas) - {roles.replica_id} - roles.fenced
        return Promotion(sorted(linked), sorted(others - linked), now + timeout_us, force)

    def _begin_wish(self, now: int) -> None:
        for wish in wishes.wishes(self._journal, self._type).open:
            try:
                if wish.kind == wishes.PROMOTE and wish.nr == self._own.roles.wish:
                    # A keeper ended before it answered.
                    self.promotion = self._settling(wish.nr, now)
                    return
                if wish.kind == wishes.PROMOTE:
                    promoted(self._own.roles, self._type)  # may it be promoted at all?
                    told = wish.told
                    core = self._begun(int(told["timeout_us"]), bool(told["force"]), now)
                    self.promotion = (wish.nr, core)
                    return
                if wish.kind == wishes.DEMOTE:
                    self._own.change(partial(demoted, entity_type=self._type, wish=wish.nr))
                elif wish.kind == wishes.RESUME:
                    self._recover()
                else:
                    self._own.change(
                        partial(
                            retire, entity_type=self._type, replica=str(wish.told["replica"]),
                            group=self._setting.replicas,
                        )
                    )  # fmt: skip
            except ThespianDcError as refused:
                self._end(wish.nr, wishes.REFUSED, {"reason": str(refused)})
            else:
                self._end(wish.nr, wishes.DONE, {"epoch": self._own.roles.epoch})

    def _is_withdrawn(self, nr: int) -> bool:
        wish = wishes.wishes(self._journal, self._type).of(nr)
        return wish is None or wish.state != wishes.OPEN

    def _report(self, nr: int, core: Promotion) -> None:
        behind = {peer: list(one) for peer, one in core.report().items()}
        if core.phase is Phase.OPENED:
            for peer in self._withholding:
                if behind.get(peer) == [0, ""]:
                    behind[peer] = [None, "it does not show all entities"]
            self._end(nr, wishes.DONE, {"epoch": self._own.roles.epoch, "behind": behind})
            return
        error = CatchUpRefusedError(self._type, self._own.roles.replica_id, text_of(core.lacking()))
        self._end(nr, wishes.REFUSED, {"reason": str(error), "behind": behind})

    def _end(self, nr: int, state: str, answer: Mapping[str, Any]) -> None:
        wishes.end(self._journal, self._type, nr, state, answer)
