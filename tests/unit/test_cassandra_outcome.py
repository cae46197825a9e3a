"""What an error of the driver says about a conditional write: refused for certain, or unknown."""

from __future__ import annotations

import pytest

pytest.importorskip("cassandra")

from cassandra import (
    ConsistencyLevel,
    InvalidRequest,
    OperationTimedOut,
    Unauthorized,
    Unavailable,
    WriteFailure,
    WriteTimeout,
    WriteType,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException, ConnectionShutdown
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import ErrorMessage, OverloadedErrorMessage, ServerError

from thespian_dc.journal.api import Outcome
from thespian_dc.journal.cassandra.link import SendAgain, SendOnce
from thespian_dc.journal.cassandra.outcome import outcome_of, reason_of

QUORUM, SERIAL = ConsistencyLevel.LOCAL_QUORUM, ConsistencyLevel.LOCAL_SERIAL


def _overloaded(message: str) -> OverloadedErrorMessage:
    return OverloadedErrorMessage(0x1001, message, None)


UNKNOWN = {
    "write_timeout_in_paxos": WriteTimeout("late", consistency=SERIAL, write_type=WriteType.CAS),
    "write_timeout_in_commit": WriteTimeout("late", write_type=WriteType.SIMPLE),
    "client_timeout": OperationTimedOut(),
    "write_failure": WriteFailure("a replica failed", consistency=QUORUM),
    "connection_lost": ConnectionShutdown("closed by the server"),
    "connection_error": ConnectionException("broken pipe"),
    "cas_write_unknown": ErrorMessage(0x1700, "CAS operation result is unknown", None),
    "server_error": ServerError(0x0000, "java.lang.RuntimeException", None),
    "unavailable_in_commit": Unavailable("too few", consistency=QUORUM),
    "overloaded_with_hints": _overloaded("Too many in flight hints: 1025 destination: /127.0.0.1"),
    "no_host_but_one_was_tried": NoHostAvailable("none", {"a": ConnectionShutdown("closed")}),
    "one_not_sent_one_lost": NoHostAvailable(
        "none", {"a": ConnectionException("Pool is shutdown"), "b": ConnectionShutdown("closed")}
    ),
    "the_watchdog": TimeoutError("no answer from the driver"),
    "anything_else": RuntimeError("never seen before"),
}
REFUSED = {
    "unavailable_before_proposal": Unavailable("too few", consistency=SERIAL),
    "invalid": InvalidRequest("no such table"),
    "not_allowed": Unauthorized("no"),
    "overloaded_at_the_door": _overloaded("Request breached limit on bytes in flight. (x)"),
    "too_old_before_start": _overloaded("Query timed out before it could start"),
    "no_host_up": NoHostAvailable("none", {}),
    "nothing_sent": NoHostAvailable(
        "none",
        {
            "a": ConnectionException("Host has been marked down or removed"),
            "b": NoConnectionsAvailable("all busy"),
        },
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown(name: str) -> None:
    """The write may still take effect; taking it for failed would lose or double events."""
    assert outcome_of(UNKNOWN[name]) is Outcome.UNKNOWN


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """These were certainly not executed, so the host may build another commit at once."""
    assert outcome_of(REFUSED[name]) is Outcome.REFUSED


@pytest.mark.parametrize("error", [*UNKNOWN.values(), *REFUSED.values()], ids=repr)
def test_a_reason_is_one_line(error: Exception) -> None:
    """The reason goes to logs and to an asker."""
    assert reason_of(error)
    assert "\n" not in reason_of(error)


def test_a_conditional_write_is_never_sent_again_by_the_driver() -> None:
    """Sent to the next host, the second would be refused because the first succeeded."""
    policy = SendOnce()
    decisions = [
        policy.on_read_timeout(None, SERIAL, 1, 0, False, 0),
        policy.on_write_timeout(None, SERIAL, WriteType.CAS, 1, 0, 0),
        policy.on_unavailable(None, SERIAL, 1, 0, 0),
        policy.on_request_error(None, SERIAL, error=ConnectionShutdown("x"), retry_num=0),
    ]
    assert [decision for decision, _ in decisions] == [policy.RETHROW] * 4


def test_a_plain_write_is_sent_again_a_bounded_number_of_times() -> None:
    """Rows carry their write time, so a second send changes nothing; sending for ever would.

    Called as the driver calls it: all but the query by name. A policy that raises there loses the
    answer, and whoever waits for it waits for ever.
    """
    policy = SendAgain()
    first, _ = policy.on_request_error(None, QUORUM, error=ServerError(0, "x", None), retry_num=0)
    last, _ = policy.on_request_error(None, QUORUM, error=ServerError(0, "x", None), retry_num=2)
    assert (first, last) == (policy.RETRY_NEXT_HOST, policy.RETHROW)
    timeout, _ = policy.on_write_timeout(
        None, consistency=QUORUM, write_type=WriteType.SIMPLE, required_responses=1,
        received_responses=0, retry_num=0,
    )  # fmt: skip
    assert timeout == policy.RETRY_NEXT_HOST
