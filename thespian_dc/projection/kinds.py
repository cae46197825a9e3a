"""One face for all kinds of handlers: what a delivery calls, and how the handler takes it.

Each kind is a `Kind` of callables; the hot loop calls `handle` directly, without a layer between
where the handler's own method has the right form.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from thespian_dc.model.delivery_settings import Group, ToActor
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.handler_errors import GroupError, HandlerNotStartedError
from thespian_dc.model.settings import Projection
from thespian_dc.model.stream_errors import FlushError
from thespian_dc.projection.actors import ActorHandler, Courier
from thespian_dc.projection.handlers import (
    CassandraProjectionHandler,
    CassandraUpsertHandler,
    GroupedHandler,
    GroupedSqlHandler,
    ProjectionHandler,
    SqlProjectionHandler,
)
from thespian_dc.projection.handling import TransactionFull, not_of_the_event

EXACTLY, AT_LEAST, AT_MOST = "exactly-once", "at-least-once", "at-most-once"
SQL, PARTITION, UPSERTS, NOTHING = "SQL", "partition", "upserts", "nothing"
"""What a handler writes to, `Kind.sink`: a transaction, or nothing that we know of."""

OF_FUNCTIONS: Mapping[int, Sequence[str]] = {1: (AT_LEAST, AT_MOST), 2: (EXACTLY,)}
"""By how many arguments they take."""

Handle = Callable[[Envelope[Any], Any], Any]


@dataclass(slots=True)
class Kind:
    """A handler as a delivery drives it. All callables get the transaction (None where the sink
    has none).

    handle: one event. alone: the same, and everything it gathers is written before it returns.
    flush: what was gathered is written. tables: DDL, before start. within_s: how long gathered
    events may wait for others. abort: from any thread, ends a `handle` that waits.
    """

    what: str
    sink: str
    handle: Handle
    alone: Handle
    start: Callable[[Any], Any]
    flush: Callable[[Any], Any]
    stop: Callable[[], Any]
    tables: str = ""
    within_s: float = 0.0
    abort: Callable[[], None] = lambda: None


def check_handler(projection: Projection) -> None:
    """SettingsError where the handler cannot be one, or does not fit its delivery. It is not
    built."""
    what, deliveries = _deliveries(projection.name, projection.handler)
    if projection.delivery not in deliveries:
        allowed = " or ".join(map(repr, deliveries))
        outside = "" if EXACTLY in deliveries else " has effects outside its transaction and"
        raise SettingsError(
            f"projection {projection.name}: {what}{outside} can be delivered {allowed}, not "
            f"{projection.delivery!r}"
        )


def _deliveries(name: str, given: Any) -> tuple[str, Sequence[str]]:
    """What it is called, and the deliveries it can have."""
    if isinstance(given, ToActor):
        return "an actor", (AT_LEAST,)
    what = given.__qualname__
    if not isinstance(given, type):
        try:
            taken = _arguments_of(given)
        except ValueError:  # of some builtins
            found = "and Python knows no signature of it"
        else:
            if taken in OF_FUNCTIONS:
                return what, OF_FUNCTIONS[taken]
            found = f"not {taken} arguments"
        raise SettingsError(
            f"projection {name}: {what} must take (envelope) or (envelope, tx), {found}"
        )
    base = _base_of(given)
    if base is not None:
        if getattr(given, "handle", None) is base.handle:
            raise SettingsError(f"projection {name}: {what} defines no handle")
        return what, OF_CLASSES[base].deliveries
    *known, last = (base.__name__ for base in OF_CLASSES)
    raise SettingsError(
        f"projection {name}: {what} must be a subclass of {', '.join(known)} or {last}, or a "
        "function of (envelope) or (envelope, tx)"
    )


def _base_of(given: type) -> Any:
    """Which of OF_CLASSES it derives from, if any."""
    return next((base for base in OF_CLASSES if issubclass(given, base)), None)


def kind_of(projection: Projection, courier: Courier | None = None) -> Kind:
    """Build the projection's handler. SettingsError as `check_handler`. courier: how messages reach
    actors; None outside of an actor system."""
    check_handler(projection)
    name, given = projection.name, projection.handler
    if isinstance(given, ToActor):
        if courier is None:
            raise SettingsError(
                f"projection {name}: ToActor needs a node: run it by Settings.projections"
            )
        actor = ActorHandler(name, given, courier)
        group = Group(given.events_max, 0)
        return _grouped(name, "an actor", actor, group, abort=actor.abort)
    if not isinstance(given, type):
        return _function(given)
    with before_events(name, f"{given.__qualname__}(), built without arguments,"):
        handler = given()
    return OF_CLASSES[_base_of(given)].build(projection, given.__qualname__, handler)


@contextlib.contextmanager
def before_events(projection: str, what: str) -> Iterator[None]:
    """Whatever is raised meanwhile is of the handler, and of no event: HandlerNotStartedError."""
    try:
        yield
    except BaseException as error:
        if not_of_the_event(error):
            raise
        raised = f"{type(error).__name__}: {error}"
        raise HandlerNotStartedError(projection, what, raised) from error


def _sql(of: Projection, what: str, handler: SqlProjectionHandler) -> Kind:
    flush = _flushing(of.name, handler.flush)
    alone = _alone(handler.handle, flush)
    return Kind(
        what, SQL, handler.handle, alone, handler.start, flush, handler.stop, handler.tables,
    )  # fmt: skip


def _plain(of: Projection, what: str, handler: ProjectionHandler) -> Kind:
    take = handler.handle

    def handle(event: Envelope[Any], _: Any) -> None:
        take(event)

    flush = _flushing(of.name, lambda _: handler.flush())
    return Kind(
        what, NOTHING, handle, _alone(handle, flush), lambda _: handler.start(), flush,
        handler.stop,
    )  # fmt: skip


def _partition(of: Projection, what: str, handler: CassandraProjectionHandler) -> Kind:
    flush = _flushing(of.name, handler.flush)
    handle = _placed(of.name, handler.handle)
    return Kind(
        what, PARTITION, handle, _alone(handle, flush), lambda _: handler.start(), flush,
        handler.stop,
    )  # fmt: skip


def _upserts(of: Projection, what: str, handler: CassandraUpsertHandler) -> Kind:
    handle = _placed(of.name, handler.handle)
    return Kind(
        what, UPSERTS, handle, handle, lambda _: handler.start(), _nothing, handler.stop,
    )  # fmt: skip


def _placed(name: str, take: Handle) -> Handle:
    """Cassandra's transaction is told whose event comes, and says when it holds enough."""

    def handle(event: Envelope[Any], tx: Any) -> None:
        tx.at(name, event.slice, event.offset)
        take(event, tx)
        if tx.full:
            raise TransactionFull

    return handle


def _function(function: Callable[..., Any]) -> Kind:
    what = function.__qualname__
    if _arguments_of(function) == 2:
        return Kind(what, SQL, function, function, _nothing, _nothing, lambda: None)

    def handle(event: Envelope[Any], _: Any) -> None:
        function(event)

    return Kind(what, NOTHING, handle, handle, _nothing, _nothing, lambda: None)


def _grouped(
    name: str,
    what: str,
    handler: Any,
    group: Group,
    with_tx: bool = False,
    abort: Callable[[], None] = lambda: None,
) -> Kind:
    gathered: list[Envelope[Any]] = []  # bounded by group.events
    take: Callable[[Sequence[Envelope[Any]], Any], Any] = (
        handler.handle if with_tx else lambda events, _: handler.handle(events)
    )

    def flush(tx: Any) -> None:
        if gathered:
            events, gathered[:] = list(gathered), []
            try:
                take(events, tx)
            except BaseException as error:
                if not_of_the_event(error):
                    raise
                raise GroupError(name, len(events), f"{type(error).__name__}: {error}") from error

    def handle(event: Envelope[Any], tx: Any) -> None:
        gathered.append(event)
        if len(gathered) >= group.events:
            flush(tx)
            raise TransactionFull

    return Kind(
        what, SQL if with_tx else NOTHING, handle, lambda event, tx: take([event], tx),
        handler.start if with_tx else lambda _: handler.start(), flush, handler.stop,
        getattr(handler, "tables", ""), group.within_ms / 1000, abort,
    )  # fmt: skip


def _flushing(name: str, flush: Callable[[Any], None]) -> Callable[[Any], None]:
    """The handler's flush; what it raises is named, unless it is not its own."""

    def named(tx: Any) -> None:
        try:
            flush(tx)
        except BaseException as error:
            if not_of_the_event(error):
                raise
            raise FlushError(name, f"{type(error).__name__}: {error}") from error

    return named


def _alone(handle: Handle, flush: Callable[[Any], None]) -> Handle:
    def alone(event: Envelope[Any], tx: Any) -> None:
        with contextlib.suppress(TransactionFull):  # it ends here anyway
            handle(event, tx)
        flush(tx)

    return alone


def _nothing(_: Any) -> None:
    """Of a kind that has nothing to start or to flush."""


def _arguments_of(function: Callable[..., Any]) -> int:
    """How many positional arguments it needs."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return sum(1 for one in parameters if one.kind in kinds and one.default is one.empty)


class OfClass(NamedTuple):
    """What is known of the handlers that derive from a base: the deliveries they can have, and how
    one is used, by (projection, what it is called, the handler)."""

    deliveries: Sequence[str]
    build: Callable[[Projection, str, Any], Kind]


def _group_in_sql(of: Projection, what: str, handler: GroupedSqlHandler) -> Kind:
    return _grouped(of.name, what, handler, of.group, with_tx=True)


def _group(of: Projection, what: str, handler: GroupedHandler) -> Kind:
    return _grouped(of.name, what, handler, of.group)


OF_CLASSES: Mapping[Any, OfClass] = {
    SqlProjectionHandler: OfClass((EXACTLY,), _sql),
    GroupedSqlHandler: OfClass((EXACTLY,), _group_in_sql),
    GroupedHandler: OfClass((AT_LEAST,), _group),
    ProjectionHandler: OfClass((AT_LEAST, AT_MOST), _plain),
    CassandraProjectionHandler: OfClass((EXACTLY,), _partition),
    CassandraUpsertHandler: OfClass((AT_LEAST,), _upserts),
}
"""The bases of handlers, whose `handle` each defines itself."""
