"""A simulated call of a consumer to a producer: as gRPC, ordered and lossless until it breaks.

Laws:
- Each end gets what the other sent, in order, until the call breaks; what was under way then is
  gone.
- Of a break each end hears later, or never: a call may be open at one end only, or look open at
  both ends and carry nothing.
- A receiver that does not run holds the sender up: no more than IN_FLIGHT_MAX are under way.
- While the world is faulty, what a producer sends may arrive twice, late, damaged or not at all,
  which no sound connection does: a consumer must refuse or drop it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.world import World
from thespian_dc.wire import streams_pb2 as pb

IN_FLIGHT_MAX = 8
DELAY_US = (100, 2_000)
HELD_UP_US = 30_000
TOLD_US = (1_000, 400_000)
LOST_US = (100_000, 1_500_000)
TOLD = 0.6
"""How often an end hears of a break."""
WRONG = 0.05
"""How often a message of a producer meets with what no connection does."""


def _nobody(*_: object) -> None:
    """Hears of nothing any more."""


class End:
    """What one process has of a call. on_message and on_ended are called in that process."""

    def __init__(self, call: Call, process: Process) -> None:
        self.call, self.process, self.incarnation = call, process, process.incarnation
        self.on_message: Callable[[bytes], None] = _nobody
        self.on_ended: Callable[[], None] = _nobody
        self.other: End
        self.why: ThespianDcError | None = None
        """What the other end says about why it ended the call."""
        self._coming: deque[bytes] = deque()  # bounded by IN_FLIGHT_MAX where the sender asks
        self._behind: bytes | None = None  # what the next one overtakes

    @property
    def is_full(self) -> bool:
        """The other end has not taken what was sent: send no more."""
        return len(self.other._coming) >= IN_FLIGHT_MAX

    def send(self, message: bytes) -> int:
        """It arrives at the other end some time, unless the call breaks. How often it was sent."""
        self.other._carry(message)
        return 1

    def close(self) -> None:
        """This end is gone; the other hears of it, if anything still passes."""
        self.on_message = self.on_ended = _nobody
        self.call.breaks(tell=[self.other])

    def _carry(self, message: bytes) -> None:
        self._coming.append(message)
        if len(self._coming) == 1:
            self.call.world.after(self.call.world.between(*DELAY_US), self._arrive)

    def carry_wrong(self, message: bytes) -> int:
        """Something happens to this message that no sound connection does."""
        world = self.call.world
        what = world.rng.choice(["doubled", "overtaken", "lost", "cut", "shortened", "changed"])
        world.hit(f"fault: stream message {what}")
        if what == "doubled":
            self._carry(message)
            self._carry(message)
            return 2
        if what == "overtaken":
            self._behind = message
        elif what == "lost":  # it breaks, too: nothing else would tell of a last message
            world.after(world.between(*LOST_US), self.call.breaks)
        else:
            self._carry(_damaged(message, what))
        return 1

    def carry(self, message: bytes) -> int:
        """As it is, before one that it overtakes."""
        behind, self._behind = self._behind, None
        self._carry(message)
        if behind is not None:
            self._carry(behind)
        return 1

    def _arrive(self) -> None:
        call, process = self.call, self.process
        if call.broken or not self._coming:
            return
        if not process.alive or process.incarnation != self.incarnation:
            call.breaks(tell=[self.other])
        elif process.paused or not call.network.passes(self.other.process.name, process.name):
            call.world.after(HELD_UP_US, self._arrive)
        else:
            message = self._coming.popleft()
            if self._coming:
                call.world.after(call.world.between(*DELAY_US), self._arrive)
            self.on_message(message)

    def ended(self) -> None:
        """Hear of the end, where this end still stands."""
        self.process.enter(self.incarnation, self._end)

    def _end(self) -> None:
        self.on_ended()


class Call:
    """Opened by `consumer`; `producer` gets its messages once the first has arrived."""

    def __init__(
        self, world: World, network: Network, consumer: Process, producer: Process
    ) -> None:
        self.world, self.network, self.broken = world, network, False
        self.consumer, self.producer = End(self, consumer), _Damaging(self, producer)
        self.consumer.other, self.producer.other = self.producer, self.consumer
        world.hit("stream: call opened")

    def breaks(self, tell: list[End] | None = None) -> None:
        """Nothing arrives any more. tell: who may hear of it; None: both, each perhaps."""
        if self.broken:
            return
        self.broken = True
        for end in (self.consumer, self.producer) if tell is None else tell:
            if not self.world.faulty or self.world.chance(TOLD):
                self.world.after(self.world.between(*TOLD_US), end.ended)
            else:
                self.world.hit("fault: call half-open")


class _Damaging(End):
    """The producer's end."""

    def send(self, message: bytes) -> int:
        if self.call.world.faulty and self.call.world.chance(WRONG) and _is_missed(message):
            return self.other.carry_wrong(message)
        return self.other.carry(message)


def _is_missed(message: bytes) -> bool:
    """Would anything show that it is lost, or late? Nothing does of what a replica tells of itself
    while a call is open; no sound connection loses it."""
    return not pb.FromProducer.FromString(message).HasField("replica")


def _damaged(message: bytes, what: str) -> bytes:
    """cut: some bytes fewer; shortened: a batch without its last commit; changed: a commit with
    another last byte."""
    parsed = pb.FromProducer.FromString(message)
    if what == "cut" or not parsed.HasField("batch"):
        return message[: len(message) * 2 // 3]
    last = parsed.batch.commits[-1]
    if what == "shortened":
        del parsed.batch.commits[-1]
    else:
        last.body = last.body[:-1] + bytes([(last.body or b"\0")[-1] ^ 1])
    return parsed.SerializeToString()
