"""Say what an error of the driver means for a conditional write. Pure: errors in, outcome out.

Law: REFUSED only where the write was certainly not executed, and never will be; everything else is
UNKNOWN.
What makes it certain, by stage of a conditional write:
- not sent: the driver found no connection to send it on;
- refused at the door: the server was overloaded and said so before it started, or the statement is
  not valid, or not allowed;
- not proposed: too few replicas were alive for the *serial* consistency level. The same error at
  the commit's level comes after the proposal was accepted, so it is not certain. Nor is "too many
  hints in flight": some releases count hints in the commit stage.

A time-out of any kind, a lost connection, a failure on a replica and code 0x1700
(CAS_WRITE_UNKNOWN, which the driver does not know and raises as a bare ErrorMessage) may all be
followed by the write taking effect.
"""

from __future__ import annotations

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    InvalidRequest,
    Unauthorized,
    Unavailable,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionBusy, ConnectionException, ConnectionShutdown
from cassandra.pool import NoConnectionsAvailable

from thespian_dc.journal.api import Outcome

CAS_WRITE_UNKNOWN = 0x1700
_OVERLOADED = 0x1001
_SYNTAX, _UNAUTHORIZED, _INVALID, _CONFIGURATION = 0x2000, 0x2100, 0x2200, 0x2300
_REFUSED_AT_THE_DOOR = (_SYNTAX, _UNAUTHORIZED, _INVALID, _CONFIGURATION)
_OVERLOADED_BEFORE_START = ("Request breached", "Query timed out before it could start")
_NOT_SENT = ("Pool is shutdown", "Host has been marked down or removed")
_SERIAL = (ConsistencyLevel.SERIAL, ConsistencyLevel.LOCAL_SERIAL)


def outcome_of(error: BaseException) -> Outcome:
    """REFUSED where the conditional write that ended in `error` certainly never takes effect, else
    UNKNOWN.
    """
    return Outcome.REFUSED if _is_certain(error) else Outcome.UNKNOWN


def reason_of(error: BaseException) -> str:
    """One line for logs and for `Appended.reason`."""
    if code_of(error) == CAS_WRITE_UNKNOWN:
        return "the server cannot say whether the conditional write took effect (0x1700)"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def code_of(error: BaseException) -> int | None:
    """The protocol's error code where the driver kept it."""
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else getattr(error, "error_code", None)


def _is_certain(error: BaseException) -> bool:
    if isinstance(error, NoHostAvailable):
        errors = error.errors.values() if isinstance(error.errors, dict) else error.errors
        return all(_not_sent(one) for one in errors)
    if isinstance(error, Unavailable):
        return error.consistency in _SERIAL
    if isinstance(error, InvalidRequest | Unauthorized | AuthenticationFailed):
        return True
    code = code_of(error)
    if code == _OVERLOADED:
        message = getattr(error, "message", "") or str(error)
        return any(start in message for start in _OVERLOADED_BEFORE_START)
    return code in _REFUSED_AT_THE_DOOR


def _not_sent(error: BaseException) -> bool:
    """Whether the driver gave up on a host before a byte of the request was queued for it."""
    if isinstance(error, NoConnectionsAvailable | ConnectionBusy):
        return True
    if isinstance(error, ConnectionShutdown) or not isinstance(error, ConnectionException):
        return False
    return any(text in str(error) for text in _NOT_SENT)
