"""What no host can exceed: pre-made commits to the same server, by a writer that does nothing else.

One append in flight per slice, the next one sent by the answer. No client, handler, index or reply,
and no record is packed: per record this costs the copying of its bytes. With N commands in flight
no implementation can put more than N / slices of them into a commit, so that is the size here.
"""

from __future__ import annotations

import threading
import time
from uuid import uuid4

from bench.entities import TEXT, Added
from thespian_dc.codec.api import Registry
from thespian_dc.journal.api import Appended, Outcome, open_journal
from thespian_dc.model.ids import SLICES_DEFAULT, SliceKey
from thespian_dc.model.record import EVENT, Commit, Record, make_commit, pack_record

ENTITY_TYPE = "ceiling"
WAIT_S = 30.0


class BareAppender:
    """Slice logs of a type of its own in the journal at `url`; nobody reads them."""

    def __init__(self, url: str) -> None:
        self._journal = open_journal(url)
        self._journal.slices(ENTITY_TYPE, SLICES_DEFAULT)
        manifest, payload = Registry([Added]).encode(Added(TEXT, 1))
        record = Record(EVENT, "a-123", 1000, manifest, payload, (), "0123456789ab-1000000", b"\1")
        self._packed = pack_record(record)
        self._heads = {SliceKey(ENTITY_TYPE, n): 0 for n in range(SLICES_DEFAULT)}
        for key in self._heads:
            owner = self._journal.claim(key, "bench", uuid4().bytes, None)
            assert self._journal.install(key, 0, owner.epoch)
        self._epoch = owner.epoch

    def rate(self, in_flight: int, seconds: float) -> float:
        """Records appended per second."""
        count = in_flight // SLICES_DEFAULT
        records = [("a-123", self._packed)] * count
        made = make_commit(
            SliceKey(ENTITY_TYPE, 0), 0, bytes(16), self._epoch, time.time_ns() // 1000, records
        )
        until, appended, failures = time.perf_counter() + seconds, 0, list[Appended]()
        done = threading.Semaphore(0)

        def on_appended(answer: Appended) -> None:
            nonlocal appended
            if answer.outcome is Outcome.DONE:
                appended += count
                self._heads[answer.commit.key] += count
                if time.perf_counter() < until:
                    send(answer.commit.key)
                    return
            else:
                failures.append(answer)
            done.release()

        def send(key: SliceKey) -> None:
            head, write_id = self._heads[key], uuid4().bytes
            commit = Commit(
                key, head, count, write_id, self._epoch, made.time_us, made.heads, made.body,
                made.checksum,
            )  # fmt: skip
            self._journal.append([commit], on_appended)

        started = time.perf_counter()
        for key in self._heads:
            send(key)
        for _ in self._heads:
            assert done.acquire(timeout=WAIT_S), "an append was not answered"
        if failures:
            raise RuntimeError(f"an append of the bare writer: {failures[0].reason}")
        return appended / (time.perf_counter() - started)

    def close(self) -> None:
        self._journal.close()
