"""Lookups through the producers of a stream: real wire bytes over a network that loses, doubles,
delays and damages what is asked and answered. Any producer answers, of the same journal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.history import History
from thespian_dc.projection.api import LookedUp, Lookup
from thespian_dc.stream.lookups import read_answer
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.producer import SimulatedProducer
from thespian_dc.wire.conversion import Credit
from thespian_dc.wire.lookups import LookUpRequest, read_look_up_answer, write_look_up

SILENCE_US = 400_000
LIMIT = Credit(600, 4)
"""Of one answer: many an entity needs several."""
CUT = 0.03
"""How often an answer lacks its last bytes."""


class StreamLookUps:
    """Of one source. history: what its stream is asked for."""

    def __init__(
        self, process: Process, network: Network, producers: Sequence[SimulatedProducer],
        history: History,
    ) -> None:  # fmt: skip
        self._process, self._network, self._producers = process, network, producers
        self._history = history

    def look_up(self, lookup: Lookup, on_answer: Callable[[LookedUp | None], None]) -> None:
        """on_answer is called once; None: no answer came, or one that cannot be read."""
        process, answered = self._process, [False]

        def once(answer: bytes) -> None:
            if not answered[0]:
                answered[0] = True
                on_answer(self._read(lookup, answer))

        producer = process.world.rng.choice(self._producers)
        question, take = write_look_up(self._request(lookup)), process.into(once)

        def back(answer: bytes) -> None:
            self._network.send(producer.name, process.name, take, answer)

        def arrives() -> None:
            producer.enter(producer.incarnation, producer.answer, question, back)

        process.world.hit("stream: lookup asked")
        self._network.send(process.name, producer.name, arrives)
        process.after(SILENCE_US, once, b"")

    def _request(self, lookup: Lookup) -> LookUpRequest:
        return LookUpRequest(
            "simulated", lookup.entity_id, lookup.from_seq_nr, lookup.until_seq_nr,
            lookup.from_offset, LIMIT, consumer=self._process.name, history=self._history,
        )  # fmt: skip

    def _read(self, lookup: Lookup, answer: bytes) -> LookedUp | None:
        world = self._process.world
        if answer and world.faulty and world.chance(CUT):
            world.hit("fault: answer to a lookup cut")
            answer = answer[: len(answer) * 2 // 3]
        try:
            found = read_answer(lookup, read_look_up_answer(answer)) if answer else None
        except ThespianDcError as error:
            world.hit(f"stream: {type(error).__name__} of a lookup")
            return None
        if found is not None:
            world.hit("stream: lookup answered" + (" in part" if found.more else ""))
        return found
