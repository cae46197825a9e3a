"""Credentials from the files that settings name. Read here and in trust.py; contents never enter a
message.

A server looks at its files whenever a client connects, and takes changed ones from then on; a
client reads them for each new connection. Open connections keep what they began with.
"""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path
from typing import Any

import grpc

from thespian_dc.model.errors import SettingsError
from thespian_dc.model.settings import Tls

log = logging.getLogger(__name__)


def server_credentials(tls: Tls) -> grpc.ServerCredentials:
    """For a listening server; client_auth asks every client for a certificate of our authority.
    SettingsError."""
    files = ServerFiles(tls)
    changed: Any = files.changed  # None means no change, which gRPC's types forget to say
    return grpc.dynamic_ssl_server_credentials(files.first, changed, tls.client_auth)


class ServerFiles:
    """What a server shows and trusts, as its files say. `changed` is called in threads of gRPC's,
    before each handshake."""

    def __init__(self, tls: Tls) -> None:
        self._tls, self._seen = tls, _stamps(tls)
        self.first = _configuration(tls)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The files' new content, once; None where nothing changed. Files that cannot be used, as
        while they are being replaced, change nothing; they are looked at again next time."""
        try:
            stamps = _stamps(self._tls)
            if stamps == self._seen:
                return None
            _check_pair(self._tls)
            found = _configuration(self._tls)
            if _stamps(self._tls) != stamps:
                return None  # written to just now
        except SettingsError as error:
            log.error("certificate_not_reloaded", extra={"error": str(error)})
            return None
        self._seen = stamps
        log.info("certificate_reloaded", extra={"certificate": self._tls.certificate})
        return found


def channel_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """For a client; it shows its own certificate where there is one. SettingsError."""
    return grpc.ssl_channel_credentials(
        root_certificates=_read("authority", tls.authority),
        private_key=_read("key", tls.key) if tls.certificate else None,
        certificate_chain=_read("certificate", tls.certificate) if tls.certificate else None,
    )


def _configuration(tls: Tls) -> grpc.ServerCertificateConfiguration:
    pair = _read("key", tls.key), _read("certificate", tls.certificate)
    authority = _read("authority", tls.authority) if tls.client_auth else None
    return grpc.ssl_server_certificate_configuration([pair], authority)


def _stamps(tls: Tls) -> list[tuple[int, int, int]]:
    """What tells whether a file was written to or replaced."""
    found = []
    for field in ("certificate", "key", "authority"):
        try:
            at = os.stat(getattr(tls, field))
        except OSError as error:
            raise _unreadable(field, getattr(tls, field), error) from error
        found.append((at.st_mtime_ns, at.st_size, at.st_ino))
    return found


def _check_pair(tls: Tls) -> None:
    """SettingsError where key and certificate do not fit, or one is no PEM: gRPC would refuse
    every client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
        context.load_verify_locations(cafile=tls.authority)
    except (OSError, ValueError) as error:
        raise SettingsError(f"Tls: {tls.certificate} and {tls.key}: {error}") from error


def _read(field: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(field, path, error) from error


def _unreadable(field: str, path: str, error: OSError) -> SettingsError:
    return SettingsError(f"Tls.{field}: {path} cannot be read ({error.strerror})")
