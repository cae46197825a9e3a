"""A simulated process: it may crash and come back, pause, and get what waited for it afterwards.

Laws:
- What was scheduled or sent before a crash never reaches the process that comes back.
- A paused process gets nothing; when it resumes, it gets everything in order, all at once, at the
  time of the resumption. That is what a zombie is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thespian_dc.testkit.simulation.world import World


class Process:
    """Base of members, consumers and clients. A subclass makes its state in `boot`."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.alive, self.paused, self.incarnation = False, False, 0
        self._waiting: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def boot(self) -> None:
        """Begin with empty memory; called by `start`."""
        raise NotImplementedError

    def start(self) -> None:
        """Run, as a new process; no effect where it runs already."""
        if not self.alive:
            self.alive, self.paused = True, False
            self.incarnation += 1
            self._waiting = []
            self.world.note(f"{self.name} starts")
            self.boot()

    def crash(self, restart_after_us: int | None = None) -> None:
        """Be gone, in the middle of whatever is under way."""
        if self.alive:
            self.world.note(f"{self.name} crashes")
            self.alive, self._waiting = False, []
            if restart_after_us is not None:
                self.world.after(restart_after_us, self.start)

    def pause(self, for_us: int) -> None:
        """Do nothing for so long, then go on as if no time had passed."""
        if self.alive and not self.paused:
            self.world.note(f"{self.name} is paused")
            self.paused = True
            self.world.after(for_us, self._resume, self.incarnation)

    def _resume(self, incarnation: int) -> None:
        if incarnation == self.incarnation and self.alive:
            self.world.note(f"{self.name} resumes")
            self.paused = False
            waiting, self._waiting = self._waiting, []
            for run, args in waiting:
                self.enter(incarnation, run, *args)

    def into(self, run: Callable[..., object]) -> Callable[..., None]:
        """`run`, as something outside may call it: only this incarnation takes it, when it runs."""
        incarnation = self.incarnation

        def enter(*args: Any) -> None:
            self.enter(incarnation, run, *args)

        return enter

    def enter(self, incarnation: int, run: Callable[..., object], *args: Any) -> None:
        """Call run(*args) now, or when the pause is over; not at all in another incarnation."""
        if not self.alive or incarnation != self.incarnation:
            return
        if self.paused:
            self._waiting.append((run, args))
        else:
            run(*args)

    def after(self, delay_us: int, run: Callable[..., object], *args: Any) -> None:
        """A timer of this incarnation."""
        self.world.after(delay_us, self.into(run), *args)
