"""Sends commands at a steady rate, whatever comes back, and writes the history of each attempt.

`python -m …load ADMIN_PORT HISTORY JSON`: see Plan. Says {"attempts", "acknowledged", "unknown",
"open", "all_answered_us": each slice has answered something that was sent then or later} a few
times a second; on "end" it sends no more, waits for the last outcome, says {"done"}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thespian.actors import ActorSystem

from tests.processes.chaos import history
from tests.processes.chaos.history import LOOK, PUT, Attempt
from tests.processes.chaos.ledger import ENTITY_TYPE, Look, Put
from thespian_dc import Client, ThespianDcError
from thespian_dc.model.entity_errors import OutcomeUnknownError
from thespian_dc.model.errors import AskTimeoutError, ClientClosedError
from thespian_dc.model.ids import SLICES_DEFAULT, slice_of

STEP_S = 0.01
PATIENCE_S = 20.0
AGAIN_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """name: in front of each command id. rate: commands/s.

    impatient: share of attempts with a time-out below a second; timeout_s: of all others. again:
    share of acknowledged Puts that are sent once more; open_max: attempts without outcome. sent:
    of each command, (at least, at most) attempts in all, spread by chance.
    """

    name: str
    rate: int = 1500
    entities: int = 200
    looks: float = 0.1
    impatient: float = 0.05
    timeout_s: float = PATIENCE_S
    again: float = 0.03
    open_max: int = 40_000
    sent: tuple[int, int] = (0, 0)


class Load:
    def __init__(self, client: Client, plan: Plan, path: Path) -> None:
        self._client, self._plan, self._file = client, plan, path.open("w", encoding="ascii")
        self._rng = random.Random(plan.name)
        self._counts: Counter[str] = Counter()
        self._open: set[asyncio.Task[None]] = set()
        self._numbers = 0
        self._answered_us = dict.fromkeys(range(SLICES_DEFAULT), 0)
        self.ending = threading.Event()

    async def run(self) -> None:
        begun, sent, told = time.monotonic(), 0, 0.0
        while not self.ending.is_set():
            now = time.monotonic()
            due = int((now - begun) * self._plan.rate) - sent
            for _ in range(min(due, self._plan.open_max - len(self._open))):
                if self.ending.is_set():
                    break
                self._one()
            sent += max(0, due)
            if now - told > 0.2:
                told = now
                self._tell()
            await _pause(STEP_S)
        while self._open:
            await asyncio.wait(list(self._open), timeout=0.5)
            self._tell()
        self._file.close()
        self._tell(done=True)

    def _one(self) -> None:
        entity_id = f"l-{self._rng.randrange(self._plan.entities)}"
        if self._rng.random() < self._plan.looks:
            self._start(self._attempt(LOOK, "", entity_id, 0, 0))
            return
        self._numbers += 1
        command_id = f"{self._plan.name}-{self._numbers}"
        put = (PUT, command_id, entity_id, self._numbers, self._rng.randrange(1, 10))
        least, most = self._plan.sent
        if most:
            for _ in range(self._rng.randint(least, most)):
                self._start(self._attempt(*put, after_s=self._rng.random() * 2))
        else:
            self._start(self._until_known(*put))

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _until_known(self, *put: Any) -> None:
        """Half of the unknown ones stay unknown, as with clients that give up; so do those whose
        time was long: meanwhile their entity may have seen more commands than it remembers."""
        begun = time.monotonic()
        outcome = await self._attempt(*put)
        for _ in range(3):
            again = 0.5 if outcome == history.UNKNOWN else self._plan.again
            if self._rng.random() >= again or time.monotonic() - begun > AGAIN_WITHIN_S:
                return
            outcome = await self._attempt(*put, after_s=self._rng.random())

    async def _attempt(
        self, kind: str, command_id: str, entity_id: str, number: int, amount: int,
        after_s: float = 0.0,
    ) -> str:  # fmt: skip
        if after_s:
            await _pause(after_s)
        plan = self._plan
        impatient = kind == PUT and self._rng.random() < plan.impatient
        timeout_s = 0.02 + self._rng.random() if impatient else plan.timeout_s
        reply, error, outcome = None, "", history.ACKNOWLEDGED
        message: Any = Put(number, amount) if kind == PUT else Look()
        sent_us = time.monotonic_ns() // 1000
        entity = self._client.aio.entity(ENTITY_TYPE, entity_id)
        try:
            reply = await entity.ask(message, timeout_s, command_id)
        except (AskTimeoutError, OutcomeUnknownError, ClientClosedError) as unknown:
            outcome, error = history.UNKNOWN, type(unknown).__name__
        except ThespianDcError as failed:
            outcome, error = history.ERROR, type(failed).__name__
        done_us = time.monotonic_ns() // 1000
        self._counts[outcome] += 1
        if outcome == history.ACKNOWLEDGED:
            # Not when it was answered: answers of a host that was just killed are still under way.
            slice_ = slice_of(entity_id, SLICES_DEFAULT)
            self._answered_us[slice_] = max(sent_us, self._answered_us[slice_])
        history.write(self._file, Attempt(kind, command_id, entity_id, number, amount, sent_us,
                                          done_us, outcome, reply, error))  # fmt: skip
        return outcome

    def _tell(self, **more: Any) -> None:
        facts = {one: self._counts[one] for one in ("acknowledged", "error", "unknown")}
        say = {**facts, "attempts": sum(facts.values()), "open": len(self._open)}
        say["all_answered_us"] = min(self._answered_us.values())
        print(json.dumps({**say, **more}), flush=True)


async def _pause(for_s: float) -> None:
    """The load's own pace: nothing is waited for."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.call_later(for_s, over.set_result, None)
    await over


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("admin_port", type=int)
    parser.add_argument("history", type=Path)
    parser.add_argument("plan", type=json.loads)
    options = parser.parse_args()
    system = ActorSystem("multiprocTCPBase", {"Admin Port": options.admin_port})
    with Client.connect(system, "ledgers", timeout_s=30) as client:
        load = Load(client, Plan(**options.plan), options.history)

        def listen() -> None:
            for line in sys.stdin:
                if line.strip() == "end":
                    break
            load.ending.set()

        threading.Thread(target=listen, daemon=True).start()
        asyncio.run(load.run())


if __name__ == "__main__":
    main()
