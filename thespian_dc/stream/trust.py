"""Why there is no TLS session with a peer, in words: gRPC says little, and nothing at all to a
client whose certificate a server refused.

After a call that ended as unavailable one more connection is opened by the standard library, which
says what it did not like; of one the peer closed, our own certificate is looked at as a peer would.
Blocks; for a thread.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.settings import Tls
from thespian_dc.model.stream_errors import PeerNotTrustedError, PeerUnavailableError

CONNECT_S = 3.0
ANSWER_S = 2.0
"""How long a peer that took our certificate may be silent."""
# What every HTTP/2 connection begins with: the preface and empty settings. A server answers.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_KINDS = {
    9: "not valid yet", 10: "expired", 18: "wrong authority", 19: "wrong authority",
    20: "wrong authority", 21: "wrong authority", 62: "wrong name", 64: "wrong name",
}  # fmt: skip
"""By OpenSSL's verify codes."""


async def explained(target: str, tls: Tls | None, error: ThespianDcError) -> ThespianDcError:
    """The error itself, or a PeerNotTrustedError that says why there was no session."""
    unclear = isinstance(error, PeerUnavailableError | PeerNotTrustedError)
    if tls is None or not unclear:
        return error
    reason = await asyncio.to_thread(why_no_session, target, tls)
    return PeerNotTrustedError(target, reason) if reason else error


def why_no_session(target: str, tls: Tls) -> str:
    """ "" where there is one, or the peer cannot be reached. Else it begins with one of: "own
    files", "plaintext", "wrong authority", "expired", "not valid yet", "wrong name", "no
    certificate", "own certificate", "refused"."""
    host, _, port = target.rpartition(":")
    try:
        context = _client(tls)
    except (OSError, ValueError) as error:
        return f"own files: {error}"
    try:
        address = host.strip("[]"), int(port)
        with (
            socket.create_connection(address, CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=tls.server_name or address[0]) as session,
        ):
            session.settimeout(ANSWER_S)
            session.sendall(_HELLO)
            refused = not session.recv(1)
    except ssl.SSLCertVerificationError as error:
        kind = _KINDS.get(error.verify_code, "not verified")
        return f"{kind}: of the peer's certificate: {error.verify_message}"
    except ssl.SSLError as error:
        if error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
            return "plaintext: the peer speaks no TLS"
        return f"refused: {error.reason or error}"
    except ConnectionResetError:
        refused = True
    except (OSError, ValueError):  # out of reach, or a name that Python cannot compare
        return ""
    return _why_refused(tls) if refused else ""


def _why_refused(tls: Tls) -> str:
    if not tls.certificate:
        return "no certificate: the peer closed the session; it wants one, name it in Tls"
    fault = _own_fault(tls)
    if fault:
        return f"own certificate: {fault}; the peer closed the session"
    return "refused: the peer closed the session after our certificate; is its authority ours?"


def _client(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cafile=tls.authority)
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
    return context


def _own_fault(tls: Tls) -> str:
    """What a peer that trusts our authority finds wrong with our certificate: a handshake of the
    two ends in memory."""
    client = _client(tls)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
    server.load_verify_locations(cafile=tls.authority)
    server.verify_mode = ssl.CERT_REQUIRED
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)]
    try:
        for _ in range(3):  # each end has its say twice
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        return f"{_KINDS.get(error.verify_code, 'not verified')} ({error.verify_message})"
    except ssl.SSLError as error:
        return str(error.reason)
    return ""
