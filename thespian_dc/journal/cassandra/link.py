"""One connection to a cluster: profiles, retry rules, time limits, and answers that always come.

Laws:
- A conditional write is sent once: its retry policy rethrows everything. Plain writes and reads are
  idempotent here (explicit write times, fixed values) and may be sent again.
- Consistency is set on every request: LOCAL_QUORUM, with LOCAL_SERIAL for the conditional part and
  for reads that decide. The driver's own default is LOCAL_ONE.
- Nothing blocks in a callback of the driver. Every request is answered once, also where the driver
  loses it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from itertools import count
from typing import Any

from cassandra import ConsistencyLevel, WriteType
from cassandra.cluster import Cluster, ExecutionProfile, Session
from cassandra.policies import DCAwareRoundRobinPolicy, RetryPolicy, TokenAwarePolicy
from cassandra.query import dict_factory, tuple_factory

from thespian_dc.journal.cassandra.outcome import reason_of
from thespian_dc.model.errors import JournalUnavailableError

CONDITIONAL, DECIDING, PLAIN = "conditional", "deciding", "plain"
WINDOW = 32
"""Requests of one caller in flight at once."""
_WATCHDOG_GRACE_S = 2.0
_RESENDS_MAX = 2

Row = Sequence[Any]


class SendOnce(RetryPolicy):  # type: ignore[misc]
    """For conditional writes: a second send could be refused because of the first one's success."""

    def on_read_timeout(self, *_: Any, **__: Any) -> tuple[int, None]:
        return self.RETHROW, None

    def on_write_timeout(self, *_: Any, **__: Any) -> tuple[int, None]:
        return self.RETHROW, None

    def on_unavailable(self, *_: Any, **__: Any) -> tuple[int, None]:
        return self.RETHROW, None

    def on_request_error(self, *_: Any, **__: Any) -> tuple[int, None]:
        return self.RETHROW, None


class SendAgain(RetryPolicy):  # type: ignore[misc]
    """For reads and for plain writes whose second send changes nothing.

    The driver passes all but the query by name.
    """

    def on_read_timeout(self, *_: Any, retry_num: int = 0, **__: Any) -> tuple[int, None]:
        return self._again(retry_num)

    def on_write_timeout(
        self, *_: Any, write_type: int, retry_num: int = 0, **__: Any
    ) -> tuple[int, None]:
        if write_type == WriteType.CAS:
            return self.RETHROW, None
        return self._again(retry_num)

    def on_unavailable(self, *_: Any, retry_num: int = 0, **__: Any) -> tuple[int, None]:
        return self._again(retry_num)

    def on_request_error(self, *_: Any, retry_num: int = 0, **__: Any) -> tuple[int, None]:
        return self._again(retry_num)

    def _again(self, retry_num: int) -> tuple[int, None]:
        return (self.RETRY_NEXT_HOST if retry_num < _RESENDS_MAX else self.RETHROW), None


def profiles(timeout_s: float) -> dict[str, ExecutionProfile]:
    """One execution profile per kind of request. A load balancing policy belongs to one profile
    alone.
    """

    def profile(retry: RetryPolicy, consistency: int, rows: Any) -> ExecutionProfile:
        # Replicas in a fixed order: a slice's conditional writes go through one coordinator, whose
        # ballots do not collide with each other.
        replicas = TokenAwarePolicy(DCAwareRoundRobinPolicy(), shuffle_replicas=False)
        return ExecutionProfile(
            load_balancing_policy=replicas,
            retry_policy=retry,
            consistency_level=consistency,
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
            request_timeout=timeout_s,
            row_factory=rows,
        )

    quorum, serial = ConsistencyLevel.LOCAL_QUORUM, ConsistencyLevel.LOCAL_SERIAL
    return {
        CONDITIONAL: profile(SendOnce(), quorum, dict_factory),
        DECIDING: profile(SendOnce(), serial, tuple_factory),
        PLAIN: profile(SendAgain(), quorum, tuple_factory),
    }


class Watchdog:
    """Answers where the driver does not: one thread, started with the first request."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._numbers = count()
        self._open: dict[int, Callable[[], None]] = {}
        self._order: deque[tuple[float, int]] = deque()  # bounded by requests in flight
        self._thread: threading.Thread | None = None
        self._lock, self._stop = threading.Lock(), threading.Event()

    def guard(self, on_late: Callable[[], None]) -> int:
        """Call `on_late` in timeout_s unless `take` was called with the returned number before."""
        number = next(self._numbers)
        self._open[number] = on_late
        self._order.append((time.monotonic() + self.timeout_s, number))
        if self._thread is None:
            self._start()
        return number

    def take(self, number: int) -> bool:
        """True for the first caller: the answer is the caller's to give."""
        return self._open.pop(number, None) is not None

    def close(self) -> None:
        """Answer everything that is still open, now."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)
        self._expire(float("inf"))

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="journal-watchdog", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.25):
            self._expire(time.monotonic())

    def _expire(self, now: float) -> None:
        # The time-out is the same for all, so the order of arrival is the order of deadlines.
        while self._order and self._order[0][0] <= now:
            on_late = self._open.pop(self._order.popleft()[1], None)
            if on_late is not None:
                on_late()
        while self._order and self._order[0][1] not in self._open:
            self._order.popleft()


class Link:
    """A session with what every part of the journal needs from it."""

    def __init__(self, url: str, cluster: Cluster, session: Session, timeout_s: float) -> None:
        self.url, self.cluster, self.session = url, cluster, session
        self.watchdog = Watchdog(timeout_s + _WATCHDOG_GRACE_S)
        self.closed = False

    def set_timeout(self, timeout_s: float) -> None:
        """The client's time limit per request, for all requests from now on."""
        for profile in self.cluster.profile_manager.profiles.values():
            profile.request_timeout = timeout_s
        self.watchdog.timeout_s = timeout_s + _WATCHDOG_GRACE_S

    def send(
        self,
        statement: Any,
        profile: str,
        on_rows: Callable[[list[Any]], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """Send and return; exactly one of the two callbacks follows, from any thread or before this
        returns.
        """

        if self.closed:
            on_error(ConnectionError("this journal was closed; open it again"))
            return

        def late() -> None:
            on_error(
                TimeoutError(f"no answer from the driver within {self.watchdog.timeout_s:.1f} s")
            )

        number = self.watchdog.guard(late)
        take = self.watchdog.take

        def rows(found: list[Any] | None) -> None:
            if take(number):
                on_rows(found or [])

        def error(why: BaseException) -> None:
            if take(number):
                on_error(why)

        try:
            future = self.session.execute_async(statement, execution_profile=profile)
        except Exception as why:  # noqa: BLE001 - the driver raises what it likes; all is answered
            error(why)
            return
        future.add_callbacks(rows, error)

    def later(self, statement: Any, profile: str = PLAIN) -> Future[list[Any]]:
        """Send; the rows, or the driver's error, come with the future."""
        future: Future[list[Any]] = Future()
        self.send(statement, profile, future.set_result, future.set_exception)
        return future

    def rows(self, statement: Any, profile: str = PLAIN) -> list[Any]:
        """Send and wait. JournalUnavailableError for whatever the driver raises."""
        return self.result(self.later(statement, profile))

    def rows_of(self, host: Any, query: str) -> list[Any]:
        """Ask one node for what only it knows."""
        future: Future[list[Any]] = Future()
        try:
            response = self.session.execute_async(query, execution_profile=PLAIN, host=host)
            response.add_callbacks(future.set_result, future.set_exception)
        except Exception as why:  # noqa: BLE001 - as in `send`
            future.set_exception(why)
        return self.result(future)

    def decide(self, statement: Any) -> dict[str, Any]:
        """Send a conditional write and wait for its one row; JournalUnavailableError: its outcome
        is not known.
        """
        row: dict[str, Any] = self.rows(statement, CONDITIONAL)[0]
        return row

    def all(
        self, statements: Iterable[Any], profile: str = PLAIN, window: int = WINDOW
    ) -> list[Any]:
        """Send all with at most `window` in flight and wait; rows per statement, in order; the
        first error is raised.
        """
        waiting: deque[Future[list[Any]]] = deque()  # bounded by `window`
        found: list[Any] = []
        try:
            for statement in statements:
                if len(waiting) >= window:
                    found.append(self.result(waiting.popleft()))
                waiting.append(self.later(statement, profile))
            while waiting:
                found.append(self.result(waiting.popleft()))
        finally:
            for (
                future
            ) in waiting:  # after an error: what is in flight ends before the caller goes on
                future.exception(self.watchdog.timeout_s + _WATCHDOG_GRACE_S)
        return found

    def result(self, future: Future[list[Any]]) -> list[Any]:
        try:
            return future.result(self.watchdog.timeout_s + _WATCHDOG_GRACE_S)
        except FutureTimeoutError as late:
            raise JournalUnavailableError(self.url, reason_of(late)) from late
        except Exception as why:
            raise JournalUnavailableError(self.url, reason_of(why)) from why

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.cluster.shutdown()
            self.watchdog.close()
