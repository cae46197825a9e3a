"""The simulated network: messages are late, lost, doubled, overtake each other; links are cut.

It carries what processes say to each other. Requests to the journal travel inside
`SimulatedJournal`, which asks here only whether the link is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thespian_dc.testkit.simulation.world import World


@dataclass(frozen=True, slots=True)
class NetworkFaults:
    """Probabilities per message, while the world is faulty; delays in microseconds."""

    loss: float = 0.03
    duplicate: float = 0.03
    late: float = 0.05
    delay_us: tuple[int, int] = (100, 2_000)
    late_us: tuple[int, int] = (50_000, 3_000_000)


class Network:
    """Between named processes. Delivery runs in the receiver; it decides whether it is alive."""

    def __init__(self, world: World, faults: NetworkFaults) -> None:
        self._world, self._faults = world, faults
        self._cut: set[tuple[str, str]] = set()  # sender, receiver

    def cut(self, one: str, other: str) -> None:
        """Nothing passes between the two until `heal`."""
        self._world.hit("fault: link cut")
        self.cut_one_way(one, other)
        self.cut_one_way(other, one)

    def cut_one_way(self, sender: str, receiver: str) -> None:
        """Nothing of one end's reaches the other until `heal`."""
        self._cut.add((sender, receiver))

    def heal(self, one: str, other: str) -> None:
        self._cut -= {(one, other), (other, one)}

    def heal_all(self) -> None:
        self._cut.clear()

    def passes(self, sender: str, receiver: str) -> bool:
        """Whether the link is whole in this direction."""
        return (sender, receiver) not in self._cut

    def send(
        self,
        sender: str,
        receiver: str,
        deliver: Callable[..., object],
        *args: Any,
        once: bool = False,
    ) -> None:
        """Call deliver(*args) at the receiver some time later, or never; twice unless `once`."""
        world, faults = self._world, self._faults
        if not self.passes(sender, receiver):
            return
        if world.faulty and world.chance(faults.loss):
            world.hit("fault: message lost")
            return
        self._carry(sender, receiver, deliver, args)
        if world.faulty and not once and world.chance(faults.duplicate):
            world.hit("fault: message doubled")
            self._carry(sender, receiver, deliver, args)

    def _carry(
        self, sender: str, receiver: str, deliver: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        world, faults = self._world, self._faults
        delay_us = world.between(*faults.delay_us)
        if world.faulty and world.chance(faults.late):
            world.hit("fault: message late")
            delay_us = world.between(*faults.late_us)
        world.after(delay_us, self._arrive, sender, receiver, deliver, args)

    def _arrive(
        self, sender: str, receiver: str, deliver: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        if self.passes(sender, receiver):
            deliver(*args)
