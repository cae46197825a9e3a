"""What every call about a stream passes before it is served: limits, the interceptor, the rules.
Runs on the stream loop.

A stream that a caller may not see answers in all as one that does not exist: the same error, after
the same steps.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from inspect import iscoroutinefunction
from typing import Any, NoReturn

import grpc

from thespian_dc.model.access import Access, Interceptor, Rules, StreamCall
from thespian_dc.model.access_errors import (
    CallRefusedError,
    InterceptorFailedError,
    TooManyRequestsError,
    TooManyStreamsError,
)
from thespian_dc.model.criteria import VersionedFilter, check_bounds
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.replica_errors import NotAReplicaStreamError
from thespian_dc.model.replication_settings import REPLICA_PREFIX
from thespian_dc.model.stream_errors import UnknownStreamError
from thespian_dc.model.user_code import RAISED
from thespian_dc.shell.clock import now_us
from thespian_dc.stream.identity import Caller, caller_of
from thespian_dc.stream.limits_core import LimitsCore
from thespian_dc.stream.open_stream import OpenStream, OpenStreams
from thespian_dc.wire.status import status_of

log = logging.getLogger(__name__)

INTERCEPT_S = 10.0
"""How long an interceptor may take."""
INTERCEPTORS = 4
"""Threads in which interceptors run that are not async."""
PENALTY_S = 0.5
"""What is over a limit is told so after this pause: who asks again at once waits all the same."""
PENALTIES_MAX = 1_000
"""Calls that wait so; more are answered at once, so that they hold up nobody else."""


class Gate:
    """Of one server."""

    def __init__(self, access: Access, rules: Rules, streams: OpenStreams) -> None:
        self._access, self._rules, self._streams = access, rules, streams
        self._limits = LimitsCore(access.limits)
        self._penalties = self._over = self._note_us = 0
        interceptor = access.interceptor
        self._pool: ThreadPoolExecutor | None = None
        if interceptor is not None and not iscoroutinefunction(interceptor):
            self._pool = ThreadPoolExecutor(INTERCEPTORS, thread_name_prefix="interceptor")

    def close(self) -> None:
        """Wait for no interceptor."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def stream(self, context: Any) -> Iterator[Caller]:
        """While a stream of a caller is open; TooManyStreamsError, TooManyRequestsError."""
        caller = caller_of(context)
        self._limits.request(caller.identity, now_us())
        with self._limits.stream(caller.identity, now_us()):
            yield caller

    @contextmanager
    def question(self, context: Any) -> Iterator[Caller]:
        """While a question of a caller is at work; TooManyRequestsError."""
        caller = caller_of(context)
        self._limits.request(caller.identity, now_us())
        with self._limits.question(caller.identity, now_us()):
            yield caller

    async def find(
        self, kind: str, stream_id: str, consumer: str, caller: Caller, context: Any,
        replica_id: str = "",
    ) -> OpenStream:  # fmt: skip
        """The stream, where the interceptor and its rules permit this caller to see it.

        replica_id: what the caller says it is; only replicas see replica streams, and they see no
        others. CallRefusedError, InterceptorFailedError, UnknownStreamError, StreamClosedError,
        what ReplicaGroup.check_caller raises, ReplicaRecoveringError, NotAReplicaStreamError.
        """
        await self.intercept(kind, stream_id, consumer, caller, context)
        if stream_id.startswith(REPLICA_PREFIX):
            return self._find_of_replicas(stream_id, caller, replica_id)
        if self._rules.permit(stream_id, caller.identities):
            stream = self._streams.find(stream_id)
            if replica_id:
                raise NotAReplicaStreamError(stream_id, "it is for consumers; leave `replica` out")
            return stream
        there = stream_id in self._streams.by_id
        facts = {"stream_id": stream_id, "exists": there, "identity": caller.identity}
        log.warning("stream_not_permitted", extra=facts)
        raise UnknownStreamError(stream_id)

    def _find_of_replicas(self, stream_id: str, caller: Caller, replica_id: str) -> OpenStream:
        group = self._streams.groups.get(stream_id) if replica_id else None
        if group is None:
            raise UnknownStreamError(stream_id)
        group.check_caller(replica_id, caller)
        return self._streams.find(stream_id)

    async def intercept(
        self, kind: str, stream_id: str, consumer: str, caller: Caller, context: Any
    ) -> None:
        """Ask the interceptor; CallRefusedError, InterceptorFailedError."""
        interceptor = self._access.interceptor
        if interceptor is None:
            return
        metadata = dict(context.invocation_metadata() or ())
        call = StreamCall(kind, stream_id, consumer, metadata, *caller)
        try:
            async with asyncio.timeout(INTERCEPT_S):
                refusal = await self._asked(interceptor, call)
        except RAISED as error:
            facts = {"kind": kind, "error": f"{type(error).__name__}: {error}"}
            log.exception("interceptor_failed", extra=facts)
            raise InterceptorFailedError(kind) from error
        if refusal is not None:
            raise refusal

    async def _asked(self, interceptor: Interceptor, call: StreamCall) -> CallRefusedError | None:
        try:
            if self._pool is None:
                said = await interceptor(call)
            else:
                run = asyncio.get_running_loop().run_in_executor
                said = await run(self._pool, interceptor, call)
        except CallRefusedError as refusal:
            said = refusal
        if said is None:
            return None
        if not isinstance(said, CallRefusedError):
            raise TypeError(f"it returned {said!r:.100}, not None or a CallRefusedError")
        if said.status == "OK" or said.status not in grpc.StatusCode.__members__:
            raise ValueError(f"{said.status!r:.100} is no gRPC status that refuses a call")
        return said

    def check_filter(self, filter_: VersionedFilter) -> None:
        """Of a Start or a change; FilterTooLargeError."""
        limits = self._access.limits
        check_bounds(filter_.filter, limits.filter_criteria_max, limits.filter_bytes_max)

    def change_filter(self, caller: Caller, filter_: VersionedFilter) -> None:
        """A change counts as a request; FilterTooLargeError, TooManyRequestsError."""
        self._limits.request(caller.identity, now_us())
        self.check_filter(filter_)

    async def refuse(self, context: Any, error: ThespianDcError) -> NoReturn:
        """End a call with this error; one over a limit after a pause."""
        if isinstance(error, TooManyRequestsError | TooManyStreamsError):
            self._note(error)
            if self._penalties < PENALTIES_MAX:
                self._penalties += 1
                try:
                    await asyncio.sleep(PENALTY_S)
                finally:
                    self._penalties -= 1
        else:
            facts = {"peer": context.peer(), "error": f"{type(error).__name__}: {error}"}
            log.warning("call_ended", extra=facts)
        await context.abort(*status_of(error))
        raise AssertionError("abort raises") from error

    def _note(self, error: ThespianDcError) -> None:
        """At most one line a second of what is over limits, however much it is."""
        self._over += 1
        now = now_us()
        if now >= self._note_us:
            log.warning("calls_over_limits", extra={"count": self._over, "last": str(error)})
            self._over, self._note_us = 0, now + 1_000_000
