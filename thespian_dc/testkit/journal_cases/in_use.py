"""Care of a journal while a host writes to it: what is new meanwhile is no damage."""

from __future__ import annotations

import threading
from functools import partial
from itertools import count
from typing import ClassVar

from thespian_dc.journal.api import Journal
from thespian_dc.model.ids import SliceKey
from thespian_dc.testkit.eventually import eventually
from thespian_dc.testkit.journal_cases.storage import TYPE, Suite, Writer

KEYS = [SliceKey(TYPE, number) for number in range(2)]


class Busy:
    """Writes to two slices until it is told to stop: to new entities and to old ones; indexes,
    trims and takes over in between."""

    def __init__(self, journal: Journal) -> None:
        self.writers = [Writer(journal, key) for key in KEYS]
        self.rounds = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.failed: Exception | None = None

    def is_at(self, rounds: int) -> bool:
        return self.rounds >= rounds or self.failed is not None

    def run(self) -> None:
        try:
            for round_ in count():
                if self.stopping.is_set():
                    return
                self.step(round_, self.writers[round_ % 2])
                self.rounds += 1
        except Exception as error:  # noqa: BLE001 - told by the test
            self.failed = error

    def step(self, round_: int, writer: Writer) -> None:
        if round_ % 10 < 2:
            claimed = writer.journal.claim(writer.key, writer.member_id, writer.rng.randbytes(16))
            assert writer.journal.install(writer.key, writer.head, claimed.epoch)
            writer.epoch = claimed.epoch
        commit = writer.write("often", f"new-{round_}", "often")
        if round_ % 3:
            writer.journal.advance_index(writer.key, commit.end_offset, [commit])
        if round_ % 16 in (7, 14):
            writer.journal.trim(writer.key, commit.base_offset - 3)


class InUseCases(Suite):
    """Read while it is written."""

    looks: ClassVar[int] = 10
    """How often it is looked at."""

    def test_a_journal_in_use_is_found_sound(self, journal: Journal, other: Journal) -> None:
        """Nothing that `verify` finds may come of being written, indexed, trimmed or taken over at
        the same time."""
        busy = Busy(other)
        busy.thread.start()
        try:
            for _ in range(self.looks):
                wanted = busy.rounds + 1
                found = journal.verify()
                assert [str(error) for error in found] == []
                eventually(partial(busy.is_at, wanted))
        finally:
            busy.stopping.set()
            busy.thread.join(30)
        assert busy.failed is None
