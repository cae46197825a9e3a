"""What each identity has used of what it may: open streams, questions at work, and a bucket of
tokens for requests. Pure.

in: requests, openings and ends, time    out: nothing, or the named error of a limit
Law: nothing that one identity does changes what another may.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from thespian_dc.model.access import StreamLimits
from thespian_dc.model.access_errors import TooManyRequestsError, TooManyStreamsError

IDENTITIES_MAX = 10_000
"""Remembered; beyond it those that use nothing at present are forgotten."""


class _Use:
    """Of one identity. tokens: what may be asked at once, at since_us."""

    __slots__ = ("questions", "since_us", "streams", "tokens")

    def __init__(self, tokens: float, now_us: int) -> None:
        self.tokens, self.since_us = tokens, now_us
        self.streams = self.questions = 0


class LimitsCore:
    """Of one server."""

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._uses: dict[str, _Use] = {}  # bounded by IDENTITIES_MAX and what is open

    def request(self, identity: str, now_us: int) -> None:
        """One more request; TooManyRequestsError where its bucket is empty."""
        limits, use = self._limits, self._use(identity, now_us)
        self._fill(use, now_us)
        if use.tokens < 1:
            raise TooManyRequestsError(identity, "requests_per_s", limits.requests_per_s)
        use.tokens -= 1

    @contextmanager
    def stream(self, identity: str, now_us: int) -> Iterator[None]:
        """While a stream is open; TooManyStreamsError."""
        use, most = self._use(identity, now_us), self._limits.streams_per_identity
        if use.streams >= most:
            raise TooManyStreamsError(identity, most)
        use.streams += 1
        try:
            yield
        finally:
            use.streams -= 1

    @contextmanager
    def question(self, identity: str, now_us: int) -> Iterator[None]:
        """While a question is at work; TooManyRequestsError."""
        use, most = self._use(identity, now_us), self._limits.questions_per_identity
        if use.questions >= most:
            raise TooManyRequestsError(identity, "questions_per_identity", most)
        use.questions += 1
        try:
            yield
        finally:
            use.questions -= 1

    @property
    def identities(self) -> int:
        """Remembered at present."""
        return len(self._uses)

    def _fill(self, use: _Use, now_us: int) -> None:
        gained = (now_us - use.since_us) * self._limits.requests_per_s / 1e6
        use.tokens = min(float(self._limits.requests_burst), use.tokens + gained)
        use.since_us = now_us

    def _use(self, identity: str, now_us: int) -> _Use:
        use = self._uses.get(identity)
        if use is None:
            if len(self._uses) >= IDENTITIES_MAX:
                self._forget(now_us)
            use = self._uses[identity] = _Use(float(self._limits.requests_burst), now_us)
        return use

    def _forget(self, now_us: int) -> None:
        """Those with nothing open and a full bucket: they begin again with the same."""
        for identity, use in list(self._uses.items()):
            self._fill(use, now_us)
            idle = not (use.streams or use.questions)
            if idle and use.tokens >= self._limits.requests_burst:
                del self._uses[identity]
