"""Who a client is to the server and how it knows the server: password, PEM files, and refusals by
name.

A refusal is not an outage: trying again does not help, so it is a JournalAccessError with what to
change. Files are read when the journal is opened; what is wrong with them is a SettingsError.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thespian_dc.journal.cassandra.url import CassandraUrl
from thespian_dc.model.errors import JournalAccessError, SettingsError

_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
_NO_CERTIFICATE = ("ALERT",)
_CLOSED = ("reset by peer", "closed", "Broken pipe", "EOF occurred")


def password_of(parsed: CassandraUrl) -> str:
    """The one line of the password file."""
    try:
        password = Path(parsed.password_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(
            f"password_file {parsed.password_file!r} cannot be read: {reason}"
        ) from error
    if not password:
        raise SettingsError(f"password_file {parsed.password_file!r} is empty")
    return password


def tls_of(parsed: CassandraUrl) -> ssl.SSLContext | None:
    """The context of a connection by TLS; None without tls_ca."""
    if not parsed.tls_ca:
        return None
    for name in ("tls_ca", "tls_cert", "tls_key"):
        _check_readable(name, getattr(parsed, name))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The driver connects by address: a certificate is checked against its authority, not a name.
    context.check_hostname = False
    try:
        context.load_verify_locations(cafile=parsed.tls_ca)
    except ssl.SSLError as error:
        raise SettingsError(f"tls_ca {parsed.tls_ca!r} holds no certificate: {error}") from error
    if parsed.tls_cert:
        try:
            # Without a password at hand OpenSSL would ask on the terminal.
            context.load_cert_chain(parsed.tls_cert, parsed.tls_key or None, lambda: "")
        except (ssl.SSLError, ValueError) as error:
            pair = f"tls_cert {parsed.tls_cert!r} and tls_key {parsed.tls_key!r}"
            raise SettingsError(f"{pair} cannot be used together: {error}") from error
    return context


def _check_readable(name: str, path: str) -> None:
    try:
        if path:
            Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{name} {path!r} cannot be read: {error.strerror}") from error


def refusal_of(parsed: CassandraUrl, error: BaseException) -> JournalAccessError | None:
    """What a failed connection says about this client; None where the server may just be down."""
    for one in _causes(error):
        reason = _reason(parsed, one)
        if reason:
            return JournalAccessError(parsed.url, reason)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error itself, those of each host it tells of, and what led to each."""
    hosts: Any = getattr(error, "errors", None) or {}
    for one in (error, *(hosts.values() if isinstance(hosts, dict) else hosts)):
        cause: BaseException | None = one
        while cause is not None:
            yield cause
            cause = cause.__cause__ or cause.__context__


def _reason(parsed: CassandraUrl, error: BaseException) -> str:
    from cassandra import AuthenticationFailed, Unauthorized
    from cassandra.connection import ConnectionException

    if isinstance(error, Unauthorized):
        return f"user {parsed.username!r} has not the permissions it needs: {error}"
    if isinstance(error, AuthenticationFailed):
        if not parsed.username:
            return "it wants a user; set ?username=…&password_file=…"
        return (
            f"it does not take user {parsed.username!r} with the password in"
            f" {parsed.password_file!r}"
        )
    # The driver passes on what OpenSSL said as the text of an OSError.
    text = str(error)
    if not isinstance(error, OSError | ConnectionException) or "SSL" not in text:
        return ""
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"its certificate does not come from tls_ca {parsed.tls_ca!r}"
    words = text.upper().replace(" ", "_")
    if any(one in words for one in _NO_TLS):
        return "it does not speak TLS on this port; leave out tls_ca, or name its TLS port"
    if any(one in words for one in _NO_CERTIFICATE):
        return "it wants a client's certificate that it trusts; set ?tls_cert=…&tls_key=…"
    return ""


def hint_of(parsed: CassandraUrl, error: BaseException) -> str:
    """What else a connection that was closed at once may mean."""
    if not any(text in str(error) for text in _CLOSED):
        return ""
    if parsed.tls_ca:
        return "; a server that wants a client's certificate (tls_cert, tls_key) may end it so"
    return "; a server that takes only TLS (tls_ca) ends it so"
